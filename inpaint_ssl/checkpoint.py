"""Orbax checkpoints: parameters, best parameters, optimiser state and loop position as separate items."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from inpaint_ssl.errors import InputError
from inpaint_ssl.types import Params, TrainState

KEPT = 2


def _uncommitted(tree: Any) -> Any:
    """Orbax pins what it restores to a device, for which a jitted step would be compiled once more."""
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), tree)


def _abstract(tree: Any) -> Any:
    return jax.tree.map(ocp.utils.to_shape_dtype_struct, tree)


class RunCheckpoints:
    """The checkpoints of one run, newest last. A checkpoint appears whole or not at all (Orbax renames it)."""

    def __init__(self, directory: Path):
        options = ocp.CheckpointManagerOptions(max_to_keep=KEPT, enable_async_checkpointing=False)
        self._manager = ocp.CheckpointManager(Path(directory).absolute(), options=options)

    def save(self, state: TrainState, best: Params, loop: dict[str, Any]) -> None:
        """Write the state at `state.step`; `loop` is JSON-able."""
        items = ocp.args.Composite(
            params=ocp.args.StandardSave(state.params),
            best=ocp.args.StandardSave(best),
            opt_state=ocp.args.StandardSave(state.opt_state),
            loop=ocp.args.JsonSave(loop),
        )
        self._manager.save(int(state.step), args=items)

    def restore(self, like: TrainState) -> tuple[TrainState, Params, dict[str, Any]] | None:
        """(state, best parameters, loop) of the newest checkpoint, or None; InputError unless shaped like `like`."""
        step = self._manager.latest_step()
        if step is None:
            return None
        params, opt_state = _abstract(like.params), _abstract(like.opt_state)
        items = ocp.args.Composite(
            params=ocp.args.StandardRestore(params),
            best=ocp.args.StandardRestore(params),
            opt_state=ocp.args.StandardRestore(opt_state),
            loop=ocp.args.JsonRestore(),
        )
        found = self._manager.restore(step, args=items)
        _check_like(found["params"], like.params, f"checkpoint {step} of {self._manager.directory}")
        state = TrainState(found["params"], found["opt_state"], jnp.asarray(step, like.step.dtype))
        return _uncommitted(state), _uncommitted(found["best"]), found["loop"]

    def close(self) -> None:
        """Finish and release the folder."""
        self._manager.close()


def _check_like(tree: Any, like: Any, where: str) -> None:
    """InputError when a leaf's shape or dtype differs from `like`; Orbax pads or truncates without a word."""
    if str(jax.tree.structure(tree)) != str(jax.tree.structure(like)):
        raise InputError(f"{where}: other parameters than this network has; use another --workdir or the old settings")
    for (path, found), expected in zip(jax.tree.leaves_with_path(tree), jax.tree.leaves(like), strict=True):
        if found.shape != expected.shape or found.dtype != expected.dtype:
            raise InputError(
                f"{where}: {jax.tree_util.keystr(path)} is {found.dtype}{found.shape}, "
                f"expected {expected.dtype}{expected.shape}; use another --workdir or the old settings"
            )


def save_weights(directory: Path, params: Params) -> None:
    """Write parameters alone; an earlier version is replaced."""
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(Path(directory).absolute(), params, force=True)


def load_weights(directory: Path, like: Params | None = None) -> Params:
    """Parameters written by save_weights; InputError when missing, or of other shapes than `like` where given."""
    path = Path(directory).absolute()
    if not path.is_dir():
        raise InputError(f"no weights at {path}: the run has not finished; run its training stage first")
    with ocp.StandardCheckpointer() as checkpointer:
        stored = checkpointer.metadata(path).item_metadata
        if like is None:
            like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), dict(stored))
        shapes = {jax.tree_util.keystr(p): tuple(v.shape) for p, v in jax.tree.leaves_with_path(dict(stored))}
        wanted = {jax.tree_util.keystr(p): tuple(np.shape(v)) for p, v in jax.tree.leaves_with_path(like)}
        if shapes != wanted:
            differing = sorted(set(shapes.items()) ^ set(wanted.items()))[0]
            raise InputError(f"{path}: {differing[0]} has another shape than the network; use the settings of that run")
        return _uncommitted(checkpointer.restore(path, _abstract(like)))
