"""What a transfer grid's report shows: Figure 7 laid out as in the paper, the table of arms, the verdict."""

import functools
import re
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from arm_rows import RATES, Row, grid_entries, rows_of
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch

from inpaint_ssl.files import write_csv_atomic
from inpaint_ssl.report.drawing import STYLE, save
from inpaint_ssl.report.kinds import part_of
from inpaint_ssl.report.parts import StudyPart, TableView
from inpaint_ssl.statistics import Bootstrap
from inpaint_ssl.statistics.transfer_grid import select_transfer

N = 12
FEW = {"resamples": 1000, "seed": 2}


def dice(entry: dict[str, Any]) -> float:
    rates = entry["learning_rates"]
    return 0.8 - 0.1 * abs(np.log10(rates[-1]) + 3) - 0.05 * entry["freeze"] - 0.02 * (len(entry["parts"]) > 1)


def rows_for(entries: list[dict[str, Any]], split: str, better: str = "") -> list[Row]:
    rng = np.random.default_rng(5)
    subjects = rng.normal(0, 0.03, (1, N, 1))
    rows: list[Row] = []
    for e in entries:
        mean = dice(e) + 0.2 * (e["arm"] == better)
        rows += rows_of(e["arm"], mean + subjects + rng.normal(0, 0.004, (1, N, 1)), split=split)
    return rows


def made(folder: Path, rows: list[Row], **info: Any) -> StudyPart:
    if rows:
        write_csv_atomic(folder / "per_scan.csv", list(rows[0]), rows)
    defaults = {"arms": grid_entries(RATES[:2], steps=True), "select_on": "validation", "alpha": 0.05, "bootstrap": FEW}
    with matplotlib.rc_context(STYLE):
        return part_of("transfer_grid")(folder, defaults | info)


@functools.cache
def whole(folder: Path) -> StudyPart:
    entries = grid_entries(RATES[:2])
    return made(folder, rows_for(entries, "validation") + rows_for(entries, "test", better="FBF_lr-0.01"))


@pytest.fixture
def report(tmp_path_factory: pytest.TempPathFactory) -> StudyPart:
    return whole(tmp_path_factory.getbasetemp())


def boxes(figure: Figure) -> list[list[PathPatch]]:
    return [[p for p in axes.patches if isinstance(p, PathPatch)] for axes in figure.axes]


def column(table: TableView, key: str) -> list[Any]:
    k = [c.key for c in table.columns].index(key)
    return [row[k].written for row in table.rows]


def test_figure_7_has_a_row_for_the_first_run_and_one_for_the_second_run_after_each_rate(report: StudyPart) -> None:
    figure = report.figures[0].figure
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    after = [f"Second training run, after a first one at {rate}" for rate in ("1e-2", "1e-3")]
    assert titles == ["First training run", *after]
    assert [len(row) for row in boxes(figure)] == [8, 8, 8]
    assert [t.get_text() for t in figure.axes[-1].get_xticklabels()] == ["1e-2", "1e-3"]
    names = [t.get_text() for t in figure.legends[0].get_texts()]
    assert names == ["FEF, FES", "FBF, FBS", "FFEF, FFES", "FFBF, FFBS"]
    colours = {tuple(p.get_facecolor()) for row in boxes(figure) for p in row}
    assert len(colours) == 4
    # 1 of 24 is marked: the chosen arm, in the first row, at the second rate, as the first of four designs
    marked = [(i, k) for i, row in enumerate(boxes(figure)) for k, p in enumerate(row) if p.get_linewidth() > 1.5]
    assert marked == [(0, 4)]


def test_boxes_show_the_test_subjects(report: StudyPart) -> None:
    boxes_of_first_rate = boxes(report.figures[0].figure)[0][:4]
    heights = [p.get_path().vertices[:, 1] for p in boxes_of_first_rate]
    entries = grid_entries(RATES[:2])
    for design, ends in zip(("FEF", "FBF", "FFEF", "FFBF"), heights, strict=True):
        rows = [r for r in rows_for(entries, "test", better="FBF_lr-0.01") if r["arm"] == f"{design}_lr-0.01"]
        quartiles = np.quantile([float(r["value"]) for r in rows], [0.25, 0.75])
        assert [ends.min(), ends.max()] == pytest.approx(quartiles, abs=1e-9)


def test_the_second_run_s_rate_is_across(report: StudyPart) -> None:
    rows, entries = boxes(report.figures[0].figure), grid_entries(RATES[:2])
    for row, (first, rate, place) in ((1, ("0.01", "0.001", 4)), (2, ("0.001", "0.01", 0))):
        arm = f"FES_lr-{first}_lr-{rate}"
        values = [float(r["value"]) for r in rows_for(entries, "test", better="FBF_lr-0.01") if r["arm"] == arm]
        ends = rows[row][place].get_path().vertices[:, 1]
        assert [ends.min(), ends.max()] == pytest.approx(np.quantile(values, [0.25, 0.75]), abs=1e-9)


