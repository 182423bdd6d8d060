"""Bundles whose hashes are right and whose content is not that of a network: each is refused by name."""

import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import bundled_run
import numpy as np
import pytest
import small_model
from bundled_run import repacked
from safetensors.numpy import load, save

from inpaint_ssl.bundle import load_bundle, write_bundle
from inpaint_ssl.bundle.archive import MODEL
from inpaint_ssl.errors import InputError


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, model = tmp_path_factory.mktemp("bundle"), small_model.model(small_model.record(channels=2), seed=1)
    rows = bundled_run.dice_rows(model, np.random.default_rng(0).beta(4, 2, (8, 2)))
    return write_bundle(bundled_run.write_run(folder / "run", model, rows), folder / "model.zip").path


def weights(path: Path) -> dict[str, np.ndarray]:
    return load(zipfile.ZipFile(path).read("weights.safetensors"))


LAST = "post_processing/kernel"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({LAST: np.zeros((1, 1, 4, 3), np.float32)}, f"tensor {LAST} is float32 (1, 1, 4, 3), the network"),
        ({LAST: np.zeros((1, 1, 4, 2), np.float64)}, f"tensor {LAST} is float64"),
        ({LAST: np.full((1, 1, 4, 2), np.nan, np.float32)}, f"tensor {LAST} holds numbers that are not finite"),
        ({"another": np.zeros(1, np.float32)}, "tensor another is float32 (1,), the network of model.json has no such"),
    ],
)  # fmt: skip
def test_other_weights_are_refused(path: Path, tmp_path: Path, change: dict, complaint: str) -> None:
    other = repacked(path, tmp_path, weights_safetensors=save({**weights(path), **change}))
    with pytest.raises(InputError) as caught:
        load_bundle(other)
    assert complaint in str(caught.value) and f"{other}: weights.safetensors" in str(caught.value)


def test_missing_weights_are_refused(path: Path, tmp_path: Path) -> None:
    fewer = {name: tensor for name, tensor in weights(path).items() if name != LAST}
    with pytest.raises(InputError, match=f"tensor {LAST} is no such tensor"):
        load_bundle(repacked(path, tmp_path, weights_safetensors=save(fewer)))


class Trap:
    """What a pickle does when it is read."""

    def __reduce__(self) -> tuple:
        return (pytest.fail, ("a pickle was read",))


@pytest.mark.parametrize("kind", ["pickle", "npy of objects", "empty", "huge header"])
def test_weights_of_another_format_are_refused(path: Path, tmp_path: Path, kind: str) -> None:
    stream = io.BytesIO()
    np.save(stream, np.array([Trap()], object), allow_pickle=True)
    content = {
        "pickle": pickle.dumps({LAST: Trap()}),
        "npy of objects": stream.getvalue(),
        "empty": b"",
        "huge header": (2**62).to_bytes(8, "little") + b"{}",
    }[kind]
    with pytest.raises(InputError, match=r"weights\.safetensors holds no safetensors"):
        load_bundle(repacked(path, tmp_path, weights_safetensors=content))


def test_a_header_of_more_tensors_than_a_network_has_is_not_read(path: Path, tmp_path: Path) -> None:
    """Each entry would take some kB of memory, and a zip holds a thousand times its size of them."""
    none = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps({f"tensor_{number}": none for number in range(20_000)}).encode()
    with pytest.raises(InputError, match=rf"weights\.safetensors .*: its header has {len(header)} bytes"):
        load_bundle(repacked(path, tmp_path, weights_safetensors=len(header).to_bytes(8, "little") + header))


