"""The Python of the README runs as it stands, one block after another."""

import re
from pathlib import Path

import numpy as np
import pytest
from nifti_sets import make_msd
from rich.console import Console
from small_model import model, record, write_run

from inpaint_ssl.bundle import write_bundle
from inpaint_ssl.data import ReaderSettings, open_dataset, prepare_store


def snippets() -> list[str]:
    text = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def test_prepared_data_and_readers(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    prepared, readers, *_ = snippets()
    root = make_msd(tmp_path)
    reader = open_dataset(ReaderSettings(root=str(root)))
    folder = prepare_store(reader, "sagittal", tmp_path / "prepared", Console(quiet=True)).folder
    shown = re.findall(r'"(runs/prepared/[^"]*)"', prepared)
    assert len(shown) == 1
    names: dict = {}
    exec(compile(prepared.replace(shown[0], str(folder)), "README.md", "exec"), names)
    first = reader.read(reader.entries[0])
    assert np.array_equal(names["image"], first.image[0].transpose(1, 0, 2)[::-1, ::-1])
    assert np.array_equal(names["label"], first.label[0].T[::-1, ::-1])
    assert names["about"]["scan_id"] == "knee_001" and len(names["scans"]) == len(reader)

    assert readers.count('"data/hippocampus"') == 1
    exec(compile(readers.replace("data/hippocampus", str(root)), "README.md", "exec"), {})
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == sorted(names["scans"])


def test_t2() -> None:
    _, _, t2, *_ = snippets()
    names: dict = {}
    exec(compile(t2, "README.md", "exec"), names)
    assert names["t2_ms"] == pytest.approx(np.full((4, 4, 2), 32.29), abs=0.01)


def test_a_bundle(tmp_path: Path) -> None:
    _, _, _, bundle, *_ = snippets()
    assert bundle.count('"model.zip"') == 1
    write_bundle(write_run(tmp_path / "run", model(record())), tmp_path / "model.zip")
    names: dict = {}
    exec(compile(bundle.replace("model.zip", str(tmp_path / "model.zip")), "README.md", "exec"), names)
    mask = names["mask"]
    assert mask.shape == (40, 50, 35) and mask.any()
    assert names["volumes_mm3"] == {"bright": np.sum(mask == 1), "dim": np.sum(mask == 4)}


def test_corruptors_and_weights() -> None:
    *_, corruptors, weights = snippets()
    # An image of zeros would hide what the corruptors do.
    shown, real = "jnp.zeros((8, 64, 64, 1))", "jnp.arange(1.0, 1 + 8 * 64 * 64).reshape(8, 64, 64, 1)"
    assert corruptors.count(shown) == 1
    names: dict = {}
    exec(compile(corruptors.replace(shown, real), "README.md", "exec"), names)
    images = np.asarray(names["images"])
    for swapped in (names["swapped"], names["from_bank"]):
        assert np.array_equal(np.sort(swapped, axis=None), np.sort(images, axis=None))
        assert all((swapped[i] != images[i]).mean() >= 0.25 for i in range(8))
    zeroed = np.asarray(names["zeroed"])[..., 0] == 0
    assert zeroed.mean() == 0.25
    expected = np.zeros((64, 64), bool)
    for row, column in np.asarray(names["patches"].corners):
        expected[row : row + 8, column : column + 8] = True
    assert np.array_equal(zeroed, expected)

    exec(compile(weights, "README.md", "exec"), names)
    loaded = names["params"]["encoder"]["level_0"]["conv_1"]["kernel"]
    np.testing.assert_array_equal(loaded, names["pretrained"]["encoder"]["level_0"]["conv_1"]["kernel"])
