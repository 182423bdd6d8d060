"""The loop: early stopping as written, every seed for itself, resume bit-equal, divergence named and kept."""

import contextlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_run import (
    MEMBERSHIP,
    MODEL,
    QUIET,
    SOURCE,
    counting_programs,
    counting_start,
    make_run,
    unet_programs,
    unet_start,
)

from inpaint_ssl.checkpoint import RunCheckpoints, load_weights
from inpaint_ssl.engine import EngineSettings
from inpaint_ssl.files import read_csv
from inpaint_ssl.losses import dice_loss_of_sums
from inpaint_ssl.rng import stream_key
from inpaint_ssl.signals import Stopped
from inpaint_ssl.steps import segmentation_loss
from inpaint_ssl.training import last_step, train
from inpaint_ssl.types import Batch

COLUMNS = ("step", "epoch", "split", "loss", "gradient_norm", "learning_rate")


def counting_run(directory: Path, losses, seeds=(0,), programs=None, **changes):
    """A run whose parameter counts its steps and whose validation returns the given losses in turn."""
    remaining = iter(losses)
    programs = programs or counting_programs(len(seeds))
    return make_run(
        directory, programs, counting_start(len(seeds)), lambda sums: next(remaining), seeds=seeds, **changes
    )


def dice_loss(sums) -> float:
    return float(dice_loss_of_sums(sums["intersection"], sums["total"]))


def rows_of(folder: Path) -> list[list[str]]:
    return [[row[c] for c in COLUMNS] for row in read_csv(folder / "metrics.csv")]


def equal(a, b) -> bool:
    return jax.tree.all(jax.tree.map(lambda x, y: bool((x == y).all()), a, b))


@pytest.mark.parametrize(
    ("losses", "patience", "steps", "best_step", "stopped"),
    [
        ([1.0, 0.5, 0.45, 0.44], 2, 12, 12, "early_stopping"),  # the last two fall by less than min_delta = 0.1
        ([1.0, 0.95, 0.85, 0.84], 2, 12, 12, "max_steps"),  # the third has fallen by 0.15 since the first
        ([1.0, 1.1, 0.95], 2, 9, 9, "early_stopping"),
        ([1.0, 2.0, 3.0, 0.9], 0, 12, 12, "max_steps"),
        ([1.0, 0.2, 0.3, 0.4], 2, 12, 6, "early_stopping"),
    ],
)
def test_early_stopping(tmp_path: Path, losses, patience, steps, best_step, stopped) -> None:
    (result,) = train(counting_run(tmp_path, losses, patience=patience), QUIET)
    assert (result.steps, result.best_step, result.stopped, result.error) == (steps, best_step, stopped, "")
    assert result.best_validation_loss == min(losses)
    assert float(result.best["w"]) == best_step  # the parameters of that step, not later ones


@pytest.mark.parametrize("way", ["in_turn", "unroll", "vmap"])
def test_every_seed_stops_for_itself_and_then_stands_still(tmp_path: Path, way: str) -> None:
    losses = [1.0, 1.0, 1.0, 1.1, 0.5, 2.0, 1.2, 0.2, 0.5, 0.1, 0.3]  # of seeds 0, 1, 2 in turn, at the end of 1, 2
    programs = counting_programs(3, EngineSettings(way, "jit", 1, 1))
    run = counting_run(tmp_path, losses, (0, 1, 2), programs, patience=2)
    results = train(run, QUIET)
    assert [(r.steps, r.best_step, r.stopped) for r in results] == [
        (9, 3, "early_stopping"),
        (12, 12, "max_steps"),
        (12, 12, "max_steps"),
    ]
    assert [float(r.best["w"]) for r in results] == [3, 12, 12]
    with contextlib.closing(RunCheckpoints(tmp_path / "checkpoints")) as checkpoints:
        state, _, _ = checkpoints.restore(run.start.state)
    np.testing.assert_array_equal(state.params["w"], [9, 12, 12])
    np.testing.assert_array_equal(state.step, [9, 12, 12])
    assert [len(rows_of(tmp_path / f"seed-{seed}")) for seed in (0, 1, 2)] == [9, 12, 12]


def test_the_last_step_is_validated_and_recorded(tmp_path: Path) -> None:
    train(counting_run(tmp_path, [3, 2, 1, 0.5], last_step=11), QUIET)
    rows = read_csv(tmp_path / "metrics.csv")
    assert [int(row["step"]) for row in rows if row["split"] == "validation"] == [3, 6, 9, 11]
    assert [int(row["step"]) for row in rows if row["split"] == "train"] == [2, 3, 4, 6, 8, 9, 10, 11]


def test_rows_are_means_of_the_steps_between_them(tmp_path: Path) -> None:
    """The counting step's loss is the mean of its images, padded rows included."""
    run = counting_run(tmp_path, [4, 3, 2, 1])
    train(run, QUIET)
    orders = [run.seeds[0].order.at(step) for step in range(12)]
    losses = [SOURCE.images[[*order, *[order[0]] * (3 - len(order))]].mean() for order in orders]
    rows = [row for row in read_csv(tmp_path / "metrics.csv") if row["split"] == "train"]
    edges = [0, *(int(row["step"]) for row in rows)]
    for row, first, end in zip(rows, edges, edges[1:], strict=False):
        assert float(row["loss"]) == pytest.approx(np.mean(losses[first:end]), rel=1e-5)
        assert float(row["gradient_norm"]) == 2


def test_lengths() -> None:
    assert last_step(12, 500, 0) == (6000, "max_epochs")
    assert last_step(12, 0, 2500) == (2500, "max_steps")
    assert last_step(12, 2, 2500) == (24, "max_epochs")


