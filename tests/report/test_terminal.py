"""The table in the terminal: all numbers, readable when piped, narrow and without colour."""

import io
import re
from pathlib import Path
from typing import Any

import pytest
from example_study import ExampleStudy
from rich.console import Console

from inpaint_ssl.files import read_json, write_json_atomic
from inpaint_ssl.report import print_table
from inpaint_ssl.report.load import read_study


def printed(root: Path, console: dict[str, Any] | None = None, **options: Any) -> str:
    ExampleStudy(root, **options).write()
    stream = io.StringIO()
    print_table(root, Console(file=stream, **(console or {})))
    return stream.getvalue()


def test_table_has_every_number_and_the_path(tmp_path: Path) -> None:
    text = printed(tmp_path, gain=0.2, noise=0.01)
    assert "\x1b" not in text and max(map(len, text.splitlines()[:-1])) <= 110
    assert text.isascii() or set(text) - set(map(chr, range(128))) <= {"─"}
    rows = [line.split() for line in text.splitlines()]
    for entry in read_study(tmp_path).statistics.entries:
        assert entry.comparison is not None
        row = next(
            r for r in rows
            if entry.class_name in r and f"{entry.arms['pretrained'].mean:.3f}" in r
            and f"{entry.arms['from_scratch'].mean:.3f}" in r
        )  # fmt: skip
        assert f"({entry.arms['from_scratch'].sd:.3f})" in row
        c, average = entry.comparison, entry.class_name == "average"
        assert f"{c.mean_difference:+.3f}" in row and row[-1] == "12" and row[-2] == f"{c.rank_biserial:+.3f}"
        line = " ".join(row).replace("-0.000", "0.000").replace("+0.000", "0.000")
        ends = f" {c.difference_lower:+.3f} to {c.difference_upper:+.3f} "
        assert ends.replace("-0.000", "0.000").replace("+0.000", "0.000") in line
        assert ("*" in line) == (average and c.p_holm is not None and c.p_holm < 0.05)
    assert text.splitlines()[-1] == f"Report: {tmp_path / 'report.html'}"
    assert "5 % (6)" in text and "100 % (120)" in text and "Pretraining improved" in text


def test_narrow_terminal_keeps_numbers_whole(tmp_path: Path) -> None:
    long = ["left parotid gland", "optic chiasm [b]"]
    text = printed(tmp_path, {"width": 80, "force_terminal": True, "no_color": True}, classes=long)
    assert all(f"{e.arms['pretrained'].mean:.3f} (" in text for e in read_study(tmp_path).statistics.entries)
    assert "[b]" in text and "…" not in text


def test_the_asterisk_is_of_the_adjusted_p_and_narrow_terminals_keep_it(tmp_path: Path) -> None:
    narrow = printed(tmp_path, {"width": 109, "force_terminal": True, "no_color": True}, gain=0.2, noise=0.01)
    text = re.sub("\x1b[^m]*m", "", narrow)
    first = next(line.split() for line in text.splitlines() if "5 % (6)" in line)
    assert "interval" not in text and "rank-biserial" not in text and " r " not in text
    assert "* p Holm < 0.05" in " ".join(text.split()) and "tests of 2 label fractions" in " ".join(text.split())
    assert first[-5:] == ["<", "0.001", "<", "0.001*", "12"]
    root = ExampleStudy(tmp_path / "more", gain=0.2, noise=0.01, subjects=6).write()
    info = read_json(root / "study.json", "study")
    write_json_atomic(root / "study.json", info | {"label_fractions": [0.05, 0.1, 0.25, 0.5, 1.0]})
    print_table(root, Console(file=(stream := io.StringIO())))
    row = next(line.split() for line in stream.getvalue().splitlines() if "5 % (6)" in line)
    assert row[-4:] == ["0.016", "0.078", "+1.000", "6"]  # 1 / 64 reaches 0.05, 5 / 64 does not
    alone = printed(tmp_path / "alone", fractions=[0.5], gain=0.2, noise=0.01)
    row = next(line.split() for line in alone.splitlines() if "average" in line)
    assert "Holm" not in alone and row[-3].endswith("*") and "* p < 0.05" in " ".join(alone.split())


def test_single_class_is_shown_once_under_its_name(tmp_path: Path) -> None:
    text = printed(tmp_path, classes=["cartilage"])
    assert text.count("cartilage") == 2 and "average   " not in text.split("labels: ")[0]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"finetuned": False}, ["No segmentation results yet.", "Inpainting L2 norm per test slice, T1: "]),
        ({"arms": ["from_scratch"]}, ["No comparison yet: only the models from scratch have been evaluated."]),
        ({"subjects": 3}, ["warning: label fraction 0.05: 3 test subjects with a difference cannot reach p < 0.05"]),
    ],
)
def test_unfinished_and_small_studies(tmp_path: Path, options: dict[str, Any], expected: list[str]) -> None:
    text = printed(tmp_path, **options)
    assert all(line in text for line in expected) and "report.html" in text
