"""What lies between a run's checkpoints and Orbax: checksums, shapes, several processes, and quiet errors."""

import itertools
import json
import logging
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from inpaint_ssl.errors import InputError

FULL_DISK = ("No space left on device", "Disk quota exceeded")  # TensorStore's errors have no number

# Orbax logs a long trace, several times, of every error that it also raises.
logging.getLogger("absl").addFilter(lambda record: "orbax" not in Path(record.pathname).parts)
# Of several arrays that could not be written Orbax raises one error; Python prints a trace of each other one when it
# happens to be collected.
logging.getLogger("asyncio").addFilter(lambda record: f"{Path('orbax', 'checkpoint')}" not in record.getMessage())


def _silence(report: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """After an error TensorStore reports to event loops that Orbax has closed, and Python prints a trace for each."""
    return lambda found: None if str(found.exc_value) == "Event loop is closed" else report(found)


sys.unraisablehook = _silence(sys.unraisablehook)


def alone() -> ocp.options.MultiprocessingOptions:
    """For Orbax: this process reads and writes without waiting for others."""
    process = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=process, active_processes={process}, barrier_sync_key_prefix=f"process-{process}"
    )


def from_first_process(content: bytes) -> bytes:
    """The bytes that process 0 gave, in every process. As whole numbers: sums of floats would lose the sign of -0."""
    size = np.frombuffer(np.int64(len(content)).tobytes(), np.uint8)
    size_of_first = int(np.frombuffer(multihost_utils.broadcast_one_to_all(size).tobytes(), np.int64)[0])
    padded = np.frombuffer(content[:size_of_first].ljust(size_of_first), np.uint8)
    return multihost_utils.broadcast_one_to_all(padded).tobytes()


def arrays_from_first_process(mine: Any) -> Any:
    """The arrays that process 0 gave, in every process; the others give arrays of the same shapes."""
    leaves, tree = jax.tree.flatten(mine)
    content = from_first_process(b"".join(leaf.tobytes() for leaf in leaves))
    starts = np.cumsum([0, *(leaf.nbytes for leaf in leaves)])
    pieces = [content[start:end] for start, end in itertools.pairwise(starts)]
    found = [np.frombuffer(piece, leaf.dtype).reshape(leaf.shape) for piece, leaf in zip(pieces, leaves, strict=True)]
    return jax.tree.unflatten(tree, found)


def empty(tree: Any) -> Any:
    """NumPy arrays shaped like `tree` that take no memory."""
    return jax.tree.map(lambda leaf: np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape), tree)


def layout(arrays: Any) -> dict[str, str]:
    """Type and shape of every array, by its place in the tree."""
    return {
        jax.tree_util.keystr(path): f"{np.dtype(leaf.dtype)}{tuple(leaf.shape)}"
        for path, leaf in jax.tree.leaves_with_path(arrays)
    }


def check_layout(found: dict[str, str], expected: dict[str, str], where: str) -> None:
    """InputError that names the first array of another network; Orbax would pad or cut it without a word."""
    for name in {**expected, **found}:
        if found.get(name) != expected.get(name):
            raise InputError(
                f"{where}: {name} is {found.get(name, 'missing')}, expected {expected.get(name, 'no such array')}; "
                "use another --workdir or the settings it was written with"
            )


def crc32(tree: Any) -> int:
    """Checksum of all bytes of all arrays, in the order of the tree; 6 GB/s on one core."""
    checksum = 0
    for leaf in jax.tree.leaves(tree):
        checksum = zlib.crc32(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data, checksum)
    return checksum


def crc32_of_json(value: Any) -> int:
    """Checksum of a JSON-able value, the same once it has been written and read."""
    return zlib.crc32(json.dumps(value).encode())


def described(arrays: dict[str, Any], steps: Any, loop: dict[str, Any]) -> dict[str, Any]:
    """The JSON item of a checkpoint."""
    about = {
        "loop": loop,
        "step": np.asarray(steps).tolist(),
        "layout": layout(arrays),
        "crc32": {name: crc32(tree) for name, tree in arrays.items()},
    }
    return {**about, "own_crc32": crc32_of_json(about)}


def is_full_disk(error: BaseException | None) -> bool:
    """True when `error`, or what it came from, is a full disk or quota."""
    return error is not None and (any(words in str(error) for words in FULL_DISK) or is_full_disk(error.__context__))
