"""Adam and its learning-rate schedules (paper, section 6.1.1)."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax


@dataclass(frozen=True)
class OptimSettings:
    """The keys of configs/base.py that define optimiser and schedule; same names and units."""

    learning_rate: float
    schedule: str
    decay_factor: float
    decay_every_epochs: int
    decay_every_steps: int
    learning_rate_floor: float
    warmup_steps: int
    max_steps: int
    adam_b1: float
    adam_b2: float
    adam_eps: float


def make_schedule(settings: OptimSettings, steps_per_epoch: int) -> optax.Schedule:
    """Learning rate as a function of the step.

    epoch_decay is the paper's: times `decay_factor` every `decay_every_epochs`, not below the floor. step_decay is the
    same every `decay_every_steps`, whatever the size of the training set. cosine rises linearly over `warmup_steps`,
    then falls to 0 at `max_steps`. ValueError for another name.
    """
    if settings.schedule == "epoch_decay":
        return _staircase(settings, settings.decay_every_epochs * steps_per_epoch)
    if settings.schedule == "step_decay":
        return _staircase(settings, settings.decay_every_steps)
    if settings.schedule == "cosine":
        return optax.warmup_cosine_decay_schedule(
            init_value=0.0 if settings.warmup_steps else settings.learning_rate,
            peak_value=settings.learning_rate,
            warmup_steps=settings.warmup_steps,
            decay_steps=settings.max_steps,
        )
    if settings.schedule == "constant":
        return optax.constant_schedule(settings.learning_rate)
    raise ValueError(f'schedule is {settings.schedule!r}; expected "epoch_decay", "step_decay", "cosine" or "constant"')


def _staircase(settings: OptimSettings, every: int) -> optax.Schedule:
    """Times `decay_factor` every `every` steps, not below the floor (nor raised to it).

    Counted in whole numbers: optax.exponential_decay divides in float32, and compiled for a step it falls one step late
    at some of the borders.
    """
    floor = min(settings.learning_rate_floor, settings.learning_rate)

    def rate(step: Any) -> jax.Array:
        falls = jnp.asarray(step) // every
        return jnp.maximum(settings.learning_rate * jnp.power(settings.decay_factor, falls), floor)

    return rate


def make_optimizer(settings: OptimSettings, schedule: optax.Schedule) -> optax.GradientTransformation:
    """Adam with the paper's moments (0.99, 0.995 by default) under `schedule`."""
    return optax.adam(schedule, b1=settings.adam_b1, b2=settings.adam_b2, eps=settings.adam_eps)
