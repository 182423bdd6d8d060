"""Pictures of masks: the right slices, in true proportions and in the colours of their classes."""

import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inpaint_ssl.colours import CLASS_COLOURS
from inpaint_ssl.data import ReaderSettings, open_dataset
from inpaint_ssl.predict.overlay import overlay_picture

PANEL, GAP = 300, 6


def rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def picture(
    image: np.ndarray, labels: np.ndarray, *options: Any, names: tuple[str, ...] = ("a", "b", "c")
) -> np.ndarray:
    """(height, width, 3); options: slice axis, spacing and modality."""
    axis, spacing, modality = (*options, *("axial", (1.0, 1.0, 1.0), "ct")[len(options) :])
    content = overlay_picture(image, labels, axis, spacing, names, modality)
    assert len(content) < 150_000
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def coloured(shown: np.ndarray, index: int) -> np.ndarray:
    return (shown == rgb(CLASS_COLOURS[index])).all(-1)


def panels(shown: np.ndarray, width: int = PANEL, height: int = PANEL) -> list[np.ndarray]:
    count = (shown.shape[1] - GAP) // (width + GAP)
    return [shown[GAP : GAP + height, GAP + k * (width + GAP) :][:, :width] for k in range(count)]


def cube(shape: tuple[int, int, int] = (30, 30, 20)) -> tuple[np.ndarray, np.ndarray]:
    """HU of water, and a block of class 2 that is widest in slice 5 and reaches from slice 2 to 17."""
    image, labels = np.zeros((*shape, 1), np.int16), np.zeros(shape, np.uint8)
    labels[3:9, 18:27, 2:18] = 2
    labels[3:12, 18:27, 5] = 2
    return image, labels


def test_the_mask_lies_where_it_belongs() -> None:
    """Axial slices show the patient's right at the left and the front above: x falls along columns, y along rows."""
    image, labels = cube()
    image[labels == 2] = 250  # white in the window
    shown = panels(picture(image, labels))
    assert len(shown) == 3
    for number, (panel, right_end) in enumerate(zip(shown, (12, 9, 9), strict=True)):
        edge = np.argwhere(coloured(panel, 1))
        # Voxels x of 3 to right_end - 1 and y of 18 to 26, of 30 voxels of 10 pixels each.
        assert edge.min(0).tolist() == [10 * (29 - 26), 10 * (29 - (right_end - 1))], number
        assert edge.max(0).tolist() == [10 * (30 - 18) - 1, 10 * (30 - 3) - 1], number
        inside = panel[75, 235].astype(float)
        np.testing.assert_allclose(inside, 0.65 * 255 + 0.35 * np.array(rgb(CLASS_COLOURS[1])), atol=1)
        outside = panel[250, 40]  # 0 HU: 150 of 400 HU above the window's lower end
        assert np.ptp(outside) == 0 and abs(int(outside[0]) - 255 * 150 / 400) < 6


@pytest.mark.parametrize(("axis", "expected"), [("axial", 2), ("coronal", 1), ("sagittal", 0)])
def test_the_fullest_slice_and_two_far_from_it(axis: str, expected: int) -> None:
    image, labels = np.zeros((40, 40, 40, 1), np.float32), np.zeros((40, 40, 40), np.uint8)
    moved = np.moveaxis(labels, expected, 0)
    moved[5:36, 10:20, 10:20] = 1
    moved[7, 10:30, 10:20] = 1
    # Slices are told apart by their grey: each has its number as intensity.
    np.moveaxis(image[..., 0], expected, 0)[:] = np.arange(40)[:, None, None]
    shown = panels(picture(image, labels, axis, (1.0, 1.0, 1.0), "mri"))
    greys = [int(panel[290, 290, 0]) for panel in shown]
    # The fullest is 7; of the extent 5 to 35 a fifth is 11, the half 20 and four fifths 29: the last two are far.
    low, high = np.percentile([7, 20, 29], (0.5, 99.5))
    np.testing.assert_allclose(greys, [255 * np.clip((k - low) / (high - low), 0, 1) for k in (7, 20, 29)], atol=6)


def test_proportions_are_those_of_the_spacing() -> None:
    image, labels = cube((30, 20, 10))
    labels[:] = 0
    labels[10:20, 5:15, 5] = 1
    shown = picture(image, labels, "axial", (0.5, 2.0, 5.0))  # 15 mm x 40 mm
    width, height = round(300 * 15 / 40), 300
    assert shown.shape[0] > height and shown.shape[1] == PANEL  # at least as wide as the legend needs
    edge = np.argwhere(coloured(shown[: GAP + height], 0)) - GAP
    assert abs(np.ptp(edge[:, 0]) + 1 - 150) <= 1 and abs(np.ptp(edge[:, 1]) + 1 - width / 3) <= 1


def test_an_empty_mask_shows_the_middle_slice_and_says_so() -> None:
    image = np.zeros((30, 30, 20, 1), np.int16)
    image[..., 10, 0] = 250
    shown = picture(image, np.zeros((30, 30, 20), np.uint8))
    assert shown.shape[1] == PANEL + 2 * GAP
    assert (shown[200, 100:200] > 240).all()
    assert not any(coloured(shown, k).any() for k in range(len(CLASS_COLOURS)))
    legend = shown[GAP + PANEL :]
    assert 0.005 < (legend > 128).mean() < 0.2  # words


def test_the_legend_has_the_classes_shown_and_holds_any_name() -> None:
    image, labels = cube()
    names = ("never there", "<b>\x00\n名前" + 300 * "x", "c")
    shown = picture(image, labels, names=names)
    legend = shown[GAP + PANEL + GAP :]
    assert coloured(legend, 1).sum() == 100 and not coloured(legend, 0).any() and not coloured(legend, 2).any()
    many = np.random.default_rng(0).integers(0, 31, (30, 30, 20)).astype(np.uint8)
    shown = picture(image, many, names=tuple(f"class {k}" for k in range(30)))
    assert sum(coloured(shown[GAP + PANEL + GAP :], k).sum() for k in range(10)) == 30 * 100


@pytest.mark.parametrize("modality", ["ct", "mri"])
def test_odd_images(modality: str) -> None:
    image, labels = cube()
    for odd in (image.astype(np.float32) * np.nan, np.full(image.shape, np.inf, np.float32), image[:, :, :1]):
        mask = labels[:, :, : odd.shape[2]]
        assert picture(odd, mask, "axial", (1.0, 1.0, 1.0), modality).size
    one = np.zeros((1, 1, 1), np.uint8)
    assert picture(np.zeros((1, 1, 1, 2), np.float32), one, "coronal", (1.0, 1.0, 1.0), modality).size
    beyond = np.full((30, 30, 20), 9, np.uint8)  # a class without a name
    assert coloured(picture(image, beyond, "axial", (1.0, 1.0, 1.0), modality), 8).any()


def test_real_scans_are_drawn_fast_and_small(real_data: Path) -> None:
    reader = open_dataset(ReaderSettings(root=str(real_data / "headneck_ct"), modality="ct"))
    entry = next(entry for entry in reader.entries if entry.has_label)
    scan = reader.read(entry)
    assert scan.label is not None
    arguments = (scan.image, scan.label, "axial", scan.spacing_mm, tuple(reader.labels), "ct")
    overlay_picture(*arguments)
    began = time.process_time()
    content = overlay_picture(*arguments)
    assert time.process_time() - began < 0.3 and len(content) < 100_000
    assert content == overlay_picture(*arguments)
