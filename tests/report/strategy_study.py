"""Writes study directories with a grid of pretraining strategies, as evaluation leaves them."""

import itertools
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from example_study import PER_SCAN, PER_SLICE

from inpaint_ssl.files import write_csv_atomic, write_json_atomic

TASKS = ("context_prediction", "context_restoration")
SAMPLINGS = ("poisson_disc", "random")
FIXED = ["example", "Knees", "", "", 0, 0]


def noise(*names: object) -> float:
    """Standard normal, a function of the names alone."""
    return float(np.random.default_rng(zlib.crc32("|".join(map(str, names)).encode())).normal())


class GridStudy:
    """Options of one study; `write` makes its files. Dice is a function of strategy, fraction, class, seed and scan."""

    def __init__(self, root: Path, **options: Any) -> None:
        self.root = root
        self.kind = "pretraining_grid"
        self.dataset = "Knees"
        self.name = "grid"
        self.tasks: tuple[str, ...] = TASKS
        self.samplings: tuple[str, ...] = SAMPLINGS
        self.paper_sizes = [64, 32, 16, 8]
        self.divisor = 8  # 512 over the image's size
        self.fractions = [0.05, 0.25, 1.0]
        self.classes = ["patellar", "femoral", "tibial", "meniscus"]
        self.channels = ["T1"]
        self.seeds = [0]
        self.subjects = 12
        self.scans_each = 1
        self.slices = 4
        self.splits = ["test", "validation"]
        self.gains: dict[tuple[str, int, str], float] = {}  # of single strategies, 0.02 otherwise
        self.noise = 0.02
        self.failed: list[tuple[str, float]] = []  # (arm, label fraction) without rows
        self.folders: list[str] = []  # study.from
        self.select_on = "validation"
        for name, value in options.items():
            if not hasattr(self, name):
                raise AttributeError(name)
            setattr(self, name, value)

    def arms(self) -> list[dict[str, Any]]:
        """As study.json lists them, from scratch first."""
        arms: list[dict[str, Any]] = [{"arm": "from_scratch", "label": "from scratch"}]
        for task, paper, sampling in itertools.product(self.tasks, self.paper_sizes, self.samplings):
            size = paper // self.divisor
            arm = {"arm": f"{task}_k-{size}_{sampling}", "label": f"{task} {size} {sampling}", "task": task}
            arms.append(arm | {"sampling": sampling, "patch_size": size, "paper_patch_size": paper})
        return arms

    def scans(self, split: str) -> Iterable[tuple[str, str]]:
        for i, k in itertools.product(range(self.subjects), range(self.scans_each)):
            yield f"{split}_{i:02d}", f"{split}_{i:02d}_{k}"

    def dice(self, arm: dict[str, Any], fraction: float, cls: str, seed: int, scan: str) -> float:
        """Dice of one class of one scan, rounded as a file would have it."""
        key = (arm.get("task"), arm.get("paper_patch_size"), arm.get("sampling"))
        gain = self.gains.get(key, 0.02) if arm.get("task") else 0.0
        base = 0.82 + 0.08 * np.log10(fraction) - 0.03 * self.classes.index(cls) + 0.03 * noise(cls, scan)
        of_run = self.noise * noise(arm["arm"], fraction, cls, seed, scan)
        return round(float(np.clip(base + gain * (1.2 - fraction) + of_run, 0, 1)), 6)

    def norm(self, arm: dict[str, Any], scan: str, k: int, channel: str) -> float:
        """L2 norm of one restored slice: larger patches and random sampling restore worse."""
        base = 6 * arm["paper_patch_size"] ** 0.3 * (1.1 if arm["sampling"] == "random" else 1.0)
        return round(base + noise(scan, k, channel) + 0.3 * noise(arm["arm"], scan, k, channel), 4)

    def scan_rows(self) -> list[dict[str, Any]]:
        rows = []
        for arm, fraction, seed, split in itertools.product(self.arms(), self.fractions, self.seeds, self.splits):
            if (arm["arm"], fraction) in self.failed:
                continue
            for subject, scan in self.scans(split):
                for cls in self.classes:
                    value = self.dice(arm, fraction, cls, seed, scan)
                    cells = ["example", self.dataset, arm["arm"], fraction, 0, seed, split, subject, scan, cls]
                    rows.append(dict(zip(PER_SCAN.split(), [*cells, "dice", "ratio", 9, 9, value, ""], strict=True)))
        return rows

    def slice_rows(self) -> list[dict[str, Any]]:
        rows = []
        for arm, seed in itertools.product(self.arms()[1:], self.seeds):
            for (subject, scan), k, channel in itertools.product(self.scans("test"), range(self.slices), self.channels):
                cells = ["example", self.dataset, arm["arm"], "", 0, seed, "test", subject, scan, k, channel]
                cells += ["inpainting_l2_norm", "normalised intensity", "", "", self.norm(arm, scan, k, channel), ""]
                rows.append(dict(zip(PER_SLICE.split(), cells, strict=True)))
        return rows

    def info(self) -> dict[str, Any]:
        return {
            "format_version": 1, "study": self.name, "kind": self.kind, "dataset": self.dataset, "modality": "mri",
            "classes": self.classes, "label_fractions": self.fractions, "seeds": self.seeds, "subset_draw": 0,
            "label_counts": {str(f): max(1, round(86 * f)) for f in self.fractions}, "alpha": 0.05,
            "bootstrap": {"resamples": 1000, "seed": 0}, "select_on": self.select_on, "from": self.folders,
            "arms": self.arms(), "cells": [], "splits": {}, "departures": [], "warnings": [],
        }  # fmt: skip

    def write(self) -> Path:
        write_csv_atomic(self.root / "per_scan.csv", PER_SCAN.split(), self.scan_rows())
        write_csv_atomic(self.root / "per_slice.csv", PER_SLICE.split(), self.slice_rows())
        write_json_atomic(self.root / "study.json", self.info())
        return self.root
