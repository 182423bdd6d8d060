"""The section "Is it worth it?": figure, statements, table, and what a study without a label curve shows."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import browser, console_lines, in_a_frame, run_browser
from example_study import ExampleStudy
from markupsafe import Markup
from test_page import Page

from inpaint_ssl.files import read_csv, read_json, write_json_atomic
from inpaint_ssl.report import write_report
from inpaint_ssl.report.drawing import Picture
from inpaint_ssl.report.load import Study, read_study
from inpaint_ssl.report.worth import CURVE, TABLE, gained, labels_saved, worth, write_label_curve

FIVE: dict[str, Any] = {"fractions": [0.05, 0.1, 0.25, 0.5, 1.0], "subjects": 12, "bare": True, "size": (16, 16)}


class PowerStudy(ExampleStudy):
    """Dice errors are power laws of the number of labelled subjects, times noise of subjects and of values."""

    gain_factor = 0.65  # error of the pretrained arm, of that from scratch

    def dice(self, arm: str, fraction: float, cls: str, seed: int, scan: str) -> float:
        noise = np.random.default_rng(zlib.crc32(f"{arm}{fraction}{cls}{seed}{scan}".encode())).normal(0, 0.08)
        subject = np.random.default_rng(zlib.crc32(scan.encode())).normal(0, 0.2)
        error = 0.5 * self.count(fraction) ** -0.4 * (self.gain_factor if arm == "pretrained" else 1.0)
        return round(float(np.clip(1 - error * np.exp(noise + subject), 0, 1)), 6)


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> PowerStudy:
    study = PowerStudy(tmp_path_factory.mktemp("worth"), **FIVE)
    write_report(study.write())
    return study


@pytest.fixture(scope="module")
def study(example: PowerStudy) -> Study:
    return read_study(example.root)


@pytest.fixture(scope="module")
def page(example: PowerStudy) -> Page:
    return Page((example.root / "report.html").read_text(encoding="utf-8"))


def test_the_page_states_what_the_curves_say(example: PowerStudy, study: Study, page: Page) -> None:
    assert page.problems == [] and page.open == [] and len(page.ids) == len(set(page.ids))
    found = study.label_curves
    assert len(found.equivalents) == 5 and {bool(e.unsupported) for e in found.equivalents} == {False, True}
    assert "Is it worth it? How many more labelled subjects would give" in page.text
    for e in found.equivalents:
        assert f"{gained(e)} {e.statement}" in page.text
    stated = [e for e in found.equivalents if not e.unsupported]
    assert gained(stated[0]) == f"+{stated[0].more:.0f}" and stated[0].more == pytest.approx(6 / 0.65**2.5 - 6, rel=0.3)
    scratch, _ = found.curves
    for words in (
        f"from scratch {scratch.scale:.3g} n −{scratch.exponent:.2f} + {scratch.floor:.3f} (exponent",
        "95 % intervals over 12 test subjects; they do not cover other draws of the labelled subjects.",
        "percentiles over 10,000 resamples of the test subjects (seed 0)", "with c ≥ 0, by least squares",
    ):  # fmt: skip
        assert words in page.text, words
    assert (
        sum(label.startswith("Dice error of both arms") and stated[0].statement in label for label in page.labels) == 1
    )
    assert {"labels_saved.svg", "labels_saved.png"} <= {path.name for path in (example.root / "figures").iterdir()}


def test_the_table_holds_every_number(example: PowerStudy, study: Study) -> None:
    found, rows = study.label_curves, read_csv(example.root / "tables/label_curve.csv")
    assert tuple(rows[0])[: len(TABLE)] == TABLE and len(rows[0]) == len(TABLE) + 2 * len(CURVE)
    for row, e in zip(rows, found.equivalents, strict=True):
        numbers = (float(row[f"more_{name}"]) for name in ("labelled_subjects", "lower", "upper"))
        assert tuple(numbers) == (e.more, *e.more_interval)
        assert float(row["from_scratch_error"]) == e.measured["from_scratch"]
        assert float(row["pretrained_curve"]) == e.fitted["pretrained"]
        assert int(row["labelled_subjects"]) == example.count(float(row["label_fraction"])) == e.n_labels
        assert (row["stated"], row["why_not_stated"]) == ("no" if e.unsupported else "yes", e.unsupported)
        assert row["extrapolated"] == ("yes" if e.n_equivalent > 120 else "no")
        for c in found.curves:
            assert float(row[f"{c.arm}_exponent"]) == c.exponent and float(row[f"{c.arm}_scatter"]) == c.scatter
            assert float(row[f"{c.arm}_mean_exponent_upper"]) == c.mean_exponent_interval[1]
    assert rows[0]["from_scratch_scale"] == rows[4]["from_scratch_scale"]


def test_the_figure_has_curves_bands_points_and_a_step_per_number(example: PowerStudy, study: Study) -> None:
    (drawing,) = labels_saved(study)
    (axes,) = drawing.figure.axes
    assert axes.get_xscale() == axes.get_yscale() == "log" and len(axes.collections) == 2
    stated = [e for e in study.label_curves.equivalents if not e.unsupported]
    texts = [a for a in axes.texts if a.get_text()]
    assert [a.get_text() for a in texts] == [gained(e) for e in stated]
    arrows = [(a.xyann, a.xy) for a in axes.texts if not a.get_text()]
    assert arrows == [
        ((e.n_labels, e.fitted["pretrained"]), (e.n_equivalent, e.fitted["pretrained"])) for e in stated
    ]  # fmt: skip
    points = [line.get_xydata() for line in axes.lines if line.get_linestyle() == "None"]
    expected = [[(e.n_labels, e.measured[arm]) for e in study.label_curves.equivalents] for arm in example.arms]
    np.testing.assert_allclose(points, expected)
    assert [t.get_text() for t in axes.get_xticklabels()] == [
        "6\n5 %",
        "12\n10 %",
        "30\n25 %",
        "60\n50 %",
        "120\n100 %",
    ]
    low, high = axes.get_ylim()
    assert len(axes.get_yticks()) >= 4 and all(low <= y <= high for y in axes.get_yticks())
    assert axes.get_xlim()[1] > max(e.n_equivalent for e in stated)
    dashed = [line for line in axes.lines if line.get_linestyle() == "--" and len(line.get_xdata()) > 1]
    assert bool(dashed) == ("dashed" in drawing.caption) == any(e.extrapolated for e in stated)
    drawing.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert all(axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 for box in boxes)


def test_when_no_curve_fits_one_line_says_so_beside_the_figure(tmp_path: Path) -> None:
    study = read_study(ExampleStudy(tmp_path, noise=0.0, gain=0.1, share=0.0, **FIVE).write())
    (drawing,) = labels_saved(study)
    part = worth(study, [Picture("labels_saved", Markup(), "")])
    assert part is not None and part.items == () and part.picture is not None
    assert part.line.startswith("No number of labels: no power law fits (the errors pretrained scatter around theirs")
    assert not drawing.figure.axes[0].texts and "dashed" not in drawing.caption
    write_label_curve(study)
    assert {r["stated"] for r in read_csv(tmp_path / "tables/label_curve.csv")} == {"no"}


def test_two_label_fractions_make_one_line(tmp_path: Path) -> None:
    path = write_report(PowerStudy(tmp_path, **FIVE | {"fractions": [0.05, 1.0], "subjects": 5}).write())
    page = Page(path.read_text(encoding="utf-8"))
    assert page.problems == [] and "Labels saved" not in page.text
    line = "No statement: a label curve needs 3 or more different numbers of labelled subjects in both arms, and this"
    assert f"Is it worth it? {line} study has 2." in page.text
    assert not (tmp_path / "tables/label_curve.csv").exists()
    assert not (tmp_path / "figures/labels_saved.svg").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"subjects": 4}, "No statement: an interval over test subjects needs 5 or more with a value in every run"),
        ({"fractions": [1.0]}, ""),
        ({"arms": ["pretrained"]}, ""),
        ({"finetuned": False}, ""),
    ],
)
def test_without_a_curve_there_is_one_line_or_no_section(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    study = read_study(PowerStudy(tmp_path, **FIVE | options).write())
    part = worth(study, [])
    assert (part is not None and part.line.startswith(words)) if words else part is None
    assert labels_saved(study) == []


def test_studies_of_old_have_no_counts_and_new_ones_say_how_to_resample(tmp_path: Path) -> None:
    root = PowerStudy(tmp_path, **FIVE).write()
    record = read_json(root / "study.json", "study")
    write_json_atomic(root / "study.json", record | {"bootstrap": {"resamples": 1000, "seed": 11}, "alpha": 0.1})
    found = read_study(root).label_curves
    assert (found.bootstrap.resamples, found.bootstrap.seed, found.level) == (1000, 11, 0.9)
    del record["label_counts"]
    write_json_atomic(root / "study.json", record)
    part = worth(read_study(root), [])
    assert part is not None and part.picture is None
    assert part.line == "No statement: the number of labelled subjects is not known at every label fraction."


MEASURE = """<script>
const box = e => { const r = e.getBoundingClientRect(); return [r.x, r.y, r.width, r.height]; };
parent.document.body.dataset.measured = JSON.stringify({
  page: document.documentElement.scrollWidth, list: box(document.querySelector(".worth ul")),
  figure: box(document.querySelector(".worth figure svg"))});
</script>"""


@pytest.mark.slow
@pytest.mark.parametrize("width", [1400, 400])
def test_in_a_browser_words_and_figure_stand_side_by_side_or_below(
    example: PowerStudy, tmp_path: Path, width: int
) -> None:
    browser()
    report = example.root / "report.html"
    assert console_lines(run_browser(report, width, "--dump-dom")) == []
    measured = in_a_frame(report, width, MEASURE, tmp_path)
    assert measured["page"] <= width
    (x, y, w, h), (left, top, across, high) = measured["list"], measured["figure"]
    assert across > 300 and high > 200 and left + across <= width
    assert (left > x + w and top < y + h) if width == 1400 else top > y + h
