"""Writes study folders of the evidence as training and evaluation leave them, with Dice that is a function of names."""

import itertools
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from configs import headneck_ct, hippocampus
from inpaint_ssl.config import flatten, read_arms, to_json
from inpaint_ssl.config.resolve import as_tuple
from inpaint_ssl.report.evidence.files import csv_text

_COLUMNS = (
    "study dataset arm label_fraction subset_draw seed split subject scan class metric unit prediction truth value flag"
)
COLUMNS, SLICES = _COLUMNS.split(" "), _COLUMNS.replace("scan class", "scan slice class").split(" ")
TUNING = (
    "scratch_low: start=fresh finetune.learning_rate=0.001",
    "k8: corruption.patch_size=8",
    "k16: corruption.patch_size=16",
    "k4: corruption.patch_size=4",
    "k8_frozen: transfer.freeze_steps=250",
    "k8_both: transfer.parts=('encoder','decoder')",
    "k8_low: finetune.learning_rate=0.001",
)
PRIMARY = ("paper: corruption.patch_size=4", "tuned: corruption.patch_size=8")
EXTENT = (
    "subset: split.pretraining_extent=0.05",
    "training: split.pretraining_extent=1.0",
    "unlabelled: split.pretraining_extent=0.0",
)
BASES = {"hippocampus": hippocampus, "headneck_ct": headneck_ct}


def noise(*names: object) -> float:
    """Standard normal, a function of the names alone."""
    return float(np.random.default_rng(zlib.crc32("|".join(map(str, names)).encode())).normal())


