"""What the report of a study of pretraining data shows: Figure 5, the tests, what more scans are worth, the verdict."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from arm_rows import Row, extent_entries, rows_of
from matplotlib.figure import Figure

from inpaint_ssl.files import write_csv_atomic
from inpaint_ssl.report.drawing import STYLE, save
from inpaint_ssl.report.kinds import part_of
from inpaint_ssl.report.parts import StudyPart, TableView

COUNTS = {0.05: 4, 0.25: 20, 1.0: 80}
N = 16
SUBJECTS = np.linspace(0.8, 1.2, N)[None, :, None]


def error(extent: float, fraction: float) -> float:
    return 0.5 * COUNTS[fraction] ** -0.3 * (1.0 if extent == 0 else 0.93 * extent**-0.15)


def rows_for(extents: tuple[float, ...], split: str, **other: float) -> list[Row]:
    rows = []
    for entry in extent_entries(extents):
        for fraction in COUNTS:
            mean = other.get("error", error(entry.get("extent", 0.0), fraction))
            noise = np.random.default_rng(len(rows)).normal(0, 0.004, (1, N, 1))
            rows += rows_of(entry["arm"], 1 - mean * SUBJECTS + noise, fraction, split)
    return rows


def made(folder: Path, rows: list[Row], extents: tuple[float, ...] = (1.0, 1.5, 2.0), **info: Any) -> StudyPart:
    if rows:
        write_csv_atomic(folder / "per_scan.csv", list(rows[0]), rows)
    defaults = {"arms": extent_entries(extents), "select_on": "validation", "alpha": 0.05, "label_fractions": [*COUNTS]}
    defaults |= {"label_counts": {str(f): n for f, n in COUNTS.items()}, "bootstrap": {"resamples": 1000, "seed": 2}}
    with matplotlib.rc_context(STYLE):
        return part_of("unlabelled_extent")(folder, defaults | info)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> StudyPart:
    both = rows_for((1.0, 1.5, 2.0), "test") + rows_for((1.0, 1.5, 2.0), "validation")
    return made(tmp_path_factory.mktemp("extents"), both)


def column(table: TableView, key: str) -> list[Any]:
    k = [c.key for c in table.columns].index(key)
    return [row[k].written for row in table.rows]


def ticks(figure: Figure) -> list[str]:
    return [t.get_text() for t in figure.axes[0].get_xticklabels()]


def test_figure_5_has_a_line_a_label_fraction_and_the_dotted_one(report: StudyPart) -> None:
    figure = report.figures[0].figure
    lines = figure.axes[0].get_lines()
    assert len(lines) == 4 and ticks(figure) == ["0 %", "100 %", "150 %", "200 %"]
    for line, fraction in zip(lines, COUNTS, strict=False):
        assert list(line.get_xdata()) == [0.0, 1.0, 1.5, 2.0]
        expected = [1 - error(x, fraction) for x in (0.0, 1.0, 1.5, 2.0)]
        assert list(line.get_ydata()) == pytest.approx(expected, abs=0.004)
    dotted = lines[-1]
    assert dotted.get_linestyle() == ":" and dotted.get_ydata()[0] == pytest.approx(1 - error(0.0, 1.0), abs=0.004)
    assert dotted.get_ydata()[0] == lines[2].get_ydata()[0]
    assert [t.get_text() for t in figure.legends[0].get_texts()] == [
        "100 %",
        "25 %",
        "5 %",
        "from scratch,\nall labels",
    ]
    assert len({line.get_color() for line in lines[:3]}) == len({line.get_marker() for line in lines[:3]}) == 3


def test_extents_that_lie_close_are_not_to_scale(tmp_path: Path) -> None:
    found = made(tmp_path, rows_for((1.0, 6.5, 12.0), "test"), (1.0, 6.5, 12.0))
    lines = found.figures[0].figure.axes[0].get_lines()
    assert list(lines[0].get_xdata()) == [0.0, 1.0, 2.0, 3.0] and "not to scale" in found.figures[0].caption
    assert "not to scale" not in made(tmp_path, rows_for((1.0, 2.0), "test"), (1.0, 2.0)).figures[0].caption


def test_the_verdict_is_built_from_the_tests(report: StudyPart) -> None:
    more = "Pretraining on 200 % of the training set instead of 100 %"
    assert report.headline == f"{more} improved segmentation at every label fraction tested."
    assert report.statements[0].startswith("5 % of the labels: Dice 0.6")
    assert "adjusted p < 0.001" in report.statements[0]
    assert any("with pretraining on 100 %, 150 % and 200 %" in s for s in report.statements)
    assert any(s.startswith("Chosen: pretraining on 200 %") and "validation subjects" in s for s in report.statements)
    assert any("320 pretraining scans instead of 160 would add to Dice" in s for s in report.statements)
    assert any(
        s.startswith("200 % pretraining data in labelled subjects") and "worth +" in s for s in report.statements
    )
    assert any("One run per extent" in c for c in report.cautions)


def test_tables_have_the_numbers_and_mark_the_chosen_extent(report: StudyPart) -> None:
    dice, tests, worth = report.tables
    for table in report.tables:
        assert all(len(row) == len(table.columns) for row in table.rows)
        assert len({c.key for c in table.columns}) == len(table.columns)
    assert [row[0].shown for row in dice.rows] == ["from scratch", "100 %", "150 %", "200 %"]
    assert column(dice, "pretraining_scans") == ["", 80, 120, 160] and dice.emphasised == frozenset({3})
    of = [column(dice, f"dice_{f:g}pct") for f in (5, 25, 100)]
    assert column(dice, "average_test") == pytest.approx(np.mean(of, axis=0))
    assert column(tests, "label_fraction") == [0.05, 0.25, 1.0] and column(tests, "subjects") == [N] * 3
    gains = np.subtract(column(tests, "largest_dice"), column(tests, "training_set_dice"))
    assert column(tests, "difference") == pytest.approx(gains)
    assert column(worth, "exponent") == pytest.approx([0.15] * 3, abs=0.05)
    assert all(
        b > a > 0 for a, b in zip(column(worth, "labels_100pct"), column(worth, "labels_200pct"), strict=True) if b
    )


def test_nothing_gained_is_said(tmp_path: Path) -> None:
    found = made(tmp_path, rows_for((1.0, 1.5, 2.0), "test", error=0.3))
    assert "did not improve segmentation significantly at any label fraction tested" in found.headline
    text = " ".join(found.statements)
    assert "no statement, as more pretraining scans may not help at all" in text
    assert all("may not help at all" in why for why in column(found.tables[2], "stated"))
    lines = found.figures[1].figure.axes[0].get_lines()
    assert max(max(line.get_xdata(), default=0) for line in lines) == 160  # nothing is extrapolated


def test_two_extents_have_tests_but_no_curve(tmp_path: Path) -> None:
    found = made(tmp_path, rows_for((1.0, 2.0), "test"), (1.0, 2.0), label_counts={})
    assert [f.name for f in found.figures] == ["figure_5_pretraining_data"] and len(found.tables) == 2
    assert any("cannot be said: a curve needs 3" in s for s in found.statements)
    assert any("number of labelled subjects is not known" in s for s in found.statements)


def test_one_extent_or_none(tmp_path: Path) -> None:
    alone = made(tmp_path, [r for r in rows_for((1.0,), "test") if r["label_fraction"] == "0.05"], (1.0,))
    assert alone.headline.startswith("No verdict") and len(alone.figures) == 1
    missing = made(tmp_path, [r for r in rows_for((1.0, 2.0), "test") if r["label_fraction"] != "0.25"], (1.0, 2.0))
    assert any("Of the 3 planned tests 2 could be made" in c for c in missing.cautions)
    empty = made(tmp_path / "empty", [])
    assert empty.headline == "No segmentation results yet." and empty.figures == ()


def test_figures_are_written(report: StudyPart, tmp_path: Path) -> None:
    for drawing in report.figures:
        assert save(drawing, tmp_path).caption == drawing.caption
    assert len(list(tmp_path.glob("*.svg"))) == len(list(tmp_path.glob("*.png"))) == 2
