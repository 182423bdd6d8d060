"""Readers of generated scans for tests of preparing: slow, failing, and such that end their process."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from inpaint_ssl.data import Scan, ScanEntry, ScanReader
from inpaint_ssl.errors import InputError


class SmallReader(ScanReader):
    """`count` scans of small random integers, each with a file (any file) as its source.

    behaviour: scan id -> "dies" | "fails" | "changes" (its file, once it was read) | seconds that reading takes.
    """

    def __init__(self, sources: list[str], behaviour: Mapping[str, Any] | None = None, shape=(4, 6, 5)) -> None:
        self.name = "Small set"
        self.channel_names = ("MRI",)
        self.labels = {"thing": 1}
        names = [f"scan_{number:04d}" for number in range(len(sources))]
        self.entries = tuple(ScanEntry(n, n, True, (path,)) for n, path in zip(names, sources, strict=True))
        self._behaviour, self._shape = dict(behaviour or {}), shape

    def settings(self) -> Mapping[str, Any]:
        return {"reader": "small"}

    def stored_dtype(self, entry: ScanEntry) -> np.dtype:
        return np.dtype(np.int16)

    def read(self, entry: ScanEntry) -> Scan:
        does = self._behaviour.get(entry.scan_id, self._behaviour.get("all", 0))
        if does == "dies":
            os._exit(7)
        if does == "fails":
            raise InputError(f"{entry.scan_id} is broken; mend it", "unreadable")
        if does == "changes":
            Path(entry.image_paths[0]).write_bytes(b"changed".ljust(100))
        else:
            time.sleep(does)
        rng = np.random.default_rng(int(entry.scan_id[-4:]))
        image = rng.integers(-1000, 1000, (*self._shape, 1)).astype(np.int16)
        label, eye = (image[..., 0] > 500).astype(np.uint8), np.eye(4)
        return Scan(entry, image, label, (1.0, 1.0, 1.0), eye, eye, "RAS", self._shape)


def prepare_slowly(folder: str, sources: list[str]) -> None:
    """To be killed in the middle; run as `python -c`."""
    from rich.console import Console

    from inpaint_ssl.data import prepare_store

    prepare_store(SmallReader(sources, {"all": 0.2}), "axial", Path(folder), Console(), processes=2)


def write_sources(folder: Path) -> list[str]:
    """20 files that stand for scans: three shards."""
    folder.mkdir()
    for number in range(20):
        (folder / f"{number}.bin").write_bytes(bytes([number]) * 100)
    return [str(folder / f"{number}.bin") for number in range(20)]


def versions(folder: Path) -> list[str]:
    """Names of all versions in a folder of prepared data sets."""
    return sorted(path.name for path in folder.glob("*/*/*") if path.is_dir())
