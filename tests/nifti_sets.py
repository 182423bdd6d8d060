"""Small data sets of NIfTI files on disk, opened and read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from inpaint_ssl.data.readers import ReaderSettings, open_dataset
from inpaint_ssl.data.scan import Scan, ScanReader
from inpaint_ssl.errors import InputError, Problems

AFFINE = np.array([[1.5, 0, 0, -4], [0, 0.5, 0, 7], [0, 0, 2, 11], [0, 0, 0, 1.0]])
SHAPE = (5, 4, 3)


def save(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE, dtype: Any = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, affine, dtype=data.dtype if dtype is None else dtype), path)
    return path


def random_image(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).normal(100, 20, shape).astype(np.float32)


def random_label(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 3, shape).astype(np.uint8)


def write_description(root: Path, **changes: Any) -> None:
    """Change keys of dataset.json; None removes a key."""
    path = root / "dataset.json"
    values = json.loads(path.read_text()) if path.exists() else {}
    values = {key: value for key, value in {**values, **changes}.items() if value is not None}
    path.write_text(json.dumps(values))


def make_msd(folder: Path) -> Path:
    """Three labelled scans and one test image with two channels each."""
    root = folder / "Task42_Knee"
    names = [f"knee_{n:03d}" for n in (3, 1, 2)]
    for seed, name in enumerate(names):
        save(root / "imagesTr" / f"{name}.nii.gz", random_image(seed, (*SHAPE, 2)))
        save(root / "labelsTr" / f"{name}.nii.gz", random_label(seed))
    save(root / "imagesTs" / "knee_009.nii.gz", random_image(9, (*SHAPE, 2)))
    write_description(
        root,
        name="Knee",
        modality={"0": "echo1", "1": "echo2"},
        labels={"0": "background", "1": "cartilage", "2": "meniscus"},
        numTraining=3,
        numTest=1,
        training=[{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in names],
        test=["./imagesTs/knee_009.nii.gz"],
    )
    return root


def make_nnunet(folder: Path) -> Path:
    """Two labelled scans, one in imagesTs and one in imagesUl, two channels in a file each."""
    root = folder / "Dataset042_Knee"
    for part, case, seed in (("Tr", "b", 0), ("Tr", "a", 1), ("Ts", "c", 2), ("Ul", "d", 3)):
        for channel in range(2):
            save(root / f"images{part}" / f"{case}_{channel:04d}.nii.gz", random_image(10 * seed + channel))
        if part == "Tr":
            save(root / "labelsTr" / f"{case}.nii.gz", random_label(seed))
    write_description(
        root,
        channel_names={"0": "T2", "1": "ADC"},
        labels={"background": 0, "inner": 1, "outer": 2},
        numTraining=2,
        file_ending=".nii.gz",
    )
    return root


def open_root(root: Any, problems: Problems | None = None, **settings: Any) -> ScanReader:
    return open_dataset(ReaderSettings(root=str(root), **settings), problems)


def read_scan(root: Path, number: int = 0, **settings: Any) -> Scan:
    reader = open_root(root, **settings)
    return reader.read(reader.entries[number])


def message(function: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """The one-line message of the InputError that a call raises."""
    with pytest.raises(InputError) as caught:
        function(*args, **kwargs)
    text = str(caught.value)
    assert "\n" not in text
    return text


def every_nth(source: Path, root: Path, n: int) -> Path:
    """A data set in the folder `root`: links to every n-th scan, labelled and unlabelled, of the one in `source`."""
    for folder in ("imagesTr", "labelsTr", "imagesUl"):
        for path in sorted((source / folder).glob("*.nii.gz"))[::n]:
            (root / folder).mkdir(parents=True, exist_ok=True)
            (root / folder / path.name).symlink_to(path)
    content = json.loads((source / "dataset.json").read_text())
    labels = sorted(path.name for path in (root / "labelsTr").iterdir())
    if "training" in content:  # the Medical Segmentation Decathlon lists its scans
        content["training"] = [{"image": f"imagesTr/{name}", "label": f"labelsTr/{name}"} for name in labels]
    (root / "dataset.json").write_text(json.dumps(content | {"numTraining": len(labels)}))
    return root
