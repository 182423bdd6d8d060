"""Steps, seconds and bytes against arithmetic of its own; a step that was really measured."""

import math
from pathlib import Path

import broken_set
import pytest
from rich.console import Console

from inpaint_ssl.doctor.examine import Diagnosis, examine
from inpaint_ssl.doctor.findings import exit_code
from inpaint_ssl.doctor.plan import make_plan, slices_of
from inpaint_ssl.forecast import estimate
from inpaint_ssl.forecast.estimate import Slices, make_forecast, measure_step
from inpaint_ssl.forecast.lengths import steps_of, validations_of

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return broken_set.clean(tmp_path_factory.mktemp("clean"), 10)


@pytest.fixture(scope="module")
def diagnosis(clean: Path) -> Diagnosis:
    return examine(broken_set.settings(clean), QUIET)


def test_slices(clean: Path, diagnosis: Diagnosis) -> None:
    """10 labelled subjects of 10 sagittal slices and an unlabelled one: 6 train, 2 validate, 2 test."""
    config = broken_set.settings(clean)
    assert diagnosis.found is not None
    slices = slices_of(config, diagnosis.found, diagnosis.preprocessing)
    assert (slices.pretraining, slices.validation, dict(slices.finetuning)) == (70, 20, {1.0: 60})
    assert (slices.resident, slices.channels, slices.classes) == (90, 1, 2)
    assert slices.stored_bytes == 48 * 48 * (2 + 1)  # int16 and a label


@pytest.mark.parametrize(
    ("changes", "n", "steps", "validations"),
    [
        ({"max_steps": 20, "max_epochs": 0, "validate_every_steps": 10}, 60, 20, 2),
        ({"max_steps": 20, "max_epochs": 0, "validate_every_steps": 15}, 60, 20, 2),
        ({"max_steps": 0, "max_epochs": 3, "validate_every_steps": 0, "schedule": "epoch_decay"}, 61, 3 * 31, 3),
        ({"max_steps": 40, "max_epochs": 3, "validate_every_steps": 0, "schedule": "epoch_decay"}, 61, 40, 2),
        # 7 slices in batches of 2: three passes make the first epoch of 10 steps or more.
        ({"max_steps": 0, "max_epochs": 2, "min_steps_per_epoch": 10, "schedule": "epoch_decay"}, 7, 22, 3),
    ],
)
def test_steps(clean: Path, changes: dict, n: int, steps: int, validations: int) -> None:
    section = broken_set.settings(clean, **{f"finetune__{key}": value for key, value in changes.items()}).finetune
    assert (steps_of(section, n), validations_of(section, n)) == (steps, validations)


