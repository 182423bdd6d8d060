"""Every kind of study as a whole page: in a browser, in print and as LaTeX."""

from collections.abc import Callable
from pathlib import Path

import pytest
import test_transfer_grid_part as transfer
import test_unlabelled_extent_part as extents
from arm_rows import RATES, extent_entries, grid_entries
from arms_study import ArmsStudy
from browser import browser, console_lines, in_a_frame, run_browser
from strategy_study import GridStudy
from test_latex import compiled
from test_page import Page
from test_sorting import LAYOUT

from inpaint_ssl.files import write_csv_atomic, write_json_atomic
from inpaint_ssl.report import write_report


def transfer_grid(root: Path) -> Path:
    entries = grid_entries(RATES[:2])
    rows = [row for split in ("validation", "test") for row in transfer.rows_for(entries, split)]
    write_csv_atomic(root / "per_scan.csv", list(rows[0]), rows)
    info = {"study": "transfer", "kind": "transfer_grid", "arms": entries, "label_fractions": [0.05]}
    write_json_atomic(root / "study.json", info | {"bootstrap": transfer.FEW})
    return root


def unlabelled_extent(root: Path) -> Path:
    some = (1.0, 1.5, 2.0)
    rows = [row for split in ("validation", "test") for row in extents.rows_for(some, split)]
    write_csv_atomic(root / "per_scan.csv", list(rows[0]), rows)
    info = {"study": "extents", "kind": "unlabelled_extent", "arms": extent_entries(some), "bootstrap": transfer.FEW}
    counts = {str(f): n for f, n in extents.COUNTS.items()}
    write_json_atomic(root / "study.json", info | {"label_fractions": [*extents.COUNTS], "label_counts": counts})
    return root


def pretraining_grid(root: Path) -> Path:
    return GridStudy(root, paper_sizes=[16, 8]).write()


def optimal_strategy(root: Path) -> Path:
    return GridStudy(root, kind="optimal_strategy", paper_sizes=[16, 8]).write()


def arms(root: Path) -> Path:
    return ArmsStudy(root).write()


@pytest.mark.slow
@pytest.mark.parametrize("write", [transfer_grid, pretraining_grid, optimal_strategy, unlabelled_extent, arms])
def test_the_page_of_each_kind(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    browser()
    root = tmp_path / "study"
    root.mkdir()
    report = write_report(write(root))
    page = Page(report.read_text(encoding="utf-8"))
    assert page.problems == [] and page.open == [] and len(page.ids) == len(set(page.ids))
    tables, figures = ({p.stem for p in (root / name).iterdir()} for name in ("tables", "figures"))
    assert len(tables) >= 1 and page.tags["svg"] == len(figures) >= 1
    for width in (1400, 400):
        assert console_lines(run_browser(report, width, "--dump-dom")) == []
        m = in_a_frame(report, width, LAYOUT, tmp_path)
        assert m["page"] <= width and m["headings"] == len(m["buttons"]) > 3
        assert all(across >= 300 and high >= 70 for _, _, across, high in m["figures"])
        assert all(x >= 0 and x + room <= width for x, _, room, _ in m["frames"])
    assert tables - {"dice"} == {p.stem for p in (root / "tables").glob("*.tex")}
    compiled(tmp_path, sorted((root / "tables").glob("*.tex")))
