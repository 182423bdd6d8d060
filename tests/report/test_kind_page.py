"""The page of a study that is no comparison: what its kind says, selection, provenance, and what is missing."""

import io
from pathlib import Path

import made_up_kind
import pytest
from made_up_kind import KIND, ROWS, register, spoil_scores, write_kind
from rich.console import Console
from test_page import Page

from inpaint_ssl.errors import InputError
from inpaint_ssl.files import read_csv, read_json, write_json_atomic
from inpaint_ssl.report import print_table, write_report
from inpaint_ssl.report.kinds import MODULES, part_of
from inpaint_ssl.report.losses import NAMED

SELECTION = {
    "format_version": 1, "kind": KIND, "study": "hippocampus", "select_on": "validation",
    "selected": {"transfer.parts": ["encoder"], "finetune.learning_rate": 0.001},
    "reason": "FEF at 0.001 has <the> highest Dice.", "warnings": ["Only 4 scans."],
}  # fmt: skip


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch)


def page(root: Path) -> Page:
    return Page(write_report(root).read_text(encoding="utf-8"))


def printed(root: Path) -> str:
    console = Console(record=True, width=100, file=io.StringIO())
    print_table(root, console)
    return console.export_text()


def test_everything_that_the_study_has_is_on_the_page(tmp_path: Path) -> None:
    root = write_kind(tmp_path, pictures=True)
    spoil_scores(root)
    write_json_atomic(root / "selection.json", SELECTION)
    write_json_atomic(root / "manifest.json", {"config_sha256": "ab" * 32, "data_sha256": "cd" * 32})
    p = page(root)
    assert p.problems == [] and p.open == [] and len(p.ids) == len(set(p.ids))
    # the figure of the kind, 2 panels of losses, the gallery, 4 inpaintings
    assert p.tags["svg"] == len(p.labels) == 1 + 2 + 1 + 4 and all(p.labels)
    assert all((root / "figures" / f"boxes.{kind}").is_file() for kind in ("png", "svg"))
    for words in (
        "hippocampus <i>chose</i> FFEF at 5 % of the labels.", "Its Dice is 0.900.", "One seed only.", "made up",
        *(shown for row in ROWS for shown in (row[0], row[2])), "Mean ± sd; p < 0.05.", "tables/arms.csv",
        "FEF at 0.001 has <the> highest Dice.", "transfer.parts encoder", "finetune.learning_rate 0.001",
        "Only 4 scans.", "Selected on the validation scans", "abab", "cdcd", "4f1c", "5 of 7 runs complete", "1 failed",
        "The run bad failed: loss <NaN> at step 7", "2 of 8 pairs of prediction and truth", "the schedule counts steps",
        "Male 57 1767 57 48.5", "tables/table_1_demographics.csv",
        "corruption.patch_size 8", "jax 0.10.2", "cpu, 2 cores", "later missing", "Corruptions: what pretraining",
    ):  # fmt: skip
        assert words in p.text, words
    assert "selected on the test scans" not in p.text.lower()
    assert {path.name for path in (root / "tables").iterdir()} == {"dice.csv"} | {
        f"{name}.{kind}" for name in ("arms", "runs", "settings", "table_1_demographics") for kind in ("csv", "tex")
    }
    assert [row["status"] for row in read_csv(root / "tables/runs.csv")] == ["complete"] * 5 + ["failed", "missing"]
    text = printed(root)
    for words in (
        "FFEF_lr-0.01 *",
        "One seed only.",
        "transfer.parts encoder, finetune.learning_rate 0.001",
        "bad failed",
    ):
        assert words in text, words


def test_selecting_on_the_test_scans_is_marked(tmp_path: Path) -> None:
    write_json_atomic(write_kind(tmp_path) / "selection.json", SELECTION | {"select_on": "test", "selected": {}})
    p = page(tmp_path)
    assert p.text.split("hippocampus <i>")[0].endswith("selected on the test scans ")
    assert "Selected on the test scans, as in the paper." in p.text and "Nothing was selected." in p.text
    assert "Selected on the test scans: nothing" in printed(tmp_path)


def test_studies_that_it_builds_on_are_named(tmp_path: Path) -> None:
    first = write_kind(tmp_path / "first")
    write_json_atomic(first / "selection.json", SELECTION)
    gone = str(tmp_path / "gone")
    p = page(write_kind(tmp_path / "second", **{"from": [str(first), gone]}))
    assert f"hippocampus (made up), {first} : selected transfer.parts encoder" in p.text
    assert f"{gone} : cannot be read: no such file: {gone}/study.json" in p.text


def test_a_study_with_nothing_yet_has_a_page(tmp_path: Path) -> None:
    write_json_atomic(
        tmp_path / "study.json", {"study": "empty", "kind": KIND, "cells": [{"name": "a", "directory": "a"}]}
    )
    p = page(tmp_path)
    assert p.problems == [] and "empty <i>chose</i>" in p.text and p.tags["svg"] == 1


@pytest.mark.parametrize("arms", [2, NAMED + 3])
def test_losses_of_many_arms_name_the_best_and_the_worst(tmp_path: Path, arms: int) -> None:
    root = write_kind(tmp_path, arms=arms)
    better = root / "cells/arm-1/metrics.csv"
    rows = better.read_text(encoding="utf-8").replace("validation,0.", "validation,0.0")
    better.write_text(rows, encoding="utf-8")
    raw = write_report(root).read_text(encoding="utf-8")
    panel = raw.split("Fine-tuning, 5", 1)[1]
    legend = [f"arm-{k}" for k in range(arms)] if arms <= NAMED else ["lowest: arm-1", f"{arms - 1} others"]
    assert all(f">{name}<" in panel for name in legend)
    assert ("highest: from_scratch" in panel) == (arms > NAMED) == ("the highest best" in Page(raw).text)


def test_a_kind_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    write_json_atomic(tmp_path / "study.json", {"study": "s", "kind": "of_tomorrow"})
    for act in (write_report, printed):
        with pytest.raises(InputError, match=r'kind "of_tomorrow"; expected comparison, clinical, transfer_grid'):
            act(tmp_path)
    assert part_of(KIND) is made_up_kind.part
    assert [kind for kind in MODULES if part_of(kind)] == [
        "transfer_grid", "pretraining_grid", "optimal_strategy", "unlabelled_extent", "arms", KIND,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("selection.json", [1], 'has no table "selected"'),
        ("selection.json", {"selected": 3}, 'has no table "selected"'),
        ("study.json", {"kind": KIND, "label_counts": {"half": 3}}, "expected label_counts"),
        ("study.json", {"kind": KIND, "cells": [3]}, "expected label_counts and cells"),
        ("study.json", [], "holds no table"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, content: object, complaint: str) -> None:
    write_json_atomic(write_kind(tmp_path) / name, content)
    with pytest.raises(InputError, match=rf"{name}.* {complaint}|{name}: .*{complaint}"):
        write_report(tmp_path)


def test_a_comparison_too_shows_selection_and_origins(tmp_path: Path) -> None:
    root = write_kind(tmp_path, **{"from": ["/nowhere"]})
    write_json_atomic(root / "study.json", read_json(root / "study.json", "study") | {"kind": "clinical"})
    write_json_atomic(root / "manifest.json", {"data_sha256": "cd" * 32})
    p = page(root)
    assert "No comparison yet: only the models from scratch" in p.text
    assert "/nowhere : cannot be read" in p.text and "cdcd" in p.text and "later missing" in p.text
