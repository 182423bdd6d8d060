"""Whole scans through a network, against evaluation's own path, and tiles, views and agreement by brute force."""

import itertools
import weakref
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_model import model, preprocessing, probabilities, record

from inpaint_ssl.data import Scan, ScanEntry, source_of
from inpaint_ssl.errors import InputError
from inpaint_ssl.evaluate import _predicted
from inpaint_ssl.trained import segmenter
from inpaint_ssl.trained.networks import network, views_program
from inpaint_ssl.trained.segmenter import Segmenter

SPACING = (1.0, 1.25, 2.0)


def scan_image(shape=(14, 18, 5), channels=1, dtype=np.int16, seed=0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.normal(40, 30, (*shape, channels)) + 200 * (rng.random((*shape, channels)) > 0.7)
    return values.astype(dtype)


def as_evaluated(one, image: np.ndarray) -> np.ndarray:
    """The label map that the evaluation of a study makes of a scan that no image needs to crop."""
    affine = np.diag([*SPACING, 1.0])
    entry = ScanEntry("scan", "subject", False)
    scan = Scan(entry, image, None, SPACING, affine, affine, "RAS", image.shape[:3])
    source = source_of(scan, one.record.preprocessing)
    predict = jax.jit(lambda params, images: jax.nn.sigmoid(network(one.record).apply({"params": params}, images)))
    return _predicted(predict, one.params, source, source.scans[0], 2, one.record.threshold)[0]


@pytest.mark.parametrize(
    ("changes", "channels", "shape"),
    [
        ({"image_size": (24, 20)}, 1, (14, 18, 5)),
        ({"image_size": (24, 20), "slice_axis": "sagittal"}, 2, (5, 18, 14)),
        ({"image_size": (24, 20), "slice_axis": "coronal", "channels": "root_sum_of_squares"}, 2, (14, 5, 18)),
        ({"image_size": (24, 20), "modality": "ct"}, 1, (14, 18, 5)),
        ({"image_size": (20, 16), "target_spacing_mm": (1.5, 1.0)}, 1, (14, 18, 5)),
    ],
)
def test_as_in_evaluation(changes, channels, shape) -> None:
    one = model(record(preprocessing(**changes), channels))
    image = scan_image(shape, channels)
    found = Segmenter([one], batch_size=2).segment(image, SPACING).labels
    assert found.shape == shape and found.dtype == np.uint8 and len(np.unique(found)) > 1
    np.testing.assert_array_equal(found, as_evaluated(one, image))


def test_probabilities_and_labels_agree_and_batches_do_not_matter() -> None:
    one, image = model(record(preprocessing(image_size=(24, 20)))), scan_image()
    filled = np.zeros((*image.shape[:3], 2), np.float16)
    found = Segmenter([one], batch_size=3).segment(image, SPACING, probabilities=filled)
    again = Segmenter([one], batch_size=8).segment(image, SPACING)
    np.testing.assert_array_equal(found.labels, again.labels)
    clear = np.abs(filled - 0.5).min(axis=-1) > 1e-2
    expected = np.where(filled.max(axis=-1) >= 0.5, 1 + filled.argmax(axis=-1), 0)
    np.testing.assert_array_equal(found.labels[clear], expected[clear])


def z_scored_slices(image: np.ndarray) -> np.ndarray:
    """Axial slices (S, rows, columns, C) of an MRI scan, as displayed."""
    values = image.astype(np.float64)
    scored = (values - values.mean(axis=(0, 1, 2))) / values.std(axis=(0, 1, 2))
    return np.moveaxis(scored, (2, 1, 0), (0, 1, 2))[:, ::-1, ::-1]


def windowed_slices(image: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
    """The same of CT, scored over a part of every slice."""
    slices = np.moveaxis(image[..., 0].astype(np.float64), (2, 1, 0), (0, 1, 2))[:, ::-1, ::-1]
    channels = []
    for width, level in ((400.0, 50.0), (1800.0, 40.0)):
        clipped = np.clip(slices, level - width / 2, level + width / 2)
        part = clipped[:, rows, columns]
        mean, std = (f(part, axis=(1, 2), keepdims=True) for f in (np.mean, np.std))
        channels.append((clipped - mean) / std)
    return np.stack(channels, axis=-1)


@pytest.mark.parametrize("modality", ["mri", "ct"])
def test_tiles_by_brute_force(modality: str) -> None:
    """26 x 14 pixels through a network of 16 x 16: two tiles along the rows' axis, padding along the other."""
    one = model(record(preprocessing(modality=modality)))
    image = scan_image((14, 26, 3), seed=4)
    filled = np.zeros((14, 26, 3, 2), np.float32)
    found = Segmenter([one], batch_size=2, overlap=0.25).segment(image, SPACING, probabilities=filled)
    slices = z_scored_slices(image) if modality == "mri" else windowed_slices(image, slice(5, 21), slice(0, 14))
    air = {"mri": slices.min(), "ct": None}[modality]
    starts, ramp = (0, 10), np.minimum(np.arange(16) + 1, 16 - np.arange(16))
    total, weights = np.zeros((3, 26, 14, 2)), np.zeros(26)
    for start in starts:
        images = np.empty((3, 16, 16, slices.shape[-1]), np.float32)
        if air is None:  # what windows make of -1024 HU
            for channel, (width, level) in enumerate(((400.0, 50.0), (1800.0, 40.0))):
                raw = np.moveaxis(image[..., 0].astype(float), (2, 1, 0), (0, 1, 2))[:, ::-1, ::-1][:, 5:21]
                part = np.clip(raw, level - width / 2, level + width / 2)
                low = max(-1024.0, level - width / 2)
                filler = (low - part.mean(axis=(1, 2))) / part.std(axis=(1, 2))
                images[..., channel] = filler[:, None, None]
        else:
            images[:] = air
        images[:, :, 1:15] = slices[:, start : start + 16]
        total[:, start : start + 16] += ramp[:, None, None] * probabilities(one, images)[:, :, 1:15]
        weights[start : start + 16] += ramp
    expected = total / weights[:, None, None]
    shown = np.moveaxis(filled, (2, 1, 0), (0, 1, 2))[:, ::-1, ::-1]
    np.testing.assert_allclose(shown, expected, atol=2e-4)
    assert found.labels.any()


def test_a_scan_far_larger_than_the_images_is_covered() -> None:
    one = model()
    image = scan_image((61, 70, 2), seed=2)
    filled = np.full((61, 70, 2, 2), np.nan, np.float32)
    Segmenter([one], batch_size=2).segment(image, SPACING, probabilities=filled)
    assert np.isfinite(filled).all() and filled.min() >= 0 and filled.max() <= 1 + 1e-6


def test_outputs_of_many_tiles_are_not_held_together(monkeypatch) -> None:
    """A slice in tiles takes, with many classes, far more memory than the slice."""
    made: list[weakref.ref] = []
    held = []

    def counting(*key: Any) -> Callable[..., jax.Array]:
        program = views_program(*key)

        def call(*inputs: Any) -> jax.Array:
            output = program(*inputs)
            made.append(weakref.ref(output))
            held.append(sum(one() is not None for one in made))
            return output

        return call

    monkeypatch.setattr(segmenter, "views_program", counting)
    Segmenter([model()], batch_size=2).segment(scan_image((64, 64, 2)), SPACING)
    assert len(made) == 7 * 7 and max(held) <= 5


def test_views_are_averaged_and_compared() -> None:
    how = preprocessing(image_size=(24, 20))
    models, image = [model(record(how), seed) for seed in (0, 1)], scan_image()
    segmenter = Segmenter(models, batch_size=4, flips=("rows",), uncertainty=True)
    assert segmenter.views == 4
    filled = np.zeros((*image.shape[:3], 2), np.float32)
    found = segmenter.segment(image, SPACING, probabilities=filled)
    slices = z_scored_slices(image)
    images = np.full((5, 24, 20, 1), slices.min())
    images[:, 3:21, 3:17] = slices
    views = []
    for one, turned in itertools.product(models, (False, True)):
        given = images[:, ::-1] if turned else images
        output = probabilities(one, given.astype(np.float32))
        views.append((output[:, ::-1] if turned else output)[:, 3:21, 3:17])
    mean, spread = np.mean(views, axis=0), np.std(views, axis=0).max(axis=-1)

    def volume(shown: np.ndarray) -> np.ndarray:
        return np.moveaxis(shown[:, ::-1, ::-1], (0, 1, 2), (2, 1, 0))

    np.testing.assert_allclose(filled, volume(mean), atol=1e-4)
    np.testing.assert_allclose(found.uncertainty, volume(spread), atol=1e-3)
    labels = [np.where(v.max(axis=-1) >= 0.5, 1 + v.argmax(axis=-1), 0) for v in views]
    dice = []
    for first, second in itertools.combinations(labels, 2):
        for k in (1, 2):
            a, b = first == k, second == k
            if a.any() or b.any():
                dice.append(2 * (a & b).sum() / (a.sum() + b.sum()))
    assert found.disagreement == pytest.approx(1 - np.mean(dice), abs=5e-3)
    assert 0 < found.disagreement < 1


def test_the_second_scan_compiles_nothing() -> None:
    one = model(record(preprocessing(modality="ct")))
    segmenter = Segmenter([one], batch_size=2)
    segmenter.segment(scan_image((15, 16, 3)), SPACING)
    segmenter.segment(scan_image((14, 26, 3)), SPACING)  # tiles have a program of their own
    other = Segmenter([model(record(preprocessing(modality="ct")), seed=5)], batch_size=2)
    seen: list[str] = []
    jax.monitoring.register_event_duration_secs_listener(lambda name, duration, **_: seen.append(name))
    for image in (scan_image((9, 12, 7)), scan_image(dtype=np.float32), scan_image((40, 30, 4))):
        segmenter.segment(image, SPACING)
        other.segment(image, SPACING)
    assert not [name for name in seen if "backend_compile" in name]
    jnp.sin(jnp.arange(137.0)).block_until_ready()
    assert [name for name in seen if "backend_compile" in name]  # the listener does hear of one


def test_wrong_scans_and_models_are_refused() -> None:
    one = model()
    segmenter = Segmenter([one])
    with pytest.raises(InputError, match=r"scan 7 has 2 channels, the model was trained on 1 \(channel 0\)"):
        segmenter.segment(scan_image(channels=2), SPACING, name="scan 7")
    broken = scan_image(dtype=np.float32)
    broken[0, 0, 0, 0] = np.nan
    with pytest.raises(InputError, match="NaN"):
        segmenter.segment(broken, SPACING)
    with pytest.raises(InputError, match="same value everywhere"):
        segmenter.segment(np.ones((4, 4, 4, 1)), SPACING)
    with pytest.raises(InputError, match="spacing is"):
        segmenter.segment(scan_image(), (1.0, 0.0, 1.0))
    with pytest.raises(InputError, match="cannot be averaged: classes"):
        others = record(classes=type(one.record.classes)(("bright", "other"), ((1,), (4,))))
        Segmenter([one, model(others)])
    with pytest.raises(InputError, match="restores images"):
        Segmenter([model(record(task="inpainting", outputs=1))])
    with pytest.raises(InputError, match="uncertainty needs several"):
        Segmenter([one], uncertainty=True)
    with pytest.raises(InputError, match="flips: got 'up'"):
        Segmenter([one], flips=("up",))
