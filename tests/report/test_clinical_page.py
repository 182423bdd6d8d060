"""Clinical metrics in the page, the tables, the terminal and in words."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import browser, console_lines, in_a_frame, run_browser
from clinical_rows import quantity
from example_study import ExampleStudy
from markupsafe import Markup
from test_page import Page
from test_terminal import printed

from inpaint_ssl.files import read_csv, read_json, write_json_atomic
from inpaint_ssl.metrics import FLAGS
from inpaint_ssl.report import write_report
from inpaint_ssl.report.clinical.page import clinical_part
from inpaint_ssl.report.clinical.text import amount, finding, flag_rows, signed_amount, t2_words
from inpaint_ssl.report.drawing import Picture
from inpaint_ssl.report.load import read_study

KNEE: dict[str, Any] = {"clinical": True, "bare": True, "subjects": 6, "size": (24, 24)}


@pytest.fixture(scope="module")
def knee(tmp_path_factory: pytest.TempPathFactory) -> ExampleStudy:
    example = ExampleStudy(tmp_path_factory.mktemp("knee"), classes=["tibial cartilage", "meniscus"], **KNEE)
    write_report(example.write())
    return example


@pytest.fixture(scope="module")
def page(knee: ExampleStudy) -> Page:
    return Page((knee.root / "report.html").read_text(encoding="utf-8"))


def test_the_section_has_figures_tables_flags_and_methods(knee: ExampleStudy, page: Page) -> None:
    assert page.problems == [] and page.open == [] and len(page.ids) == len(set(page.ids))
    names = {path.stem for path in (knee.root / "figures").glob("*.svg")}
    metrics = ("volume_mm3", "area_mm2", "mean_t2_ms")
    assert {f"{kind}_{m}" for kind in ("clinical", "bland_altman") for m in metrics} | {"t2_map_median"} <= names
    assert page.tags["svg"] == len(page.labels) == len(names) and all(page.labels)
    for words in (
        "Volume (mm³)", "Cross-sectional area (mm²)", "Mean T2 (ms)", "Bias, limits (mm³)",
        "T2 follows the convention skm_tea: voxels outside [0, 100] ms and those suppressed as fat or fluid have no "
        "valid T2 and were left out. T1 was 1200 ms for tibial cartilage and 1000 ms for meniscus.",
        "touches border", FLAGS["touches_border"], f"T2 invalid {FLAGS['t2_invalid']} (more than 50 %)",
        "Glüer et al. 1995", "Sveinsson et al. 2017", "tables/surface_distances.csv",
    ):  # fmt: skip
        assert words in page.text, words


def test_tables_name_their_units_and_hold_the_numbers(knee: ExampleStudy, page: Page) -> None:
    rows = read_csv(knee.root / "tables/mean_t2_ms.csv")
    assert len(rows) == 2 * 2 * 2
    counted = {"label_fraction", "labelled_subjects", "class", "arm", "subjects", "scans", "runs", "excluded"}
    assert all(name in counted or name.endswith(("_percent", "_ms", "_hu")) for name in rows[0])
    row = next(r for r in rows if (r["label_fraction"], r["class"], r["arm"]) == ("0.05", "meniscus", "pretrained"))
    scans = [scan for scan in knee.scans() if not scan.endswith("003")]
    pairs = [quantity(knee, "pretrained", 0.05, "meniscus", 0, scan, "mean_t2_ms") for scan in scans]
    d = np.array([p - t for p, t in pairs])
    relative = np.array([100 * (p - t) / t for p, t in pairs])
    expected = {
        "median_absolute_error_percent": np.median(abs(relative)), "bias_ms": d.mean(), "sd_ms": d.std(ddof=1),
        "lower_limit_ms": d.mean() - 1.96 * d.std(ddof=1), "upper_limit_percent": relative.mean()
        + 1.96 * relative.std(ddof=1), "rmse_cv_percent": 100 * np.sqrt((d**2).mean()) / np.mean([t for _, t in pairs]),
    }  # fmt: skip
    assert {key: float(row[key]) for key in expected} == pytest.approx(expected)
    assert (row["subjects"], row["scans"], row["excluded"], row["values_near_zero_hu"]) == ("5", "5", "1", "")
    assert f"{np.median(abs(relative)):.1f}" in page.text and signed_amount(float(d.mean())) in page.text


def test_surface_distances_are_averaged_over_subjects(knee: ExampleStudy) -> None:
    rows = read_csv(knee.root / "tables/surface_distances.csv")
    found = {(r["metric"], r["label_fraction"], r["class"], r["arm"]): r for r in rows}
    assert len(found) == len(rows) == 2 * 2 * 2 * 2
    row = found["hd95_mm", "0.05", "tibial cartilage", "from_scratch"]
    assert (float(row["mean_mm"]), row["scans"], row["excluded"]) == (pytest.approx(1.7), "5", "1")
    assert float(found["assd_mm", "1.0", "meniscus", "pretrained"]["mean_mm"]) == pytest.approx(0.8)


def test_flags_are_counted_in_the_table_and_the_page(knee: ExampleStudy, page: Page) -> None:
    rows = {(r["metric"], r["class"], r["arm"], r["label_fraction"], r["flag"]): r for r in read_csv(
        knee.root / "tables/flags.csv"
    )}  # fmt: skip
    empty = rows["mean_t2_ms", "tibial cartilage", "from_scratch", "0.05", "empty_prediction"]
    assert [empty[key] for key in ("scans", "of_scans", "values", "values_defined")] == ["1", "6", "1", "0"]
    volume = rows["volume_mm3", "tibial cartilage", "from_scratch", "0.05", "empty_prediction"]
    assert volume["values_defined"] == "1"  # a volume of 0 is an error of -100 %
    shown = {(row.flag, row.class_name): row for row in flag_rows(read_study(knee.root))}
    border = shown["touches_border", "tibial cartilage"]  # scans 1 and 4
    assert (dict(border.scans), border.undefined) == ({"from_scratch": "2 of 6", "pretrained": "2 of 6"}, 0)
    prediction = shown["empty_prediction", "tibial cartilage"]
    assert (dict(prediction.scans), prediction.undefined) == ({"from_scratch": "1 of 6", "pretrained": "0 of 6"}, 1)
    assert shown["absent", "meniscus"].undefined == 3 * 2 * 2  # metrics, arms, label fractions
    assert "tibial cartilage 1 of 6 0 of 6 1" in page.text


def test_what_was_done_to_muscle_and_what_hu_near_water_means(tmp_path: Path) -> None:
    example = ExampleStudy(
        tmp_path, classes=["muscle"], fractions=[1.0], modality="ct", arms=["pretrained"], **KNEE | {"subjects": 2}
    )
    root = example.write()
    text = (root / "per_scan.csv").read_text()
    line = next(line for line in text.splitlines() if "mean_hu" in line)
    changed = ",".join([*line.split(",")[:12], "12.0", "10.0", "20.0", ""])
    (root / "per_scan.csv").write_text(text.replace(line, changed))
    page = Page(write_report(root).read_text(encoding="utf-8"))
    assert "Predicted muscle below −30 HU was counted as intramuscular fat." in page.text
    assert "1 values lie within 20 HU of 0" in page.text and "convention" not in page.text
    assert [r["values_near_zero_hu"] for r in read_csv(root / "tables/mean_hu.csv")] == ["1"]


def test_studies_without_clinical_metrics_look_as_before(tmp_path: Path) -> None:
    root = ExampleStudy(tmp_path, fractions=[1.0], subjects=2, size=(24, 24), bare=True).write()
    page = Page(write_report(root).read_text(encoding="utf-8"))
    assert "Clinical" not in page.text and "Flags" not in page.text and "flagged" not in page.text
    assert {path.name for path in (root / "tables").iterdir()} == {"dice.csv", "inpainting.csv"}


def test_clinical_rows_without_a_record_in_study_json(tmp_path: Path) -> None:
    root = ExampleStudy(tmp_path, classes=["only"], fractions=[1.0], **KNEE).write()
    study = read_json(root / "study.json", "study")
    del study["clinical"]
    write_json_atomic(root / "study.json", study)
    metrics = ("volume_mm3", "area_mm2", "mean_t2_ms")
    pictures = {k: [Picture(f"{k}_{m}", Markup(), "") for m in metrics] for k in ("clinical", "bland_altman")}
    part = clinical_part(read_study(root), pictures | {"t2_maps": []})
    assert part is not None and [m.title for m in part.metrics] == ["Volume", "Cross-sectional area", "Mean T2"]
    assert (part.t2_convention, part.fat_rule, part.t2_invalid_share) == ("", "", None)


def test_the_terminal_counts_flagged_scans(tmp_path: Path) -> None:
    text = printed(tmp_path, **KNEE)
    expected = "5 of 6 test scans are flagged (absent 1, empty_prediction 1, t2_invalid 1, touches_border 2)"
    assert " ".join(text.split()).count(f"{expected.replace('5 of 6', '4 of 6')}; see the report") == 1


@pytest.mark.parametrize(
    ("changes", "subjects", "expected"),
    [
        ({"a": (10, 5), "b": (8, 2)}, 5, "was lower with pretraining for both classes, most for b (8.0 % from scratch, "
         "2.0 % pretrained)."),
        ({"a": (10, 12), "b": (8, 9), "c": (4, 3)}, 5, "was higher with pretraining for 2 of 3 classes and lower for "
         "1, most for a (10.0 % from scratch, 12.0 % pretrained)."),
        ({"a": (10, 10.01)}, 5, "was the same in both arms."),
        ({"a": (10, 5)}, 5, "was lower with pretraining (10.0 % from scratch, 5.0 % pretrained)."),
        ({"a": (10, 5)}, 4, ""),
    ],
)  # fmt: skip
def test_what_the_medians_say(
    tmp_path: Path, changes: dict[str, tuple[float, float]], subjects: int, expected: str
) -> None:
    header = "arm,label_fraction,subset_draw,seed,split,subject,scan,class,metric,unit,prediction,truth,value,flag"
    lines = [header]
    for name, errors in changes.items():
        for arm, error in zip(("from_scratch", "pretrained"), errors, strict=True):
            for scan in range(subjects):
                row = f"{arm},0.05,0,0,test,s{scan},s{scan},{name}"
                lines.append(f"{row},volume_mm3,%,{100 + error},100,{error},")
                lines.append(f"{row},dice,ratio,1,1,0.5,")
    (tmp_path / "per_scan.csv").write_text("\n".join(lines))
    write_json_atomic(tmp_path / "study.json", {"classes": list(changes)})
    sentence = finding(read_study(tmp_path), "volume_mm3")
    assert sentence == (expected and f"With 5 % of the labels, the median error of volume {expected}")


def test_numbers_and_conventions_as_text() -> None:
    values = (12345.6, 123.4, 99.96, 12.34, -1.234, 0.0, math.nan, math.inf, -0.001)
    assert [amount(v) for v in values] == ["12,346", "123", "100", "12.3", "−1.23", "0.00", "–", "∞", "0.00"]
    assert [signed_amount(v) for v in (1.5, -1.5, 0.001, math.nan)] == ["+1.50", "−1.50", "0.00", "–"]
    t2: dict[str, Any] = {"convention": "original_code", "t1_ms": {"a": 1200.0, "b": 1200.0}, "bounds_ms": [0, 80.5]}
    t2 |= {"suppress_fat": False, "suppress_fluid": False, "invalid": "counted as 0"}
    assert t2_words(t2) == (
        "T2 follows the convention original_code: voxels outside [0, 80.5] ms (nothing is suppressed) have no valid T2 "
        "and were counted as 0 ms. T1 was 1200 ms."
    )


MEASURE = """<script>
const box = e => { const r = e.getBoundingClientRect(); return [r.x, r.y, r.width, r.height]; };
parent.document.body.dataset.measured = JSON.stringify({
  page: document.documentElement.scrollWidth,
  frames: [...document.querySelectorAll(".clinical figure .wide")].map(box),
  figures: [...document.querySelectorAll(".clinical figure svg")].map(box)});
</script>"""


@pytest.mark.slow
@pytest.mark.parametrize("width", [1300, 400])
def test_in_a_browser_wide_figures_scroll_inside_the_page(knee: ExampleStudy, tmp_path: Path, width: int) -> None:
    browser()
    report = knee.root / "report.html"
    assert console_lines(run_browser(report, width, "--dump-dom")) == []
    measured = in_a_frame(report, width, MEASURE, tmp_path)
    assert measured["page"] <= width and len(measured["figures"]) == 7
    for (x, _, w, _), (_, _, across, high) in zip(measured["frames"], measured["figures"], strict=True):
        assert x >= 0 and x + w <= width and high > 120
        assert across <= w + 1 if width == 1300 else across >= 400  # readable on a phone: scrolled, not shrunk
