"""Studies on generated scans that start from the bundle of another study's run instead of pretraining."""

import csv
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny

from experiments.main import main
from inpaint_ssl.bundle.write import write_bundle
from inpaint_ssl.checkpoint import best_weights
from inpaint_ssl.files import file_sha256
from inpaint_ssl.trained.run import load_run

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quickly_compiled")]
BOTH_ECHOES = "data.channels=all"
SHORT = (
    "data.prepare_processes=1",
    "split.label_fractions=(1.0,)",
    "pretrain.max_steps=2",
    "pretrain.validate_every_steps=2",
    "finetune.max_steps=2",
    "finetune.validate_every_steps=2",
)
OTHER_DATA = ("data.phantom.seed=1", "study.name=others")
TUNED = "finetune/pretrained_labels-100pct_draw-0_seed-0"


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


def kernel_of(params) -> np.ndarray:
    return np.asarray(params["encoder"]["level_0"]["conv_0"]["kernel"])


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of knees in two echoes, pretrained and fine-tuned."""
    folder = tmp_path_factory.mktemp("first") / "study"
    for stage in ("pretrain", "finetune"):
        assert tiny.run(folder, BOTH_ECHOES, *SHORT, f"stage={stage}") == 0
    return folder


@pytest.fixture(scope="module")
def bundle(first: Path) -> Path:
    """Of its pretraining."""
    return write_bundle(first / "pretrain/seed-0", first.parent / "pretrained.zip").path


def test_a_bundle_starts_what_its_run_would_have_started(first: Path, bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "again"
    assert tiny.run(folder, BOTH_ECHOES, *SHORT, f"transfer.pretrained={bundle}", "stage=finetune") == 0
    assert not (folder / "pretrain").exists()
    weights = [best_weights(study / TUNED) for study in (folder, first)]
    jax.tree.map(np.testing.assert_array_equal, *weights)
    assert rows_of(folder / TUNED / "transfer.csv") == rows_of(first / TUNED / "transfer.csv")
    seen = [json.loads((study / TUNED / "manifest.json").read_text())["trained_on"] for study in (folder, first)]
    assert seen[0] == seen[1] and seen[0]["scans"] == len(seen[0]["image_sha256"]) == 6
    about = json.loads((folder / "manifest.json").read_text())["pretrained_from"]
    assert about == {
        "kind": "bundle", "name": "pretrained.zip", "sha256": file_sha256(bundle), "study": "tiny",
        "dataset": "knee_phantom", "task": "inpainting",
    }  # fmt: skip
    assert "every seed starts from the bundle <code>pretrained.zip</code>" in (folder / "report.html").read_text()
    moved = shutil.copy(bundle, tmp_path / "moved.zip")  # the same weights in another place
    assert tiny.run(folder, BOTH_ECHOES, *SHORT, f"transfer.pretrained={moved}", "stage=evaluate") == 0
    assert len(rows_of(folder / TUNED / "per_scan.csv")) > 0


def test_another_data_set_with_one_channel(first: Path, bundle: Path, tmp_path: Path, capsys) -> None:
    folder, shown = tmp_path / "others", tmp_path / "model.zip"
    shutil.copy(bundle, shown)
    start = (*OTHER_DATA, *SHORT, f"transfer.pretrained={shown}", "seeds=(0,1)", "stage=finetune")
    assert tiny.run(folder, *start) == 2
    assert "channels was 'all' in pretraining and is 'root_sum_of_squares' here" in capsys.readouterr().err
    assert not folder.exists()
    start = (*start, "transfer.adapt_input=mean", "finetune.learning_rate=1e-30")  # so that weights stay as they begin
    assert tiny.run(folder, *start) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "note: the input channels of the pretrained weights were" in out and "mean over 2 input channels" in out
    pretrained = load_run(first / "pretrain/seed-0").params
    for seed in (0, 1):
        run = folder / f"finetune/pretrained_labels-100pct_draw-0_seed-{seed}"
        (adapted,) = [row for row in rows_of(run / "transfer.csv") if row["status"] == "adapted"]
        assert adapted["name"] == "encoder/level_0/conv_0/kernel"
        assert adapted["reason"] == "mean over 2 input channels, times 2/1"
        assert (adapted["pretrained_shape"], adapted["finetuned_shape"]) == ("(3, 3, 2, 16)", "(3, 3, 1, 16)")
        tuned = best_weights(run)
        np.testing.assert_allclose(kernel_of(tuned)[:, :, 0], kernel_of(pretrained).sum(axis=2), rtol=1e-5, atol=1e-6)
        deeper = [tree["encoder"]["level_1"] for tree in (tuned, pretrained)]
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6), *deeper)

    # the same command goes on, and not with another bundle of the same name
    assert tiny.run(folder, *start) == 0
    shutil.copy(write_bundle(first / TUNED, tmp_path / "tuned.zip").path, shown)
    capsys.readouterr()
    assert tiny.run(folder, *start, "finetune.max_steps=3") == 2
    assert "model.zip holds other weights than those" in capsys.readouterr().err
    assert main([*tiny.arguments(folder, *start, "finetune.max_steps=3"), "--plan"]) == 2
    assert "model.zip holds other weights than those" in capsys.readouterr().err


def test_a_fine_tuned_network_gives_its_output_too(first: Path, tmp_path: Path, capsys) -> None:
    path = write_bundle(first / TUNED, tmp_path / "tuned.zip").path
    parts = "transfer.parts=('encoder','decoder','post_processing')"
    folder = tmp_path / "further"
    assert (
        tiny.run(folder, BOTH_ECHOES, *OTHER_DATA, *SHORT, f"transfer.pretrained={path}", parts, "stage=finetune") == 0
    )
    assert {row["status"] for row in rows_of(folder / TUNED / "transfer.csv")} == {"loaded"}
    assert "trained on labels (tiny, knee_phantom)" in capsys.readouterr().out
    assert "a network that was trained on labels" in (folder / "report.html").read_text()


def test_scans_that_the_weights_saw_are_neither_validated_nor_tested_on(bundle: Path, tmp_path: Path, capsys) -> None:
    more = (BOTH_ECHOES, "split.split_seed=1", f"transfer.pretrained={bundle}")
    assert tiny.run(tmp_path / "again", *SHORT, *more) == 2
    error = capsys.readouterr().err
    assert "scans that we validate or test on, such as phantom" in error and len(error.strip().splitlines()) == 1
    assert not (tmp_path / "again").exists()


def test_weights_of_mri_are_refused_for_ct(bundle: Path, tmp_path: Path, capsys) -> None:
    settings = ("subjects=10", "unlabelled_subjects=0", "size=(32, 32)")
    flags = [f"--config.data.phantom.{setting}" for setting in settings]
    flags += ["--config.data.image_size=(32, 32)", "--config.model.filters=(16, 32)", f"--workdir={tmp_path / 'ct'}"]
    flags += [f"--config.transfer.pretrained={bundle}", "--config.transfer.adapt_input=repeat"]
    assert main(["main", "--config=configs/abdomen_phantom.py", *flags]) == 2
    assert "modality was 'mri' in pretraining and is 'ct' here" in capsys.readouterr().err
    assert not (tmp_path / "ct").exists()
