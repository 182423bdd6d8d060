"""report.html: self-contained, complete for every shape of study, escaped, and honest about what is missing."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from example_study import ExampleStudy

from inpaint_ssl.errors import InputError
from inpaint_ssl.files import read_csv, read_json, write_json_atomic, write_npz_atomic
from inpaint_ssl.report import write_report
from inpaint_ssl.report.load import read_study
from inpaint_ssl.report.text import p_text, signed


class Page(HTMLParser):
    """Text, section titles, aria-labels of figures and every address in a page; unbalanced tags are recorded."""

    VOID = ("meta", "link", "br", "path", "use", "rect", "image", "circle", "line")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.labels: list[str] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.problems: list[str] = []
        self.tags: dict[str, int] = {}
        self.feed(html)
        self.text = " ".join(" ".join(self.words).replace("\N{NO-BREAK SPACE}", " ").split())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        for name, value in attributes:
            if name in ("src", "href", "xlink:href", "srcset", "data"):
                self.addresses.append(value or "")
            if name == "id":
                self.ids.append(value or "")
        if tag == "svg":
            self.labels.append(dict(attributes).get("aria-label") or "")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID and (not self.open or self.open.pop() != tag):
            self.problems.append(tag)

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)


def report(root: Path, **options: Any) -> tuple[Page, Path]:
    path = write_report(ExampleStudy(root, **options).write())
    assert path == root / "report.html"
    return Page(path.read_text(encoding="utf-8")), root


def test_page_stands_alone_and_shows_everything(tmp_path: Path) -> None:
    page, root = report(tmp_path, seeds=[0, 1])
    assert page.addresses and all(a.startswith(("#", "data:")) for a in page.addresses)
    raw = (root / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"url\((?!#)|@import|<script[^>]", raw) and raw.count("<script>") == 1
    assert not re.search(
        r"fetch|XMLHttp|import|eval|innerHTML|location", raw.split("<script>")[1].split("</script>")[0]
    )
    assert page.problems == [] and page.open == []
    assert len(page.ids) == len(set(page.ids))
    # verdict figure, 2 classes, 1 pretraining and 2 fine-tuning losses, 4 inpaintings, 3 overlays
    assert page.tags["svg"] == len(page.labels) == 1 + 2 + 3 + 4 + 3 and all(page.labels)
    names = {path.stem for path in (root / "figures").glob("*.svg")}
    assert len(names) == 13 and names == {path.stem for path in (root / "figures").glob("*.png")}
    row = next(r for r in read_csv(root / "results.csv") if r["class"] == "posterior" and r["label_fraction"] == "0.05")
    for column in ("from_scratch_mean", "pretrained_mean", "from_scratch_sd"):
        assert f"{float(row[column]):.3f}" in page.text
    for words in ("4f1c4f1c", "corruption.patch_size 8", "the schedule counts steps", "one-sided Wilcoxon",
                  "jax 0.10.2", "pretrained_005_seed1", "max steps", "L2 norm per test slice"):  # fmt: skip
        assert words in page.text


def test_intervals_and_adjusted_p_values_are_on_the_page(tmp_path: Path) -> None:
    root = ExampleStudy(tmp_path, gain=0.2, share=1.0, noise=0.01, subjects=6, bare=True).write()
    study = read_json(root / "study.json", "study") | {"alpha": 0.1, "bootstrap": {"resamples": 2000, "seed": 17}}
    write_json_atomic(root / "study.json", study)
    page = Page(write_report(root).read_text(encoding="utf-8"))
    first, table = page.text.split("Dice by label fraction and class")[:2]
    for row in read_csv(root / "results.csv"):
        ends = [signed(float(row[f"difference_{end}"])) for end in ("lower", "upper")]
        effect = signed(float(row["rank_biserial"]))
        assert f"({ends[0]} to {ends[1]})" in table and effect in table
        if row["class"] == "average":
            adjusted = p_text(float(row["p_holm"]))
            assert adjusted == "0.031" and p_text(float(row["p_value"])) == "0.016"
            assert f"90 % interval of the gain {ends[0]} to {ends[1]} ; adjusted p = {adjusted} , n" in first
            assert f"{p_text(float(row['p_value']))} ({adjusted}) * {effect}" in table
    assert table.split("Mean ± standard")[0].count("*") == 2  # no single class has one
    methods = page.text.split("Methods")[1]
    assert "at the 2 label fractions of the study" in methods and "2,000 resamples" in methods and "seed 17" in methods
    alone, _ = report(tmp_path / "alone", fractions=[0.5], gain=0.2, noise=0.01, bare=True)
    assert "adjusted p" not in alone.text and "Holm)" not in alone.text and "p < 0.001" in alone.text
    assert "10,000 resamples" in alone.text and "seed 0." in alone.text  # an older study.json says nothing of them


def test_references_inside_figures_point_to_their_own_ids(tmp_path: Path) -> None:
    page, root = report(tmp_path)
    raw = (root / "report.html").read_text(encoding="utf-8")
    used = set(re.findall(r'url\(#([^)]*)\)|href="#([^"]*)"', raw))
    assert used and {a or b for a, b in used} <= set(page.ids)


@pytest.mark.parametrize(
    "options",
    [
        {"classes": [f"structure {i}" for i in range(9)], "channels": ["soft", "bone", "custom"], "size": (40, 72)},
        {"classes": ["only"], "fractions": [0.5], "subjects": 1, "size": (33, 21)},
        {"fractions": [0.05, 0.055, 0.1, 0.25, 0.5, 1.0], "seeds": list(range(10)), "subjects": 3, "size": (16, 16)},
        {"arms": ["from_scratch"]},
        {"arms": ["pretrained"], "fractions": [0.001, 0.002]},  # both fractions are one subject
    ],
)
def test_every_shape_of_study_has_a_page(tmp_path: Path, options: dict[str, Any]) -> None:
    page, root = report(tmp_path, **options)
    expected = options.get("classes", ["anterior", "posterior"])
    assert page.problems == [] and all(name in page.text for name in expected)
    assert len(read_csv(root / "results.csv")) == len(options.get("fractions", [1, 2])) * (1 + len(expected))
    overlays = sum("overlay" in path.name for path in (root / "figures").glob("*.png"))
    assert overlays == min(3, options.get("subjects", 12))


def test_pretraining_alone(tmp_path: Path) -> None:
    page, root = report(tmp_path, finetuned=False)
    assert "No segmentation results yet." in page.text and "L2 norm per test slice" in page.text
    assert "Dice by label fraction" not in page.text and "Corruptions" not in page.text
    assert page.tags["svg"] == 1 + 4
    assert read_csv(root / "results.csv") == []


def test_study_without_any_cell_or_file(tmp_path: Path) -> None:
    write_json_atomic(tmp_path / "study.json", {"format_version": 1, "study": "empty", "cells": []})
    page = Page(write_report(tmp_path).read_text(encoding="utf-8"))
    assert "No segmentation results yet." in page.text and "svg" not in page.tags and page.problems == []


def test_warnings_and_unfinished_runs_are_on_the_first_screen(tmp_path: Path) -> None:
    root = ExampleStudy(tmp_path, subjects=4).write()
    study = read_json(root / "study.json", "study")
    study["warnings"] = ["the class <posterior> was lost by one run"]
    study["cells"][-1] |= {"status": "running", "best_step": None, "best_validation_loss": None, "seconds": None}
    study["cells"][-1] |= {"stopped": "", "images_per_second": None}
    study["cells"].append(
        {"name": "lost", "directory": "cells/lost", "phase": "finetune", "status": "failed", "error": "no & room"}
    )
    write_json_atomic(root / "study.json", study)
    first = Page(write_report(root).read_text(encoding="utf-8")).text.split("Dice by label fraction")[0]
    assert "4 of 6 runs complete" in first and "4 warnings" in first
    assert "the class <posterior> was lost by one run" in first
    assert "1 failed" in first and "The run lost failed: no & room" in first
    assert "cannot reach p < 0.05; at least 5 are needed" in first


def test_gallery_is_shown_where_there_is_one(tmp_path: Path) -> None:
    page, root = report(tmp_path, gallery=True, finetuned=False)
    assert page.problems == [] and page.tags["svg"] == len(page.labels) == 1 + 1 + 4
    for words in ("Corruptions: what pretraining has to undo", "case_000, slice 20", "At least 25 % of the area",
                  "Framed: the setting of this study (context restoration, Poisson-disc"):  # fmt: skip
        assert words in page.text
    assert (root / "figures/corruption_gallery.png").is_file() and len(page.ids) == len(set(page.ids))


def test_names_are_escaped(tmp_path: Path) -> None:
    page, root = report(tmp_path, classes=["<b>bold</b>", "$x_1$ & co"], fractions=[1.0], subjects=2)
    raw = (root / "report.html").read_text(encoding="utf-8")
    assert "<b>bold</b>" not in raw and "<b>bold</b>" in page.text and "$x_1$ & co" in page.text
    assert (root / "figures/dice_01_b_bold_b.svg").is_file()


def test_overlays_are_best_median_and_worst_of_the_pretrained_arm(tmp_path: Path) -> None:
    example = ExampleStudy(tmp_path, subjects=7)
    study = read_study(example.write())
    scores = {s: np.mean([example.dice("pretrained", 0.05, c, 0, s) for c in example.classes]) for s in example.scans()}
    ordered = sorted(scores, key=lambda scan: scores[scan])
    assert [(o.rank, o.scan) for o in study.overlays] == [
        ("best", ordered[6]), ("median", ordered[3]), ("worst", ordered[0]),
    ]  # fmt: skip
    for overlay in study.overlays:
        assert overlay.dice["pretrained"] == pytest.approx(scores[overlay.scan])
        assert set(overlay.predictions) == {"from_scratch", "pretrained"} and overlay.label_fraction == 0.05


def test_damaged_or_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"study\.json"):
        write_report(tmp_path)
    root = ExampleStudy(tmp_path).write()
    path = next(root.glob("cells/pretrain*/examples/00.npz"))
    write_npz_atomic(path, original=np.zeros((4, 4, 1)))
    with pytest.raises(InputError, match=r"00\.npz cannot be read .* evaluate the study again"):
        write_report(root)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=r"00\.npz cannot be read"):
        write_report(root)
    (root / "gallery.npz").write_bytes(b"PK nothing")
    with pytest.raises(InputError, match=r"gallery\.npz cannot be read .* with --config\.stage=gallery"):
        write_report(root)


def test_report_needs_no_jax() -> None:
    code = "import sys, inpaint_ssl.report, inpaint_ssl.metrics, inpaint_ssl.statistics; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
