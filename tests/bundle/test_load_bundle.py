"""A bundle in memory: weights and labels as they were, masks on the grid of the array, clear errors."""

import itertools
import json
from pathlib import Path
from typing import Any

import bundled_run
import jax
import nibabel as nib
import numpy as np
import pytest
import small_model
from nibabel import orientations

import inpaint_ssl
from inpaint_ssl.bundle import Bundle, load_bundle, write_bundle
from inpaint_ssl.bundle.load import _spacing
from inpaint_ssl.colours import CLASS_COLOURS
from inpaint_ssl.data import ClassMap
from inpaint_ssl.errors import InputError
from inpaint_ssl.trained.run import TrainedModel
from inpaint_ssl.trained.segmenter import Segmenter


@pytest.fixture(scope="module")
def trained() -> TrainedModel:
    return small_model.model(small_model.record(channels=2), seed=1)


@pytest.fixture(scope="module")
def path(trained: TrainedModel, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    rows = bundled_run.dice_rows(trained, np.random.default_rng(0).beta(4, 2, (8, 2)))
    write_bundle(bundled_run.write_run(folder / "run", trained, rows), folder / "model.zip")
    return folder / "model.zip"


@pytest.fixture(scope="module")
def bundle(path: Path) -> Bundle:
    return inpaint_ssl.load_bundle(path)


def scan(seed: int = 0, shape: tuple[int, ...] = (13, 16, 5, 2)) -> np.ndarray:
    smooth = np.cumsum(np.random.default_rng(seed).normal(0, 60, shape), axis=0)
    return (smooth + 1000).astype(np.int16)


def test_everything_comes_back(bundle: Bundle, trained: TrainedModel, path: Path) -> None:
    assert json.dumps(bundle.record.to_dict()) == json.dumps(trained.record.to_dict())
    assert jax.tree.structure(bundle.model.params) == jax.tree.structure(trained.params)
    jax.tree.map(np.testing.assert_array_equal, bundle.model.params, trained.params)
    assert bundle.model.origin == str(path)
    assert bundle.labels == {"bright": 1, "dim": 4}
    assert bundle.colours == dict(zip(("bright", "dim"), CLASS_COLOURS, strict=False))
    assert bundle.card is not None and bundle.card.scores[0].name == "average"
    assert "10.3390/bioengineering10020207" in bundle.citation["method"]


def test_a_mask_in_ras(bundle: Bundle, trained: TrainedModel) -> None:
    image, spacing = scan(), (0.8, 0.9, 3.0)
    mask = bundle.segment(image, spacing)
    expected = Segmenter([trained]).segment(image, spacing).labels
    assert mask.dtype == np.uint8 and mask.shape == (13, 16, 5) and set(np.unique(mask)) == {0, 1, 4}
    np.testing.assert_array_equal(mask, np.array([0, 1, 4], np.uint8)[expected])
    np.testing.assert_array_equal(bundle.segment(image.astype(np.float64), np.array(spacing)), mask)


def test_all_48_orientations_give_the_same_mask(bundle: Bundle) -> None:
    image, affine = scan(), np.array([[0.8, 0.1, 0, -7], [-0.1, 0.9, 0.2, 3], [0, -0.2, 3, 5], [0, 0, 0, 1]])
    expected = bundle.segment(image, affine=affine)
    assert expected.any() and not np.array_equal(expected, expected[::-1])
    for axes in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            way = np.array([[a, s] for a, s in zip(axes, signs, strict=True)])
            turned = orientations.apply_orientation(image, way)
            moved = affine @ orientations.inv_ornt_aff(way, image.shape[:3])
            mask = bundle.segment(turned, affine=moved)
            back = nib.as_closest_canonical(nib.Nifti1Image(mask, moved))
            np.testing.assert_array_equal(np.asarray(back.dataobj), expected)
            np.testing.assert_allclose(back.affine, affine)


def test_the_spacing_of_an_affine_is_that_of_its_axes(trained: TrainedModel, tmp_path: Path) -> None:
    """Where slices are resampled, a spacing of the wrong axis would show."""
    how = small_model.preprocessing(target_spacing_mm=(2.0, 1.0))
    model = small_model.model(small_model.record(how), seed=0)
    write_bundle(bundled_run.write_run(tmp_path / "run", model), tmp_path / "model.zip")
    loaded, image = load_bundle(tmp_path / "model.zip"), scan(shape=(12, 24, 3, 1))
    expected = loaded.segment(image, (1.0, 1.5, 4.0))
    turned = np.transpose(image[..., 0], (2, 1, 0))[:, ::-1]  # along superior, posterior, right
    affine = np.array([[0, 0, 1.0, 0], [0, -1.5, 0, 0], [4.0, 0, 0, 0], [0, 0, 0, 1]])
    mask = loaded.segment(turned, affine=affine)
    np.testing.assert_array_equal(mask[:, ::-1].transpose(2, 1, 0), expected)
    assert not np.array_equal(loaded.segment(image, (1.5, 1.0, 4.0)), expected)


@pytest.mark.slow
def test_options_are_those_of_the_segmenter(bundle: Bundle, trained: TrainedModel) -> None:
    image, options = scan(shape=(20, 16, 5, 2)), {"flips": ("columns",), "batch_size": 3, "overlap": 0.25}
    mask = bundle.segment(image, (1.0, 1.0, 1.0), **options)
    expected = Segmenter([trained], **options).segment(image, (1.0, 1.0, 1.0)).labels
    np.testing.assert_array_equal(mask, trained.record.stored(expected))
    np.testing.assert_array_equal(mask, bundle.segment(image, (1.0, 1.0, 1.0), **{**options, "flips": "columns"}))
    assert (mask != bundle.segment(image, (1.0, 1.0, 1.0))).any()


def test_the_second_scan_compiles_nothing(bundle: Bundle) -> None:
    bundle.segment(scan(), (1.0, 1.0, 1.0))
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(lambda name, *_, **__: compiled.append(name))
    try:
        bundle.segment(scan(1, (16, 9, 7, 2)).astype(np.float32), (1.0, 2.0, 1.0))
        assert [name for name in compiled if "compile" in name] == []
        jax.jit(lambda x: x + 17)(np.ones(3))
        assert [name for name in compiled if "compile" in name]
    finally:
        jax.monitoring.clear_event_listeners()


@pytest.mark.parametrize(
    ("array", "given", "complaint"),
    [
        (scan()[..., 0, 0], {"spacing_mm": (1, 1, 1)}, "shape (13, 16), expected (X, Y, Z)"),
        (scan()[..., :1], {"spacing_mm": (1, 1, 1)}, "the model was trained on 2 (channel 0, channel 1)"),
        (scan()[..., 0], {"spacing_mm": (1, 1, 1)}, "has 1 channels"),
        (scan()[:0], {"spacing_mm": (1, 1, 1)}, "shape (0, 16, 5, 2)"),
        (scan().astype(complex), {"spacing_mm": (1, 1, 1)}, "complex128"),
        (np.full((4, 4, 4, 2), "a"), {"spacing_mm": (1, 1, 1)}, "expected numbers"),
        (np.where(scan() > 1500, np.nan, scan()), {"spacing_mm": (1, 1, 1)}, "NaN or infinite"),
        (scan() * 0, {"spacing_mm": (1, 1, 1)}, "the same value everywhere"),
        (scan(), {}, "neither spacing_mm nor affine"),
        (scan(), {"spacing_mm": (1, 1)}, "expected three numbers of mm above 0"),
        (scan(), {"spacing_mm": (1, 0, 1)}, "expected three numbers of mm above 0"),
        (scan(), {"spacing_mm": (1, np.nan, 1)}, "expected three numbers of mm above 0"),
        (scan(), {"affine": np.eye(3)}, "affine: its shape is (3, 3)"),
        (scan(), {"affine": np.zeros((4, 4))}, "affine: the affine in the header is not invertible"),
        (scan(), {"affine": np.full((4, 4), "a")}, "affine: "),
        (scan(), {"affine": np.eye(4), "spacing_mm": (1, 1, 2)}, "the affine has 1 x 1 x 1 mm"),
        (scan(), {"spacing_mm": (1, 1, 1), "flips": ("up",)}, "expected rows, columns or both"),
        (scan(), {"spacing_mm": (1, 1, 1), "batch_size": 0}, "batch_size is 0"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(bundle: Bundle, array: Any, given: dict, complaint: str) -> None:
    with pytest.raises(InputError) as caught:
        bundle.segment(array, **given)
    assert complaint in str(caught.value)


@pytest.mark.parametrize("given", [2.0, "1", ("a", 1, 1), None, [[1, 1, 1]]])
def test_a_spacing_of_another_type(given: Any) -> None:
    with pytest.raises(InputError, match="expected three numbers of mm above 0"):
        _spacing(given)


def test_spacing_beside_an_affine_that_says_the_same(bundle: Bundle) -> None:
    affine = np.diag([-2.0, 1.0, 3.0, 1.0])
    expected = bundle.segment(scan(), affine=affine)
    np.testing.assert_array_equal(bundle.segment(scan(), (2.0, 1.001, 3.0), affine=affine), expected)


def test_a_pretraining_segments_nothing(tmp_path: Path) -> None:
    about = small_model.record(task="inpainting", outputs=1, classes=ClassMap((), ()), arm="", label_fraction=0.0)
    write_bundle(bundled_run.write_run(tmp_path / "run", small_model.model(about)), tmp_path / "model.zip")
    loaded = load_bundle(tmp_path / "model.zip")
    assert loaded.labels == {} and loaded.card is None and loaded.record.task == "inpainting"
    with pytest.raises(InputError, match="restores images"):
        loaded.segment(scan(shape=(5, 5, 5)), (1, 1, 1))


def test_the_package_offers_it_without_jax() -> None:
    assert inpaint_ssl.load_bundle is load_bundle
    with pytest.raises(AttributeError, match="load_bundel"):
        inpaint_ssl.load_bundel  # noqa: B018
