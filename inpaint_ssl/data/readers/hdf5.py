"""HDF5 files read with care: numbers that lie in the file itself, and no memory for more than it can hold."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from inpaint_ssl.errors import InputError

# What h5py raises on damaged files; it turns most errors of the HDF5 library into these.
_DAMAGE = (OSError, EOFError, KeyError, IndexError, ValueError, TypeError, RuntimeError, AttributeError, OverflowError,
           MemoryError, SystemError)  # fmt: skip
# Deflate cannot pack more than 1032 bytes into one, so a header that claims more than that lies.
_LARGEST_PACKING = 1032
_LARGEST_BYTES = 2**36
_SLAB_BYTES = 2**26


@contextmanager
def open_hdf5(path: str) -> Iterator[h5py.File]:
    """The file, open for reading; what h5py raises inside becomes an InputError (kind "unreadable") naming the file."""
    try:
        # Many data sets lie on file systems without locks, and nothing is written here.
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"no such file: {path}; add it or remove the scan from the data set", "unreadable") from None
    except _DAMAGE as error:
        reason = " ".join(str(error).encode(errors="replace").decode().split()) or type(error).__name__
        message = f"{path} cannot be read, it is damaged or cut short ({reason}); copy it again or remove the scan"
        raise InputError(message, "unreadable") from None


def find(file: h5py.File, name: str) -> Any | None:
    """The object at `name` ("group/dataset"), None where there is none; ValueError for links, which lead elsewhere."""
    node: Any = file
    for part in name.split("/"):
        link = node.get(part, getlink=True) if isinstance(node, h5py.Group) else None
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            raise ValueError(f"'{name}' is a link to another place, expected the data itself")
        node = node[part]
    return node


def find_array(file: h5py.File, name: str, kinds: str = "iuf") -> Any | None:
    """The dataset at `name`, unread, None where there is none.

    Raises ValueError when it is no array of numbers of the NumPy `kinds`, lies outside the file, claims more than the
    file can hold, or was not written whole.
    """
    found = find(file, name)
    if found is None:
        return None
    if not isinstance(found, h5py.Dataset) or found.shape is None:
        raise ValueError(f"'{name}' is no array")
    if found.dtype.kind not in kinds or found.dtype.hasobject or found.dtype.subdtype is not None:
        raise ValueError(f"'{name}' has values of type {found.dtype}, expected numbers")
    if found.is_virtual or found.external:
        raise ValueError(f"'{name}' lies in other files, expected the data itself")
    if min(found.shape, default=1) < 1:
        raise ValueError(f"'{name}' has shape {found.shape}")
    _check_storage(found, name, Path(file.filename).stat().st_size)
    return found


def find_number(file: h5py.File, name: str) -> float | None:
    """The single number at `name`, None where there is none."""
    found = find(file, name)
    if not isinstance(found, h5py.Dataset) or found.size != 1 or found.dtype.kind not in "iuf":
        return None
    array = find_array(file, name)
    return None if array is None else float(np.ravel(array[()])[0])


def slabs(dataset: Any) -> Iterator[tuple[slice, np.ndarray]]:
    """Parts along the first axis with their place, some 64 MB each and whole chunks."""
    rows = dataset.shape[0]
    step = max(1, _SLAB_BYTES // (_bytes_of(dataset.shape, dataset) // rows))
    if dataset.chunks:
        step = max(1, step // dataset.chunks[0]) * dataset.chunks[0]
    for first in range(0, rows, step):
        yield slice(first, first + step), dataset[first : first + step]


def _bytes_of(shape: tuple[int, ...], dataset: Any) -> int:
    return math.prod(int(n) for n in shape) * int(dataset.dtype.itemsize)


def _check_storage(dataset: Any, name: str, file_bytes: int) -> None:
    stored, needed = int(dataset.id.get_storage_size()), _bytes_of(dataset.shape, dataset)
    packed = dataset.id.get_create_plist().get_nfilters() > 0
    chunk, n_chunks = needed, 1
    if dataset.chunks:
        chunk = _bytes_of(dataset.chunks, dataset)
        n_chunks = math.prod(-(-n // c) for n, c in zip(dataset.shape, dataset.chunks, strict=True))
    possible = min(stored, file_bytes) * (_LARGEST_PACKING if packed else 1)
    # Chunks at the border are stored whole, so they may take more than the array.
    if stored > file_bytes or max(needed, n_chunks * chunk) > min(possible, _LARGEST_BYTES):
        raise ValueError(
            f"'{name}' of shape {dataset.shape} needs {needed} bytes, {stored} are stored and the file has {file_bytes}"
        )
    if dataset.chunks:
        written = int(dataset.id.get_num_chunks())
        if written != n_chunks:
            raise ValueError(f"'{name}' was not written whole, {written} of its {n_chunks} parts are there")
