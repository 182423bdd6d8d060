"""Time to draw a mask and to corrupt an image, beside the NumPy rival or alone. Imports jax."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import bridson
from experiments.benchmarks.settings import Settings
from experiments.benchmarks.timing import Contender, Timing, interleaved
from inpaint_ssl.corruption import CORRUPTORS, PatchSpec, poisson_disc, sample_patches
from inpaint_ssl.corruption.spec import Task

MASK_TASK: Task = "context_restoration"
MASK_GOALS = {64: 100.0, 32: 100.0, 16: 100.0, 8: 60.0}  # rival's time over ours, by patch size
RANDOM_PREDICTION_GOAL = 1.0  # rival's time over ours
RANDOM_RESTORATION_GOAL_MS = {32: 3.0}  # per image, by patch size


class Keys:
    """Fresh keys for every round; remembers those of the batches if asked to."""

    def __init__(self, seed: int):
        self._key = jax.random.key(seed)
        self.batches: list[jax.Array] = []

    def draw(self, calls: int, batch: int = 0) -> list[jax.Array]:
        """One key for each call, or with `batch` that many; on the device when it returns."""
        self._key, key = jax.random.split(self._key)
        keys = list(jax.random.split(key, (calls, batch) if batch else calls))
        self.batches += keys if batch else []
        return jax.block_until_ready(keys)


def _jitted(function: Callable[..., Any], keys: Keys, images: tuple[jax.Array, ...] = (), batch: int = 0) -> Contender:
    """Calls of jit(function)(key, *images), one after another; with `batch`, of its vmap over keys and images."""
    compiled = jax.jit(jax.vmap(function) if batch else function)

    def run(drawn: Sequence[Any]) -> None:
        for key in drawn:
            jax.block_until_ready(compiled(key, *images))

    return Contender(lambda calls: keys.draw(calls, batch), run, batch or 1)


def _numpy(function: Callable[[], Any]) -> Contender:
    def run(calls: Sequence[Any]) -> None:
        for _ in calls:
            function()

    return Contender(range, run)


def _rivals(function: Callable[..., Any]) -> dict[str, Contender]:
    """Both forms of a rival, function(plain=...)."""
    forms = {"rival": True, "tuned_rival": False}
    return {name: _numpy(functools.partial(function, plain=plain)) for name, plain in forms.items()}


def _compared(timings: dict[str, Timing]) -> dict[str, Any]:
    """The timings as JSON; ours with compile time and, where there are rivals, the ratios of medians rival / ours."""
    row: dict[str, Any] = {}
    for name, timing in timings.items():
        row[name] = timing.to_json()
        if name in ("rival", "tuned_rival"):
            continue
        row[name]["compile_seconds"] = timing.first_call_seconds
        if "rival" in timings:
            row[name]["ratio"] = timings["rival"].median_ms / timing.median_ms
            row[name]["ratio_to_tuned"] = timings["tuned_rival"].median_ms / timing.median_ms
    return row


def mask_row(settings: Settings, patch_size: int, batch: int, on_one_core: bool) -> dict[str, Any]:
    """Poisson-disc masks of one patch size: rival, single calls and a batch, or the batch alone."""
    size, fraction = (settings.image_size, settings.image_size), settings.area_fraction
    spec = PatchSpec(patch_size, "poisson_disc", fraction)
    keys, batch_keys = Keys(patch_size), Keys(1000 + patch_size)
    generator = np.random.default_rng(patch_size)

    def ours(key: jax.Array) -> Any:
        return sample_patches(key, size, spec, MASK_TASK)

    contenders = {"batch": _jitted(ours, batch_keys, batch=batch)}
    if on_one_core:
        rival = functools.partial(bridson.poisson_disc_patches, generator, size, patch_size, fraction)
        contenders = {**_rivals(rival), "single": _jitted(ours, keys), **contenders}
    timings = interleaved(contenders, settings.rounds, settings.min_round_ms)
    from_lattice = jax.jit(jax.vmap(lambda key: poisson_disc.sample(key, size, spec, MASK_TASK)[1]))
    timed = batch_keys.batches[-settings.rounds * timings["batch"].calls_per_round :]
    return {
        "patch_size": patch_size,
        "batch_size": batch,
        "goal_ratio": MASK_GOALS.get(patch_size) if settings.goals and on_one_core else None,
        **_compared(timings),
        "batch_masks": len(timed) * batch,
        "batch_masks_from_lattice": sum(int(jnp.sum(from_lattice(group))) for group in timed),
    }


def corruption_row(
    settings: Settings, task: str, sampling: str, patch_size: int, batch: int, on_one_core: bool
) -> dict[str, Any]:
    """Whole corruption of a one-channel float32 image: rival, single calls and a batch, or the batch alone."""
    side, fraction = settings.image_size, settings.area_fraction
    spec = PatchSpec(patch_size, sampling, fraction)  # type: ignore[arg-type]
    generator = np.random.default_rng(patch_size)
    image = generator.normal(size=(side, side, 1)).astype(np.float32)
    on_device = jax.device_put(image)

    def ours(key: jax.Array, image: jax.Array) -> jax.Array:
        return CORRUPTORS[task](key, image, spec)

    images = jnp.stack([on_device] * batch)
    contenders = {"batch": _jitted(ours, Keys(1000 + patch_size), (images,), batch)}
    if on_one_core:
        rival = functools.partial(bridson.corrupt, generator, image, task, sampling, patch_size, fraction)
        single = _jitted(ours, Keys(patch_size), (on_device,))
        contenders = {**_rivals(rival), "single": single, **contenders}
    timings = interleaved(contenders, settings.rounds, settings.min_round_ms)
    has_goal, restores = settings.goals and on_one_core and sampling == "random", task == "context_restoration"
    return {
        "task": task,
        "sampling": sampling,
        "patch_size": patch_size,
        "batch_size": batch,
        "goal_ratio": RANDOM_PREDICTION_GOAL if has_goal and not restores else None,
        "goal_ms": RANDOM_RESTORATION_GOAL_MS.get(patch_size) if has_goal and restores else None,
        **_compared(timings),
    }


def measure(settings: Settings, report: Callable[[str], None], on_one_core: bool) -> dict[str, list[dict[str, Any]]]:
    """Rows for masks and whole corruption: on one core beside the rival, else batches on the default device."""
    place = f"one {jax.default_backend()} core" if on_one_core else f"the {jax.default_backend()}"
    jax.block_until_ready(jnp.zeros(1))
    masks, corruption = [], []
    for patch_size in settings.patch_sizes:
        report(f"masks on {place}: K = {patch_size}")
        masks.append(mask_row(settings, patch_size, settings.mask_batch, on_one_core))
    batch = settings.image_batch if on_one_core else settings.mask_batch
    for task, sampling in settings.corruptions:
        for patch_size in settings.patch_sizes:
            report(f"corruption on {place}: {task}, {sampling}, K = {patch_size}")
            corruption.append(corruption_row(settings, task, sampling, patch_size, batch, on_one_core))
    return {"masks": masks, "corruption": corruption}
