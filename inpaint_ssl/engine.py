"""The compiled training of one or several seeds on one or several devices.

Every array of a state has a leading axis of seeds. Seeds are trained by programs of `per_program` seeds each: one by
one in turn, or all in one program (unrolled, vmapped, or each device some). How that is done changes rounding only.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from inpaint_ssl.batches import Fetch
from inpaint_ssl.memory import predicted_peak_bytes
from inpaint_ssl.parallel import Driver, make_mesh
from inpaint_ssl.steps import Metrics, TrainStep, ValidationStep, keep_where
from inpaint_ssl.types import Params, TrainState

NOT_DUE = -1  # position of a seed that has stopped; no state has this step
WAYS = ("in_turn", "unroll", "vmap", "devices")
SEEDS, WHOLE = P("seed"), P()
STEP_ITEMS, POSITIONS = P(None, "seed", "batch"), P(None, "seed")
RunSteps = Callable[[TrainState, Any, Any, jax.Array, jax.Array], tuple[TrainState, Metrics]]


@dataclasses.dataclass(frozen=True)
class EngineSettings:
    """config.engine with its defaults for a platform filled in; names and units as there."""

    seeds: str
    driver: str
    devices: int
    steps_per_call: int

    @classmethod
    def resolved(cls, seeds: str, driver: str, devices: int, steps_per_call: int) -> "EngineSettings":
        """ "auto" and 0 replaced by what was measured to be fastest on this platform (BUILD_NOTES.md)."""
        on_cpu = jax.default_backend() == "cpu"
        if seeds == "auto":
            seeds = "in_turn" if on_cpu else "vmap"
        return cls(seeds, driver, devices, steps_per_call or (1 if on_cpu else 5))


def make_run_steps(step: TrainStep, fetch: Fetch, way: str, *, loop: bool) -> RunSteps:
    """(states, data, items, positions, keys) -> (states, metrics (k, m)): k steps of m seeds, pure.

    states: leaves (m, ...). items: leaves (k, m, n, ...), made into batches by `fetch(data, item)`. positions (k, m):
    the step that is due; a state that is at another one (it has stopped, or a step was not finite) stays as it is.
    way: "vmap", or anything else to write the seeds out one after another. loop: the k steps as a loop of the
    compiler (on a CPU ruinous with jax's own gradients of convolutions), or written out.
    """

    def one(state: TrainState, data: Any, item: Any, position: jax.Array, key: jax.Array) -> tuple[TrainState, Metrics]:
        moved, metrics = step(state, fetch(data, item), key)
        return keep_where(state.step == position, moved, state), metrics

    def all_seeds(
        states: TrainState, data: Any, items: Any, positions: jax.Array, keys: jax.Array
    ) -> tuple[TrainState, Metrics]:
        if way == "vmap" and positions.shape[0] > 1:
            return jax.vmap(one, in_axes=(0, None, 0, 0, 0))(states, data, items, positions, keys)
        return stacked(
            one(_at(states, seed), data, _at(items, seed), positions[seed], keys[seed])
            for seed in range(positions.shape[0])
        )

    def run_steps(
        states: TrainState, data: Any, items: Any, positions: jax.Array, keys: jax.Array
    ) -> tuple[TrainState, Metrics]:
        def body(states: TrainState, per_step: tuple[Any, jax.Array]) -> tuple[TrainState, Metrics]:
            return all_seeds(states, data, *per_step, keys)

        count = positions.shape[0]
        if count == 1:
            states, metrics = body(states, (_at(items, 0), positions[0]))
            return states, jax.tree.map(lambda leaf: leaf[None], metrics)
        return jax.lax.scan(body, states, (items, positions), unroll=1 if loop else count)

    return run_steps


def make_validate(
    step: ValidationStep, fetch: Fetch, way: str, axis_name: str | None
) -> Callable[[Params, Any, Any, jax.Array], Metrics]:
    """(params (m, ...), data, item (n, ...), keys (m,)) -> sums, leaves (m, ...), of the global batch."""

    def validate(params: Params, data: Any, item: Any, keys: jax.Array) -> Metrics:
        batch = fetch(data, item)
        if way == "vmap" and keys.shape[0] > 1:
            sums = jax.vmap(step, in_axes=(0, None, 0))(params, batch, keys)
        else:
            sums = stacked(step(_at(params, seed), batch, keys[seed]) for seed in range(keys.shape[0]))
        return sums if axis_name is None else jax.lax.psum(sums, axis_name)

    return validate


def _at(tree: Any, index: int | slice) -> Any:
    return jax.tree.map(lambda leaf: leaf[index], tree)


def stacked(trees: Iterator[Any] | Sequence[Any]) -> Any:
    """Trees of one structure as one, each leaf with a new leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def _keep_best(best: Params, params: Params, improved: jax.Array) -> Params:
    return jax.vmap(keep_where)(improved, params, best)


class Programs:
    """The compiled functions of one phase of training, shared by all its runs.

    make_step(axis_name) gives the training step, validation the validation step. seeds: how many are trained at once.
    """

    def __init__(
        self,
        settings: EngineSettings,
        seeds: int,
        make_step: Callable[[str | None], TrainStep],
        train_fetch: Fetch,
        validation: ValidationStep,
        validation_fetch: Fetch,
    ) -> None:
        self.settings, self.seeds = settings, seeds
        on_cpu = jax.default_backend() == "cpu"
        apart = _groups_on_devices(settings, seeds) if settings.seeds == "devices" else 1
        self.mesh = make_mesh(settings.devices, apart)
        self.per_program = 1 if settings.seeds == "in_turn" else seeds
        way = settings.seeds if settings.seeds != "devices" else ("unroll" if on_cpu else "vmap")
        self.train = Driver(
            lambda axis_name: make_run_steps(make_step(axis_name), train_fetch, way, loop=not on_cpu),
            self.mesh,
            settings.driver,
            (SEEDS, WHOLE, STEP_ITEMS, POSITIONS, SEEDS),
            (SEEDS, POSITIONS),
            donate=(0,),
        )
        self.validate = Driver(
            lambda axis_name: make_validate(validation, validation_fetch, way, axis_name),
            self.mesh,
            settings.driver,
            (SEEDS, WHOLE, P("batch"), SEEDS),
            SEEDS,
        )
        self.keep_best = Driver(
            lambda axis_name: _keep_best, self.mesh, settings.driver, (SEEDS, SEEDS, SEEDS), SEEDS, donate=(0,)
        )

    def predicted_bytes(self, batch_size: int, state: TrainState, data: Any, item: Any) -> int:
        """Peak of one device in a training step with batches of `batch_size`, found by compiling it.

        state: shapes of one seed's state; data: the resident slices; item: one seed's item, leaves (n, ...), of any n.
        The states of programs that wait for their turn are counted too.
        """
        m = self.per_program

        def shaped(leaf: Any, *leading: int) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((*leading, *leaf.shape), leaf.dtype)

        states = jax.tree.map(lambda leaf: shaped(leaf, m), state)
        items = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((1, m, self.padded(batch_size), *leaf.shape[1:]), leaf.dtype), item
        )
        keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), m))
        positions = jax.ShapeDtypeStruct((1, m), np.int32)
        compiled = self.train.lower(states, data, items, positions, keys).compile()
        one_state = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
        one_best = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(state.params))
        here = self.seeds // self.mesh.shape["seed"]
        waiting = here - m // self.mesh.shape["seed"]
        return predicted_peak_bytes(compiled) + waiting * one_state + here * one_best

    def padded(self, batch_size: int) -> int:
        """The batch size as a multiple of the devices that share a batch."""
        share = self.mesh.shape["batch"]
        return -(-batch_size // share) * share


def _groups_on_devices(settings: EngineSettings, seeds: int) -> int:
    """Into how many equal groups the seeds are divided among devices: the most that divide both numbers."""
    devices = settings.devices or jax.device_count()
    return max(n for n in range(1, seeds + 1) if seeds % n == 0 and devices % n == 0)


class Snapshot(NamedTuple):
    """What a checkpoint holds of the arrays, on the host, leaves (seeds, ...)."""

    state: TrainState
    best: Params


class Engine:
    """One run of the seeds' training: holds their states on the devices and moves them on.

    snapshot: where they start, NumPy arrays. keys (seeds,): of the corruption. data, validation_data: placed by
    `programs.train.put` with engine.WHOLE.
    """

    def __init__(self, programs: Programs, snapshot: Snapshot, keys: jax.Array, data: Any, validation_data: Any):
        self.programs, self._data, self._validation_data = programs, data, validation_data
        starts = range(0, programs.seeds, programs.per_program)
        self._parts = [slice(start, start + programs.per_program) for start in starts]
        put = programs.train.put
        self._states = [put(_at(snapshot.state, part), SEEDS) for part in self._parts]
        self._best = [put(_at(snapshot.best, part), SEEDS) for part in self._parts]
        self._keys = [put(keys[part], SEEDS) for part in self._parts]

    def place(self, items: Any) -> list[Any]:
        """Items (k, seeds, n, ...) of the next steps on the devices, for `run`; returns before the copy is done."""
        return [
            self.programs.train.put(jax.tree.map(lambda leaf, part=part: leaf[:, part], items), STEP_ITEMS)
            for part in self._parts
        ]

    def run(self, placed: Sequence[Any], positions: np.ndarray) -> list[Metrics | None]:
        """Take the steps `positions` (k, seeds), NOT_DUE for seeds that have stopped; metrics for `fetch`."""
        results: list[Metrics | None] = []
        for number, part in enumerate(self._parts):
            if (positions[:, part] == NOT_DUE).all():
                results.append(None)
                continue
            due = self.programs.train.put(positions[:, part], POSITIONS)
            self._states[number], metrics = self.programs.train(
                self._states[number], self._data, placed[number], due, self._keys[number]
            )
            results.append(metrics)
        return results

    def fetch(self, results: Sequence[Metrics | None]) -> dict[str, np.ndarray]:
        """The metrics of one call of `run` as arrays (k, seeds); NaN (finite: True) for programs that did not run."""
        got = [None if one is None else self.programs.train.get(one, POSITIONS) for one in results]
        some = next(one for one in got if one is not None)

        def filled(name: str, one: dict[str, np.ndarray] | None) -> np.ndarray:
            return one[name] if one is not None else np.full_like(some[name], name == "finite" or np.nan)

        return {name: np.concatenate([filled(name, one) for one in got], axis=1) for name in some}

    def validate(self, items: Iterator[Any], keys: jax.Array, active: np.ndarray) -> list[Any]:
        """Per seed the float64 sums over all items, in their order; None for programs whose seeds are not active."""
        wanted = [number for number, part in enumerate(self._parts) if active[part].any()]
        driver = self.programs.validate
        sums: dict[int, list[Any]] = {number: [] for number in wanted}
        placed_keys = {number: driver.put(keys[self._parts[number]], SEEDS) for number in wanted}
        for item in items:
            placed = driver.put(item, P("batch"))
            for number in wanted:
                params = self._states[number].params
                sums[number].append(driver(params, self._validation_data, placed, placed_keys[number]))
        results: list[Any] = [None] * self.programs.seeds
        for number in wanted:
            got = driver.get(sums[number], SEEDS)
            total = jax.tree.map(lambda *parts: np.sum(np.asarray(parts, np.float64), axis=0), *got)
            for offset, seed in enumerate(range(self._parts[number].start, self._parts[number].stop)):
                results[seed] = _at(total, offset)
        return results

    def keep_best(self, improved: np.ndarray) -> None:
        """The present parameters of the seeds in `improved` (seeds,) become their best ones."""
        driver = self.programs.keep_best
        for number, part in enumerate(self._parts):
            if improved[part].any():
                mask = driver.put(improved[part], SEEDS)
                self._best[number] = driver(self._best[number], self._states[number].params, mask)

    def snapshot(self) -> Snapshot:
        """All states and best parameters as arrays of the host; waits for the devices."""
        get = self.programs.train.get
        parts = [
            Snapshot(get(state, SEEDS), get(best, SEEDS)) for state, best in zip(self._states, self._best, strict=True)
        ]
        # Copies: on a CPU what `get` returns may be the very memory that the next step overwrites.
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
