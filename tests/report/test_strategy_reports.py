"""Reports of the grid of pretraining strategies and of the choice among them."""

import itertools
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from strategy_study import GridStudy

from inpaint_ssl.files import write_csv_atomic, write_json_atomic
from inpaint_ssl.report.drawing import STYLE
from inpaint_ssl.report.info import read_info
from inpaint_ssl.report.kinds import optimal_strategy, pretraining_grid
from inpaint_ssl.report.kinds.strategy_curves import LIGHT_BLUE
from inpaint_ssl.report.kinds.strategy_sets import strategy_sets
from inpaint_ssl.report.kinds.strategy_text import p_entry, p_scientific, patch_name
from inpaint_ssl.report.parts import StudyPart, TableView
from inpaint_ssl.report.terminal_part import simple
from inpaint_ssl.statistics import Bootstrap
from inpaint_ssl.statistics.strategies import Strategy, rank_strategies

BEST = ("context_restoration", 32, "poisson_disc")
WORST = ("context_prediction", 64, "random")


def part_of(module: Any, folder: Path) -> StudyPart:
    with matplotlib.rc_context(STYLE):
        return module.part(folder, read_info(folder))


def table(part: StudyPart, name: str) -> TableView:
    (found,) = [t for t in part.tables if t.name == name]
    return found


def column(view: TableView, key: str) -> list[Any]:
    (k,) = [k for k, c in enumerate(view.columns) if c.key == key]
    return [row[k].value for row in view.rows]


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> GridStudy:
    study = GridStudy(tmp_path_factory.mktemp("grid"), gains={BEST: 0.06, WORST: -0.05}, subjects=14)
    study.write()
    return study


@pytest.fixture(scope="module")
def part(grid: GridStudy) -> StudyPart:
    return part_of(pretraining_grid, grid.root)


def test_table_2_has_the_papers_rows_and_the_mean_of_every_strategy(grid: GridStudy, part: StudyPart) -> None:
    view = table(part, "table_2_restoration")
    sizes = [f"{k // 8} × {k // 8} ({k} × {k})" for k in (64, 32, 16, 8)]
    assert [(row[0].shown, plain(row[1].shown)) for row in view.rows] == list(
        itertools.product(("context prediction", "context restoration"), sizes)
    )
    rows = grid.slice_rows()
    for sampling in ("poisson_disc", "random"):
        for k, (task, paper) in enumerate(itertools.product(grid.tasks, grid.paper_sizes)):
            own = [float(r["value"]) for r in rows if r["arm"] == f"{task}_k-{paper // 8}_{sampling}"]
            assert column(view, f"{sampling}_mean")[k] == pytest.approx(np.mean(own))
            assert column(view, f"{sampling}_sd")[k] == pytest.approx(np.std(own, ddof=1))
            assert column(view, "slices")[k] == len(own) == 14 * 4
    assert view.emphasised == frozenset(range(8)) and max(column(view, "p_holm")) < 0.05
    assert view.rows[0][2].shown == f"{column(view, 'poisson_disc_mean')[0]:.1f}"


def test_tables_of_dice_hold_the_means_of_the_rows(grid: GridStudy, part: StudyPart) -> None:
    rows = [r for r in grid.scan_rows() if r["split"] == "test"]
    view, gains = table(part, "dice_of_strategies"), table(part, "gains_of_strategies")
    means = [
        [
            np.mean([r["value"] for r in rows if (r["arm"], r["label_fraction"]) == (a["arm"], f)])
            for f in grid.fractions
        ]
        for a in grid.arms()
    ]
    found = [column(view, f"dice_{100 * f:g}_percent") for f in grid.fractions]
    assert pytest.approx(np.array(means)) == np.array(found).T
    expected = [means[k][j] - means[0][j] for j in range(3) for k in range(1, 17)]
    assert column(gains, "difference") == pytest.approx(expected)
    stars = [row[3 + j].shown.count("*") for j in range(3) for row in view.rows[1:]]
    assert [k in gains.emphasised for k in range(48)] == [star == 1 for star in stars]
    assert 0 < sum(stars) < 48
    assert all(entry.shown for t in part.tables for row in t.rows for entry in row)
    assert all(len(row) == len(t.columns) for t in part.tables for row in t.rows)


