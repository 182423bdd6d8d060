"""The doctor's page in a real browser: pictures have a size, nothing is wider than the window, no error."""

from pathlib import Path

import broken_set
import pytest
from browser import browser, console_lines, in_a_frame, run_browser
from matplotlib.image import imread
from rich.console import Console

from inpaint_ssl.doctor.examine import examine
from inpaint_ssl.doctor.page import write_page
from inpaint_ssl.doctor.plan import make_plan
from inpaint_ssl.forecast import estimate

MEASURE = """<script>
const box = e => { const r = e.getBoundingClientRect(); return [r.x, r.y, r.width, r.height]; };
parent.document.body.dataset.measured = JSON.stringify({
  width: innerWidth, page: document.documentElement.scrollWidth,
  tiles: [...document.querySelectorAll(".tiles img")].map(e => [...box(e), e.naturalWidth]),
  figures: [...document.querySelectorAll("figure svg")].map(box), headline: box(document.querySelector("h1")),
  tables: [...document.querySelectorAll("table")].map(e => [box(e)[2], box(e.parentElement)[2]]),
  findings: document.querySelectorAll("article").length});
</script>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    browser()
    folder = tmp_path_factory.mktemp("page")
    root, split = broken_set.broken_mri(folder)
    config = broken_set.settings(root, split__file=str(split))
    quiet = Console(quiet=True)
    diagnosis = examine(config, quiet)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(estimate, "measure_step", lambda *_: (10**7, 60.0, 6.0))
        plan = make_plan(config, diagnosis, quiet)
    write_page(folder / "page.html", config, diagnosis, plan, quiet)
    return folder / "page.html"


@pytest.mark.slow
@pytest.mark.parametrize("width", [1400, 400])
def test_the_page(page: Path, tmp_path: Path, width: int) -> None:
    shot = run_browser(page, width, f"--screenshot={tmp_path / 'shot.png'}")
    assert console_lines(shot) == []
    m = in_a_frame(page, width, MEASURE, tmp_path)
    assert m["width"] == width and m["page"] <= width
    assert m["findings"] > 15 and len(m["figures"]) == 1 and len(m["tiles"]) > 20
    for x, _, w, h, natural in m["tiles"]:
        assert natural > 0 and w >= 100 and h >= 60 and x >= 0 and x + w <= width
    for x, _, w, h in m["figures"]:
        assert w >= 300 and h >= 70 and x >= 0 and x + w <= width
    assert all(table <= frame + 1 for table, frame in m["tables"])
    picture = imread(tmp_path / "shot.png")
    x, y, w, h = (round(v) for v in m["headline"])
    part = picture[y : y + h, x : x + w, :3]
    assert part.size and 0.005 < (abs(part - picture[3, 3, :3]).max(-1) > 0.2).mean() < 0.9