def write_csv(path: Path, columns: list[str], rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(csv_text(columns, rows), encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


class Runs:
    """Options of one study; `write` makes <root>/<data>_<part>. Dice = base + gain + noise, clipped."""

    def __init__(self, root: Path, folder: str = "hippocampus_tuning", **options: Any) -> None:
        self.root, self.folder = root, folder
        self.data = folder.rpartition("_")[0]
        self.arms: tuple[str, ...] = TUNING
        self.gains: dict[str, float] = {}
        self.gain_of: Any = lambda arm, fraction, cls: self.gains.get(arm, 0.0)
        self.base: dict[str, float] = {"anterior": 0.75, "posterior": 0.7}
        self.norms: dict[str, float] = {}
        self.fractions: list[float] = [0.05]
        self.seeds = [0, 1]
        self.subjects = 12
        self.split = "validation"
        self.noise = 0.004
        self.missing: list[tuple[str, float, int]] = []
        self.failed: dict[tuple[str, float, int], str] = {}
        self.settings: dict[str, Any] = {}
        self.distances = False
        self.extra: dict[str, Any] = {}
        for name, value in options.items():
            if not hasattr(self, name):
                raise AttributeError(name)
            setattr(self, name, value)

    @property
    def path(self) -> Path:
        return self.root / self.folder

    def config(self) -> dict[str, Any]:
        config = BASES[self.data].get_config()
        for name, value in self.settings.items():
            section, _, key = name.rpartition(".")
            (config[section] if section else config)[key] = value
        config.study.kind, config.study.name = "arms", self.folder
        config.seeds, config.arms = tuple(self.seeds), self.arms
        config.split.label_fractions = tuple(self.fractions)
        return to_json(config)

    def specs(self) -> list[dict[str, Any]]:
        scratch = {"arm": "from_scratch", "label": "from scratch", "pretrained": False, "against": "", "settings": {}}
        read = read_arms(self.arms, flatten(self.config()))
        return [scratch] + [
            {"arm": s.name, "label": s.name.replace("_", " "), "pretrained": s.pretrained, "against": s.against,
             "settings": json.loads(json.dumps(dict(s.settings)))}
            for s in read
        ]  # fmt: skip

    def runs(self) -> Iterator[tuple[str, float, int]]:
        for seed, fraction, arm in itertools.product(self.seeds, self.fractions, self.specs()):
            yield arm["arm"], fraction, seed

    def dice(self, arm: str, fraction: float, cls: str, seed: int, scan: str) -> float:
        base = self.base[cls] + 0.05 * np.log10(fraction / 0.05) + 0.02 * noise(cls, scan)
        value = base + self.gain_of(arm, fraction, cls) + self.noise * noise(arm, fraction, cls, seed, scan)
        return round(float(np.clip(value, 0, 1)), 6)

    def rows(self) -> list[dict[str, Any]]:
        found = []
        for arm, fraction, seed in self.runs():
            if (arm, fraction, seed) in self.missing or (arm, fraction, seed) in self.failed:
                continue
            for i, cls in itertools.product(range(self.subjects), self.base):
                scan = f"{self.split}_{i:02d}"
                start = [self.folder, "Set", arm, fraction, seed, seed, self.split, scan, scan, cls]
                value = self.dice(arm, fraction, cls, seed, scan)
                ends: list[list[Any]] = [["dice", "ratio", 9, 9, value, ""], ["voe", "ratio", 9, 9, 1 - value, ""]]
                if self.distances:
                    error = round(100 * (1 - value) * (1 if noise("sign", scan) > 0 else -1), 4)
                    ends += [["hd95_mm", "mm", "", "", round(20 * (1 - value), 4), ""]]
                    ends += [["volume_mm3", "percent", 1000 + 10 * error, 1000, error, ""]]
                found += [dict(zip(COLUMNS, [*start, *end], strict=True)) for end in ends]
        return found

    def pretrainings(self) -> list[str]:
        """The arms that name a pretraining: the first of each."""
        began: dict[Any, str] = {}
        for spec in read_arms(self.arms, flatten(self.config())):
            if spec.pretrained:
                began.setdefault(spec.of_pretraining, spec.name)
        return list(began.values())

    def slice_rows(self) -> list[dict[str, Any]]:
        return [
            dict(zip(SLICES, [self.folder, "Set", arm, "", 0, 0, self.split, "a", "a", k, "MRI", "inpainting_l2_norm",
                              "normalised intensity", "", "", self.norms.get(arm, 10.0) + k - 0.5, ""], strict=True))
            for arm in self.pretrainings() for k in range(2)
        ]  # fmt: skip

    def cells(self) -> list[dict[str, Any]]:
        shared = {"steps": 1000, "stopped": "max_steps", "seconds": 60.0, "best_step": 500, "best_validation_loss": 0.2}
        shared |= {"length": {"max_steps": 1000, "max_epochs": 0}, "status": "complete"}
        cells = [
            {"name": f"pretrain {arm} seed 0", "directory": f"pretrain/{arm}_seed-0", "phase": "pretrain", "arm": arm,
             "label_fraction": None, "seed": 0, "subset_draw": 0, **shared}
            for arm in self.pretrainings()
        ]  # fmt: skip
        for arm, fraction, seed in self.runs():
            about = {"name": f"finetune {arm} {100 * fraction:g} % labels seed {seed}", "phase": "finetune", "arm": arm}
            about |= {"label_fraction": fraction, "seed": seed, "subset_draw": seed}
            about |= {"directory": f"finetune/{arm}_labels-{100 * fraction:g}pct_draw-{seed}_seed-{seed}"}
            if (arm, fraction, seed) in self.missing:
                cells.append({**about, "status": "missing"})
            elif (arm, fraction, seed) in self.failed:
                cells.append({**about, "status": "failed", "error": self.failed[arm, fraction, seed]})
            else:
                cells.append({**about, **shared})
        return cells

    def info(self) -> dict[str, Any]:
        config = self.config()
        return {
            "format_version": 1, "study": self.folder, "kind": "arms", "dataset": "Set", "from": [],
            "modality": config["data"]["modality"], "classes": list(self.base), "label_fractions": self.fractions,
            "seeds": self.seeds, "subset_draw": 0, "alpha": 0.05, "bootstrap": {"resamples": 1000, "seed": 0},
            "label_counts": {repr(f): max(1, round(80 * f)) for f in self.fractions}, "measured_on": [self.split],
            "select_on": self.split, "arms": self.specs(), "cells": self.cells(), "departures": ["K is 8 (paper: 32)."],
            "splits": {"train": 80, "validation": 12, "test": 40, "unlabelled": 0, "pretraining_scans": 80,
                       "sha256": "ab" * 32},
            "settings": {name: repr(as_tuple(value)) for name, value in flatten(config).items()}, "warnings": [],
            "versions": {"inpaint_ssl": "0.1.0"}, "device": "cpu (cpu, 1 device(s))",
        } | self.extra  # fmt: skip

    def write(self) -> Path:
        write_csv(self.path / "per_scan.csv", COLUMNS, self.rows())
        write_csv(self.path / "per_slice.csv", SLICES, self.slice_rows())
        write_json(self.path / "study.json", self.info())
        write_json(self.path / "config.json", self.config())
        write_json(self.path / "splits.json", {"train": ["a"], "settings": {"file": ""}, "sha256": "ab" * 32})
        write_json(self.path / "manifest.json", {"data_sha256": "cd" * 32})
        for cell in self.cells():
            if cell["status"] == "complete":
                folder = self.path / cell["directory"]
                columns = ["step", "epoch", "split", "loss"]
                rows = [[500, 1, "train", 0.3], [500, 1, "validation", 0.25], [1000, 2, "validation", 0.2]]
                write_csv(folder / "metrics.csv", columns, [dict(zip(columns, r, strict=True)) for r in rows])
                write_json(folder / "result.json", {"steps": 1000})
        return self.path