def test_the_verdict_counts_what_the_table_says(part: StudyPart) -> None:
    gains = table(part, "gains_of_strategies")
    better = [sum(k in gains.emphasised for k in range(j, j + 16)) for j in (0, 16, 32)]
    words = [f"{better[0]} of 16 at 5 %", f"{better[1]} at 25 %"] + [f"{better[2]} at 100 %"] * bool(better[2])
    assert part.headline.startswith("Strategies better than from scratch: ") and all(w in part.headline for w in words)
    assert "best is context restoration, 4 × 4 (32 × 32), Poisson-disc, +0.0" in plain(part.statements[0])
    assert "worst is context prediction, 8 × 8 (64 × 64), random, −0.0" in plain(part.statements[0])
    text = " ".join(map(plain, part.statements))
    for words_ in (
        "lower L2 norms than random sampling in 8 of 8 pairs",
        "The L2 norm falls with every smaller patch for every task and sampling.",
        "Over the 16 strategies the rank correlation", "Mean gain over all label fractions by task: context prediction",
    ):  # fmt: skip
        assert words_ in text, words_
    assert any("One run a strategy" in caution for caution in part.cautions)


def drawn(figure: Figure) -> FigureCanvasAgg:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return canvas


def test_figures_have_a_panel_a_class_and_a_legend_beside_them(grid: GridStudy, part: StudyPart) -> None:
    names = ["dice_of_strategies", "dice_of_context_restoration", "dice_of_context_prediction"]
    assert [d.name for d in part.figures] == names
    for drawing, titles in zip(
        part.figures, [("Context restoration", "Context prediction"), *[grid.classes] * 2], strict=True
    ):
        panels = drawing.figure.axes
        assert [axes.get_title(loc="left") for axes in panels] == list(titles)
        canvas = drawn(drawing.figure)
        (legend,) = drawing.figure.legends
        box = legend.get_window_extent()
        whole = drawing.figure.bbox
        assert whole.x0 <= box.x0 and box.x1 <= whole.x1 and whole.y0 <= box.y0
        assert all(box.y1 <= axes.get_tightbbox(canvas.get_renderer()).y0 + 1 for axes in panels)
        assert len([t for t in legend.get_texts() if t.get_text()]) == 10
        for axes in panels:
            lines = axes.get_lines()
            assert len(lines) == 10  # eight strategies, from scratch, from scratch with all labels
            assert [line.get_color() for line in lines].count(LIGHT_BLUE) == 1
            (scratch,) = [line for line in lines if line.get_color() == LIGHT_BLUE]
            (dotted,) = [line for line in lines if line.get_linestyle() == ":"]
            assert set(dotted.get_ydata()) == {scratch.get_ydata()[-1]}
            assert len({(line.get_color(), str(line.get_linestyle())) for line in lines}) == 10
        assert "from scratch 0." in drawing.alt and "strategies 0." in drawing.alt


def test_a_missing_label_fraction_leaves_a_gap(tmp_path: Path) -> None:
    failed = [("context_restoration_k-4_random", 0.25), ("from_scratch", 0.05)]
    study = GridStudy(tmp_path, failed=failed, classes=["whole"], paper_sizes=[32], tasks=("context_restoration",))
    found = part_of(pretraining_grid, study.write())
    (drawing,) = found.figures  # one class: the average is that class
    lines = drawing.figure.axes[0].get_lines()
    assert [np.isnan(line.get_ydata()).tolist() for line in lines[:3]] == [
        [False] * 3, [False, True, False], [True, False, False],
    ]  # fmt: skip
    view = table(found, "dice_of_strategies")
    assert [entry.shown for entry in view.rows[0][3:4]] == ["–"] and view.rows[2][4].written == ""
    assert " 5 %" not in found.headline and any("Of the 6 planned tests 3 could be made" in c for c in found.cautions)


def test_a_study_that_has_just_begun(tmp_path: Path) -> None:
    study = GridStudy(tmp_path, tasks=("context_prediction",), paper_sizes=[16])
    study.write()
    for name in ("per_scan.csv", "per_slice.csv"):
        (tmp_path / name).unlink()
    nothing = part_of(pretraining_grid, tmp_path)
    assert nothing == StudyPart("No segmentation results yet.")
    assert part_of(optimal_strategy, tmp_path).headline == "No strategy can be ranked yet."
    study.failed = [("from_scratch", f) for f in study.fractions]
    alone = part_of(pretraining_grid, study.write())
    assert alone.headline == "No comparison with from scratch yet." and len(alone.figures) == 2
    assert [t.name for t in alone.tables] == ["table_2_restoration", "dice_of_strategies"]
    study.failed, study.subjects = [], 3
    few = part_of(pretraining_grid, study.write())
    assert few.headline == "No verdict yet: too few test subjects to reach p < 0.05 for 6 tests."