@pytest.mark.parametrize("steps_per_call", [1, 2, 5])
def test_steps_per_call_change_nothing(tmp_path: Path, steps_per_call: int) -> None:
    engine = EngineSettings("in_turn", "jit", 1, steps_per_call)
    (result,) = train(counting_run(tmp_path, [4, 3, 2, 1], programs=counting_programs(1, engine), log_every=5), QUIET)
    assert result.steps == 12 and float(result.best["w"]) == 12
    rows = [int(row["step"]) for row in read_csv(tmp_path / "metrics.csv")]
    assert rows == [3, 3, 5, 6, 6, 9, 9, 10, 12, 12]


def test_a_validation_loss_that_is_not_finite_ends_that_seed_alone(tmp_path: Path) -> None:
    losses = [1.0, 1.0, float("nan"), 0.9, 0.8, 0.7]
    results = train(counting_run(tmp_path, losses, (0, 1)), QUIET)
    assert [r.stopped for r in results] == ["diverged", "max_steps"]
    assert "seed 0: the validation loss is nan at step 6" in results[0].error
    assert f"of its checkpoints the last good one is {tmp_path / 'checkpoints' / '3'}" in results[0].error


@pytest.mark.slow
def test_a_step_that_is_not_finite_is_named_and_kept_for_replay(tmp_path: Path) -> None:
    """The third step of seed 1 has a gradient that is not finite; the batch and parameters kept show it again."""
    bad = 3  # this slice, whose example id the loss knows, spoils every step that sees it

    def spoiled(params, batch, key, step, axis_name):
        loss = segmentation_loss(MODEL, MEMBERSHIP)(params, batch, key, step, axis_name)
        return loss / jnp.where((batch.example_ids == SOURCE.example_ids[bad]).any(), 0.0, 1.0)

    programs = unet_programs(2, loss=spoiled)
    run = make_run(tmp_path, programs, unet_start((0, 1)), dice_loss, seeds=(0, 1))
    results = train(run, QUIET)
    for number, (result, seed) in enumerate(zip(results, run.seeds, strict=True)):
        failing = next(step for step in range(12) if bad in seed.order.at(step))
        indices = seed.order.at(failing)
        assert result.stopped == "diverged" and result.steps == failing
        scans = {SOURCE.scans[SOURCE.scan_of[index]].scan_id for index in indices}
        assert f"step {failing + 1} is not finite: loss inf" in result.error and "learning rate 0.01" in result.error
        assert all(scan in result.error for scan in scans)
        with np.load(seed.directory / "diverged" / "batch.npz") as kept:
            batch = Batch(*(kept[name] for name in Batch._fields))
            assert set(kept["scans"]) == scans and int(kept["step"]) == failing and int(kept["seed"]) == number
        params = load_weights(seed.directory / "diverged" / "params")
        key = stream_key(number, "test")
        assert not np.isfinite(spoiled(params, batch, key, failing, None))
        # Without the spoiled slice's step the run comes to the same parameters.
        before = make_run(
            tmp_path / f"sound-{number}",
            unet_programs(2),
            unet_start((0, 1)),
            dice_loss,
            seeds=(0, 1),
            last_step=failing,
            validate_every=failing,
        )
        assert equal(train(before, QUIET)[number].best, params)


def test_a_run_that_was_interrupted_ends_bit_equal(tmp_path: Path) -> None:
    """Stopped by a signal between two validations and two rows, and killed in a validation."""
    programs = unet_programs(2)
    start = unet_start((0, 1))

    def run(folder: str, **changes):
        return make_run(tmp_path / folder, programs, start, changes.pop("loss", dice_loss), seeds=(0, 1), **changes)

    asked = iter(["", "", "", "", "SIGTERM"])
    whole = train(run("whole"), QUIET)
    with pytest.raises(Stopped, match="SIGTERM"):
        train(run("cut", stop=lambda: next(asked)), QUIET)
    assert {path.name for path in (tmp_path / "cut" / "checkpoints").iterdir()} == {"3", "5"}
    calls = []

    def dies(sums) -> float:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return dice_loss(sums)

    with pytest.raises(KeyboardInterrupt):
        train(run("cut", loss=dies), QUIET)
    resumed = train(run("cut"), QUIET)
    for one, other in zip(whole, resumed, strict=True):
        assert equal(one.best, other.best)
        assert (one.steps, one.best_step) == (other.steps, other.best_step)
    for seed in (0, 1):
        assert rows_of(tmp_path / "whole" / f"seed-{seed}") == rows_of(tmp_path / "cut" / f"seed-{seed}")


def test_a_longer_run_goes_on_where_the_shorter_one_ended(tmp_path: Path) -> None:
    train(counting_run(tmp_path, [4, 3, 2, 1]), QUIET)
    (result,) = train(counting_run(tmp_path, [0.5, 0.4], last_step=18), QUIET)
    assert result.steps == 18 and float(result.best["w"]) == 18
    assert len(rows_of(tmp_path)) == 18


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    train(counting_run(tmp_path, [4, 3, 2, 1]), QUIET)
    (result,) = train(counting_run(tmp_path, []), QUIET)
    assert result.steps == 12 and float(result.best["w"]) == 12


def test_checkpoints_hold_separate_items(tmp_path: Path) -> None:
    train(counting_run(tmp_path, [4, 3, 2, 1], checkpoint_every=4), QUIET)
    newest = tmp_path / "checkpoints" / "12"
    assert {"params", "best", "opt_state", "loop"} <= {path.name for path in newest.iterdir()}
    assert {path.name for path in newest.parent.iterdir()} == {"9", "12"}


def test_a_profile_is_written_when_asked_for(tmp_path: Path) -> None:
    train(counting_run(tmp_path, [4] * 8, last_step=24, profile=True), QUIET)
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))
