"""One function on one or many devices: jit with sharded batches, shard_map or pmap, behind one interface.

A mesh has two axes. Devices along "batch" share each batch; devices along "seed" each train some of the seeds. How an
argument lies on them is a PartitionSpec for all its leaves: P("seed") for states, P() for what every device holds
whole, P(None, "seed", "batch") for k steps' batches of every seed. The axis that "batch" splits must be a multiple of
the devices along it: the caller pads.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from inpaint_ssl.errors import InputError

Tree = Any  # arrays in any nesting
Specs = Any  # a PartitionSpec, or a tuple of them with one for each argument or result
DRIVERS = ("jit", "shard_map", "pmap")


def make_mesh(devices: int = 0, seeds_on_devices: int = 1) -> Mesh:
    """Mesh ("seed", "batch") of the first `devices` devices (0 = all), `seeds_on_devices` of them along "seed".

    Of several processes each must have a share, so they use all devices. InputError when that cannot be.
    """
    found = jax.devices()
    count = devices or len(found)
    if count > len(found):
        raise InputError(
            f"config.engine.devices: got {count}, but there are {len(found)} ({found[0].platform}), expected at most "
            "that many; 0 uses all"
        )
    if jax.process_count() > 1 and count != len(found):
        raise InputError(
            f"config.engine.devices: got {count} of the {len(found)} devices of {jax.process_count()} processes, "
            "expected all; use 0"
        )
    if count % seeds_on_devices:
        raise InputError(
            f'config.engine.seeds: got "devices" with {seeds_on_devices} groups of seeds on {count} devices, expected '
            "groups of equal size; change config.engine.devices or the number of seeds"
        )
    return Mesh(np.array(found[:count]).reshape(seeds_on_devices, -1), ("seed", "batch"))


def _is_spec(node: Any) -> bool:
    return isinstance(node, PartitionSpec)


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _batch_axis(spec: PartitionSpec) -> int | None:
    return next((axis for axis, name in enumerate(spec) if name == "batch"), None)


class Driver:
    """A function compiled for a mesh. Arguments are placed with `put`, results stay on the devices until `get`.

    make_function(axis_name) gives the function: for "jit" without an axis name, since the compiler sees the whole batch
    and every sum is global as it stands; for the others with the name of the axis over which to sum. Results may not
    be split along "batch". Seeds on several devices always run by shard_map. `donate`: positions of the arguments
    whose memory the results may take.

    With pmap, everything on the devices has a leading axis of (local) devices, each with its own copy of the states.
    """

    def __init__(
        self,
        make_function: Callable[[str | None], Callable[..., Tree]],
        mesh: Mesh,
        driver: str,
        in_specs: tuple[PartitionSpec, ...],
        out_specs: Specs,
        donate: tuple[int, ...] = (),
    ) -> None:
        if driver not in DRIVERS:
            raise InputError(f"config.engine.driver: got {driver!r}, expected one of {', '.join(DRIVERS)}")
        self.mesh = mesh
        self._in_specs = in_specs
        self._is_pmap = driver == "pmap"
        self._waits = mesh.devices.flat[0].platform == "cpu" and mesh.local_mesh.devices.size > 1
        if self._is_pmap:
            if mesh.shape["seed"] > 1:
                raise InputError(
                    'config.engine.driver: got "pmap" with config.engine.seeds="devices", expected "jit" or '
                    '"shard_map"; change one of the two'
                )
            self._compiled = jax.pmap(
                make_function("batch"), "batch", devices=list(mesh.devices.flat), donate_argnums=donate
            )
            return
        if driver == "jit" and mesh.shape["seed"] == 1:
            function = make_function(None)
        else:
            # check_vma=False: gradients are then those of each device's part, as steps.make_train_step expects.
            function = jax.shard_map(
                make_function("batch"), mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
            )
        self._compiled = jax.jit(
            function,
            in_shardings=self._shardings(in_specs),
            out_shardings=self._shardings(out_specs),
            donate_argnums=donate,
        )

    def __call__(self, *placed: Tree) -> Tree:
        """Results on the devices; the call returns before they are computed, but on several devices of one CPU."""
        results = self._compiled(*placed)
        # There the devices are threads of one pool, in which many programs that wait for each other's sums get stuck.
        return jax.block_until_ready(results) if self._waits else results

    def lower(self, *shapes: Tree) -> Any:
        """jax's Lowered of the function for arguments of these shapes (arrays or ShapeDtypeStruct, as before `put`)."""
        if self._is_pmap:
            shapes = tuple(
                jax.tree.map(lambda leaf, spec=spec: self._pmap_shape(leaf, spec), tree)
                for tree, spec in zip(shapes, self._in_specs, strict=True)
            )
        return self._compiled.lower(*shapes)

    def put(self, tree: Tree, spec: PartitionSpec) -> Tree:
        """Arrays (of NumPy or jax) onto the devices. Several processes: each gives the whole, or at least its rows."""
        if jax.process_count() == 1 and not self._is_pmap:
            return jax.device_put(tree, NamedSharding(self.mesh, spec))  # one call for all is faster
        return jax.tree.map(lambda leaf: self._put(leaf, spec), tree)

    def get(self, tree: Tree, spec: PartitionSpec) -> Tree:
        """The arrays as NumPy, in every process. Waits for them; several processes must call it together."""
        del spec  # nothing that is computed is split along "batch"
        return jax.tree.map(self._get, tree)

    def local_rows(self, rows: int) -> slice:
        """The rows of a batch that this process's devices use; the others may hold anything."""
        share = rows // self.mesh.shape["batch"]
        here = [device.process_index == jax.process_index() for device in self.mesh.devices.flat]
        columns = np.nonzero(np.reshape(here, self.mesh.devices.shape))[1]
        return slice(int(columns.min()) * share, int(columns.max() + 1) * share)

    def _shardings(self, specs: Specs) -> Any:
        return jax.tree.map(lambda spec: NamedSharding(self.mesh, spec), specs, is_leaf=_is_spec)

    def _put(self, leaf: Any, spec: PartitionSpec) -> jax.Array:
        if _is_key(leaf) and (self._is_pmap or jax.process_count() > 1):
            return jax.random.wrap_key_data(self._put(jax.random.key_data(leaf), spec), impl=jax.random.key_impl(leaf))
        if self._is_pmap:
            return self._pmap_put(np.asarray(leaf), spec)
        sharding = NamedSharding(self.mesh, spec)
        if jax.process_count() == 1:
            return jax.device_put(leaf, sharding)
        value = np.asarray(leaf)
        return jax.make_array_from_callback(value.shape, sharding, lambda index: value[index])

    def _get(self, leaf: jax.Array) -> np.ndarray:
        if self._is_pmap:
            return np.asarray(leaf.addressable_data(0))[0]
        if not leaf.is_fully_addressable and not leaf.is_fully_replicated:
            whole = NamedSharding(self.mesh, PartitionSpec())
            leaf = jax.jit(lambda array: array, out_shardings=whole)(leaf)
        return np.asarray(leaf)

    def _pmap_put(self, value: np.ndarray, spec: PartitionSpec) -> jax.Array:
        """(..., n, ...) -> (local devices, ..., n / devices, ...), or a copy for every device."""
        axis, count = _batch_axis(spec), self.mesh.devices.size
        parts = [value] * count if axis is None else np.split(value, count, axis)
        sharding = NamedSharding(self.mesh.local_mesh, PartitionSpec("batch"))
        copies = [
            jax.device_put(parts[index][None], device)
            for index, device in enumerate(self.mesh.devices.flat)
            if device.process_index == jax.process_index()
        ]
        return jax.make_array_from_single_device_arrays((len(copies), *parts[0].shape), sharding, copies)

    def _pmap_shape(self, leaf: Any, spec: PartitionSpec) -> jax.ShapeDtypeStruct:
        axis, shape = _batch_axis(spec), list(leaf.shape)
        if axis is not None:
            shape[axis] //= self.mesh.devices.size
        return jax.ShapeDtypeStruct((self.mesh.local_mesh.devices.size, *shape), leaf.dtype)