def test_from_scratch_with_all_labels_is_no_planned_test(tmp_path: Path) -> None:
    study = GridStudy(tmp_path, paper_sizes=[32, 16])
    arms = [arm["arm"] for arm in study.arms()]
    study.failed = [(arm, 1.0) for arm in arms[1:]]
    study.write()
    cells = [
        {"arm": arm, "phase": "finetune", "label_fraction": f, "directory": f"finetune/{arm}_{f}"}
        for arm, f in itertools.product([*arms, "from_scratch-first"], study.fractions)
        if (arm, f) not in study.failed
    ]
    write_json_atomic(tmp_path / "study.json", study.info() | {"cells": cells})
    found = part_of(pretraining_grid, tmp_path)
    assert not any("planned tests" in c for c in found.cautions) and "none at" not in found.headline
    assert "correction for 16 tests" in table(found, "dice_of_strategies").note


def test_no_strategy_helps(tmp_path: Path) -> None:
    study = GridStudy(tmp_path, paper_sizes=[16], gains={(t, 16, s): -0.03 for t, s in itertools.product(
        ("context_prediction", "context_restoration"), ("poisson_disc", "random"))})  # fmt: skip
    found = part_of(pretraining_grid, study.write())
    assert found.headline == "No pretraining strategy segmented significantly better than training from scratch."
    assert part_of(optimal_strategy, tmp_path).headline.startswith("No pretraining strategy qualifies: none in the top")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, grid: GridStudy) -> GridStudy:
    """An optimal_strategy study without cells of its own, from two grids, a transfer grid, and one that is gone."""
    root = tmp_path_factory.mktemp("chain")
    gains = {BEST: 0.08, ("context_prediction", 64, "poisson_disc"): 0.15}
    GridStudy(root / "ct", dataset="Abdomens", divisor=1, subjects=11, gains=gains, seeds=[0, 1]).write()
    transfer = GridStudy(root / "transfer", tasks=(), kind="transfer_grid")
    transfer.write()
    study = GridStudy(root / "chosen", kind="optimal_strategy", name="chosen", tasks=(), fractions=[])
    study.folders = [str(grid.root), "ct", str(root / "transfer"), str(root / "gone")]
    study.write()
    return study


def test_table_3_ranks_every_data_set_and_marks_the_chosen(grid: GridStudy, two: GridStudy) -> None:
    found = part_of(optimal_strategy, two.root)
    view, everything = table(found, "table_3_strategies"), table(found, "strategies")
    assert column(view, "dataset") == ["Knees"] * 5 + ["Abdomens"] * 5 and column(view, "rank") == [1, 2, 3, 4, 5] * 2
    assert len(everything.rows) == 32
    rows = [{k: str(v) for k, v in r.items()} for r in grid.scan_rows()]
    expected = rank_strategies("Knees", rows, grid.arms(), split="validation", alpha=0.05, bootstrap=Bootstrap(1000, 0))
    assert column(view, "p_pooled")[:5] == [s.pooled.p_value for s in expected.strategies[:5]]
    assert column(view, "p_holm")[:5] == [s.p_holm for s in expected.strategies[:5]]
    chosen = [(view.rows[k][0].shown, view.rows[k][1].value, view.rows[k][2].shown) for k in sorted(view.emphasised)]
    assert chosen == [("Knees", 1, "context restoration"), ("Abdomens", 2, "context restoration")]
    assert plain(found.headline).startswith(
        "Chosen strategy: context restoration, 32 × 32, Poisson-disc (patch size of"
    )
    assert "rank 1 of 16 on Knees" in found.statements[0] and "validation scans at 5 % and 25 %" in found.statements[1]
    assert found.cautions == ("The study gone that this one came from is not where it was: it is left out.",)
    assert "each scan counts once per subset" in view.note.replace("\n", " ")


def test_gains_by_rank_are_drawn_with_their_intervals(two: GridStudy) -> None:
    (drawing,) = part_of(optimal_strategy, two.root).figures
    canvas = drawn(drawing.figure)
    assert [a.get_title(loc="left") for a in drawing.figure.axes] == [
        "Knees (validation scans)",
        "Abdomens (validation scans)",
    ]
    for axes in drawing.figure.axes:
        labels = [label.get_text() for label in axes.get_yticklabels()]
        assert labels[0].startswith("1  ") and len(labels) == 16
        assert sum(label.get_fontweight() == "bold" for label in axes.get_yticklabels()) == 1
        boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
        assert all(a.y0 >= b.y1 for a, b in itertools.pairwise(boxes)) and min(b.x0 for b in boxes) >= 0
        assert axes.xaxis.label.get_window_extent(canvas.get_renderer()).x1 <= drawing.figure.bbox.x1


