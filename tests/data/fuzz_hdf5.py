"""Seeded damage to the HDF5 files of SKM-TEA: other arrays, links and tables, and arrays that unpack to GB."""

import io
import json
import random
import re
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from fuzz_bytes import Mutation, flipped, overwritten
from fuzz_nifti import BOMB_BYTES


def hdf5_changed(rng: random.Random, content: bytes) -> bytes:
    """Other arrays under the names that are read."""
    stream = io.BytesIO(content)
    try:
        with h5py.File(stream, "r+") as file:
            for _ in range(rng.choice((1, 1, 2))):
                _change_array(rng, file)
    except Exception:  # not everything can be stored
        return overwritten(rng, content)
    return stream.getvalue()


def _change_array(rng: random.Random, file: h5py.File) -> None:
    name = rng.choice(("echo1", "echo2", "seg", "stats/echo1/mean", "stats/echo2/mean", "stats", "stats/echo1"))
    old = file[name]
    shape, values = (old.shape, old[()]) if isinstance(old, h5py.Dataset) else ((), 0.0)
    del file[name]
    how = rng.randrange(12)
    if how == 0:
        return
    if how == 1:
        file.create_group(name)
    elif how == 2:
        file[name] = rng.choice(
            (h5py.SoftLink("/echo1"), h5py.SoftLink(f"/{name}"), h5py.ExternalLink("/dev/zero", "x"))
        )
    elif how == 3:
        file.create_dataset(
            name, data=np.resize(values, rng.choice(((0,), (1,), (3, 4), (*shape, 1), (2, *shape), ())))
        )
    elif how == 4:
        dtype: Any = rng.choice(
            ("f8", "f2", ">f4", "i8", "u4", "u1", "c8", "S4", bool, [("a", "f4")], ("f4", (2,)), h5py.string_dtype())
        )
        file.create_dataset(name, shape, dtype)
    elif how == 5:
        value = rng.choice((np.nan, np.inf, -1.0, 1e30, 2.0, 0.5))
        filled = np.array(values, np.float64)
        filled.reshape(-1)[: rng.choice((1, filled.size))] = value
        file.create_dataset(name, data=filled)
    elif how == 6:
        chunks = tuple(max(1, n // rng.choice((1, 2, 3))) for n in shape) or None
        file.create_dataset(
            name, data=values, chunks=chunks, fletcher32=True, compression=rng.choice(("gzip", "lzf")), shuffle=True
        )
    elif how == 7:
        huge = tuple(n * rng.choice((1, 1000, 2**20)) for n in shape) or (2**40,)
        file.create_dataset(name, huge, "f4", chunks=tuple(min(n, 2**10) for n in huge), compression="gzip")
    elif how == 8:
        file.create_dataset(name, shape, "f4", external=[("/dev/zero", 0, h5py.h5f.UNLIMITED)])
    elif how == 9:
        file[name] = h5py.Empty("f4")
    elif how == 10:
        file[name] = np.dtype("f4")
    else:
        file.create_dataset(name, data=values, maxshape=(None,) * len(shape) or None, fillvalue=rng.choice((0, np.nan)))


def hdf5_structure(rng: random.Random, content: bytes) -> bytes:
    """Damage behind one of the marks of HDF5's own tables, which lie all over the file."""
    marks = [at for mark in (b"TREE", b"SNOD", b"HEAP", b"\x89HDF") for at in _places(content, mark)]
    at, length = rng.choice(marks or [0]), rng.choice((16, 64, 300))
    return content[:at] + rng.choice((flipped, overwritten))(rng, content[at : at + length]) + content[at + length :]


def _places(content: bytes, mark: bytes) -> list[int]:
    return [match.start() for match in re.finditer(re.escape(mark), content)]


HDF5: tuple[Mutation, ...] = (hdf5_changed, hdf5_changed, hdf5_structure)


def hdf5_bomb(rng: random.Random, path: Path) -> None:
    """Two echoes of 8 GB each in a file of some MB, and annotations that fit: the same packed chunk again and again."""
    edge, side = 64, 512
    shape = (BOMB_BYTES // 4 // side**2, side, side)
    packed = zlib.compress(bytes(edge * side * side * 4), 9)
    with h5py.File(path, "w") as file:
        for name in ("echo1", "echo2"):
            echo = file.create_dataset(name, shape, "f4", chunks=(edge, side, side), compression="gzip")
            for first in range(0, shape[0], edge):
                echo.id.write_direct_chunk((first, 0, 0), packed)
    for table in path.parent.parent.glob("annotations/*/*.json"):
        content = json.loads(table.read_bytes())
        for image in content["images"]:
            if image["file_name"] == path.name:
                image["matrix_shape"] = list(shape)
        table.write_text(json.dumps(content))
