"""Writes a study directory as training and evaluation leave it, with smooth random scans, for tests of the report."""

import zlib
from pathlib import Path

import numpy as np
from clinical_rows import clinical_record, clinical_rows
from scipy.ndimage import gaussian_filter

from inpaint_ssl.files import write_csv_atomic, write_json_atomic, write_npz_atomic

PER_SCAN = (
    "study dataset arm label_fraction subset_draw seed split subject scan class metric unit prediction truth value flag"
)
PER_SLICE = PER_SCAN.replace("scan class", "scan slice class")
HISTORY = "step epoch split loss learning_rate images_per_second seconds"
ARMS = ("from_scratch", "pretrained")


def smooth(size: tuple[int, int], seed: int, sigma: float = 6.0) -> np.ndarray:
    """A smooth random image with standard deviation 1."""
    field = gaussian_filter(np.random.default_rng(seed).normal(size=size), sigma)
    return ((field - field.mean()) / field.std()).astype(np.float32)


def label_map(size: tuple[int, int], classes: int, shift: int, seed: int) -> np.ndarray:
    """Bands of a smooth field inside an ellipse: one connected-looking region per class."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    y, x = (rows - size[0] / 2 - shift) / (size[0] * 0.36), (columns - size[1] / 2) / (size[1] * 0.3)
    inside = y**2 + x**2 < 1
    angle = np.arctan2(rows - size[0] / 2, columns - size[1] / 2) + 0.4 * smooth(size, seed)
    band = np.floor((angle + np.pi) / (2 * np.pi) * 2 * classes).astype(int) % (2 * classes)
    return np.where(inside & (band % 2 == 0), band // 2 + 1, 0).astype(np.uint8)


def _history(path: Path, start: float, end: float, rng: np.random.Generator) -> dict[str, float]:
    """Writes metrics.csv; returns what the cell says of its best validation."""
    rows = []
    for step in range(25, 1001, 25):
        for split, above in (("train", 0.0), ("validation", 0.1)):
            if split == "validation" and step % 100:
                continue
            loss = end + (start - end) * (np.exp(-step / 250) + above) * rng.uniform(0.9, 1.1)
            rows.append([step, step // 50, split, round(float(loss), 5), 1e-3, 41.5, round(step * 0.2, 2)])
    write_csv_atomic(path, HISTORY.split(), [dict(zip(HISTORY.split(), row, strict=True)) for row in rows])
    best = min((row for row in rows if row[2] == "validation"), key=lambda row: row[3])
    return {"best_step": best[0], "best_validation_loss": best[3]}


class ExampleStudy:
    """Options of one study; `write` makes its files. Dice is a function of arm, fraction, class, seed and scan."""

    def __init__(self, root: Path, **options: object) -> None:
        self.root = root
        self.classes: list[str] = ["anterior", "posterior"]
        self.fractions: list[float] = [0.05, 1.0]
        self.seeds: list[int] = [0]
        self.channels: list[str] = ["T1"]
        self.arms: list[str] = list(ARMS)
        self.size = (64, 64)
        self.subjects = 12
        self.gain = 0.06  # of pretraining at the smallest fraction
        self.share = 0.1  # of that gain at every other fraction
        self.noise = 0.03
        self.finetuned = True
        self.gallery = False
        self.bare = False  # no pretraining and no loss curves
        self.clinical = False
        self.modality = "mri"
        self.spoilt = ""  # a class whose clinical metrics are far off from scratch at the smallest fraction
        self.undefined = ""  # a class without any clinical value
        for name, value in options.items():
            if not hasattr(self, name):
                raise AttributeError(name)
            setattr(self, name, value)

    def dice(self, arm: str, fraction: float, cls: str, seed: int, scan: str) -> float:
        """Dice of one class of one scan, rounded as a file would have it."""
        rng = np.random.default_rng(zlib.crc32(f"{arm}{fraction}{cls}{seed}{scan}".encode()))
        scans = np.random.default_rng(zlib.crc32(f"{cls}{scan}".encode())).normal(0, 0.04)
        gain = self.gain * (1 if fraction == self.fractions[0] else self.share) * (arm == "pretrained")
        base = 0.84 + 0.05 * np.log10(fraction) - 0.02 * self.classes.index(cls)
        return round(float(np.clip(base + gain + scans + rng.normal(0, self.noise), 0, 1)), 6)

    def scans(self) -> list[str]:
        return [f"case_{i:03d}" for i in range(self.subjects)]

    def count(self, fraction: float) -> int:
        return max(1, round(120 * fraction))

    def write(self) -> Path:
        cells = [] if self.bare else [self._pretraining(seed) for seed in self.seeds]
        rows = []
        if self.finetuned:
            for arm in self.arms:
                for fraction in self.fractions:
                    for seed in self.seeds:
                        cells.append(self._finetuning(arm, fraction, seed))
                        rows += self._rows(arm, fraction, seed)
            write_csv_atomic(self.root / "per_scan.csv", PER_SCAN.split(), rows)
        self._slices()
        if self.gallery:
            self.write_gallery()
        write_json_atomic(self.root / "study.json", self._study(cells))
        return self.root

    def write_gallery(self, own: tuple[str, str, int] = ("context_restoration", "poisson_disc", 8)) -> None:
        """A gallery whose panels are shades of the slice; the last one does not fit."""
        original, sizes = smooth(self.size, 1).astype(np.float16), [8, 4, 2, 1]
        fits = np.ones((4, 4), bool)
        fits[3, 3] = False
        tasks = ["context_prediction"] * 2 + ["context_restoration"] * 2
        write_npz_atomic(
            self.root / "gallery.npz", scan="case_000", slice=20, original=original, fits=fits, tasks=tasks,
            corrupted=original[..., None, None] * np.linspace(0.1, 1, 16).reshape(4, 4), patch_sizes=sizes,
            samplings=["poisson_disc", "random"] * 2, area_fraction=0.25,
            own_task=own[0], own_sampling=own[1], own_patch_size=own[2],
        )  # fmt: skip

    def _cell(self, name: str, phase: str, arm: str, fraction: float | None, seed: int) -> dict[str, object]:
        cell = {"name": name, "directory": f"cells/{name}", "phase": phase, "arm": arm, "label_fraction": fraction}
        cell |= {"seed": seed, "subset_draw": 0, "status": "complete", "steps": 1000, "stopped": "max_steps"}
        cell |= {"best_step": None, "best_validation_loss": None}
        return cell | {"seconds": 512.4, "images_per_second": 41.5}

    def _pretraining(self, seed: int) -> dict[str, object]:
        cell = self._cell(f"pretrain_seed{seed}", "pretrain", "", None, seed)
        folder, rng = self.root / str(cell["directory"]), np.random.default_rng(seed)
        cell |= _history(folder / "metrics.csv", 2900, 400, rng)
        for i in range(4):
            image = np.stack([smooth(self.size, 100 * i + c, 5) for c in range(len(self.channels))], -1)
            corrupted, k = image.copy(), max(2, self.size[0] // 8)
            for _ in range(16):
                r, c = rng.integers(0, self.size[0] - k), rng.integers(0, self.size[1] - k)
                corrupted[r : r + k, c : c + k] = 0
            restored = 0.85 * image + 0.15 * gaussian_filter(image, (2, 2, 0))
            arrays = {"original": image, "corrupted": corrupted, "restored": restored.astype(np.float32)}
            write_npz_atomic(folder / f"examples/{i:02d}.npz", **arrays, scan=np.array(f"case_{i:03d}"), slice=20 + i)
        return cell

    def _finetuning(self, arm: str, fraction: float, seed: int) -> dict[str, object]:
        cell = self._cell(f"{arm}_{round(fraction * 100):03d}_seed{seed}", "finetune", arm, fraction, seed)
        folder, rng = self.root / str(cell["directory"]), np.random.default_rng(seed)
        if not self.bare:
            cell |= _history(folder / "metrics.csv", 0.9, 0.1 if arm == "pretrained" else 0.14, rng)
        for i, scan in enumerate(self.scans()):
            truth = label_map(self.size, len(self.classes), 0, i)
            prediction = label_map(self.size, len(self.classes), 1 if arm == "pretrained" else 3, i)
            image = smooth(self.size, i, 4) * 0.5 + truth
            average = np.mean([self.dice(arm, fraction, c, seed, scan) for c in self.classes])
            arrays = {"image": image.astype(np.float32), "truth": truth, "prediction": prediction}
            if self.clinical and self.modality == "mri":
                t2 = (40 + 8 * smooth(self.size, i, 3)).astype(np.float32)
                t2[smooth(self.size, 7, 1) > 1.6] = np.nan  # no valid T2
                for name in ("truth", "prediction"):
                    arrays[f"t2_{name}_ms"] = np.where(arrays[name] > 0, t2, np.float32(np.nan))
            write_npz_atomic(folder / f"examples/{scan}.npz", **arrays, scan=np.array(scan), slice=20, dice=average)
        return cell

    def _rows(self, arm: str, fraction: float, seed: int) -> list[dict[str, object]]:
        rows = []
        for scan in self.scans():
            for cls in self.classes:
                value = self.dice(arm, fraction, cls, seed, scan)
                for metric, v in (("dice", value), ("voe", 1 - value / (2 - value)), ("cv", 0.05)):
                    cells = ["example", "Hippocampus", arm, fraction, 0, seed, "test", scan, scan, cls, metric, "ratio"]
                    rows.append(dict(zip(PER_SCAN.split(), [*cells, 900, 1000, v, ""], strict=True)))
                if self.clinical:
                    cells = ["example", "Hippocampus", arm, fraction, 0, seed, "test", scan, scan, cls]
                    for values in clinical_rows(self, arm, fraction, cls, seed, scan):
                        rows.append(dict(zip(PER_SCAN.split(), [*cells, *values], strict=True)))
        return rows

    def _slices(self) -> None:
        rows, rng = [], np.random.default_rng(0)
        for seed in self.seeds:
            for i, scan in enumerate(self.scans()[:3] * 5):
                for channel in self.channels:
                    cells = ["example", "Hippocampus", "pretrained", "", 0, seed, "test", scan, scan, i, channel]
                    value = round(float(rng.uniform(14, 22)), 4)
                    cells += ["inpainting_l2_norm", "normalised intensity", "", "", value, ""]
                    rows.append(dict(zip(PER_SLICE.split(), cells, strict=True)))
        write_csv_atomic(self.root / "per_slice.csv", PER_SLICE.split(), rows)

    def _study(self, cells: list[dict[str, object]]) -> dict[str, object]:
        splits = {"train": 120, "validation": 30, "test": self.subjects, "unlabelled": 110, "pretraining_scans": 230}
        return {
            "format_version": 1, "study": "hippocampus", "dataset": "Hippocampus", "modality": self.modality,
            "classes": self.classes, "label_fractions": self.fractions,
            "label_counts": {str(f): self.count(f) for f in self.fractions}, "seeds": self.seeds, "subset_draw": 0,
            "alpha": 0.05, "splits": splits | {"sha256": "4f1c" * 16}, "warnings": [],
            "departures": ["the schedule counts steps (cosine, 2,500 at most) instead of epochs",
                           "filters 16 to 128 in four levels instead of 32 to 512 in five"],
            "versions": {"python": "3.11.7", "jax": "0.10.2", "flax": "0.12.1"}, "device": "cpu, 2 cores",
            "settings": {"study": "hippocampus", "data.image_size": [64, 64], "corruption.task": "context_restoration",
                         "corruption.patch_size": 8, "finetune.learning_rate": 0.001, "finetune.schedule": "cosine"},
            "cells": cells, "seconds": 3310.5,
        } | ({"clinical": clinical_record(self)} if self.clinical else {})  # fmt: skip
