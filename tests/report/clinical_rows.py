"""Clinical rows of the example study: quantities of smooth chance, with flags on a few scans."""

import math
import zlib
from typing import Any

import numpy as np

METRICS = {
    "mri": {"volume_mm3": ("mm3", 3200.0), "area_mm2": ("mm2", 210.0), "mean_t2_ms": ("ms", 41.0)},
    "ct": {"volume_mm3": ("mm3", 90000.0), "area_mm2": ("mm2", 12000.0), "mean_hu": ("hu", -95.0)},
}


def quantity(study: Any, arm: str, fraction: float, cls: str, seed: int, scan: str, metric: str) -> tuple[float, float]:
    """Prediction and truth of one metric; errors shrink with labels and, at few labels, with pretraining.

    CT scans are single slices of 5 mm.
    """
    if study.modality == "ct" and metric == "volume_mm3":
        prediction, truth = quantity(study, arm, fraction, cls, seed, scan, "area_mm2")
        return 5.0 * prediction, 5.0 * truth
    name = f"{cls}{scan}{metric}"
    truth = METRICS[study.modality][metric][1] * np.random.default_rng(zlib.crc32(name.encode())).uniform(0.7, 1.4)
    if metric == "mean_hu" and study.classes.index(cls) == 0:
        truth *= -0.45  # muscle
    rng = np.random.default_rng(zlib.crc32(f"{name}{arm}{fraction}{seed}".encode()))
    few = fraction == study.fractions[0]
    spread = (0.05 + 0.05 * few * (2 if arm == "from_scratch" else 1)) * (
        0.3 if metric in ("mean_t2_ms", "mean_hu") else 1
    )
    error = rng.normal(-0.4 * spread, spread)
    if cls == study.spoilt and few:
        error = rng.uniform(2.5, 4.0) if arm == "from_scratch" else rng.uniform(0.9, 1.2)
    return float(truth + error * abs(truth)), float(truth)


def flagged(study: Any, arm: str, fraction: float, cls: str, scan: str, metric: str) -> str:
    """Scan 1 touches the border; scan 2 lacks a prediction from scratch; scan 3 has no last class; scan 4 little T2."""
    first, last = study.classes[0] == cls, study.classes[-1] == cls
    if cls == study.undefined or (scan.endswith("003") and last and len(study.classes) > 1):
        return "absent"
    if scan.endswith("002") and first and arm == "from_scratch" and fraction == study.fractions[0]:
        return "empty_prediction"
    if scan.endswith("004") and metric == "mean_t2_ms" and first:
        return "t2_invalid;touches_border"
    return "touches_border" if scan.endswith("001") else ""


def clinical_rows(study: Any, arm: str, fraction: float, cls: str, seed: int, scan: str) -> list[list[Any]]:
    """The columns metric, unit, prediction, truth, value and flag of one scan and class."""
    rows: list[list[Any]] = []
    for metric in METRICS[study.modality]:
        prediction, truth = quantity(study, arm, fraction, cls, seed, scan, metric)
        flag = flagged(study, arm, fraction, cls, scan, metric)
        extent = metric in ("volume_mm3", "area_mm2")
        if flag == "absent":
            prediction = truth = 0.0 if extent else math.nan
        elif flag == "empty_prediction":
            prediction = 0.0 if extent else math.nan
        value = 100 * (prediction - truth) / abs(truth) if truth else math.nan
        rows.append([metric, "%", repr(prediction), repr(truth), repr(value), flag])
    for metric, size in (("assd_mm", 0.4), ("hd95_mm", 1.7)):
        flag = flagged(study, arm, fraction, cls, scan, metric)
        value = math.nan if flag in ("absent", "empty_prediction") else size * (1 + study.classes.index(cls))
        rows.append([metric, "mm", 900, 1000, repr(value), flag])
    return rows


def clinical_record(study: Any) -> dict[str, Any]:
    """What study.json says of clinical metrics."""
    t1 = {cls: 1000.0 if "meniscus" in cls else 1200.0 for cls in study.classes}
    t2 = {"convention": "skm_tea", "t1_ms": t1, "bounds_ms": [0.0, 100.0], "suppress_fat": True}
    t2 |= {"suppress_fluid": True, "invalid": "excluded"}
    metrics = [*METRICS[study.modality], "assd_mm", "hd95_mm"]
    return {
        "metrics": metrics, "t2": t2 if study.modality == "mri" else None, "t2_invalid_share": 0.5,
        "intramuscular_fat": "off" if study.modality == "mri" else "below_-30_hu",
    }  # fmt: skip
