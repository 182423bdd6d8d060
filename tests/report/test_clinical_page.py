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

from inpaint_ssl.files import read_csv, read_json, write_csv_atomic, write_json_atomic
from inpaint_ssl.metrics import FLAGS
from inpaint_ssl.report import write_report
from inpaint_ssl.report.clinical.page import clinical_part
from inpaint_ssl.report.clinical.text import amount, flag_rows, signed_amount, t2_words
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
    counted = {"label_fraction", "labelled_subjects", "class", "arm", "subjects", "scans", "runs", "pairs", "excluded"}
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
    counts = ("subjects", "scans", "pairs", "excluded", "values_near_zero_hu")
    assert [row[name] for name in counts] == ["5", "5", "5", "1", ""]
    assert "5 5 of 6 pairs" in page.text  # subjects, and below them the pairs of one run
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
    assert [empty[key] for key in ("n_scans", "of_scans", "values", "values_defined")] == ["1", "6", "1", "0"]
    volume = rows["volume_mm3", "tibial cartilage", "from_scratch", "0.05", "empty_prediction"]
    assert volume["values_defined"] == "1"  # a volume of 0 is an error of -100 %
    assert rows["area_mm2", "tibial cartilage", "pretrained", "1.0", "touches_border"]["scans"] == "case_001"
    both = rows["mean_t2_ms", "tibial cartilage", "pretrained", "1.0", "touches_border"]
    assert (both["n_scans"], both["scans"]) == ("2", "case_001;case_004")
    shown = {(row.flag, row.class_name): row for row in flag_rows(read_study(knee.root))}
    border = shown["touches_border", "tibial cartilage"]  # scans 1 and 4
    assert (dict(border.scans), border.undefined) == ({"from_scratch": "2 of 6", "pretrained": "2 of 6"}, 0)
    prediction = shown["empty_prediction", "tibial cartilage"]
    assert (dict(prediction.scans), prediction.undefined) == ({"from_scratch": "1 of 6", "pretrained": "0 of 6"}, 1)
    assert shown["absent", "meniscus"].undefined == 3 * 2 * 2  # metrics, arms, label fractions
    assert "tibial cartilage 1 of 6 0 of 6 1" in page.text
    assert "summed over volume, cross-sectional area, mean T2, label fractions, arms and runs" in page.text
    assert "empty prediction tibial cartilage case_002 – " in page.text
    assert "touches border tibial cartilage case_001, case_004 case_001, case_004 meniscus case_001" in page.text


def test_an_arm_has_its_own_number_of_scans_and_a_dash_without_any(tmp_path: Path) -> None:
    example = ExampleStudy(tmp_path, classes=["a", "b"], fractions=[1.0], **KNEE)
    root = example.write()
    lines = (root / "per_scan.csv").read_text().splitlines()
    drop = ("from_scratch", "a"), ("pretrained", "b")
    kept = [line for line in lines if (cells := line.split(","))[7] != "case_005" or (cells[2], cells[9]) not in drop]
    (root / "per_scan.csv").write_text("\n".join(kept))
    shown = {(row.flag, row.class_name): dict(row.scans) for row in flag_rows(read_study(root))}
    assert shown["touches_border", "a"] == {"from_scratch": "2 of 5", "pretrained": "2 of 6"}
    assert shown["absent", "b"] == {"from_scratch": "1 of 6", "pretrained": "1 of 5"}
    one_arm = [line for line in lines if ",pretrained," not in line]
    (root / "per_scan.csv").write_text("\n".join(one_arm))
    page = Page(write_report(root).read_text(encoding="utf-8"))
    assert "a 2 of 6 – " in page.text and "a 2 of 6 0 of 6" not in page.text


def test_scans_of_unknown_sequence_are_flagged_in_the_page(tmp_path: Path) -> None:
    root = ExampleStudy(tmp_path, classes=["a"], fractions=[1.0], **KNEE).write()
    rows = read_csv(root / "per_scan.csv")
    for row in rows:
        if row["metric"] == "mean_t2_ms":
            row |= {"prediction": "nan", "truth": "nan", "value": "nan", "flag": "t2_unknown"}
    write_csv_atomic(root / "per_scan.csv", list(rows[0]), rows)
    page = Page(write_report(root).read_text(encoding="utf-8"))
    assert f"T2 unknown {FLAGS['t2_unknown']} a 6 of 6 6 of 6 12" in page.text
    assert "0 of 6 pairs" in page.text and "Mean T2 (ms)" in page.text
    assert {row["n_scans"] for row in read_csv(root / "tables/flags.csv") if row["flag"] == "t2_unknown"} == {"6"}


@pytest.mark.parametrize("status", ["trained", None])
def test_pictures_come_from_complete_runs_only(tmp_path: Path, status: str | None) -> None:
    root = ExampleStudy(tmp_path, fractions=[0.5, 1.0], **KNEE).write()
    record = read_json(root / "study.json", "study")
    for cell in record["cells"]:
        if cell["label_fraction"] == 0.5 and (status is None or cell["arm"] == "from_scratch"):
            del cell["status"]  # a study written before there was one
            cell |= {"status": status} if status else {}
    write_json_atomic(root / "study.json", record)
    for overlay in read_study(root).overlays:
        assert overlay.label_fraction == 0.5 and "pretrained" in overlay.t2_ms
        assert ("from_scratch" in overlay.predictions) is (status is None)
        assert ("from_scratch" in overlay.t2_ms) is (status is None)


def test_of_single_slices_the_page_shows_the_area_and_the_tables_have_both(tmp_path: Path) -> None:
    example = ExampleStudy(tmp_path, classes=["muscle"], fractions=[1.0], modality="ct", **KNEE)
    page = Page(write_report(example.write()).read_text(encoding="utf-8"))
    assert "Volume (mm³)" not in page.text and "Cross-sectional area (mm²)" in page.text
    assert page.text.count("Each scan has one slice: its volume is the area times the thickness") == 2  # and Methods
    assert not list((tmp_path / "figures").glob("*volume*"))
    volume, area = (read_csv(tmp_path / f"tables/{m}.csv") for m in ("volume_mm3", "area_mm2"))
    assert len(volume) == len(area) == 2
    assert float(volume[0]["bias_mm3"]) == pytest.approx(5 * float(area[0]["bias_mm2"]))
    assert "summed over cross-sectional area, mean HU, label" in page.text


def test_methods_say_what_each_arm_rests_on(page: Page) -> None:
    for words in (
        "left out of the numbers of its arm, and counted; the other arm kept its own",
        "Sentences that compare the arms take only scans and runs with a value in both.",
        "the score cv of per_scan.csv takes the population standard deviation, |prediction − truth| / 2",
        "for each arm over the scans for which it has one, with their number; they are not compared or tested",
    ):
        assert words in page.text, words


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
    near = "1 pair of prediction and truth (of all classes, arms, label fractions and runs) has a truth or a mean"
    assert near in page.text and "convention" not in page.text
    assert [r["values_near_zero_hu"] for r in read_csv(root / "tables/mean_hu.csv")] == ["1"]


def test_studies_without_clinical_metrics_look_as_before(tmp_path: Path) -> None:
    root = ExampleStudy(tmp_path, fractions=[1.0], subjects=2, size=(24, 24), bare=True).write()
    page = Page(write_report(root).read_text(encoding="utf-8"))
    assert "Clinical" not in page.text and "Flags" not in page.text and "flagged" not in page.text
    names = {path.stem for path in (root / "tables").iterdir()}
    assert names == {"dice", "inpainting", "runs", "settings"}


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
