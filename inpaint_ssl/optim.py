"""Adam and its learning-rate schedules (paper, section 6.1.1)."""

from dataclasses import dataclass
from typing import Any, NamedTuple

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


class RateState(NamedTuple):
    """steps: taken so far. learning_rate: the run's initial or peak one, which is data: one program serves all."""

    steps: jax.Array
    learning_rate: jax.Array


def make_schedule(settings: OptimSettings, steps_per_epoch: int, learning_rate: Any = None) -> optax.Schedule:
    """Learning rate as a function of the step, from `learning_rate` (default: that of `settings`).

    epoch_decay is the paper's: times `decay_factor` every `decay_every_epochs`, not below the floor. step_decay is the
    same every `decay_every_steps`, whatever the size of the training set. cosine rises linearly over `warmup_steps`,
    then falls to 0 at `max_steps`. ValueError for another name.
    """
    peak = settings.learning_rate if learning_rate is None else learning_rate
    if settings.schedule == "epoch_decay":
        return _staircase(settings, peak, settings.decay_every_epochs * steps_per_epoch)
    if settings.schedule == "step_decay":
        return _staircase(settings, peak, settings.decay_every_steps)
    if settings.schedule == "cosine":
        warmup, last = settings.warmup_steps, settings.max_steps
        shape = optax.warmup_cosine_decay_schedule(0.0 if warmup else 1.0, 1.0, warmup, last)
        return lambda step: peak * shape(step)
    if settings.schedule == "constant":
        return lambda step: jnp.asarray(peak)
    raise ValueError(f'schedule is {settings.schedule!r}; expected "epoch_decay", "step_decay", "cosine" or "constant"')


def _staircase(settings: OptimSettings, peak: Any, every: int) -> optax.Schedule:
    """Times `decay_factor` every `every` steps, not below the floor (nor raised to it).

    Counted in whole numbers: optax.exponential_decay divides in float32, and compiled for a step it falls one step late
    at some of the borders.
    """

    def rate(step: Any) -> jax.Array:
        falls = jnp.asarray(step) // every
        return jnp.maximum(
            peak * jnp.power(settings.decay_factor, falls), jnp.minimum(settings.learning_rate_floor, peak)
        )

    return rate


def make_optimizer(settings: OptimSettings, steps_per_epoch: int) -> optax.GradientTransformation:
    """Adam with the paper's moments (0.99, 0.995 by default) under the schedule of `settings`.

    The rate that `init` puts into the state counts: an update compiled for one learning rate serves every other.
    """

    def init(params: Any) -> RateState:
        del params
        return RateState(jnp.zeros((), jnp.int32), jnp.asarray(settings.learning_rate, jnp.float32))

    def update(updates: Any, state: RateState, params: Any = None) -> tuple[Any, RateState]:
        del params
        rate = make_schedule(settings, steps_per_epoch, state.learning_rate)(state.steps)
        return jax.tree.map(lambda u: -rate * u, updates), RateState(state.steps + 1, state.learning_rate)

    adam = optax.scale_by_adam(b1=settings.adam_b1, b2=settings.adam_b2, eps=settings.adam_eps)
    return optax.chain(adam, optax.GradientTransformation(init, update))
