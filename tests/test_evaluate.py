"""Evaluation against Dice counted by hand over whole volumes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage
from small_source import make_source

from inpaint_ssl.data import ArraySliceSource, ClassMap, Preprocessing, Scan, ScanEntry, ScanVolumes, display, source_of
from inpaint_ssl.evaluate import SCAN_COLUMNS, SLICE_COLUMNS, evaluate_inpainting, evaluate_segmentation, label_map
from inpaint_ssl.measure import Measures
from inpaint_ssl.metrics import T2Settings
from inpaint_ssl.qdess import QdessSequence, echo_ratio

CLASSES = ClassMap(("bright", "dim"), ((1,), (2,)))
SEQUENCE = QdessSequence(tr_ms=25.0, te_ms=8.0, flip_angle_deg=30.0, spoiler_area=3132.0, spoiler_duration_us=1560.0)
COLUMNS = dict.fromkeys(("study", "dataset", "arm", "label_fraction", "subset_draw", "seed", "split"), "x")


def test_threshold_and_winner() -> None:
    probability = np.array([[0.5, 0.2], [0.49, 0.49], [0.6, 0.9], [0.9, 0.9]])
    np.testing.assert_array_equal(label_map(probability), [1, 0, 2, 1])
    np.testing.assert_array_equal(label_map(probability, 0.95), [0, 0, 0, 0])


def by_intensity(params, images):
    images = jnp.asarray(images)[..., 0]
    return jnp.stack([images > 2.5, images < -2.5], axis=-1).astype(jnp.float32)


def evaluate(source, batch_size=2):
    done = []
    result = evaluate_segmentation(
        by_intensity,
        {},
        source,
        Measures(CLASSES, "mri"),
        COLUMNS,
        batch_size=batch_size,
        threshold=0.5,
        on_scan=done.append,
    )
    assert done == list(range(1, len(source.scans) + 1))
    return result


def test_dice_counts_the_whole_volume_once() -> None:
    source = make_source((3, 4))
    result = evaluate(source)
    assert len(result.rows) == 2 * 2 * 7 and set(result.rows[0]) == set(SCAN_COLUMNS)
    for scan, slices in (("scan_0", slice(0, 3)), ("scan_1", slice(3, 7))):
        for label, name in ((1, "bright"), (2, "dim")):
            image, truth = source.images[slices, ..., 0], source.targets[slices] == label
            predicted = image > 2.5 if label == 1 else image < -2.5
            both = np.logical_and(predicted, truth).sum()
            expected = {
                "dice": 2 * both / (predicted.sum() + truth.sum()),
                "voe": 1 - both / np.logical_or(predicted, truth).sum(),
                "cv": np.std([predicted.sum(), truth.sum()]) / np.mean([predicted.sum(), truth.sum()]),
            }
            for metric, value in expected.items():
                (row,) = [r for r in result.rows if (r["scan"], r["class"], r["metric"]) == (scan, name, metric)]
                assert float(row["value"]) == pytest.approx(value, abs=1e-12)
                assert (row["prediction"], row["truth"]) == (str(predicted.sum()), str(truth.sum()))
                assert row["flag"] == "touches_border" and row["unit"] == "ratio"  # in every slice


def test_the_batch_size_changes_nothing() -> None:
    source = make_source((3, 4))
    assert evaluate(source, 2).rows == evaluate(source, 5).rows == evaluate(source, 1).rows


def test_absence_is_flagged_and_excluded() -> None:
    source = make_source((3, 2, 2, 2))
    source.targets[:3][source.targets[:3] == 2] = 0  # scan 0: dim absent from the truth
    source.images[:3] = np.where(source.images[:3] < -2.5, 0, source.images[:3])  # ... and from the prediction
    source.targets[3:5][source.targets[3:5] == 2] = 0  # scan 1: only predicted
    source.images[5:7] = np.where(source.images[5:7] < -2.5, 0, source.images[5:7])  # scan 2: only true
    rows = {r["scan"]: r for r in evaluate(source).rows if r["class"] == "dim" and r["metric"] == "dice"}
    assert (rows["scan_0"]["flag"], rows["scan_0"]["value"]) == ("absent", "nan")
    assert (rows["scan_1"]["flag"], rows["scan_1"]["value"]) == ("empty_truth;touches_border", "0.0")
    assert (rows["scan_2"]["flag"], rows["scan_2"]["value"]) == ("empty_prediction;touches_border", "0.0")
    assert rows["scan_3"]["flag"] == "touches_border"


def test_classes_that_overlap_are_scored_as_sets() -> None:
    source = make_source((3,))
    both = ClassMap(("all", "dim"), ((1, 2), (2,)))
    result = evaluate_segmentation(
        by_intensity, {}, source, Measures(both, "mri"), COLUMNS, batch_size=4, threshold=0.5, on_scan=lambda n: None
    )
    (row,) = [r for r in result.rows if (r["class"], r["metric"]) == ("all", "dice")]
    predicted, truth = source.images[..., 0] > 2.5, source.targets > 0
    assert float(row["value"]) == pytest.approx(2 * (predicted & truth).sum() / (predicted.sum() + truth.sum()))


def test_pictures_show_the_slice_with_most_labels() -> None:
    source = make_source((3, 4))
    source.targets[1] = 1
    picture = evaluate(source).examples["scan_0"]
    assert picture["slice"] == 1
    np.testing.assert_array_equal(picture["image"], source.images[1, ..., 0])
    np.testing.assert_array_equal(picture["truth"], np.ones((16, 16)))
    assert 0 <= picture["dice"] <= 1


def test_resampled_slices_are_scored_on_the_grid_of_the_scan() -> None:
    """Pixels of 0.5 mm seen by the network at 1 mm: truth and prediction have the scan's own voxels."""
    rng, shape = np.random.default_rng(3), (24, 20, 3)
    label = np.zeros(shape, np.uint8)
    label[5:16, 4:13] = 1  # odd borders, which lie inside a 1 mm pixel
    image = (100.0 * label + rng.normal(0, 1, shape)).astype(np.float32)[..., None]
    affine = np.diag([0.5, 0.5, 2.0, 1.0])
    scan = Scan(ScanEntry("a", "a", True), image, label, (0.5, 0.5, 2.0), affine, affine, "RAS", shape)
    how = Preprocessing("mri", "axial", (16, 16), "all", (), (1.0, 1.0))

    class Whole(ArraySliceSource):
        def volumes(self, info):
            return ScanVolumes(image, label)

    source = Whole(**vars(source_of(scan, how)))
    assert source.images.shape[1:3] == (16, 16) and source.scans[0].placement.resampled == (10, 12)
    seen = []

    def predict(params, images):
        high = jnp.asarray(images)[..., 0]
        probability = jnp.clip((high - high.min()) / (high.max() - high.min()), 0, 1)
        seen.append(np.asarray(probability))
        return jnp.stack([probability, 0 * probability], axis=-1)

    result = evaluate_segmentation(
        predict, {}, source, Measures(CLASSES, "mri"), COLUMNS, batch_size=3, threshold=0.5, on_scan=lambda n: None
    )
    (row,) = [r for r in result.rows if (r["class"], r["metric"]) == ("bright", "dice")]
    # By hand: the middle 10 x 12 pixels, linear at the centres of 20 x 24 ones.
    shown = seen[0][:, 3:13, 2:14]
    rows, columns = ((np.arange(n) + 0.5) / 2 - 0.5 for n in (20, 24))
    grid = np.meshgrid(rows, columns, indexing="ij")
    finer = np.stack([ndimage.map_coordinates(one, grid, order=1, mode="nearest") for one in shown])
    predicted = (finer >= 0.5)[:, ::-1, ::-1].transpose(2, 1, 0)
    dice = 2 * (predicted & (label == 1)).sum() / (predicted.sum() + label.sum())
    assert 0.9 < dice < 1
    assert (row["prediction"], row["truth"]) == (str(predicted.sum()), str(11 * 9 * 3))
    assert float(row["value"]) == pytest.approx(dice)