def set_in(*place: Any) -> Any:
    *names, last, value = place

    def change(about: dict) -> None:
        for name in names:
            about = about[name]
        about[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (set_in("record", 3), "the record of the model is missing or has other types"),
        (set_in("record", "study", {"a": 1}), "the record of the model is missing or has other types"),
        (set_in("record", "filters", [5, 8]), "no network has such groups"),
        (set_in("record", "filters", [4, 16]), "the network of model.json has"),
        (set_in("record", "filters", [2**60]), "no network has such filters"),
        (set_in("record", "filters", [4] * 1000), "no network has such filters"),
        (set_in("record", "groups", 0), "no network has such groups"),
        (set_in("record", "outputs", 3), "no network has such outputs and classes"),
        (set_in("record", "classes", {}), "no network has such"),
        (set_in("record", "classes", {"bright": [300], "dim": [4]}), "values of classes"),
        (set_in("record", "preprocessing", "image_size", [2**40, 2**40]), "pixels takes"),
        (set_in("record", "preprocessing", "image_size", [10**400, 16]), "cannot be used"),
        (set_in("record", "preprocessing", "hu_windows", [["nan", 1.0]]), "data.hu_windows is"),
        (set_in("record", "preprocessing", "target_spacing_mm", [0.0, 1.0]), "data.target_spacing_mm is"),
        (set_in("record", "preprocessing", "target_spacing_mm", [1.0, 1.0, 1.0]), "data.target_spacing_mm is"),
        (set_in("record", "preprocessing", "target_spacing_mm", [1e-9, 1e-9]), "resampling to"),
        (set_in("record", "scan_channels", ["a", "b", "c"]), "3 channels of a scan do not make 2 of the network"),
        (set_in("record", "clinical", {}), "KeyError"),
        (set_in("record", "clinical", "intramuscular_fat", ["off"]), "clinical.intramuscular_fat is"),
        (set_in("record", "clinical", "another", 1), "clinical.another"),
        (set_in("record", "clinical", "muscle_class", [1]), "AttributeError"),
        (set_in("record", "trained_on", "scans", 0), "trained_on is of no scans"),
        (set_in("record", "trained_on", "ranges", "spacing_x_mm", ["nan", "nan"]), "trained_on is of no scans"),
        (set_in("record", "trained_on", "ranges", "spacing_x_mm", [2.0, 1.0]), "trained_on is of no scans"),
        (set_in("record", "preprocessing", "image_size", [15, 16]), "image_size"),
        (set_in("record", "preprocessing", "modality", "us"), "modality"),
        (set_in("record", "preprocessing", "version", 99), "version"),
        (set_in("record", "preprocessing", None), "cannot be used"),
        (set_in("record", "trained_on", {}), "cannot be used"),
        (set_in("record", "clinical", []), "cannot be used"),
        (set_in("record", "more", 1), "cannot be used"),
        (set_in("labels", []), "labels or citation are not those of the record"),
        (set_in("labels", 0, "name", []), "labels or citation are not those of the record"),
        (set_in("labels", 0, "value", 2), "labels or citation are not those of the record"),
        (set_in("labels", 0, "colour", "javascript:"), "labels or citation are not those of the record"),
        (set_in("citation", 3), "labels or citation are not those of the record"),
        (set_in("card", []), "the metrics card cannot be read"),
        (set_in("card", "scores", []), "the metrics card cannot be read"),
        (set_in("card", "level", "nan"), "the metrics card cannot be read"),
        (set_in("card", "subjects", -1), "the metrics card cannot be read"),
        (set_in("card", "scores", 0, "mean", "inf"), "the metrics card cannot be read"),
        (set_in("members", "README.md", "sha256", "0" * 64), "README.md is not what was written"),
    ],
)
def test_a_record_of_something_else_is_refused(path: Path, tmp_path: Path, change: Any, complaint: str) -> None:
    other = repacked(path, tmp_path, change)
    with pytest.raises(InputError) as caught:
        load_bundle(other)
    assert complaint in str(caught.value) and str(other) in str(caught.value)


@pytest.mark.slow
def test_values_of_any_type_are_refused_or_harmless(path: Path, tmp_path: Path) -> None:
    """Every leaf of model.json replaced by something of another type."""
    about = json.loads(zipfile.ZipFile(path).read(MODEL))
    places: list[tuple] = []

    def walk(value: Any, place: tuple) -> None:
        places.extend([place] if place else [])
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, item in items:
            walk(item, (*place, key))

    walk(about, ())
    for number, place in enumerate(places):
        value = [None, -1, "x", [], {}, [[]], 1e300, True][number % 8]
        try:
            load_bundle(repacked(path, tmp_path, set_in(*place, value)))
        except InputError as error:
            assert "other.zip" in str(error), (place, value)