def test_the_verdict_is_that_of_the_selection(report: StudyPart) -> None:
    rows = rows_for(grid_entries(RATES[:2]), "validation")
    chosen = select_transfer(rows, grid_entries(RATES[:2], steps=True), "validation", 0.05, Bootstrap(**FEW))
    assert chosen.selected["transfer.parts"] == ("encoder",)
    start = "Transfer the encoder and fine-tune at once with a learning rate of 1e-3 (FEF): Dice 0."
    assert report.headline.startswith(start) and report.headline.endswith(
        "validation scans, within 0.01 of the best arm."
    )
    assert report.statements[0] == chosen.reason
    for words, expected in (("The encoder alone", 0.02), ("Freezing the", -0.05)):
        sentence = next(s for s in report.statements if s.startswith(words)).replace("\N{MINUS SIGN}", "-")
        found = re.search(r"changed Dice by (\S+) on average over 12 otherwise equal pairs", sentence)
        assert found and float(found[1]) == pytest.approx(expected, abs=0.003)
    held_out = next(s for s in report.statements if "had no part in the choice" in s)
    assert "12 test subjects" in held_out and "(FBF (1e-2))" in held_out
    assert any("One run per arm" in c for c in report.cautions)


@pytest.mark.parametrize(
    ("better", "words"),
    [
        ("FBS_lr-0.01_lr-0.001", "encoder and decoder and fine-tune at once with a learning rate of 1e-2, again"),
        ("FFES_lr-0.001_lr-0.01", "encoder frozen and train the other weights at 1e-3, then train all weights at 1e-2"),
        ("FFEF_lr-0.001", "encoder frozen and train the other weights at 1e-3 (FFEF)"),
    ],
)  # fmt: skip
def test_the_headline_says_what_to_do(tmp_path: Path, better: str, words: str) -> None:
    rows = rows_for(grid_entries(RATES[:2]), "validation", better)
    found = made(tmp_path, rows, arms=[e for e in grid_entries(RATES[:2]) if e["arm"] in (better, "FEF_lr-0.001")])
    assert found.headline.startswith(f"Transfer the {words}") and "the best of all arms" in found.headline


def test_the_table_has_all_arms_and_marks_the_chosen_one(report: StudyPart) -> None:
    table = report.tables[0]
    assert len(table.rows) == 24 and all(len(row) == len(table.columns) for row in table.rows)
    assert len({c.key for c in table.columns}) == len(table.columns)
    means = column(table, "validation_dice")
    assert means == sorted(means, reverse=True)
    (k,) = table.emphasised
    row = dict(zip([c.key for c in table.columns], table.rows[k], strict=True))
    assert (row["design"].shown, row["first_rate"].shown, row["second_rate"].shown) == ("FEF", "1e-3", "–")
    assert row["first_rate"].written == 1e-3 and row["second_rate"].written == ""
    assert column(table, "as_good").count("best") == 1 and "worse" in column(table, "as_good")
    for low, middle, high in zip(*(column(table, f"difference{x}") for x in ("_lower", "", "_upper")), strict=True):
        assert low == middle == high == "" or low <= middle <= high
    assert {"test_dice", "test_sd"} <= {c.key for c in table.columns}


def test_selection_on_the_test_scans_needs_no_second_set_of_columns(tmp_path: Path) -> None:
    found = made(tmp_path, rows_for(grid_entries(RATES[:2]), "test"), select_on="test")
    assert "test_dice" in {c.key for c in found.tables[0].columns} and len(found.tables[0].columns) == 16
    assert "on the test scans" in found.headline and not any("no part in the choice" in s for s in found.statements)


@pytest.mark.parametrize("rates", [RATES[1:2], RATES[:3]])
def test_what_is_missing_is_marked(tmp_path: Path, rates: tuple[float, ...]) -> None:
    entries = grid_entries(rates)
    some = [e for e in entries if e["arm"] not in ("FEF_lr-0.001", "FFBS_lr-0.001_lr-0.001")]
    found = made(tmp_path, rows_for(some, "test"), arms=entries)
    assert found.headline == "Nothing was selected: no arm has values on the validation scans."
    figure = found.figures[0].figure
    lacking = (0, 1 + rates.index(1e-3))
    assert [len(row) for row in boxes(figure)] == [4 * len(rates) - (k in lacking) for k in range(1 + len(rates))]
    assert [sum(t.get_text() == "–" for t in axes.texts) for axes in figure.axes].count(1) == 2
    assert "no values" in column(found.tables[0], "as_good") and found.tables[0].emphasised == frozenset()
    save(found.figures[0], tmp_path)
    assert (tmp_path / "figure_7_transfer_grid.svg").is_file()


def test_only_first_runs_are_one_row(tmp_path: Path) -> None:
    entries = [e for e in grid_entries(RATES[:2]) if len(e["learning_rates"]) == 1]
    found = made(tmp_path, rows_for(entries, "validation"), arms=entries)
    assert len(found.figures[0].figure.axes) == 1 and "validation subjects" in found.figures[0].caption


def test_nothing_yet(tmp_path: Path) -> None:
    assert made(tmp_path, []) == StudyPart(
        "No segmentation results yet.", cautions=("No arm of the grid has been evaluated.",)
    )
