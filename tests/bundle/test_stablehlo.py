"""The network as StableHLO beside Segmenter, from raw slices that NumPy has placed by hand."""

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_model
from jax import export

from inpaint_ssl.bundle.export import export_network, load_network, signature
from inpaint_ssl.data import ClassMap
from inpaint_ssl.errors import InputError
from inpaint_ssl.trained.networks import network
from inpaint_ssl.trained.run import TrainedModel
from inpaint_ssl.trained.segmenter import Segmenter

pytestmark = pytest.mark.usefixtures("full_precision")
FAT = {"intramuscular_fat": "below_-30_hu", "muscle_class": "bright", "intramuscular_fat_class": "dim"}


@cache
def trained(name: str) -> TrainedModel:
    how: dict[str, Any] = {
        "mri": {"slice_axis": "coronal", "image_size": (16, 24)},
        "combined": {"channels": "root_sum_of_squares"},
        "ct": {"modality": "ct"},
    }[name]
    about = small_model.record(small_model.preprocessing(**how), 1 if name == "ct" else 2)
    if name == "ct":
        about = small_model.record(about.preprocessing, clinical={**about.clinical, **FAT})
    return small_model.model(about, seed=0 if len(about.input_channels) == 1 else 1)  # which segment both classes


@cache
def program(name: str) -> export.Exported:
    return export.deserialize(bytearray(export_network(trained(name))))


def scan(name: str, sides: tuple[int, int]) -> np.ndarray:
    """(X, Y, Z, C) int16 with slices of rows x columns = sides, 5 of them."""
    record, rng = trained(name).record, np.random.default_rng(7)
    rows, columns = sides
    shape = (columns, 5, rows) if record.preprocessing.slice_axis == "coronal" else (columns, rows, 5)
    smooth = np.cumsum(rng.normal(0, 60, (*shape, len(record.scan_channels))), axis=0)
    smooth[0] = -1024  # air that touches the border, which a margin must not be taken for
    return (smooth + (0 if record.preprocessing.modality == "ct" else 3000)).astype(np.int16)


def displayed(volume: np.ndarray, name: str) -> np.ndarray:
    """Slices as README.md of a bundle describes them."""
    if trained(name).record.preprocessing.slice_axis == "coronal":
        return volume.transpose(1, 2, 0, *range(3, volume.ndim))[:, ::-1, ::-1]
    return volume.transpose(2, 1, 0, *range(3, volume.ndim))[:, ::-1, ::-1]


