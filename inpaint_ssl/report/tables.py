"""The CSV files: results.csv (one row per label fraction and class) and tables/."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from inpaint_ssl.files import write_csv_atomic
from inpaint_ssl.report.load import Study
from inpaint_ssl.statistics import AVERAGE, FROM_SCRATCH, PRETRAINED, Entry

RESULTS = (
    "study", "dataset", "label_fraction", "labelled_subjects", "class",
    "from_scratch_mean", "from_scratch_sd", "from_scratch_subjects", "from_scratch_excluded",
    "pretrained_mean", "pretrained_sd", "pretrained_subjects", "pretrained_excluded",
    "difference", "difference_lower", "difference_upper", "p_value", "p_holm", "rank_biserial", "n", "n_zero",
    "statistic", "method", "compared_subjects", "compared_excluded",
)  # fmt: skip
DICE = (
    "label_fraction", "labelled_subjects", "class", "arm", "subset_draw", "seed", "mean", "sd", "subjects", "scans",
    "excluded",
)  # fmt: skip
RESTORATION = ("channel", "mean", "sd", "slices", "unit")


def ordered_entries(study: Study) -> list[Entry]:
    """Entries by label fraction, the average first, then the classes in the study's order."""
    names = (AVERAGE, *study.class_names)
    found = [study.statistics.entry(f, name) for f in study.statistics.label_fractions for name in names]
    return [entry for entry in found if entry is not None]


def _cell(value: float | None) -> Any:
    return "" if value is None or math.isnan(value) else value


def _result(study: Study, entry: Entry) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(RESULTS, "")
    row |= {"study": study.info["study"], "dataset": study.info["dataset"], "class": entry.class_name}
    row |= {"label_fraction": entry.label_fraction, "labelled_subjects": _cell(study.labelled(entry.label_fraction))}
    for arm in (FROM_SCRATCH, PRETRAINED):
        if arm in entry.arms:
            a = entry.arms[arm]
            row |= {f"{arm}_mean": _cell(a.mean), f"{arm}_sd": _cell(a.sd)}
            row |= {f"{arm}_subjects": a.n_subjects, f"{arm}_excluded": a.n_excluded}
    if entry.comparison is not None:
        c, w = entry.comparison, entry.comparison.wilcoxon
        row |= {"difference": c.mean_difference, "p_value": w.p_value, "n": w.n, "n_zero": w.n_zero}
        row |= {"difference_lower": _cell(c.difference_lower), "difference_upper": _cell(c.difference_upper)}
        row |= {"p_holm": _cell(c.p_holm), "rank_biserial": _cell(c.rank_biserial)}
        row |= {"statistic": w.statistic, "method": w.method}
        row |= {"compared_subjects": c.n_subjects, "compared_excluded": c.n_excluded}
    return row


def _dice_rows(entry: Entry, label_counts: Mapping[float, int]) -> list[dict[str, Any]]:
    rows = []
    for arm, a in entry.arms.items():
        shared = {"label_fraction": entry.label_fraction, "class": entry.class_name, "arm": arm}
        shared["labelled_subjects"] = _cell(label_counts.get(entry.label_fraction))
        counts = {"subjects": a.n_subjects, "scans": a.n_scans, "excluded": a.n_excluded}
        rows.append({**shared, "subset_draw": "", "seed": "all", "mean": _cell(a.mean), "sd": _cell(a.sd), **counts})
        rows += [{**shared, "subset_draw": r.subset_draw, "seed": r.seed, "mean": r.mean} for r in a.runs]
    return rows


def write_dice(folder: Path, entries: Iterable[Entry], label_counts: Mapping[float, int]) -> None:
    """Write dice.csv: Dice on the test scans of every label fraction, class and arm, over all runs and of each."""
    rows = [row for entry in entries for row in _dice_rows(entry, label_counts)]
    write_csv_atomic(folder / "dice.csv", DICE, rows)


def write_tables(study: Study) -> None:
    """Write results.csv, tables/dice.csv (every arm, also by seed) and tables/inpainting.csv."""
    entries, folder = ordered_entries(study), study.workdir / "tables"
    write_csv_atomic(study.workdir / "results.csv", RESULTS, [_result(study, entry) for entry in entries])
    write_dice(folder, entries, study.info["label_counts"])
    restored = [
        {"channel": r.channel, "mean": r.mean, "sd": _cell(r.sd), "slices": r.n_slices, "unit": r.unit}
        for r in study.restoration
    ]
    write_csv_atomic(folder / "inpainting.csv", RESTORATION, restored)
