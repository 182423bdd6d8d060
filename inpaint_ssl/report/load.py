"""Reads what evaluation left in a study directory. Whatever is not there yet is left out, never an error."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inpaint_ssl.files import read_csv
from inpaint_ssl.report.info import read_info
from inpaint_ssl.report.slices import (
    TRUTH,
    Gallery,
    Inpainting,
    Overlay,
    read_gallery,
    read_inpainting,
    read_overlays,
)
from inpaint_ssl.statistics import (
    Agreement,
    Bootstrap,
    Description,
    Flags,
    StudyStatistics,
    agreement,
    count_flags,
    describe,
    summarise,
)
from inpaint_ssl.statistics.label_curve import LabelCurves, label_curves

__all__ = [
    "SURFACE_DISTANCES", "TRUTH", "Gallery", "History", "Inpainting", "Overlay", "Restoration", "Study", "StudyFiles",
    "read_files", "read_gallery", "read_rows", "read_study",
]  # fmt: skip
SURFACE_DISTANCES = ("assd_mm", "hd95_mm")


@dataclass(frozen=True)
class History:
    """Loss curves of one run: steps and losses of each split."""

    cell: dict[str, Any]
    train: tuple[list[float], list[float]]
    validation: tuple[list[float], list[float]]


@dataclass(frozen=True)
class StudyFiles:
    """What every kind of study leaves beside its rows; `info` is study.json with defaults (inpaint_ssl.report.info)."""

    workdir: Path
    info: dict[str, Any]
    histories: tuple[History, ...]
    gallery: Gallery | None
    inpainting: tuple[Inpainting, ...]


@dataclass(frozen=True)
class Restoration:
    """L2 norm between restored and original test slices of one channel, averaged over seeds for each slice."""

    channel: str
    mean: float
    sd: float
    n_slices: int
    unit: str


@dataclass(frozen=True)
class Study(StudyFiles):
    """All that the report of a comparison shows."""

    statistics: StudyStatistics
    restoration: tuple[Restoration, ...]
    overlays: tuple[Overlay, ...]
    agreements: tuple[Agreement, ...]
    flags: Flags
    distances: tuple[Description, ...]  # of the metrics of SURFACE_DISTANCES
    label_curves: LabelCurves

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes with results, in the study's order."""
        known = [name for name in self.info["classes"] if name in self.statistics.classes]
        return (*known, *(name for name in self.statistics.classes if name not in known))

    @property
    def clinical_metrics(self) -> tuple[str, ...]:
        """Clinical metrics with results, in the order of statistics.QUANTITIES."""
        return tuple(dict.fromkeys(a.metric for a in self.agreements))

    def agreement(self, metric: str, label_fraction: float, class_name: str, arm: str) -> Agreement | None:
        """The agreement of one metric, label fraction, class and arm, or None when it has no rows."""
        key = (metric, label_fraction, class_name, arm)
        return next((a for a in self.agreements if (a.metric, a.label_fraction, a.class_name, a.arm) == key), None)

    def labelled(self, fraction: float) -> int | None:
        """Number of labelled subjects at a label fraction, when study.json says it."""
        return self.info["label_counts"].get(fraction)


def read_files(workdir: Path, info: Mapping[str, Any]) -> StudyFiles:
    """Loss curves, corruption gallery and inpainting examples of a study of any kind, as far as they are there.

    `info`: read_info(workdir). InputError when a file is damaged.
    """
    workdir = Path(workdir)
    cells = _with_folders(workdir, info)
    return StudyFiles(
        workdir=workdir,
        info=dict(info),
        histories=tuple(_history(cell) for cell in cells if (cell["folder"] / "metrics.csv").is_file()),
        gallery=read_gallery(workdir) if (workdir / "gallery.npz").is_file() else None,
        inpainting=read_inpainting([cell for cell in cells if cell["phase"] == "pretrain"]),
    )


def read_study(workdir: Path) -> Study:
    """Read the directory of a comparison. InputError when study.json is missing or a file cannot be read."""
    workdir = Path(workdir)
    info = read_info(workdir)
    files = read_files(workdir, info)
    by_scan, by_slice = read_rows(workdir / "per_scan.csv"), read_rows(workdir / "per_slice.csv")
    alpha, bootstrap = float(info["alpha"]), Bootstrap(**info["bootstrap"])
    return Study(
        **vars(files),
        statistics=summarise(by_scan, alpha, planned=info["label_fractions"], bootstrap=bootstrap),
        restoration=_restoration(by_slice),
        overlays=read_overlays([cell for cell in _with_folders(workdir, info) if cell["phase"] == "finetune"]),
        agreements=agreement(by_scan),
        flags=count_flags(by_scan),
        distances=tuple(d for metric in SURFACE_DISTANCES for d in describe(by_scan, metric)),
        label_curves=label_curves(by_scan, info["label_counts"], alpha, bootstrap),
    )


def _with_folders(workdir: Path, info: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [cell | {"folder": workdir / cell["directory"]} for cell in info["cells"]]


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file that may not be there yet."""
    return read_csv(path) if path.is_file() else []


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def _history(cell: dict[str, Any]) -> History:
    curves: dict[str, tuple[list[float], list[float]]] = {"train": ([], []), "validation": ([], [])}
    for row in read_csv(cell["folder"] / "metrics.csv"):
        step, loss = _number(row.get("step")), _number(row.get("loss"))
        if row.get("split") in curves and math.isfinite(step) and math.isfinite(loss):
            curves[row["split"]][0].append(step)
            curves[row["split"]][1].append(loss)
    return History(cell, curves["train"], curves["validation"])


def _restoration(rows: Iterable[Mapping[str, str]]) -> tuple[Restoration, ...]:
    channels: dict[str, dict[tuple[str, str], list[float]]] = {}
    unit = ""
    for row in rows:
        value = _number(row["value"])
        if row["metric"] == "inpainting_l2_norm" and row["split"] == "test" and math.isfinite(value):
            unit = row["unit"]
            channels.setdefault(row["class"], {}).setdefault((row["scan"], row["slice"]), []).append(value)
    result = []
    for channel, slices in channels.items():
        values = np.array([np.mean(seeds) for seeds in slices.values()])
        sd = float(values.std(ddof=1)) if values.size > 1 else math.nan
        result.append(Restoration(channel, float(values.mean()), sd, values.size, unit))
    return tuple(result)