def test_a_grids_own_choice_and_the_split_it_rests_on(grid: GridStudy, tmp_path: Path) -> None:
    own = part_of(optimal_strategy, grid.root)
    assert plain(own.headline).startswith(
        "Chosen strategy: context restoration, 4 × 4 (32 × 32), Poisson-disc; mean gain"
    )
    info = read_info(grid.root)
    with matplotlib.rc_context(STYLE):
        test = optimal_strategy.part(grid.root, info | {"select_on": "test"})
    assert "test scans" in test.statements[1]
    assert column(test.tables[0], "p_pooled") != column(own.tables[0], "p_pooled")
    one_split = GridStudy(tmp_path, splits=["test"], paper_sizes=[16])
    found = part_of(optimal_strategy, one_split.write())
    assert found.headline == "No strategy can be ranked yet." and "validation scans" in found.cautions[0]


def test_sets_of_equal_name_and_damaged_ones(grid: GridStudy, tmp_path: Path) -> None:
    other = GridStudy(tmp_path / "other", name="second", paper_sizes=[32], subjects=6)
    broken = GridStudy(tmp_path / "broken", paper_sizes=[32], subjects=2)
    other.write()
    broken.write()
    (broken.root / "study.json").write_text("{")
    names = [str(folder) for folder in (grid.root, other.root, other.root, broken.root)]
    empty = GridStudy(tmp_path / "empty", tasks=())
    sets, notes = strategy_sets(empty.root, empty.info() | {"from": names})
    assert [s.name for s in sets] == ["Knees (grid)", "Knees (second)"]
    assert len(notes) == 1 and "is not valid JSON" in notes[0]
    sets, notes = strategy_sets(grid.root, grid.info() | {"from": names[1:2]})
    assert [s.name for s in sets] == ["Knees"] and "same data set as this one's own" in notes[0]


@pytest.mark.parametrize(
    ("p", "shown"),
    [(1.64e-18, "1.64 × 10⁻¹⁸"), (9.996e-5, "1.00 × 10⁻⁴"), (9.99e-4, "9.99 × 10⁻⁴"), (0.001, "0.001"), (0.66, "0.660"),
     (1.0, "1.000"), (0.0, "< 10⁻³⁰⁰"), (5e-324, "4.94 × 10⁻³²⁴")],
)  # fmt: skip
def test_p_values_as_in_table_3(p: float, shown: str) -> None:
    assert plain(p_scientific(p)) == shown and p_entry(p).written == p


def test_powers_and_units_in_a_terminal() -> None:
    assert simple(f"{p_scientific(1.23e-120)}, \N{MINUS SIGN}3 mm², –") == "1.23 × 10^-120, -3 mm², -"


def test_nothing_is_chosen_while_a_data_set_cannot_be_ranked(grid: GridStudy, tmp_path: Path) -> None:
    GridStudy(tmp_path / "begun", dataset="Abdomens", failed=[("from_scratch", 0.05), ("from_scratch", 0.25)]).write()
    study = GridStudy(tmp_path / "chosen", kind="optimal_strategy", tasks=(), fractions=[])
    study.folders = [str(grid.root), str(tmp_path / "begun")]
    found = part_of(optimal_strategy, study.write())
    assert found.headline == "No strategy can be chosen yet: none can be ranked on Abdomens."
    assert "none can be ranked on the validation scans of Abdomens yet" in found.statements[0]


def test_norms_that_are_all_undefined_are_dashes(tmp_path: Path) -> None:
    study = GridStudy(tmp_path, tasks=("context_prediction",), paper_sizes=[32, 16])
    rows = study.slice_rows()
    study.write()
    gone = study.arms()[1]["arm"]
    changed = [row | {"value": "nan"} if row["arm"] == gone else row for row in rows]
    write_csv_atomic(tmp_path / "per_slice.csv", list(rows[0]), changed)
    found = part_of(pretraining_grid, tmp_path)
    view = table(found, "table_2_restoration")
    assert view.rows[0][2].shown == "–" and view.rows[0][4].shown not in ("–", "nan")
    assert any("falls with every smaller patch for every task" in s for s in found.statements)


def test_patches_are_named_in_pixels_and_by_the_papers_size() -> None:
    assert plain(patch_name(Strategy("a", "t", "s", 4, 32))) == "4 × 4 (32 × 32)"
    assert plain(patch_name(Strategy("a", "t", "s", 32, 32))) == "32 × 32"
