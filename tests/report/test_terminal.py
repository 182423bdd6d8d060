"""The table in the terminal: all numbers, readable when piped, narrow and without colour."""

import io
from pathlib import Path
from typing import Any

import pytest
from example_study import ExampleStudy
from rich.console import Console

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
        assert f"{entry.comparison.mean_difference:+.3f}" in row and row[-1] == "12"
        assert (row[-2][-1] == "*") == (entry.comparison.wilcoxon.p_value < 0.05)
    assert text.splitlines()[-1] == f"Report: {tmp_path / 'report.html'}"
    assert "5 % (6)" in text and "100 % (120)" in text and "Pretraining improved" in text


def test_narrow_terminal_keeps_numbers_whole(tmp_path: Path) -> None:
    long = ["left parotid gland", "optic chiasm [b]"]
    text = printed(tmp_path, {"width": 80, "force_terminal": True, "no_color": True}, classes=long)
    assert all(f"{e.arms['pretrained'].mean:.3f} (" in text for e in read_study(tmp_path).statistics.entries)
    assert "[b]" in text and "…" not in text


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
