"""measurements.csv, read again by the csv module: what a spreadsheet would show."""

import csv
from pathlib import Path

import numpy as np
import pytest
from example_prediction import failed_record, row, scan_record

from inpaint_ssl.data import ClassMap
from inpaint_ssl.measure import Measures, measure_mask
from inpaint_ssl.predict.measurements import write_measurements


def cells(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_a_row_for_every_scan_and_class(tmp_path: Path) -> None:
    records = [
        scan_record("a", warnings=["spacing is 0.4 mm", "HU from 0"], disagreement=0.125),
        failed_record("b", "cut short; copy it again"),
    ]
    write_measurements(tmp_path / "measurements.csv", records)
    rows = cells(tmp_path / "measurements.csv")
    assert list(rows[0]) == [
        *("scan", "status", "class", "volume_mm3", "area_mm2", "mean_hu"),
        *("flags", "disagreement", "warnings", "error"),
    ]
    assert [(r["scan"], r["class"]) for r in rows] == [
        *(("a", name) for name in ("right_parotid", "brainstem", "visceral_fat")),
        ("b", ""),
    ]
    assert [r["volume_mm3"] for r in rows] == ["25431.25", "12715.625", "8477.083333", ""]
    assert [r["mean_hu"] for r in rows] == ["30", "-25", "-80", ""]  # numbers, whatever their sign
    assert [r["flags"] for r in rows] == ["", "", "touches_border", ""]
    assert {r["warnings"] for r in rows[:3]} == {"spacing is 0.4 mm | HU from 0"}
    assert {r["disagreement"] for r in rows[:3]} == {"0.125"}
    assert (rows[3]["status"], rows[3]["error"]) == ("failed", "cut short; copy it again")


def test_what_is_not_defined_is_empty(tmp_path: Path) -> None:
    measurements = [
        row("a", "volume_mm3", 0.0, "empty_prediction"),
        row("a", "mean_t2_ms", None, "empty_prediction;t2_unknown"),
        row("b", "volume_mm3", float("nan")),
        row("b", "mean_t2_ms", float("inf"), "t2_invalid"),
    ]
    write_measurements(tmp_path / "m.csv", [scan_record("x", measurements=measurements)])
    first, second = cells(tmp_path / "m.csv")
    assert (first["volume_mm3"], first["mean_t2_ms"], first["flags"]) == ("0", "", "empty_prediction;t2_unknown")
    assert (second["volume_mm3"], second["mean_t2_ms"], second["disagreement"]) == ("", "", "")
    assert "mean_hu" not in first and "area_mm2" not in first


def test_nothing_at_all(tmp_path: Path) -> None:
    write_measurements(tmp_path / "m.csv", [])
    header = "scan,status,class,flags,disagreement,warnings,error\n"
    assert (tmp_path / "m.csv").read_text(encoding="utf-8") == header


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r", "＝"])
def test_no_text_becomes_a_formula(tmp_path: Path, begin: str) -> None:
    evil = f'{begin}HYPERLINK("http://x.example","y")'
    records = [
        scan_record(evil, warnings=[evil], measurements=[row(evil, "mean_hu", -1.5)]),
        failed_record(evil, evil),
    ]
    write_measurements(tmp_path / "m.csv", records)
    texts = [text for r in cells(tmp_path / "m.csv") for key, text in r.items() if key != "mean_hu" and text]
    assert sum(text == f"'{evil}" for text in texts) == 5
    assert not [text for text in texts if text.startswith(begin)]


def test_what_was_measured_is_what_is_written(tmp_path: Path) -> None:
    """Volume, area and HU of a mask, by hand."""
    labels, hu = np.zeros((4, 5, 6), np.uint8), np.full((4, 5, 6, 1), -100, np.int16)
    labels[1:3, 1:4, 2:4] = 2
    hu[labels == 2] = 40
    measures = Measures(ClassMap(("bone", "muscle"), ((1,), (2,))), "ct")
    rows = measure_mask(labels, hu, (0.5, 2.0, 3.0), "axial", {}, measures)
    write_measurements(tmp_path / "m.csv", [scan_record("x", measurements=rows)])
    bone, muscle = cells(tmp_path / "m.csv")
    assert (bone["volume_mm3"], bone["mean_hu"], bone["flags"]) == ("0", "", "empty_prediction")
    assert (muscle["volume_mm3"], muscle["area_mm2"], muscle["mean_hu"]) == ("36", "6", "40")