def test_l2_norm_per_slice_and_channel() -> None:
    source = make_source((3, 4), channels=2)

    def restore(params, batch, key):
        return batch.images * 0, batch.images + np.array([1.0, 2.0], np.float32)

    result = evaluate_inpainting(
        restore,
        {},
        source,
        ("a", "b"),
        COLUMNS,
        key=jax.random.key(0),
        batch_size=2,
        examples=1,
        on_scan=lambda n: None,
    )
    assert len(result.slice_rows) == 7 * 2 and set(result.slice_rows[0]) == set(SLICE_COLUMNS)
    for row in result.slice_rows:  # the error is 1 or 2 at each of 256 pixels
        assert float(row["value"]) == pytest.approx({"a": 16.0, "b": 32.0}[row["class"]], rel=1e-5)
    assert [(row["scan"], row["slice"]) for row in result.slice_rows[::2]] == [
        *(("scan_0", i) for i in range(3)),
        *(("scan_1", i) for i in range(4)),
    ]
    (picture,) = result.examples.values()
    np.testing.assert_allclose(picture["restored"][..., 1], picture["original"][..., 1] + 2, atol=1e-6)
    assert not picture["corrupted"].any()


@pytest.mark.parametrize("slice_axis", ["sagittal", "coronal", "axial"])
def test_t2_pictures_show_the_slice_that_is_shown(slice_axis: str) -> None:
    """T2 of a voxel tells where it lies; truth and prediction are two boxes, the second one slice longer."""
    shape = (6, 7, 8)
    x, y, z = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    t2_ms = 20.0 + x + 0.1 * y + 8 * z
    echo1 = 1000.0 + 10 * x
    image = np.stack([echo1, echo1 * echo_ratio(t2_ms, SEQUENCE)], axis=3).astype(np.float32)
    label = np.zeros(shape, np.uint8)
    label[2:4, 2:4, 2:4] = 1
    label[3, 3, 3] = 0  # so that one slice has most
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    about = SEQUENCE.as_acquisition()
    scan = Scan(ScanEntry("a", "a", True), image, label, (1.0,) * 3, affine, affine, "RAS", shape, about)
    source = source_of(scan, Preprocessing("mri", slice_axis, (8, 8), "all", (), ()))
    classes = ClassMap(("tissue", "other"), ((1,), (2,)))
    t2 = T2Settings(suppress_fat=False, suppress_fluid=False)

    def predict(params, images):
        return jnp.stack([jnp.ones(images.shape[:3]), jnp.zeros(images.shape[:3])], axis=-1)

    how = {"batch_size": 4, "threshold": 0.5, "on_scan": lambda n: None}
    result = evaluate_segmentation(predict, {}, source, Measures(classes, "mri", t2), COLUMNS, **how)
    (picture,) = result.examples.values()
    expected, true = (display(volume, slice_axis)[picture["slice"]] for volume in (t2_ms, label))
    assert picture["slice"] == 2 and (true > 0).sum() == 4
    assert np.array_equal(np.isfinite(picture["t2_truth_ms"]), true > 0)
    assert picture["t2_truth_ms"][true > 0] == pytest.approx(expected[true > 0], abs=1e-3)
    assert picture["t2_prediction_ms"] == pytest.approx(expected, abs=1e-3)
