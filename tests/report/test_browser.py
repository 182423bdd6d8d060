"""The page in a real browser: figures have a size, nothing is wider than the window, the console stays empty."""

from pathlib import Path
from typing import Any

import pytest
from browser import browser, console_lines, in_a_frame, run_browser
from example_study import ExampleStudy
from matplotlib.image import imread

from inpaint_ssl.report import write_report

MEASURE = """<script>
const box = e => { const r = e.getBoundingClientRect(); return [r.x, r.y, r.width, r.height]; };
parent.document.body.dataset.measured = JSON.stringify({
  width: innerWidth, page: document.documentElement.scrollWidth, table: box(document.querySelector("table.dice")),
  frame: box(document.querySelector("table.dice").parentElement),
  figures: [...document.querySelectorAll("figure svg")].map(box), headline: box(document.querySelector("h1"))});
</script>"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    browser()
    root = tmp_path_factory.mktemp("browser")
    return write_report(ExampleStudy(root, seeds=[0, 1], fractions=[0.05, 0.25, 1.0]).write())


@pytest.mark.slow
@pytest.mark.parametrize("width", [1400, 400])
def test_figures_are_visible_and_the_console_is_empty(report: Path, tmp_path: Path, width: int) -> None:
    shot = run_browser(report, width, f"--screenshot={tmp_path / 'shot.png'}")
    assert console_lines(shot) == []
    m: dict[str, Any] = in_a_frame(report, width, MEASURE, tmp_path)
    assert m["width"] == width and m["page"] <= width
    assert m["table"][2] <= m["frame"][2] + 1  # the whole table without scrolling
    assert len(m["figures"]) == 15
    for x, _, w, h in m["figures"]:
        assert w >= 300 and h >= 70 and x >= 0 and x + w <= width
    assert m["headline"][1] < 250 and m["figures"][0][1] < (200 if width == 1400 else 1000)
    picture = imread(tmp_path / "shot.png")
    assert picture.shape[1] == width
    x, y, w, h = (round(v) for v in (m["figures"][0] if width == 1400 else m["headline"]))
    part = picture[y : y + h, x : x + w, :3]
    assert part.size and 0.01 < (abs(part - picture[3, 3, :3]).max(-1) > 0.2).mean() < 0.9


@pytest.mark.slow
def test_an_error_in_the_console_would_be_seen(report: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text(report.read_text(encoding="utf-8").replace("</body>", "<script>nothing()</script></body>"))
    assert any("nothing is not defined" in line for line in console_lines(run_browser(broken, 800, "--dump-dom")))
