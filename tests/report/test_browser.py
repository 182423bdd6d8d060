"""The page in a real browser: figures have a size, nothing is wider than the window, the console stays empty."""

import html
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
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


def _browser() -> str:
    found = next((b for n in ("chromium", "chromium-browser", "google-chrome") if (b := shutil.which(n))), None)
    if found is None:
        if os.environ.get("INPAINT_SSL_REQUIRE_BROWSER") == "1":
            pytest.fail("no Chromium found, but INPAINT_SSL_REQUIRE_BROWSER=1")
        pytest.skip("no Chromium on this machine")
    return found


def _run(page: Path, width: int, *options: str) -> subprocess.CompletedProcess[str]:
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
    flags += ["--no-first-run", "--hide-scrollbars", "--enable-logging=stderr", f"--window-size={width},1000"]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [_browser(), *flags, f"--user-data-dir={profile}", *options, page.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def _console(run: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in run.stderr.splitlines() if ":CONSOLE" in line]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    _browser()
    root = tmp_path_factory.mktemp("browser")
    return write_report(ExampleStudy(root, seeds=[0, 1], fractions=[0.05, 0.25, 1.0]).write())


@pytest.mark.slow
@pytest.mark.parametrize("width", [1400, 400])
def test_figures_are_visible_and_the_console_is_empty(report: Path, tmp_path: Path, width: int) -> None:
    shot = _run(report, width, f"--screenshot={tmp_path / 'shot.png'}")
    assert _console(shot) == []
    # a window cannot be narrower than 500 pixels, a frame can
    inner = html.escape(report.read_text(encoding="utf-8").replace("</body>", MEASURE + "</body>"))
    frame = f'<iframe style="border: 0; width: {width}px; height: 1000px" srcdoc="{inner}"></iframe>'
    (tmp_path / "frame.html").write_text(f"<!doctype html><body>{frame}</body>")
    dom = _run(tmp_path / "frame.html", 1500, "--dump-dom").stdout
    found = re.search(r'data-measured="([^"]*)"', dom[: dom.index("<iframe")])
    assert found is not None
    m: dict[str, Any] = json.loads(html.unescape(found.group(1)))
    assert m["width"] == width and m["page"] <= width
    assert m["table"][2] <= m["frame"][2] + 1  # the whole table without scrolling
    assert len(m["figures"]) == 14
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
    assert any("nothing is not defined" in line for line in _console(_run(broken, 800, "--dump-dom")))
