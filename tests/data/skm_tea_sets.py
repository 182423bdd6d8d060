"""Small SKM-TEA release folders on disk, with arrays of random numbers instead of knees."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from inpaint_ssl.data.readers.settings import ReaderSettings
from inpaint_ssl.data.readers.skm_tea import SkmTeaDataset, open_skm_tea
from inpaint_ssl.errors import Problems

SHAPE = (6, 5, 4)
SPACING = (0.5, 0.75, 2.0)
COLUMNS = "MTR_ID,MedialDirection,SpoilerGradientArea,SpoilerGradientTime,RepetitionTime,EchoTime1,FlipAngle"


def image(scan_id: str, subject: Any, **changes: Any) -> dict[str, Any]:
    """An entry of "images"."""
    values = {
        "id": 1,
        "file_name": f"{scan_id}.h5",
        "scan_id": scan_id,
        "subject_id": subject,
        "timepoint": 0,
        "voxel_spacing": list(SPACING),
        "matrix_shape": list(SHAPE),
        "orientation": ["SI", "AP", "LR"],
        "num_echoes": 2,
        "inspected": True,
    }
    return values | changes


def one_hot(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """(X, Y, Z, 6) uint8 with every tissue, and background."""
    label = np.random.default_rng(seed).integers(0, 7, shape)
    return np.stack([label == value for value in range(1, 7)], axis=-1).astype(np.uint8)


def arrays(seed: int, shape: tuple[int, ...] = SHAPE) -> dict[str, np.ndarray]:
    """echo1, echo2 and seg of a scan."""
    rng = np.random.default_rng(seed)
    echoes = {name: rng.normal(100, 20, shape).astype(np.float32) for name in ("echo1", "echo2")}
    return {**echoes, "seg": one_hot(seed, shape)}


def write_file(path: Path, content: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, value in content.items():
            file[name] = value
    return path


def write_list(root: Path, name: str, images: list[Any]) -> Path:
    path = root / "annotations" / "v1.0.0" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": []}))
    return path


def make_release(root: Path) -> Path:
    """MTR_001 and MTR_002 train, MTR_003 validates, MTR_004 tests; MTR_002 runs from right to left."""
    lists = {
        "train": [image("MTR_001", 11), image("MTR_002", 12, orientation=["SI", "AP", "RL"])],
        "val": [image("MTR_003", 13)],
        "test": [image("MTR_004", 14)],
    }
    for name, images in lists.items():
        write_list(root, name, images)
    for number in range(1, 5):
        write_file(root / "image_files" / f"MTR_{number:03d}.h5", arrays(number))
    rows = [f"MTR_{n:03d},{'LR'[n % 2]},3132,1560,{20 + n},{5 + n}.5,20" for n in range(1, 5)]
    (root / "all_metadata.csv").write_text("\n".join([COLUMNS, *rows]) + "\n")
    return root


def opened(root: Path, collect: bool = False, **settings: Any) -> SkmTeaDataset:
    return open_skm_tea(root, ReaderSettings(**settings), Problems(collect))


def read_first(root: Path) -> Any:
    dataset = opened(root)
    return dataset.read(dataset.entries[0])


def edit(root: Path, change: Callable[[h5py.File], Any], scan: str = "MTR_001") -> Path:
    """Change a scan's file in place."""
    path = root / "image_files" / f"{scan}.h5"
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def replace(file: h5py.File, name: str, value: Any, **how: Any) -> None:
    """Another dataset in place of `name`, None to remove it."""
    if name in file:
        del file[name]
    if value is not None:
        file.create_dataset(name, data=value, **how)