def test_seconds_and_bytes(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = broken_set.settings(clean, seeds=(0, 1, 2), split__label_fractions=(0.5, 1.0), pretrain__batch_size=4)
    measured = {"pretrain": (1000, 5.0, 0.2), "finetune": (2000, 7.0, 0.1)}
    monkeypatch.setattr(estimate, "measure_step", lambda config, phase, slices, limit: measured[phase])
    slices = Slices(70, 20, {0.5: 30, 1.0: 60}, 1, 2, 90, 6912)
    forecast = make_forecast(config, slices)
    # 20 steps and 2 validations a run; a slice of validation takes a third of one in training.
    pretrain = 3 * (20 * 0.2 + 2 * 20 * 0.2 / 4 / 3) + 5.0
    finetune = 3 * 2 * 2 * (20 * 0.1 + 2 * 20 * 0.1 / 2 / 3) + 7.0
    assert forecast.seconds == pytest.approx(pretrain + finetune)
    assert forecast.resident_bytes == 90 * 6912 and forecast.is_resident
    plan_config = broken_set.settings(clean, data__device_memory_fraction=0.0)
    assert not make_forecast(plan_config, slices).is_resident


def test_a_measured_step(clean: Path) -> None:
    config = broken_set.settings(clean, data__image_size=(16, 16))
    slices = Slices(70, 20, {1.0: 60}, 1, 2, 90, 768)
    peak, compiling, seconds = measure_step(config, "finetune", slices, 2**33)
    assert peak > 2 * 16 * 16 * (1 + 16) * 4  # input and one map of the first level at least
    assert compiling > 0 and seconds is not None and 0 < seconds < 5
    assert measure_step(config, "finetune", slices, peak - 1)[2] is None


def test_a_step_that_does_not_fit(clean: Path, diagnosis: Diagnosis, monkeypatch: pytest.MonkeyPatch) -> None:
    config = broken_set.settings(clean, pretrain__batch_size=8)
    monkeypatch.setattr(estimate, "limit_bytes", lambda: 1_500_000)
    monkeypatch.setattr(
        estimate,
        "measure_step",
        lambda config, phase, slices, limit: (1_000_000, 1.0, 0.1) if phase == "finetune" else (9_000_000, 1.0, None),
    )
    monkeypatch.setattr(estimate, "fitting_batch", lambda config, phase, slices, limit: 3)
    plan = make_plan(config, diagnosis, QUIET)
    error = plan.findings[0]
    assert (error.kind, error.severity) == ("memory", "error") and exit_code(plan.findings) == 2
    assert "--config.pretrain.batch_size=3" in error.remedy and "batch_size=8" in error.message
    assert "does not fit" in dict(plan.lines)["Pretraining"] and "All together" not in dict(plan.lines)


def test_the_plan_in_words(clean: Path, diagnosis: Diagnosis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "measure_step", lambda *_: (10**7, 60.0, 6.0))
    lines = dict(make_plan(broken_set.settings(clean), diagnosis, QUIET).lines)
    # organs: 10 of 32 rows off the middle, in images whose sides are even.
    assert lines["Image size"].startswith("48 x 48 pixels are set; 36 x 32 holds every slice whole, ")
    labelled = 10 * int((broken_set.organs() > 0).sum())
    assert lines["Crop"] == f"keeps all of the {labelled:,} labelled voxels"
    assert "70 to pretrain on" in lines["Slices"] and "60 at 100 % of the labels (6 subjects)" in lines["Slices"]
    minutes = math.floor((2 * (20 * 6.0 + 2 * 20 * 6.0 / 2 / 3) + 60) / 60 + 0.5)
    assert "2 runs of 20 steps of 2 slices, 6.0 s each (measured)" in lines["Fine-tuning"]
    assert f"about {minutes} min" in lines["Fine-tuning"]


def test_runs_of_other_studies(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A grid of 1 x 2 x 2 strategies, pretrained once each, at half the labels; from scratch with all of them too."""
    measured = {"pretrain": (1000, 5.0, 0.2), "finetune": (2000, 7.0, 0.1)}
    monkeypatch.setattr(estimate, "measure_step", lambda config, phase, slices, limit: measured[phase])
    changes = {"study__kind": "pretraining_grid", "grid__tasks": ("context_restoration",), "seeds": (0, 1)}
    config = broken_set.settings(
        clean, **changes, grid__patch_sizes=(64, 32), split__label_fractions=(0.5,), data__image_size=(64, 64)
    )
    slices = Slices(70, 0, {0.5: 30, 1.0: 60}, 1, 2, 90, 6912)
    pretrain, finetune = make_forecast(config, slices).phases
    assert (dict(pretrain.runs), dict(finetune.runs)) == ({0.0: 8}, {0.5: 2 * (4 + 1), 1.0: 2})
    assert (pretrain.seconds, finetune.seconds) == (5.0 + 8 * 20 * 0.2, 7.0 + 12 * 20 * 0.1)


def test_pretraining_sets_of_several_sizes(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An epoch of each set; the study's own set, of 70 slices, is not pretrained on."""
    monkeypatch.setattr(estimate, "measure_step", lambda *_: (1000, 5.0, 1.0))
    config = broken_set.settings(clean, study__kind="unlabelled_extent", split__pretraining_extents=(1.0, 1.5))
    with config.unlocked():
        config.pretrain.update({"schedule": "constant", "max_steps": 0, "max_epochs": 1, "validate_every_steps": 0})
    slices = Slices(70, 0, {1.0: 60}, 1, 2, 90, 6912, {1.0: 60, 1.5: 80})
    pretrain, finetune = make_forecast(config, slices).phases
    assert (dict(pretrain.steps), dict(pretrain.runs)) == ({1.0: 30, 1.5: 40}, {1.0: 1, 1.5: 1})
    assert dict(finetune.runs) == {1.0: 3} and pretrain.seconds == 5.0 + 30 + 40


def test_a_ranking_of_other_studies_trains_nothing(clean: Path, diagnosis: Diagnosis) -> None:
    config = broken_set.settings(clean, study__kind="optimal_strategy")
    with config.unlocked():
        config.study["from"] = ("runs/a",)
    lines = dict(make_plan(config, diagnosis, QUIET).lines)
    assert lines["Training"].startswith("none") and "All together" not in lines and "Pretraining" not in lines
