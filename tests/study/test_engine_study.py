"""How a study is run changes nothing of what it finds; its length can be raised; a batch too large is refused."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import tiny

from experiments.main import main
from inpaint_ssl import memory
from inpaint_ssl.checkpoint import load_weights, save_weights
from inpaint_ssl.files import read_json

pytestmark = pytest.mark.usefixtures("quickly_compiled")

SHORT = ("split.label_fractions=(1.0,)", "finetune.schedule=constant", "pretrain.schedule=step_decay")


def rows_of(folder: Path, seed: str = "0") -> list[list[str]]:
    with open(folder / "per_scan.csv", newline="") as stream:
        return [row for row in csv.reader(stream) if row[5] in (seed, "seed")]


@pytest.fixture(scope="module")
def short_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("engine") / "study"
    assert tiny.run(folder, *SHORT) == 0
    return folder


@pytest.mark.slow
def test_seeds_trained_together_and_streamed_batches_give_the_same_study(short_study: Path, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    # Seed 1 first, so that seed 0 is not where it would be without it.
    assert tiny.run(folder, *SHORT, "seeds=(1,0)", "data.device_memory_fraction=0.0", "log_every_steps=2") == 0
    assert rows_of(folder) == rows_of(short_study)
    assert len(rows_of(folder, "1")) == len(rows_of(folder)) and rows_of(folder, "1")[1:] != rows_of(folder)[1:]
    assert (folder / "pretrain" / "seeds-1-0" / "checkpoints" / "6").is_dir()
    assert (folder / "finetune" / "pretrained_labels-100pct_draw-0_seed-1" / "best").is_dir()
    assert "they are streamed" in (folder / "log.txt").read_text()
    assert "they stay on the device" in (short_study / "log.txt").read_text()
    with open(folder / "pretrain" / "seed-1" / "metrics.csv", newline="") as stream:
        assert [row["step"] for row in csv.DictReader(stream)] == ["2", "3", "3", "4", "6", "6"]
    assert list((folder / "pretrain" / "seed-0" / "tensorboard").iterdir())


@pytest.mark.slow
def test_small_sets_are_cycled_alike_for_both_arms(tmp_path: Path) -> None:
    more = ("finetune.schedule=epoch_decay", "finetune.max_steps=0", "finetune.max_epochs=2")
    more = (*more, "finetune.min_steps_per_epoch=3", "finetune.validate_every_steps=0", "stage=finetune")
    assert tiny.run(tmp_path / "study", "split.label_fractions=(0.2,)", "stage=pretrain", *more[:-1]) == 0
    assert tiny.run(tmp_path / "study", "split.label_fractions=(0.2,)", *more) == 0
    results = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("study/finetune/*/result.json"))]
    # One subject of eight slices is one step; three passes make an epoch of three steps.
    assert [result["steps"] for result in results] == [6, 6]
    assert "8 slices, 3 steps an epoch (3 passes), at most 6 steps" in (tmp_path / "study" / "log.txt").read_text()


@pytest.mark.slow
def test_a_longer_study_goes_on_where_the_shorter_one_ended(short_study: Path, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "study"
    assert tiny.run(folder, *SHORT, "finetune.max_steps=3") == 0
    assert rows_of(folder) != rows_of(short_study)
    assert tiny.run(folder, *SHORT) == 0
    assert "finetune.max_steps 3 -> 6: training goes on, the learning rate has no jump" in capsys.readouterr().out
    assert rows_of(folder) == rows_of(short_study)
    assert main(["main", f"--workdir={folder}"]) == 0
    assert tiny.run(folder, *SHORT, "pretrain.max_steps=9") == 2
    assert "began from the shorter pretraining" in capsys.readouterr().err


@pytest.mark.slow
def test_weights_that_are_not_what_was_saved_are_refused(short_study: Path, tmp_path: Path, capsys) -> None:
    folder = shutil.copytree(short_study, tmp_path / "study")
    run = folder / "finetune" / "from_scratch_labels-100pct_draw-0_seed-0"
    weights = load_weights(run / "best")
    weights["encoder"]["level_0"]["conv_0"]["bias"] += 1e-6
    save_weights(run / "best", weights)
    (run / "per_scan.csv").unlink()
    assert tiny.run(folder, *SHORT) == 1  # the other runs go on
    error = capsys.readouterr().out
    (listed,) = [one for one in read_json(folder / "study.json", "study")["cells"] if one["status"] == "failed"]
    assert listed["directory"] == run.relative_to(folder).as_posix() and "best is damaged" in listed["error"]
    assert "best is damaged" in error and f"delete {run}/result.json and run the same command again" in error
    (run / "result.json").unlink()
    assert tiny.run(folder, *SHORT) == 0
    assert rows_of(folder) == rows_of(short_study)


@pytest.mark.slow
def test_a_batch_that_cannot_fit_is_refused_before_anything_is_written(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("inpaint_ssl.study.phases.limit_bytes", lambda: 6_000_000)
    assert tiny.run(tmp_path / "study", "pretrain.batch_size=40") == 2
    error = capsys.readouterr().err
    assert "config.pretrain.batch_size: got 40, which needs" in error and "the largest that fits is" in error
    assert not (tmp_path / "study").exists()
    largest = int(error.rsplit("the largest that fits is ", 1)[1].split()[0])
    assert 0 < largest < 40
    assert memory.limit_bytes() > 6_000_000
