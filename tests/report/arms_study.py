"""Writes study directories of arms with settings of their own, as evaluation leaves them."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from example_study import PER_SCAN
from strategy_study import noise

from inpaint_ssl.files import write_csv_atomic, write_json_atomic

ARMS = (
    {"arm": "from_scratch", "label": "from scratch", "pretrained": False, "against": "", "settings": {}},
    {"arm": "paper", "label": "paper", "pretrained": True, "against": "from_scratch",
     "settings": {"corruption.patch_size": 4}},
    {"arm": "tuned", "label": "tuned on validation scans", "pretrained": True, "against": "from_scratch",
     "settings": {"corruption.patch_size": 8, "transfer.parts": ["encoder"]}},
    {"arm": "flips", "label": "flips", "pretrained": False, "against": "from_scratch",
     "settings": {"finetune.augment": True}},
)  # fmt: skip
GAINS = {"paper": 0.0, "tuned": 0.06, "flips": -0.04}


class ArmsStudy:
    """Options of one study; `write` makes its files. Values are functions of arm, fraction, class, seed and scan."""

    def __init__(self, root: Path, **options: Any) -> None:
        self.root = root
        self.arms: list[dict[str, Any]] = [dict(arm) for arm in ARMS]
        self.gains: dict[str, float] = dict(GAINS)
        self.fractions = [0.05, 0.1, 0.25, 1.0]
        self.classes = ["anterior", "posterior"]
        self.seeds = [0, 1, 2]
        self.one_seed_from = 0.25
        self.subjects = 14
        self.splits = ["test"]
        self.select_on = "test"
        self.noise = 0.02
        self.distances = True
        self.missing: list[tuple[str, float, int]] = []  # (arm, label fraction, seed) without rows
        self.best: dict[tuple[str, float, int], int] = {}  # best step of a run, 1,500 of 2,500 otherwise
        self.extra: dict[str, Any] = {}  # of study.json
        for name, value in options.items():
            if not hasattr(self, name):
                raise AttributeError(name)
            setattr(self, name, value)

    def runs(self) -> Iterator[tuple[str, float, int]]:
        """(arm, label fraction, seed) of every run."""
        for arm, fraction in itertools.product(self.arms, self.fractions):
            one = self.one_seed_from and fraction >= self.one_seed_from
            for seed in self.seeds[:1] if one else self.seeds:
                yield arm["arm"], fraction, seed

    def dice(self, arm: str, fraction: float, cls: str, seed: int, scan: str) -> float:
        base = 0.86 + 0.08 * np.log10(fraction) - 0.03 * self.classes.index(cls) + 0.03 * noise(cls, scan)
        gain = self.gains.get(arm, 0.0) * (1.05 - fraction)
        of_run = self.noise * noise(arm, fraction, cls, seed, scan)
        return round(float(np.clip(base + gain + of_run, 0, 1)), 6)

    def rows(self) -> list[dict[str, Any]]:
        """Of per_scan.csv; HD95 of the first scan's last class is undefined from scratch with seed 0."""
        found = []
        for (arm, fraction, seed), split in itertools.product(self.runs(), self.splits):
            if (arm, fraction, seed) in self.missing:
                continue
            for i, cls in itertools.product(range(self.subjects), self.classes):
                scan = f"{split}_{i:02d}"
                start = ["example", "Hippocampus", arm, fraction, seed, seed, split, scan, scan, cls]
                value = self.dice(arm, fraction, cls, seed, scan)
                ends = [["dice", "ratio", 9, 9, value, ""]]
                if self.distances:
                    absent = (arm, seed, i, cls) == ("from_scratch", 0, 0, self.classes[-1])
                    hd95 = "" if absent else round(20 * (1 - value) + 0.1 * abs(noise(arm, scan)), 4)
                    error = round(100 * (1 - value) * noise("v", arm, fraction, cls, seed, scan), 4)
                    ends += [["hd95_mm", "mm", "", "", hd95, ""]]
                    ends += [["volume_mm3", "percent", 1000 + 10 * error, 1000, error, ""]]
                found += [dict(zip(PER_SCAN.split(), [*start, *end], strict=True)) for end in ends]
        return found

    def cells(self) -> list[dict[str, Any]]:
        shared = {"status": "complete", "steps": 2500, "stopped": "max_steps", "seconds": 60.0}
        shared |= {"length": {"max_steps": 2500, "max_epochs": 0}, "best_validation_loss": 0.2}
        cells = [
            {"name": "pretrain paper seed 0", "directory": "pretrain/paper_seed-0", "phase": "pretrain", "arm": "paper",
             "label_fraction": None, "seed": 0, "subset_draw": 0, **shared, "best_step": 2500}
        ]  # fmt: skip
        for arm, fraction, seed in self.runs():
            about = {"name": f"finetune {arm} {100 * fraction:g} % labels seed {seed}", "phase": "finetune", "arm": arm}
            about |= {"label_fraction": fraction, "seed": seed, "subset_draw": seed, **shared}
            about |= {"directory": f"finetune/{arm}_labels-{100 * fraction:g}pct_draw-{seed}_seed-{seed}"}
            cells.append(about | {"best_step": self.best.get((arm, fraction, seed), 1500)})
        return cells

    def info(self) -> dict[str, Any]:
        return {
            "format_version": 1, "study": "evidence", "kind": "arms", "dataset": "Hippocampus", "modality": "mri",
            "classes": self.classes, "label_fractions": self.fractions, "seeds": self.seeds, "subset_draw": 0,
            "label_counts": {str(f): max(1, round(160 * f)) for f in self.fractions}, "alpha": 0.05,
            "bootstrap": {"resamples": 1000, "seed": 0}, "measured_on": self.splits, "select_on": self.select_on,
            "arms": self.arms, "cells": self.cells(), "splits": {}, "departures": [], "warnings": [],
        } | self.extra  # fmt: skip

    def write(self) -> Path:
        write_csv_atomic(self.root / "per_scan.csv", PER_SCAN.split(), self.rows())
        write_json_atomic(self.root / "study.json", self.info())
        return self.root
