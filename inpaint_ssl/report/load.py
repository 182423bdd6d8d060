"""Reads what evaluation left in a study directory. Whatever is not there yet is left out, never an error."""

import math
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from inpaint_ssl.errors import InputError
from inpaint_ssl.files import read_csv, read_json
from inpaint_ssl.statistics import (
    FROM_SCRATCH,
    PRETRAINED,
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

_EMPTY: dict[str, Any] = {
    "study": "", "dataset": "", "modality": "", "classes": [], "label_fractions": [], "label_counts": {}, "seeds": [],
    "subset_draw": 0, "alpha": 0.05, "splits": {}, "departures": [], "warnings": [], "versions": {}, "device": "",
    "settings": {}, "cells": [], "seconds": None, "clinical": {}, "bootstrap": {},
}  # fmt: skip
SURFACE_DISTANCES = ("assd_mm", "hd95_mm")
TRUTH = "truth"  # beside the arms, in what is shown of a slice


@dataclass(frozen=True)
class History:
    """Loss curves of one run: steps and losses of each split."""

    cell: dict[str, Any]
    train: tuple[list[float], list[float]]
    validation: tuple[list[float], list[float]]


@dataclass(frozen=True)
class Inpainting:
    """One test slice (H, W, C) before corruption, after it, and restored."""

    scan: str
    slice_index: int
    original: np.ndarray
    corrupted: np.ndarray
    restored: np.ndarray


@dataclass(frozen=True)
class Overlay:
    """One test slice (H, W) with the truth and the prediction of each arm; `rank` is best, median or worst.

    t2_ms: T2 inside the classes of the truth (TRUTH) and of each arm, NaN outside and where invalid; empty if unknown.
    """

    rank: str
    scan: str
    slice_index: int
    label_fraction: float
    seed: int
    image: np.ndarray
    truth: np.ndarray
    predictions: dict[str, np.ndarray]
    dice: dict[str, float]
    t2_ms: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Gallery:
    """One slice (H, W) and its corruptions (H, W, rows, columns); a panel that could not be made does not fit.

    rows: (task, sampling) of each row; patch_sizes: pixels, of each column; own: (task, sampling, patch size) that the
    configuration asks for.
    """

    scan: str
    slice_index: int
    original: np.ndarray
    corrupted: np.ndarray
    fits: np.ndarray
    rows: tuple[tuple[str, str], ...]
    patch_sizes: tuple[int, ...]
    area_fraction: float
    own: tuple[str, str, int]

    @property
    def shows_own(self) -> bool:
        """Is the configured setting one of the panels?"""
        return self.own[:2] in self.rows and self.own[2] in self.patch_sizes


@dataclass(frozen=True)
class Restoration:
    """L2 norm between restored and original test slices of one channel, averaged over seeds for each slice."""

    channel: str
    mean: float
    sd: float
    n_slices: int
    unit: str


@dataclass(frozen=True)
class Study:
    """All that the report shows."""

    workdir: Path
    info: dict[str, Any]
    statistics: StudyStatistics
    histories: tuple[History, ...]
    gallery: Gallery | None
    inpainting: tuple[Inpainting, ...]
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


def read_study(workdir: Path) -> Study:
    """Read a study directory. InputError when study.json is missing or a file cannot be read."""
    info = read_json(workdir / "study.json", "summary of a study, written by evaluation")
    if not isinstance(info, dict):
        raise InputError(f"{workdir / 'study.json'} holds no table; expected the summary of a study; evaluate again")
    info = _EMPTY | info | {"label_counts": {float(f): int(n) for f, n in info.get("label_counts", {}).items()}}
    cells = [cell | {"folder": workdir / cell["directory"]} for cell in info["cells"]]
    by_scan, by_slice, alpha = _rows(workdir / "per_scan.csv"), _rows(workdir / "per_slice.csv"), float(info["alpha"])
    return Study(
        workdir=workdir,
        info=info,
        statistics=summarise(by_scan, alpha, planned=info["label_fractions"], bootstrap=Bootstrap(**info["bootstrap"])),
        histories=tuple(_history(cell) for cell in cells if (cell["folder"] / "metrics.csv").is_file()),
        gallery=read_gallery(workdir) if (workdir / "gallery.npz").is_file() else None,
        inpainting=_inpainting([cell for cell in cells if cell["phase"] == "pretrain"]),
        restoration=_restoration(by_slice),
        overlays=_overlays([cell for cell in cells if cell["phase"] == "finetune"]),
        agreements=agreement(by_scan),
        flags=count_flags(by_scan),
        distances=tuple(d for metric in SURFACE_DISTANCES for d in describe(by_scan, metric)),
        label_curves=label_curves(by_scan, info["label_counts"], alpha, Bootstrap(**info["bootstrap"])),
    )


def _rows(path: Path) -> list[dict[str, str]]:
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


def _arrays(
    path: Path,
    names: Iterable[str],
    expected: str = "examples; evaluate the study again",
    optional: Iterable[str] = (),
) -> dict[str, np.ndarray]:
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return {name: archive[name] for name in (*names, *(n for n in optional if n in archive))}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} cannot be read ({error}); expected {expected}") from None


