"""Parameters alone, such as the best ones of a run."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from inpaint_ssl.checkpoint.storage import alone, empty, is_full_disk
from inpaint_ssl.errors import InputError
from inpaint_ssl.types import Params


def save_weights(directory: Path, params: Params) -> None:
    """Write parameters alone; an earlier version is replaced. Process 0 does, whichever processes call it.

    Raises InputError when they cannot be written, on a full disk for one.
    """
    if jax.process_index() == 0:
        path = Path(directory).absolute()
        try:
            with ocp.StandardCheckpointer(multiprocessing_options=alone()) as checkpointer:
                checkpointer.save(path, jax.tree.map(np.asarray, params), force=True)
        except (OSError, ValueError) as error:
            reason = "the disk is full" if is_full_disk(error) else str(error).partition("\n")[0][:300]
            raise InputError(
                f"weights cannot be written to {path}: {reason}; free some space or mend the folder, then run the same "
                "command again: it goes on from the last checkpoint"
            ) from error


def load_weights(directory: Path, like: Params | None = None) -> Params:
    """Parameters written by save_weights; InputError when missing, or of other shapes than `like` where given."""
    path = Path(directory).absolute()
    if not path.is_dir():
        raise InputError(f"no weights at {path}: the run has not finished; run its training stage first")
    try:
        with ocp.StandardCheckpointer(multiprocessing_options=alone()) as checkpointer:
            stored = dict(checkpointer.metadata(path).item_metadata)
            shapes = {jax.tree_util.keystr(p): tuple(v.shape) for p, v in jax.tree.leaves_with_path(stored)}
            like = stored if like is None else like
            wanted = {jax.tree_util.keystr(p): tuple(np.shape(v)) for p, v in jax.tree.leaves_with_path(like)}
            if shapes != wanted:
                differing = sorted(set(shapes.items()) ^ set(wanted.items()))[0]
                raise InputError(
                    f"{path}: {differing[0]} has another shape than the network; use the settings of that run"
                )
            return jax.tree.map(jnp.asarray, checkpointer.restore(path, empty(like)))
    except InputError:
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = str(error).partition("\n")[0][:300] or type(error).__name__
        raise InputError(
            f"{path} is damaged or no folder of weights ({reason}); copy it again, or run its training stage again"
        ) from error
