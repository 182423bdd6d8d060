"""What travels with weights: from the folder of a run, through JSON, and what is refused."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from small_model import model, preprocessing, record, write_run

from inpaint_ssl.data import ClassMap
from inpaint_ssl.errors import InputError
from inpaint_ssl.trained.record import ModelRecord, TrainedOn
from inpaint_ssl.trained.run import load_run


def test_a_run_gives_back_weights_and_record(tmp_path: Path) -> None:
    for number, about in enumerate(
        [record(), record(preprocessing(modality="ct")), record(task="inpainting", outputs=1, classes=ClassMap((), ()))]
    ):
        one = model(about, seed=number)
        found = load_run(write_run(tmp_path / f"run-{number}", one))
        assert found.record == about and found.origin == str(tmp_path / f"run-{number}")
        for old, new in zip(jax.tree.leaves(one.params), jax.tree.leaves(found.params), strict=True):
            np.testing.assert_array_equal(old, new)


def test_records_pass_through_json() -> None:
    for about in (record(channels=2), record(preprocessing(modality="ct", target_spacing_mm=(1.0, 2.0)))):
        again = ModelRecord.from_dict(json.loads(json.dumps(about.to_dict())), "model.json")
        assert again == about and again.trained_on.ranges["spacing_z_mm"] == (2.0, 2.0)
        assert again.trained_on.scans == 5 and len(again.trained_on.image_sha256) == 5


def test_weights_that_were_trained_again_have_seen_both_sets() -> None:
    first = TrainedOn(3, 2, {"a": (0.0, 2.0), "b": (1.0, 1.0)}, ("x", "y"))
    both = first.joined(TrainedOn(4, 4, {"a": (-1.0, 1.0), "c": (5.0, 6.0)}, ("y", "z")))
    assert both == TrainedOn(7, 6, {"a": (-1.0, 2.0), "b": (1.0, 1.0), "c": (5.0, 6.0)}, ("x", "y", "z"))


def test_masks_have_label_values_where_every_class_has_its_own() -> None:
    assert record().labels == {"bright": 1, "dim": 4}
    overlapping = ClassMap(("all", "dim"), ((1, 4), (4,)))
    assert record(classes=overlapping).labels == {"all": 1, "dim": 2}
    twice = ClassMap(("one", "other"), ((4,), (4,)))
    assert record(classes=twice).labels == {"one": 1, "other": 2}
    np.testing.assert_array_equal(record().stored(np.array([[0, 1], [2, 2]], np.uint8)), [[0, 1], [4, 4]])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"filters": [4, 9]}, "groups"),
        ({"outputs": 3}, "outputs and classes"),
        ({"task": "guessing"}, "task 'guessing'"),
        ({"threshold": "half"}, "ValueError"),
        ({"classes": {"bright": [300], "dim": [4]}}, "values of classes"),
        ({"preprocessing": {"version": 0}}, "preprocessing record is of another version"),
        ({"surprise": 1}, "TypeError"),
        ({"trained_on": {}}, "KeyError"),
    ],
)
def test_other_records_are_refused(changes, said) -> None:
    values = {**record().to_dict(), **changes}
    with pytest.raises(InputError, match=f"model.json: the record of the model cannot be used .*{said}"):
        ModelRecord.from_dict(values, "model.json")


def test_other_folders_are_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "study" / "finetune" / "pretrained_seed-0", model())
    with pytest.raises(InputError, match=r"is a study; give the folder of one of its runs: finetune/pretr"):
        load_run(tmp_path / "study")
    with pytest.raises(InputError, match="does not exist; expected the folder of a run"):
        load_run(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"is no folder of a run, config.json is missing"):
        load_run(tmp_path / "study" / "finetune")
    manifest = run / "manifest.json"
    content = json.loads(manifest.read_text())
    del content["trained_on"]
    manifest.write_text(json.dumps(content))
    with pytest.raises(InputError, match="'trained_on' is missing: the run was trained by an earlier version"):
        load_run(run)
    (run / "result.json").unlink()
    with pytest.raises(InputError, match=r"not finished, result.json is missing"):
        load_run(run)
    damaged = write_run(tmp_path / "damaged", model())
    shutil.rmtree(damaged / "best")
    (damaged / "best").mkdir()
    with pytest.raises(InputError, match="best is damaged or no folder of weights"):
        load_run(damaged)
