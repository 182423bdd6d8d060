"""A kind of study that exists in tests alone, and the directory of a study of it."""

import math
import shutil
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from example_study import ExampleStudy
from matplotlib.figure import Figure

from inpaint_ssl.files import read_json, write_csv_atomic, write_json_atomic
from inpaint_ssl.report import kinds
from inpaint_ssl.report.drawing import Drawing
from inpaint_ssl.report.parts import Column, Entry, StudyPart, TableView

KIND = "made_up"
ROWS = (
    ("FEF_lr-0.001", 0.8123456, "0.812", 0.0004, "< 0.001"),
    ("FES <b>&</b>", math.nan, "–", 1.0, "1.000"),
    ("FBF_lr-0.1", 0.79, "0.790", 0.02, "0.020"),
    ("FFEF_lr-0.01", 0.9, "0.900", 0.3, "0.300"),
)


def table() -> TableView:
    """Four arms, one of them without a value; the last one is emphasised."""
    columns = (
        Column("arm", "Arm", numeric=False), Column("dice", "Dice (5 %)"), Column("p", "p"),
        Column("of", "Best of", numeric=False),
    )  # fmt: skip
    rows = tuple(
        (Entry(arm), Entry(shown, dice), Entry(p_shown, p), Entry(f"{k + 9} arms"))
        for k, (arm, dice, shown, p, p_shown) in enumerate(ROWS)
    )
    return TableView("arms", "All arms & their Dice", columns, rows, "Mean ± sd; p < 0.05.", frozenset({3}))


def part(workdir: Path, info: Mapping[str, Any]) -> StudyPart:
    """One wide figure and one table; the headline holds the study's name."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    axes = figure.subplots(1, 3)
    for k, one in enumerate(axes):
        one.plot([0, 1, 2], [0, k, 1])
    drawing = Drawing("boxes", figure, "Three panels of lines.", "Panels at 5 % of the labels.")
    headline = f"{info['study']} <i>chose</i> FFEF at 5 % of the labels."
    return StudyPart(headline, ("Its Dice is 0.900.",), ("One seed only.",), (table(),), (drawing,))


def register(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let part_of find the kind."""
    module = types.ModuleType("a_made_up_kind")
    module.part = part  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(kinds.MODULES, KIND, module.__name__)


def demographics() -> list[dict[str, Any]]:
    """Rows of Table 1: one split, men and women."""
    counts = {"split": "train", "unknown_age": 0, "unknown_sex": 0, "age_min_years": 31.0, "age_max_years": 70.0}
    return [
        counts | {"sex": sex, "scans": n, "slices": 31 * n, "subjects": n, "age_mean_years": age, "age_sd_years": 8.25}
        for sex, n, age in (("M", 57, 48.5), ("F", 63, 51.5), ("total", 120, 50.1))
    ]


def write_kind(root: Path, arms: int = 3, pictures: bool = False, **info: Any) -> Path:
    """A study of this kind whose fine-tuned cells have `arms` arms, with a failed and a missing cell."""
    ExampleStudy(root, fractions=[0.05], arms=["from_scratch"], subjects=4, gallery=pictures, size=(24, 24)).write()
    if not pictures:
        shutil.rmtree(root / "cells/pretrain_seed0/examples")
    study = read_json(root / "study.json", "study") | {"kind": KIND, "select_on": "validation", "from": []}
    study["demographics"] = demographics()
    finetuned = study["cells"][-1]
    rows = (root / finetuned["directory"] / "metrics.csv").read_text(encoding="utf-8")
    for k in range(arms):
        cell = finetuned | {"name": f"arm-{k}_labels-5pct", "directory": f"cells/arm-{k}", "arm": f"arm-{k}"}
        cell |= {"best_validation_loss": 0.2 + 0.01 * k}
        study["cells"].append(cell)
        (root / cell["directory"]).mkdir()
        (root / cell["directory"] / "metrics.csv").write_text(rows, encoding="utf-8")
    bad = {"phase": "finetune", "arm": "arm-x", "label_fraction": 0.05, "seed": 0}
    study["cells"] += [
        {"name": "bad", "directory": "cells/bad", "status": "failed", "error": "loss <NaN>\nat step 7", **bad},
        {"name": "later", "directory": "cells/later", "status": "missing", **bad},
    ]
    write_json_atomic(root / "study.json", study | info)
    return root


def spoil_scores(root: Path) -> None:
    """Make two of the Dice scores undefined."""
    path = root / "per_scan.csv"
    with open(path, encoding="utf-8") as stream:
        header = stream.readline().strip().split(",")
        rows = [dict(zip(header, line.strip("\n").split(","), strict=True)) for line in stream]
    for row in [row for row in rows if row["metric"] == "dice"][:2]:
        row["value"] = "nan"
    write_csv_atomic(path, header, rows)
