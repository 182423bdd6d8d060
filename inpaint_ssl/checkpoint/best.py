"""The weights that a run ended with."""

from pathlib import Path

import jax
import numpy as np

from inpaint_ssl.checkpoint.storage import crc32
from inpaint_ssl.checkpoint.weights import load_weights
from inpaint_ssl.errors import InputError
from inpaint_ssl.files import read_json
from inpaint_ssl.types import Params


def best_weights(directory: Path, like: Params | None = None) -> Params:
    """The best weights of a run; InputError unless they are what was saved, which Orbax alone would not notice."""
    weights = load_weights(directory / "best", like)
    saved = read_json(directory / "result.json", "result of a run").get("best_crc32")
    if saved not in (None, crc32(jax.tree.map(np.asarray, weights))):
        raise InputError(
            f"{directory / 'best'} is damaged: its weights are not those that were saved; delete "
            f"{directory / 'result.json'} and run the same command again, which takes them from the last checkpoint"
        )
    return weights
