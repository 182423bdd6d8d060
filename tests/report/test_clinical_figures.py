"""Clinical figures, read back from what they draw: bars, clipping, Bland-Altman lines, T2 in colour."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clinical_rows import quantity
from example_study import ExampleStudy
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.container import BarContainer
from matplotlib.figure import Figure

from inpaint_ssl.report.clinical.bland_altman import bland_altman_plots
from inpaint_ssl.report.clinical.figures import clipped_at, percent_errors
from inpaint_ssl.report.clinical.t2_maps import colour_range_ms, t2_maps
from inpaint_ssl.report.drawing import ARM_COLOURS, Drawing
from inpaint_ssl.report.load import Overlay, Study, read_study
from inpaint_ssl.statistics import Pair, PercentError

SMALL: dict[str, Any] = {"clinical": True, "bare": True, "subjects": 6, "size": (24, 24)}


def example(root: Path, **options: Any) -> tuple[ExampleStudy, Study]:
    made = ExampleStudy(root, **(SMALL | options))
    return made, read_study(made.write())


def named(drawings: list[Drawing], name: str) -> Drawing:
    return next(drawing for drawing in drawings if drawing.name == name)


def bars(axes: Axes) -> dict[tuple[float, str], float]:
    """Heights by place of the label fraction and colour of the arm."""
    containers = [c for c in axes.containers if isinstance(c, BarContainer)]
    rectangles = [c.patches[0] for c in containers]
    arms = {colour: arm for arm, colour in ARM_COLOURS.items()}
    return {(round(r.get_x() + r.get_width() / 2), arms[to_hex(r.get_edgecolor())]): r.get_height() for r in rectangles}


def test_bars_are_medians_of_subjects_with_quartiles(tmp_path: Path) -> None:
    made, study = example(tmp_path, seeds=[0, 1])
    drawing = named(percent_errors(study), "clinical_area_mm2")
    axes = drawing.figure.axes[1]  # of the class posterior, which lacks scan 3
    found = bars(axes)
    scans = [scan for scan in made.scans() if not scan.endswith("003")]
    for position, fraction in enumerate(made.fractions):
        for arm in ("from_scratch", "pretrained"):
            errors = []
            for scan in scans:
                pairs = [quantity(made, arm, fraction, "posterior", seed, scan, "area_mm2") for seed in made.seeds]
                errors.append(np.mean([100 * abs(p - t) / t for p, t in pairs]))
            assert found[position, arm] == pytest.approx(np.median(errors))
            whisker = [np.quantile(errors, 0.25), np.quantile(errors, 0.75)]
            assert any(list(np.asarray(line.get_ydata())) == pytest.approx(whisker) for line in axes.lines)
            assert f"{np.median(errors):.1f} %" in drawing.alt
    assert [text.get_text() for text in axes.get_xticklabels()] == ["5 %", "100 %"]
    words = {text.get_text() for text in drawing.figure.texts}
    assert {"posterior", "n = 5, 2 of 12 undefined", "median |error| of\ncross-sectional area (%)"} <= words


def test_a_bar_that_would_dwarf_the_rest_is_cut_and_its_value_written(tmp_path: Path) -> None:
    names = ["muscle", "visceral_fat", "intramuscular_fat"]
    _, study = example(tmp_path, classes=names, modality="ct", spoilt="intramuscular_fat")
    drawing = named(percent_errors(study), "clinical_area_mm2")
    top = drawing.figure.axes[0].get_ylim()[1]
    assert [axes.get_ylim() for axes in drawing.figure.axes] == [(0, top)] * 3
    last = drawing.figure.axes[2]
    for arm in ("from_scratch", "pretrained"):
        entry = study.agreement("area_mm2", 0.05, "intramuscular_fat", arm)
        assert entry is not None and entry.error.median > top == pytest.approx(bars(last)[0, arm])
        assert f"{entry.error.median:.0f} %" in [text.get_text() for text in last.texts]
    assert not drawing.figure.axes[0].texts and "Bars that are cut leave the axis" in drawing.caption
    assert "All quartiles: tables/area_mm2.csv" in drawing.caption and "As figure 6" in drawing.caption
    assert "cut" not in named(percent_errors(example(tmp_path / "plain")[1]), "clinical_volume_mm3").caption


def of_medians(*medians: float, whisker: float = 0.0) -> list[PercentError]:
    return [PercentError(m, m, m + whisker, 5, 5) for m in medians]


def test_where_the_axis_ends() -> None:
    assert clipped_at(of_medians(1, 2, 3)) == pytest.approx(1.06 * 3)
    assert clipped_at(of_medians(1, 2, 3, whisker=1)) == pytest.approx(1.06 * 4)
    assert clipped_at(of_medians(1, 2, 3, whisker=9)) == pytest.approx(1.06 * 6)  # whiskers: twice the bars at most
    assert clipped_at(of_medians(4, 4, 4, 24)) == pytest.approx(1.06 * 24)  # six medians are no more than tall
    assert clipped_at(of_medians(4, 4, 4, 25)) == pytest.approx(1.06 * 12)
    assert clipped_at(of_medians(4, 4, 5, 15, 400)) == pytest.approx(1.06 * 15)
    # 25 is more than six medians, but not even twice as high as 20: to cut it would gain nothing
    assert clipped_at(of_medians(4, 4, 4, 20, 25)) == pytest.approx(1.06 * 25)
    assert clipped_at(of_medians(4, 4, 4, 4, 20, 25, 51)) == pytest.approx(1.06 * 25)
    assert clipped_at(of_medians(2, 2, 2, 2, 9, 17, 31)) == pytest.approx(1.06 * 31)
    assert clipped_at(of_medians(math.nan, 2)) == pytest.approx(1.06 * 2)
    assert clipped_at(of_medians(math.nan)) == clipped_at([]) == clipped_at(of_medians(0.0)) == 1.0


def test_bland_altman_draws_every_pair_with_bias_and_limits(tmp_path: Path) -> None:
    made, study = example(tmp_path, seeds=[0, 1], fractions=[0.05, 0.5, 1.0])
    drawing = named(bland_altman_plots(study), "bland_altman_mean_t2_ms")
    grid = drawing.figure.axes
    assert len(grid) == 2 * 4  # classes; smallest and full label fraction, two arms each
    columns = [(f, arm) for f in (0.05, 1.0) for arm in ("from_scratch", "pretrained")]
    words = " ".join(text.get_text() for text in drawing.figure.texts)
    for axes, (fraction, arm) in zip(grid[4:], columns, strict=True):
        pairs = np.array(
            [
                [quantity(made, arm, fraction, "posterior", seed, scan, "mean_t2_ms") for scan in made.scans()]
                for seed in made.seeds
            ]
        )[:, [0, 1, 2, 4, 5]]  # scan 3 has none
        d = pairs[..., 0] - pairs[..., 1]
        points = next(line for line in axes.lines if len(np.asarray(line.get_xdata())) == 10)
        assert sorted(np.asarray(points.get_ydata())) == pytest.approx(sorted(d.ravel()))
        assert sorted(np.asarray(points.get_xdata())) == pytest.approx(sorted(pairs.mean(-1).ravel()))
        sd = math.sqrt(np.mean(d.var(axis=1, ddof=1)))
        heights = {0.0, d.mean(), d.mean() - 1.96 * sd, d.mean() + 1.96 * sd}
        lines = [float(np.asarray(line.get_ydata())[0]) for line in axes.lines if line is not points]
        assert sorted(lines) == pytest.approx(sorted(heights))
        sign = "+" if d.mean() > 0 else "\N{MINUS SIGN}"
        assert f"bias {sign}{abs(d.mean()):.2f} ms" in words and "n = 10 of 12 pairs, 2 runs" in words
    assert "bias averaged, deviation the root mean square" in drawing.caption
    assert "Every class and label fraction has its own scale" in drawing.caption
    assert [grid[4].get_ylim(), grid[6].get_ylim()] == [grid[5].get_ylim(), grid[7].get_ylim()]
    assert [grid[4].get_xlim(), grid[6].get_xlim()] == [grid[5].get_xlim(), grid[7].get_xlim()]
    assert "prediction − truth (ms)" in words and "posterior: from scratch with 5 % of the labels" in drawing.alt


def clear_of_each_other(figure: Figure) -> None:
    """Words and the labels of ticks stay inside the figure and do not overlap."""
    figure.draw_without_rendering()
    texts = [text for text in figure.texts if text.get_rotation() == 0]
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis) if axes.axison else ():
            low, high = sorted(axis.get_view_interval())
            shown = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            texts += [tick.label1 for tick in shown if tick.label1.get_visible()]
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text()]
    assert [t for t, b in boxes if b.x0 < 0 or b.x1 > figure.bbox.width + 1 or b.y0 < -1] == []
    assert [(s, t) for i, (s, a) in enumerate(boxes) for t, b in boxes[:i] if a.overlaps(b)] == []


@pytest.mark.parametrize(
    ("low", "high"),
    [(0.5, 0.51), (-150, -50), (4000, 5000), (1e5, 2e5), (1.01e5, 1.11e5), (1e6, 2e6), (1e7, 3e7), (5e7, 5.0001e7)],
)
def test_labels_of_neighbouring_panels_do_not_meet(tmp_path: Path, low: float, high: float) -> None:
    _, study = example(tmp_path, subjects=2, size=(8, 8))
    means, half = np.linspace(low, high, 9), 0.05 * abs(low) * np.array([0, 1, -1, 1, 0, -1, 1, -1, 0])
    pairs = tuple(Pair((0, 0), f"s{i}", f"s{i}", float(m + d), float(m - d), 5.0)
                  for i, (m, d) in enumerate(zip(means, half, strict=True)))  # fmt: skip
    agreements = tuple(dataclasses.replace(a, pairs=pairs) for a in study.agreements if a.metric == "volume_mm3")
    figure = bland_altman_plots(dataclasses.replace(study, agreements=agreements))[0].figure
    clear_of_each_other(figure)
    assert min(len(axes.get_xticks()) for axes in figure.axes) >= (2 if high < 1e6 else 1)


def test_bars_of_unequal_n_say_so_below_them(tmp_path: Path) -> None:
    _, study = example(tmp_path, classes=["cartilage", "meniscus"])
    drawing = named(percent_errors(study), "clinical_mean_t2_ms")  # one scan has no T2 of cartilage from scratch
    words = [text.get_text() for text in drawing.figure.texts]
    assert "up to 1 of 6 undefined" in words and "n = 5, 1 of 6 undefined" in words
    below = [text for text in drawing.figure.texts if text.get_fontsize() == 6.5]
    assert [text.get_text() for text in below] == ["5", "6", "6", "6"] and words.count("n") == 1
    axes = drawing.figure.axes[0]
    drawing.figure.draw_without_rendering()
    for text, bar in zip(below, [c.patches[0] for c in axes.containers if isinstance(c, BarContainer)], strict=True):
        middle = axes.transData.transform((bar.get_x() + bar.get_width() / 2, 0))[0]
        box = text.get_window_extent()
        assert (box.x0 + box.x1) / 2 == pytest.approx(middle, abs=1)
    clear_of_each_other(drawing.figure)
    assert "n" not in [t.get_text() for t in named(percent_errors(study), "clinical_volume_mm3").figure.texts]


def test_whiskers_beyond_the_axis_have_a_head_and_are_mentioned(tmp_path: Path) -> None:
    _, study = example(tmp_path, fractions=[1.0], classes=["a"])

    def drawn(quartile: float) -> Drawing:
        made = [dataclasses.replace(a, error=PercentError(4.0, 3.0, quartile, 6, 6)) for a in study.agreements]
        return percent_errors(dataclasses.replace(study, agreements=tuple(made)))[0]

    for quartile, leaves in ((7.9, False), (9.0, True)):
        drawing = drawn(quartile)
        heads = [line for line in drawing.figure.axes[0].lines if line.get_marker() == "^"]
        assert len(heads) == 2 * leaves and ("arrow head" in drawing.caption) is leaves
        assert drawing.figure.axes[0].get_ylim()[1] == pytest.approx(1.06 * min(quartile, 8.0))


@pytest.mark.parametrize(
    ("options", "bars_drawn", "panels"),
    [
        ({"classes": ["only"], "fractions": [1.0], "subjects": 1, "arms": ["pretrained"]}, 1, 1),
        ({"classes": [f"{i} {'long name ' * 8}" for i in range(10)], "undefined": f"3 {'long name ' * 8}"}, 36, 40),
        ({"fractions": [round(0.1 * i, 1) for i in range(1, 11)], "subjects": 2}, 40, 8),
    ],
)
def test_every_shape_of_study_is_drawn(tmp_path: Path, options: dict[str, Any], bars_drawn: int, panels: int) -> None:
    _, study = example(tmp_path, **options)
    study = dataclasses.replace(study, agreements=tuple(a for a in study.agreements if a.metric == "volume_mm3"))
    figure = named(percent_errors(study), "clinical_volume_mm3").figure
    assert sum(len(bars(axes)) for axes in figure.axes) == bars_drawn
    plot = named(bland_altman_plots(study), "bland_altman_volume_mm3").figure
    assert len(plot.axes) == panels
    empty = [axes for axes in figure.axes if "no defined value" in [text.get_text() for text in axes.texts]]
    assert len(empty) == ("undefined" in options)
    for drawn in (figure, plot):  # words stay inside the figure and clear of each other
        drawn.draw_without_rendering()
        clear_of_each_other(drawn)


def test_no_figures_without_clinical_rows(tmp_path: Path) -> None:
    _, study = example(tmp_path, clinical=False)
    assert percent_errors(study) == bland_altman_plots(study) == t2_maps(study) == []


def test_t2_is_shown_in_colour_inside_each_map_and_invalid_voxels_in_white(tmp_path: Path) -> None:
    _, study = example(tmp_path, size=(60, 60))
    (drawing,) = t2_maps(study)
    overlay: Overlay = next(o for o in study.overlays if o.rank == "median")
    assert drawing.name == "t2_map_median" and set(overlay.t2_ms) == {"truth", "from_scratch", "pretrained"}
    labels = {"truth": overlay.truth} | overlay.predictions
    keys = ("truth", "from_scratch", "pretrained")
    scales = set()
    words = [text.get_text() for text in drawing.figure.texts]
    for axes, key in zip(drawing.figure.axes, keys, strict=False):
        grey, shown, invalid = axes.images
        t2, inside = overlay.t2_ms[key], labels[key] > 0
        assert np.array_equal(~np.ma.getmaskarray(shown.get_array()), inside & np.isfinite(t2))
        assert np.array_equal(~np.ma.getmaskarray(invalid.get_array()), inside & np.isnan(t2))
        assert (inside & np.isnan(t2)).sum() > 0
        assert invalid.to_rgba(invalid.get_array())[inside & np.isnan(t2)].min() == 1.0
        assert np.asarray(grey.get_array()).max() <= 0.6  # white is lighter than any part of the image
        mean = overlay.t2_ms[key][inside].astype(np.float64)
        note = f"mean T2 {np.nanmean(mean):.1f} ms, {np.isnan(mean).sum()} of {mean.size:,} voxels invalid"
        assert note in words and note in drawing.alt
        scales.add(shown.get_clim())
    bar = drawing.figure.axes[-1]
    assert scales == {bar.images[0].get_clim()} == {bar.get_ylim()} and "T2 (ms)" in words
    assert "White: voxels without a valid T2. " in drawing.caption
    assert [text.get_text() for text in drawing.figure.legends[0].get_texts()] == ["no valid T2"]


def test_colour_range() -> None:
    values = np.concatenate([np.linspace(31, 44, 99), [np.nan, 99.0]])  # one voxel far off does not stretch the scale
    assert colour_range_ms([values]) == (30.0, 45.0)
    assert colour_range_ms([np.full(4, 40.0)]) == (40.0, 45.0)
    assert colour_range_ms([np.full(4, np.nan)]) == (0.0, 100.0)
