"""Tables in a real browser: headings sort them, groups stay together, and all of it prints."""

import contextlib
import re
import zlib
from pathlib import Path
from typing import Any

import made_up_kind
import pytest
from browser import browser, console_lines, in_a_frame, run_browser
from example_study import ExampleStudy
from matplotlib.image import imread

from inpaint_ssl.report import write_report

# presses the heading of a column of a table (by mouse, or by key on the focused button) and notes what is to be seen
PRESS = """<script>
const texts = (table, k) => [...table.tBodies].map(b => [...b.rows].map(r => r.cells[Math.min(k, r.cells.length - 1)]
  .textContent.trim()));
const press = (table, k) => {
  const button = table.querySelectorAll("thead button")[k];
  button.click();
  const of = [...table.querySelectorAll("thead th")].map(th => th.getAttribute("aria-sort"));
  return [texts(table, k), of];
};
const result = RESULT;
parent.document.body.dataset.measured = JSON.stringify(result);
</script>"""
LAYOUT = """<script>
const box = e => { const r = e.getBoundingClientRect(); return [r.x, r.y, r.width, r.height]; };
parent.document.body.dataset.measured = JSON.stringify({
  page: document.documentElement.scrollWidth, figures: [...document.querySelectorAll("figure svg")].map(box),
  frames: [...document.querySelectorAll("figure svg")].map(e => box(e.parentElement)),
  headings: [...document.querySelectorAll("thead th")].length,
  buttons: [...document.querySelectorAll("thead th > button")].map(e => [e.tabIndex, e.type])});
</script>"""


def fill_colours(pdf: bytes) -> set[tuple[int, ...]]:
    """Colours (0 to 255) with which anything is filled in a PDF, text included."""
    found = set()
    for stream in re.findall(rb"stream\r?\n(.*?)endstream", pdf, re.DOTALL):
        with contextlib.suppress(zlib.error):
            drawn = zlib.decompress(stream)
            found |= {
                tuple(round(255 * float(v)) for v in c) for c in re.findall(rb"([\d.]+) ([\d.]+) ([\d.]+) rg", drawn)
            }
    return found


@pytest.fixture(scope="module")
def kind_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    browser()
    with pytest.MonkeyPatch.context() as patch:
        made_up_kind.register(patch)
        return write_report(made_up_kind.write_kind(tmp_path_factory.mktemp("kind"), pictures=True))


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> ExampleStudy:
    browser()
    options: dict[str, Any] = {"clinical": True, "bare": True, "subjects": 6, "size": (24, 24)}
    example = ExampleStudy(tmp_path_factory.mktemp("comparison"), classes=["zonal", "axial", "meniscus"], **options)
    write_report(example.write())
    return example


def pressed(page: Path, folder: Path, result: str) -> Any:
    return in_a_frame(page, 1200, PRESS.replace("RESULT", result), folder)


@pytest.mark.slow
def test_a_heading_sorts_up_down_and_back(kind_report: Path, tmp_path: Path) -> None:
    table = 'document.querySelector("table.view")'
    found = pressed(kind_report, tmp_path, f"[1, 1, 1, 0, 2, 3, 3].map(k => press({table}, k))")
    dice = ["0.812", "–", "0.790", "0.900"]
    up, down, back, names, p, best_up, best_down = [rows[0] for rows, _ in found]
    assert up == ["0.790", "0.812", "0.900", "–"] and down == ["0.900", "0.812", "0.790", "–"] and back == dice
    assert names == ["FBF_lr-0.1", "FEF_lr-0.001", "FES <b>&</b>", "FFEF_lr-0.01"]
    assert p == ["< 0.001", "0.020", "0.300", "1.000"]  # by value: the smallest has a bound
    assert best_up == ["9 arms", "10 arms", "11 arms", "12 arms"] == best_down[::-1]
    states = [order for _, order in found]
    assert states[0] == [None, "ascending", None, None] and states[1] == [None, "descending", None, None]
    assert states[2] == [None] * 4 and states[3] == ["ascending", None, None, None]


@pytest.mark.slow
def test_groups_are_sorted_inside_and_keep_their_headings(comparison: ExampleStudy, tmp_path: Path) -> None:
    page = comparison.root / "report.html"
    script = 'press(document.querySelector("table.dice"), 2)'
    rows, _ = pressed(page, tmp_path, script)
    assert [group[0] for group in rows] == ["5 % of the labels (6 subjects)".replace(" %", "\N{NO-BREAK SPACE}%"),
                                            "100\N{NO-BREAK SPACE}% of the labels (120 subjects)"]  # fmt: skip
    for group, fraction in zip(rows, comparison.fractions, strict=True):
        shown = [float(re.match(r"[\d.]+", text)[0]) for text in group[1:]]  # type: ignore[index]
        assert len(shown) == 4 and shown == sorted(shown)
        values = [[comparison.dice("pretrained", fraction, c, 0, s) for s in comparison.scans()]
                  for c in comparison.classes]  # fmt: skip
        assert shown[0] == pytest.approx(min(sum(v) / len(v) for v in values), abs=5e-4)
    # a table with two rows of headings: the seventh column is the bias of the pretrained arm
    rows, order = pressed(page, tmp_path, 'press(document.querySelector("table.agreement"), 2)')
    names = pressed(page, tmp_path, 'press(document.querySelector("table.agreement"), 0)')[0]
    assert [name for name in names[0][1:]] == ["axial", "meniscus", "zonal"] and order.count("ascending") == 1
    shown = [float(re.match(r"[+−]?[\d.,]+", t)[0].replace("−", "-").replace(",", "")) for t in rows[0][1:]]  # type: ignore[index]
    assert shown == sorted(shown)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1400, 400])
def test_the_page_of_a_kind_fits_and_every_heading_is_a_button(kind_report: Path, tmp_path: Path, width: int) -> None:
    assert console_lines(run_browser(kind_report, width, "--dump-dom")) == []
    m = in_a_frame(kind_report, width, LAYOUT, tmp_path)
    assert m["page"] <= width and len(m["figures"]) == 8
    for (_, _, across, high), (x, _, room, _) in zip(m["figures"], m["frames"], strict=True):
        assert across >= 300 and high >= 70 and x >= 0 and x + room <= width
        assert across <= room + 1 or across >= 700  # a wide figure scrolls in its frame, not shrunk
    assert m["headings"] == len(m["buttons"]) > 20 and all(b == [0, "button"] for b in m["buttons"])


@pytest.mark.slow
def test_the_page_is_light_or_dark_and_always_prints_light(kind_report: Path, tmp_path: Path) -> None:
    ink = {}
    for name, dark in (("light", "1"), ("dark", "0")):
        shot = tmp_path / f"{name}.png"
        run_browser(kind_report, 1400, f"--blink-settings=preferredColorScheme={dark}", f"--screenshot={shot}")
        ink[name] = imread(shot)[..., :3].mean()
    assert ink["light"] > 0.85 and ink["dark"] < 0.25
    printed = tmp_path / "page.pdf"
    run_browser(kind_report, 1400, "--blink-settings=preferredColorScheme=0", f"--print-to-pdf={printed}")
    content = printed.read_bytes()
    assert content.startswith(b"%PDF") and 2 <= len(re.findall(rb"/Type\s*/Page\b", content)) <= 12
    colours = fill_colours(content)
    assert (0, 0, 0) in colours and not colours & {(0xE8, 0xEA, 0xED), (0x15, 0x18, 0x1C), (0x1D, 0x21, 0x26)}
