"""The loop: every example once an epoch, early stopping as written, resume bit-equal, divergence named."""

import dataclasses
import io
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rich.console import Console
from small_source import make_source

from inpaint_ssl.batches import batches_in_order, make_batch
from inpaint_ssl.files import read_csv
from inpaint_ssl.loop import LoopSettings, TrainingDiverged, TrainingRun, loop_lengths, train
from inpaint_ssl.models import UNet
from inpaint_ssl.rng import stream_key
from inpaint_ssl.steps import make_train_step, segmentation_loss
from inpaint_ssl.types import TrainState

QUIET = Console(file=io.StringIO())
SETTINGS = LoopSettings(
    batch_size=3,
    steps_per_epoch=3,
    last_step=12,
    ends_by="max_steps",
    validate_every=3,
    patience=0,
    min_delta=0.1,
    log_every=2,
    seed=0,
    stream="test/order",
)


def counting_run(directory: Path, losses: list[float], seen: list[list[int]], **changes) -> TrainingRun:
    """A run whose parameter counts its steps and whose validation returns the given losses in turn."""

    def step(state, batch, key):
        seen.append([int(i) for i, real in zip(batch.example_ids, batch.is_real, strict=True) if real])
        params = {"w": state.params["w"] + 1}
        return TrainState(params, state.opt_state, state.step + 1), {"loss": jnp.float32(1.0)}

    remaining = iter(losses)
    state = TrainState({"w": jnp.zeros(())}, (jnp.zeros(()),), jnp.zeros((), jnp.int32))
    return TrainingRun(
        "test",
        directory,
        state,
        step,
        lambda params, step: next(remaining),
        lambda step: 1e-3,
        make_source(),
        jax.random.key(0),
        dataclasses.replace(SETTINGS, **changes),
    )


def test_batches_hold_every_slice_once_and_pad_the_last() -> None:
    source = make_source()
    batches = list(batches_in_order(source, 3))
    assert [int(batch.is_real.sum()) for batch in batches] == [3, 3, 1]
    assert {batch.images.shape for batch in batches} == {(3, 16, 16, 1)}
    ids = np.concatenate([batch.example_ids[batch.is_real] for batch in batches])
    np.testing.assert_array_equal(ids, source.example_ids)
    np.testing.assert_array_equal(make_batch(source, np.array([4, 1]), 2).labels, source.targets[[4, 1]])


def test_an_epoch_visits_every_example_once_in_changing_order(tmp_path: Path) -> None:
    seen: list[list[int]] = []
    train(counting_run(tmp_path, [4, 3, 2, 1], seen), QUIET)
    assert [len(batch) for batch in seen] == [3, 3, 1] * 4
    epochs = [[i for batch in seen[start : start + 3] for i in batch] for start in range(0, 12, 3)]
    everything = sorted(make_source().example_ids.tolist())
    assert all(sorted(epoch) == everything for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


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
    result = train(counting_run(tmp_path, losses, [], patience=patience), QUIET)
    assert (result.steps, result.best_step, result.stopped) == (steps, best_step, stopped)
    assert result.best_validation_loss == min(losses)
    assert float(result.best["w"]) == best_step  # the parameters of that step, not later ones


def test_the_last_step_is_validated_and_recorded(tmp_path: Path) -> None:
    train(counting_run(tmp_path, [3, 2, 1, 0.5], [], last_step=11), QUIET)
    rows = read_csv(tmp_path / "metrics.csv")
    assert [int(row["step"]) for row in rows if row["split"] == "validation"] == [3, 6, 9, 11]
    assert [int(row["step"]) for row in rows if row["split"] == "train"] == [2, 3, 4, 6, 8, 9, 10, 11]


def test_lengths() -> None:
    assert loop_lengths(100, 9, 500, 0) == (12, 6000, "max_epochs")
    assert loop_lengths(100, 9, 0, 2500) == (12, 2500, "max_steps")
    assert loop_lengths(100, 9, 2, 2500) == (12, 24, "max_epochs")


@pytest.mark.parametrize("where", ["train", "validation"])
def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path, where: str) -> None:
    run = counting_run(tmp_path, [1.0, float("nan")], [])
    if where == "train":
        run = dataclasses.replace(run, step=lambda s, b, k: (s, {"loss": jnp.float32(jnp.inf)}))
    with pytest.raises(TrainingDiverged, match=rf"{where}.* loss is (inf|nan) .*checkpoints.*lower the learning rate"):
        train(run, QUIET)


def real_run(directory: Path, validate) -> TrainingRun:
    source, membership = make_source(), np.zeros((256, 2), bool)
    membership[1, 0] = membership[2, 1] = True
    model, optimizer = UNet(filters=(16, 16), out_channels=2), optax.adam(1e-2)
    step = jax.jit(make_train_step(segmentation_loss(model, membership), optimizer), donate_argnums=0)
    params = model.init(jax.random.key(0), source.images[:1])["params"]
    state = TrainState(params, optimizer.init(params), jnp.zeros((), jnp.int32))
    key = stream_key(0, "test")
    return TrainingRun("test", directory, state, step, validate, lambda s: 1e-2, source, key, SETTINGS)


def test_a_run_that_was_interrupted_ends_bit_equal(tmp_path: Path) -> None:
    def through(params, step) -> float:
        return float(sum(jnp.sum(jnp.abs(leaf)) for leaf in jax.tree.leaves(params)))

    calls = []

    def interrupted(params, step) -> float:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return through(params, step)

    whole = train(real_run(tmp_path / "whole", through), QUIET)
    with pytest.raises(KeyboardInterrupt):
        train(real_run(tmp_path / "cut", interrupted), QUIET)
    resumed = train(real_run(tmp_path / "cut", through), QUIET)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), whole.best, resumed.best))
    assert (whole.steps, whole.best_step) == (resumed.steps, resumed.best_step)
    columns = ("step", "epoch", "split", "loss", "learning_rate")
    rows = [read_csv(tmp_path / name / "metrics.csv") for name in ("whole", "cut")]
    assert [[row[c] for c in columns] for row in rows[0]] == [[row[c] for c in columns] for row in rows[1]]


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    train(counting_run(tmp_path, [4, 3, 2, 1], []), QUIET)
    seen: list[list[int]] = []
    result = train(counting_run(tmp_path, [], seen), QUIET)
    assert seen == [] and result.steps == 12 and float(result.best["w"]) == 12


def test_checkpoints_hold_separate_items(tmp_path: Path) -> None:
    train(counting_run(tmp_path, [4, 3, 2, 1], []), QUIET)
    newest = max(
        (path for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit()), key=lambda p: int(p.name)
    )
    assert newest.name == "12"
    assert {"params", "best", "opt_state", "loop"} <= {path.name for path in newest.iterdir()}
    loop = json.loads((newest / "loop" / "metadata").read_text())
    assert loop["best_loss"] == 1 and loop["best_step"] == 12
