"""What the figures draw, read back from their data; and the pixels of overlays."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from example_study import ExampleStudy
from matplotlib.colors import to_rgb

from inpaint_ssl.colours import CLASS_COLOURS
from inpaint_ssl.report.drawing import _VARIABLES, ARM_COLOURS
from inpaint_ssl.report.figures import dice_against_labels, dice_of_classes, loss_curves
from inpaint_ssl.report.load import Overlay, Study, read_gallery, read_study
from inpaint_ssl.report.pictures import _painted, corruption_gallery, window_of


def study(root: Path, **options: Any) -> Study:
    return read_study(ExampleStudy(root, **options).write())


def test_dice_figure_shows_means_seeds_and_the_full_label_line(tmp_path: Path) -> None:
    s = study(tmp_path, seeds=[0, 1, 2], fractions=[0.05, 0.25, 1.0])
    drawing = dice_against_labels(s)
    assert drawing is not None
    axes = drawing.figure.axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    for arm, label in (("from_scratch", "from scratch"), ("pretrained", "pretrained")):
        entries = [s.statistics.entry(f) for f in (0.05, 0.25, 1.0)]
        summaries = [entry.arms[arm] for entry in entries if entry]
        assert list(lines[label].get_xdata()) == [6, 30, 120]
        assert list(lines[label].get_ydata()) == pytest.approx([a.mean for a in summaries])
        seeds = [
            y for line in axes.lines if line.get_linestyle() == "None" and line.get_mec() == ARM_COLOURS[arm]
            for y in np.asarray(line.get_ydata())
        ]  # fmt: skip
        assert sorted(seeds) == pytest.approx(sorted(run.mean for a in summaries for run in a.runs))
        assert f"{label} {summaries[0].mean:.3f}" in drawing.alt
    full = s.statistics.entry(1.0)
    assert full and set(lines["from scratch, all labels"].get_ydata()) == {full.arms["from_scratch"].mean}
    assert axes.get_xscale() == "log"
    assert [t.get_text() for t in axes.get_xticklabels()] == ["6\n5 %", "30\n25 %", "120\n100 %"]


def test_equal_counts_share_a_tick_and_no_line_without_full_labels(tmp_path: Path) -> None:
    drawing = dice_against_labels(study(tmp_path, fractions=[0.001, 0.002, 0.5]))
    assert drawing is not None
    axes = drawing.figure.axes[0]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["1\n0.1 %, 0.2 %", "60\n50 %"]
    assert "from scratch, all labels" not in [line.get_label() for line in axes.lines]


def test_one_panel_per_class_and_none_for_a_single_class(tmp_path: Path) -> None:
    assert [d.figure.axes[0].get_title("left") for d in dice_of_classes(study(tmp_path / "two"))] == [
        "anterior", "posterior",
    ]  # fmt: skip
    assert dice_of_classes(study(tmp_path / "one", classes=["only"])) == []


def test_loss_curves_hold_every_row_and_skip_what_is_no_number(tmp_path: Path) -> None:
    root = ExampleStudy(tmp_path, seeds=[0, 1]).write()
    history = root / "cells/pretrain_seed0/metrics.csv"
    history.write_text(history.read_text() + "1025,20,train,nan,0.001,40,205\n1025,20,train,,0.001,40,205\n")
    drawings = loss_curves(read_study(root))
    assert [d.name for d in drawings] == ["loss_pretraining", "loss_finetuning_5", "loss_finetuning_100"]
    lengths = [len(np.asarray(line.get_xdata())) for line in drawings[0].figure.axes[0].lines]
    assert lengths == [40, 10, 1, 40, 10, 1]  # training, validation, best; two seeds
    assert len(drawings[1].figure.axes[0].lines) == 3 * 2 * 2


def test_gallery_has_a_panel_for_every_corruption(tmp_path: Path) -> None:
    example = ExampleStudy(tmp_path, size=(40, 64))
    example.write_gallery()
    drawing, gallery = corruption_gallery(read_gallery(tmp_path)), read_gallery(tmp_path)
    original, *panels = drawing.figure.axes
    assert np.array_equal(np.asarray(original.images[0].get_array()), gallery.original)
    assert original.images[0].get_clim() == pytest.approx(np.percentile(gallery.original, (0.5, 99.5)))
    assert [axes.get_title() for axes in panels[:4]] == [f"{k} × {k} pixels" for k in (8, 4, 2, 1)]
    words = [panels[4 * row].texts[0].get_text().replace("\n", " ") for row in range(4)]
    tasks = ["context prediction"] * 2 + ["context restoration"] * 2
    assert words == [f"{t}, {s}" for t, s in zip(tasks, ["Poisson-disc", "random"] * 2, strict=True)]
    for number, axes in enumerate(panels[:-1]):
        shown = np.asarray(axes.images[0].get_array())
        assert np.array_equal(shown, gallery.corrupted[..., number // 4, number % 4])
        assert axes.images[0].get_clim() == pytest.approx(np.percentile(gallery.original, (0.5, 99.5)))
        assert axes.spines["left"].get_visible() == (number == 8)  # the frame of the own setting
    assert not panels[-1].images and panels[-1].texts[0].get_text() == "does not fit"


def test_a_setting_that_the_gallery_lacks_is_named_and_nothing_framed(tmp_path: Path) -> None:
    ExampleStudy(tmp_path).write_gallery(own=("context_prediction", "random", 5))
    drawing = corruption_gallery(read_gallery(tmp_path))
    assert "not among them: context prediction, random sampling, 5 × 5 pixels" in drawing.caption
    assert not any(axes.spines["left"].get_visible() for axes in drawing.figure.axes[1:-1])
    assert "framed" not in drawing.figure.axes[0].texts[0].get_text()


def test_classes_are_painted_in_their_colours_and_the_rest_stays_grey() -> None:
    image = np.linspace(0, 1, 400).reshape(20, 20)
    labels = np.zeros((20, 20), np.uint8)
    labels[5:12, 5:12] = 3
    rgb, grey = _painted(image, labels), _painted(image, None)
    assert np.array_equal(rgb[labels == 0], grey[labels == 0]) and np.ptp(grey, axis=-1).max() == 0
    colour = np.array(to_rgb(CLASS_COLOURS[2]))
    assert rgb[8, 8] == pytest.approx(0.5 * grey[8, 8] + 0.5 * colour)
    assert rgb[5, 8] == pytest.approx(0.05 * grey[5, 8] + 0.95 * colour)  # outline


def test_window_holds_everything_found_and_only_when_that_is_small() -> None:
    def overlay(truth: np.ndarray, prediction: np.ndarray) -> Overlay:
        return Overlay("best", "s", 0, 0.05, 0, np.zeros(truth.shape), truth, {"pretrained": prediction}, {})

    truth, prediction = np.zeros((2, 200, 300), np.uint8)
    assert window_of(overlay(truth, prediction)) == (slice(None), slice(None))
    truth[90:100, 140:150] = 1
    prediction[120:125, 40:45] = 2  # a false positive far away stays in view
    rows, columns = window_of(overlay(truth, prediction))
    assert rows.start <= 90 and rows.stop >= 125 and columns.start <= 40 and columns.stop >= 150
    assert (rows.stop - rows.start) * (columns.stop - columns.start) < 0.6 * truth.size
    prediction[0, 0] = prediction[-1, -1] = 1
    assert window_of(overlay(truth, prediction)) == (slice(None), slice(None))


def test_no_class_has_a_colour_that_the_page_changes() -> None:
    assert not set(CLASS_COLOURS) & set(_VARIABLES)
    assert len(set(CLASS_COLOURS)) == len(CLASS_COLOURS)
