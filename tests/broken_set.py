"""Small data sets on disk, clean and with one of every problem, and readers whose decoder dies or hangs."""

import gzip
import json
import os
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from ml_collections import ConfigDict
from scipy import ndimage

from configs import base
from inpaint_ssl.config import resolve
from inpaint_ssl.data.readers import NiftiDataset
from inpaint_ssl.data.scan import Scan, ScanEntry

SHAPE = (10, 32, 36)
AFFINE = np.diag([2.0, 1.0, 1.0, 1.0])
LABELS = {"0": "background", "1": "inner", "2": "outer"}


def save(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


def tissue(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """int16 with structure of all sizes, different for every seed, brighter inside an ellipsoid."""
    rng = np.random.default_rng(seed)
    texture = sum(ndimage.gaussian_filter(rng.normal(size=shape), s) * s**1.5 for s in (0.6, 1.5, 3.0))
    axes = np.meshgrid(*(np.linspace(-1.3, 1.3, n) for n in shape), indexing="ij")
    inside = sum(np.square(axis) for axis in axes) < 1.2
    return np.rint(np.where(inside, 500, 60) + texture * np.where(inside, 90, 12)).astype(np.int16)


def organs(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    label = np.zeros(shape, np.uint8)
    label[2:8, 10:20, 12:24], label[4:6, 13:17, 15:20] = 2, 1
    return label


class MsdSet:
    """A folder in the Decathlon layout, filled scan by scan."""

    def __init__(self, root: Path, modality: str = "MRI", labels: dict[str, str] | None = None):
        self.root, self.names = root, list[str]()
        self.description: dict[str, Any] = {"name": "Small", "modality": {"0": modality}, "labels": labels or LABELS}
        root.mkdir(parents=True)

    def add(self, name: str, image: np.ndarray, label: np.ndarray | None = None, affine: np.ndarray = AFFINE) -> None:
        """A labelled scan."""
        self.names.append(name)
        save(self.image(name), image, affine)
        save(self.label(name), organs(image.shape) if label is None else label, affine)

    def add_unlabelled(self, name: str, image: np.ndarray) -> None:
        save(self.root / "imagesUl" / f"{name}.nii.gz", image)

    def image(self, name: str) -> Path:
        return self.root / "imagesTr" / f"{name}.nii.gz"

    def label(self, name: str) -> Path:
        return self.root / "labelsTr" / f"{name}.nii.gz"

    def write(self) -> Path:
        """dataset.json; the folder."""
        pairs = [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in self.names]
        content = {**self.description, "numTraining": len(pairs), "training": pairs}
        (self.root / "dataset.json").write_text(json.dumps(content))
        return self.root


def settings(root: Path, **changes: Any) -> ConfigDict:
    """A study of small images and networks on `root`; keys of `changes` with __ for dots."""
    config = base.get_config()
    config.data.root = str(root)
    config.data.image_size = (48, 48)
    config.data.prepare_processes = 2
    config.corruption.patch_size = 8
    config.model.filters = (16, 32)
    config.split.label_fractions = (1.0,)
    config.evaluate.corruption_gallery = False
    for phase in (config.pretrain, config.finetune):
        base.count_in_steps(phase, max_steps=20, validate_every=10)
        phase.batch_size = 2
    for name, value in changes.items():
        *path, key = name.split("__")
        section = config
        for part in path:
            section = section[part]
        section[key] = value
    return resolve(config, base.get_config())


def clean(folder: Path, count: int = 10) -> Path:
    made = MsdSet(folder / "Task01_Clean")
    for seed in range(count):
        made.add(f"case_{seed:02d}", tissue(seed))
    made.add_unlabelled("case_90", tissue(90))
    return made.write()


def broken_mri(folder: Path) -> tuple[Path, Path]:
    """(data set, split file): one of every problem that MRI can have, in scans named after it."""
    made = MsdSet(folder / "Task02_Broken")
    for seed in range(8):
        image = tissue(seed)
        made.add(f"good_{seed}", image * np.float32(1.1 + 0.01 * seed) if seed < 3 else image)
    made.add("truncated", tissue(20))
    made.image("truncated").write_bytes(made.image("truncated").read_bytes()[:-2000])
    made.add("wrong_magic", tissue(21))
    raw = bytearray(gzip.decompress(made.image("wrong_magic").read_bytes()))
    raw[344:348] = b"abc\0"
    made.image("wrong_magic").write_bytes(gzip.compress(bytes(raw)))
    made.add("other_shape", tissue(22), organs((10, 32, 35)))
    made.add("turned", tissue(23))
    angle = np.radians(5.0)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    save(made.label("turned"), organs(), turn @ AFFINE)
    made.add("label_255", tissue(24), np.where(organs() == 2, 255, organs()).astype(np.uint8))
    made.add("empty_label", tissue(25), np.zeros(SHAPE, np.uint8))
    holes = tissue(26).astype(np.float32)
    holes[3:5, 4, 4] = np.nan
    made.add("not_a_number", holes)
    made.add("all_equal", np.full(SHAPE, 7, np.int16))
    blank = tissue(27)
    blank[4:6] = 0
    made.add("blank_slices", blank)
    strange = tissue(28).astype(np.float32)
    made.add("strange", np.rint((strange / strange.max()).clip(0) ** 4 * 3000).astype(np.int16))
    made.add("original", tissue(30))
    made.add("copy", tissue(30))
    noisy = tissue(31).astype(np.float32)
    made.add("before_change", noisy.astype(np.int16))
    noise = np.random.default_rng(1).normal(0, 0.05 * noisy.std(), SHAPE)
    made.add("after_change", np.rint(np.roll(noisy * 1.7 + 100 + noise, 1, 1)).astype(np.int16))
    made.add("lender", tissue(33))
    borrowed = tissue(34)
    borrowed[6] = tissue(33)[5]
    made.add("borrower", borrowed)
    large = tissue(35, (10, 32, 60)) * np.float32(1.234567)
    made.add("left_half", large[..., :36])
    made.add("right_half", np.ascontiguousarray(large[..., 20:56]))
    made.add("wide_pixels", tissue(36), affine=np.diag([2.0, 3.0, 3.0, 1.0]))
    rare = organs()
    rare[rare == 1] = 0
    for name in made.names:
        if name not in ("good_0", "label_255") and made.label(name).exists() and name not in ("other_shape", "turned"):
            label = np.asarray(nib.load(made.label(name)).dataobj)
            affine = AFFINE if name != "wide_pixels" else np.diag([2.0, 3.0, 3.0, 1.0])
            save(made.label(name), np.where(label == 1, 0, label).astype(np.uint8), affine)
    made.add("no_label_file", tissue(37))
    made.label("no_label_file").unlink()
    made.add_unlabelled("twin_of_test", tissue(7))
    root = made.write()
    parts = {
        "train": [*(f"good_{i}" for i in range(6)), "original", "before_change", "lender", "left_half", "strange",
                  "blank_slices", "empty_label"],
        "validation": ["good_6", "after_change", "right_half"],
        "test": ["good_7", "copy", "borrower", "wide_pixels"],
        "unlabelled": ["twin_of_test"],
    }  # fmt: skip
    split = folder / "split.json"
    split.write_text(json.dumps(parts))
    return root, split


def body(seed: int, shape: tuple[int, ...] = (8, 40, 44)) -> np.ndarray:
    """int16 HU: tissue and fat in air."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*(np.linspace(-1.4, 1.4, n) for n in shape), indexing="ij")
    inside = axes[1] ** 2 + axes[2] ** 2 < 1.1 + 0.1 * np.sin(seed)
    texture = ndimage.gaussian_filter(rng.normal(size=shape), 1.5) * 160 + rng.normal(0, 12, shape)
    return np.rint(np.where(inside, np.clip(20 + texture, -140, 300), -1000)).astype(np.int16)


def broken_ct(folder: Path) -> Path:
    """CT whose values are HU and not, in scans named after what is wrong."""
    made = MsdSet(folder / "Task03_CT", "CT", {"0": "background", "1": "inner", "2": "outer"})
    for seed in range(4):
        made.add(f"good_{seed}", body(seed))
    made.add("no_intercept", body(10) + np.int16(1024))
    made.add("intercept_twice", body(11) - np.int16(1024))
    made.add("windowed", np.clip((body(12) + 160) // 2, 0, 255).astype(np.int16))
    made.add("no_air", body(13)[:, 12:28, 14:30])
    padded = body(14)
    padded[:, :4] = -2000
    made.add("padded", padded)
    return made.write()


class FailingReader(NiftiDataset):
    """Stands for a native decoder that ends its process, or never returns, on scans of certain names."""

    def read(self, entry: ScanEntry) -> Scan:
        if entry.scan_id == "case_02":
            os.abort()
        if entry.scan_id == "case_03":
            time.sleep(600)
        return super().read(entry)


def failing_function(shared: str, task: str) -> str:
    """For run_tasks: what `task` says."""
    if task == "exit":
        os._exit(3)
    if task == "abort":
        os.abort()
    if task == "sleep":
        time.sleep(600)
    if task == "raise":
        raise KeyError("no such thing")
    return f"{shared}/{task}"