def arguments(name: str, image: np.ndarray) -> tuple[list[np.ndarray], tuple[slice, slice]]:
    """What the program takes, and where the slices lie in the images."""
    how, slices = trained(name).record.preprocessing, displayed(image, name)
    top, left = ((size - n) // 2 for size, n in zip(how.image_size, slices.shape[1:3], strict=True))
    where = slice(top, top + slices.shape[1]), slice(left, left + slices.shape[2])
    values = image.astype(np.float64)
    combined = np.sqrt(np.square(values).sum(axis=-1, keepdims=True))
    if how.modality == "ct":
        margin: Any = np.nan
    elif how.channels == "root_sum_of_squares":
        margin = [combined.min(), 0]
    else:
        margin = values.min(axis=(0, 1, 2))
    images = np.empty((len(slices), *how.image_size, image.shape[-1]), np.float32)
    images[:] = margin
    images[:, where[0], where[1]] = slices
    if how.modality == "ct":
        return [images], where
    scored = combined if how.channels == "root_sum_of_squares" else values
    of_scan = (np.tile(of(scored, axis=(0, 1, 2)), (len(slices), 1)) for of in (np.mean, np.std))
    return [images, *(one.astype(np.float32) for one in of_scan)], where


@pytest.mark.parametrize("part", [1.0, 0.7])
@pytest.mark.parametrize("name", ["mri", "combined", "ct"])
def test_the_program_equals_the_segmenter(name: str, part: float) -> None:
    """On a scan that fills the image, and on one with a margin."""
    model = trained(name)
    height, width = model.record.preprocessing.image_size
    image = scan(name, (int(height * part), int(width * part)))
    inputs, (rows, columns) = arguments(name, image)
    found = np.asarray(jax.jit(program(name).call)(*inputs))
    labels = model.record.stored(Segmenter([model], batch_size=5).segment(image, (1.0, 1.0, 2.0)).labels)
    expected = displayed(labels, name)
    assert found.dtype == np.uint8 and found.shape == (5, height, width)
    assert set(np.unique(expected)) == {0, 1, 4}
    np.testing.assert_array_equal(found[:, rows, columns], expected)


def test_a_margin_of_air_is_not_a_margin() -> None:
    """Why CT marks it with NaN: -1024 HU change mean and deviation of what is scored."""
    inputs, (rows, columns) = arguments("ct", scan("ct", (11, 11)))
    call = jax.jit(program("ct").call)
    marked, filled = (np.asarray(call(images)) for images in (inputs[0], np.nan_to_num(inputs[0], nan=-1024)))
    assert (marked[:, rows, columns] != filled[:, rows, columns]).mean() > 0.02


def test_a_batch_of_another_size() -> None:
    inputs, _ = arguments("mri", scan("mri", (16, 24)))
    call = jax.jit(program("mri").call)
    np.testing.assert_array_equal(call(*(one[:1] for one in inputs)), np.asarray(call(*inputs))[:1])


@pytest.mark.slow
def test_a_restored_image() -> None:
    about = small_model.record(
        channels=2, task="inpainting", outputs=2, classes=ClassMap((), ()), arm="", label_fraction=0.0
    )
    model = small_model.model(about)
    rng = np.random.default_rng(0)
    slices = rng.normal(100, 20, (3, 16, 16, 2)).astype(np.float32)
    mean, std = np.full((3, 2), 90, np.float32), np.full((3, 2), 25, np.float32)
    normalised = (slices - 90) / 25
    expected = jax.jit(network(about).apply)({"params": model.params}, normalised)
    exported = load_network(export_network(model), about, "x")
    found = jax.jit(exported.call)(slices, mean, std)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert exported.out_avals[0].dtype == np.float32


def test_platforms_and_signature() -> None:
    exported, of = program("combined"), signature(trained("combined").record)
    assert exported.platforms == ("cpu", "cuda")
    assert [str(one.shape) for one in exported.in_avals] == ["(b, 16, 16, 2)", "(b, 1)", "(b, 1)"]
    assert [one.shape for one in of.inputs] == [("b", 16, 16, 2), ("b", 1), ("b", 1)]
    assert of.to_dict()["output"]["shape"] == ["b", 16, 16] and of.to_dict()["batch"] == "b"


def test_no_path_is_in_it() -> None:
    """jax writes file and line of every operation unless it is told not to."""
    text = program("mri").mlir_module()
    assert ".py" not in text and str(Path(__file__).resolve().parents[2]) not in text
    plain = export.export(jax.jit(lambda x: x + 1))(jax.ShapeDtypeStruct((1,), jnp.float32))
    assert Path(__file__).name in plain.mlir_module()


MAKE = """
import hashlib, sys
sys.path[:0] = sys.argv[1:]
import small_model
from inpaint_ssl.bundle.export import export_network
print(hashlib.sha256(export_network(small_model.model())).hexdigest())
"""


@pytest.mark.slow
def test_equal_bytes_in_another_process() -> None:
    tests = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-c", MAKE, str(tests), str(tests.parent)]
    made = {subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)}
    assert len(made) == 1


def test_a_program_that_calls_foreign_code_is_refused() -> None:
    """A host callback for one takes the address of a function from the program."""
    record = trained("ct").record

    def evil(slices: jax.Array) -> jax.Array:
        called = jax.ffi.ffi_call("someone_elses_code", jax.ShapeDtypeStruct((), jnp.float32))(jnp.float32(0))
        return (slices[..., 0] + called).astype(jnp.uint8)

    (batch,) = export.symbolic_shape("b")
    allowed = [export.DisabledSafetyCheck.custom_call("someone_elses_code")]
    made = export.export(jax.jit(evil), platforms=("cpu", "cuda"), disabled_checks=allowed)
    content = bytes(made(jax.ShapeDtypeStruct((batch, 16, 16, 1), jnp.float32)).serialize())
    with pytest.raises(InputError, match="calls someone_elses_code, which no bundle does"):
        load_network(content, record, "model.zip")


def test_other_bytes_are_refused() -> None:
    record = trained("ct").record
    good = export_network(trained("ct"))
    rng = np.random.default_rng(0)
    for content in (b"", good[:2000], bytes(1000), rng.bytes(5000)):
        with pytest.raises(InputError, match=r"model\.zip cannot be read by this version of jax"):
            load_network(content, record, "model.zip")
    with pytest.raises(InputError, match=r"model\.zip takes and gives .*expected"):
        load_network(export_network(trained("mri")), record, "model.zip")
