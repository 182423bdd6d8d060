"""How long a training run is, as training itself counts it. Imports jax."""

import math

from ml_collections import ConfigDict

from inpaint_ssl.batches import passes_per_epoch
from inpaint_ssl.training import last_step


def steps_per_epoch(section: ConfigDict, n_slices: int) -> int:
    """Of a run with the settings `section` (config.pretrain or config.finetune) on so many slices."""
    passes = passes_per_epoch(n_slices, section.batch_size, section.min_steps_per_epoch)
    return math.ceil(n_slices * passes / section.batch_size)


def steps_of(section: ConfigDict, n_slices: int) -> int:
    """The most steps that a run of a phase takes; early stopping may end it sooner."""
    return last_step(steps_per_epoch(section, n_slices), section.max_epochs, section.max_steps)[0]


def validations_of(section: ConfigDict, n_slices: int, done: int = 0) -> int:
    """How often a run validates, from step `done` on."""
    every = section.validate_every_steps or steps_per_epoch(section, n_slices)
    last = steps_of(section, n_slices)
    return math.ceil(last / every) - done // every if done < last else 0