def read_gallery(workdir: Path) -> Gallery:
    """The gallery of corruptions in gallery.npz. InputError when the file is missing or damaged."""
    names = ("scan", "slice", "original", "corrupted", "fits", "tasks", "samplings", "patch_sizes", "area_fraction")
    own = ("own_task", "own_sampling", "own_patch_size")
    remedy = "a gallery of corruptions; make it again with --config.stage=gallery"
    a = _arrays(workdir / "gallery.npz", (*names, *own), remedy)
    return Gallery(
        scan=str(a["scan"]),
        slice_index=int(a["slice"]),
        original=a["original"].astype(np.float32),
        corrupted=a["corrupted"].astype(np.float32),
        fits=a["fits"],
        rows=tuple(zip(a["tasks"].tolist(), a["samplings"].tolist(), strict=True)),
        patch_sizes=tuple(a["patch_sizes"].tolist()),
        area_fraction=float(a["area_fraction"]),
        own=(str(a["own_task"]), str(a["own_sampling"]), int(a["own_patch_size"])),
    )


def _inpainting(cells: list[dict[str, Any]]) -> tuple[Inpainting, ...]:
    """Examples of the first pretraining that has any: the same slices of every seed would only repeat themselves."""
    for cell in cells:
        if paths := sorted((cell["folder"] / "examples").glob("*.npz")):
            examples = []
            for path in paths:
                a = _arrays(path, ("original", "corrupted", "restored", "scan", "slice"))
                pictures = (a["original"], a["corrupted"], a["restored"])
                examples.append(Inpainting(str(a["scan"]), int(a["slice"]), *pictures))
            return tuple(examples)
    return ()


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


def _overlays(cells: list[dict[str, Any]]) -> tuple[Overlay, ...]:
    """Best, median and worst test scan of the pretrained arm's first seed at the smallest label fraction."""
    # pictures of a cell that is only trained were measured under another convention than the rows
    complete = [cell for cell in cells if cell.get("status", "complete") == "complete"]
    with_pictures = [cell for cell in complete if any((cell["folder"] / "examples").glob("*.npz"))]
    if not with_pictures:
        return ()
    leading = [cell for cell in with_pictures if cell["arm"] == PRETRAINED] or with_pictures
    chosen = min(leading, key=lambda cell: cell["label_fraction"])  # the first of equals: cells are in seed order
    same = ("label_fraction", "seed", "subset_draw")
    twins = {c["arm"]: c["folder"] for c in with_pictures if all(c[key] == chosen[key] for key in same)}
    folder = chosen["folder"] / "examples"
    scores = [(float(_arrays(path, ["dice"])["dice"]), path.name) for path in sorted(folder.glob("*.npz"))]
    ranked = sorted(score for score in scores if not math.isnan(score[0]))
    if not ranked:
        return ()
    places = {"best": len(ranked) - 1, "median": len(ranked) // 2, "worst": 0}
    unique = {place: rank for rank, place in reversed(places.items())}  # with few scans ranks coincide
    names = {rank: ranked[place][1] for place, rank in unique.items()}
    return tuple(_overlay(rank, names[rank], chosen, twins) for rank in places if rank in names)


def _overlay(rank: str, name: str, chosen: Mapping[str, Any], twins: Mapping[str, Path]) -> Overlay:
    keys = ("image", "truth", "prediction", "scan", "slice", "dice")
    paths = {arm: twins[arm] / "examples" / name for arm in (FROM_SCRATCH, PRETRAINED) if arm in twins}
    t2 = (f"t2_{TRUTH}_ms", "t2_prediction_ms")
    arms = {arm: _arrays(path, keys, optional=t2) for arm, path in paths.items() if path.is_file()}
    shown = arms[chosen["arm"]]
    # the arms may keep different slices of a scan; only pictures of the same slice can stand side by side
    same = {arm: a for arm, a in arms.items() if int(a["slice"]) == int(shown["slice"])}
    t2_ms = {TRUTH: shown[t2[0]]} if t2[0] in shown else {}
    t2_ms |= {arm: a[t2[1]] for arm, a in same.items() if t2_ms and t2[1] in a}
    return Overlay(
        rank=rank,
        scan=str(shown["scan"]),
        slice_index=int(shown["slice"]),
        label_fraction=float(chosen["label_fraction"]),
        seed=int(chosen["seed"]),
        image=shown["image"],
        truth=shown["truth"],
        predictions={arm: a["prediction"] for arm, a in same.items()},
        dice={arm: float(a["dice"]) for arm, a in arms.items()},
        t2_ms=t2_ms,
    )
