"""Weights and checkpoints come back bit-equal or not at all."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from inpaint_ssl.checkpoint import RunCheckpoints, load_weights, save_weights
from inpaint_ssl.errors import InputError
from inpaint_ssl.models import UNet
from inpaint_ssl.types import TrainState


def params_of(filters=(16, 32)):
    return UNet(filters=filters, out_channels=2).init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))["params"]


def equal(a, b) -> bool:
    return jax.tree.all(jax.tree.map(lambda x, y: x.dtype == y.dtype and bool((x == y).all()), a, b))


def test_weights_come_back(tmp_path: Path) -> None:
    params = params_of()
    save_weights(tmp_path / "best", params)
    save_weights(tmp_path / "best", params)  # a run that was killed here writes them again
    assert equal(load_weights(tmp_path / "best", params), params)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    save_weights(tmp_path / "best", params_of())
    for filters in ((16, 48), (16,), (16, 32, 64)):
        with pytest.raises(InputError, match=r"best: .*another shape"):
            load_weights(tmp_path / "best", params_of(filters))
    with pytest.raises(InputError, match="no weights at"):
        load_weights(tmp_path / "none", params_of())


def test_the_newest_checkpoint_comes_back(tmp_path: Path) -> None:
    params = params_of()
    state = TrainState(params, {"m": params}, jnp.int32(0))
    checkpoints = RunCheckpoints(tmp_path)
    assert checkpoints.restore(state) is None
    for step in (1, 2, 3):
        grown = jax.tree.map(lambda leaf, by=step: leaf + by, params)
        checkpoints.save(TrainState(grown, {"m": params}, jnp.int32(step)), params, {"best_loss": float("inf")})
    checkpoints.close()
    again = RunCheckpoints(tmp_path)
    found = again.restore(state)
    again.close()
    assert found is not None
    assert equal(found[0], TrainState(jax.tree.map(lambda leaf: leaf + 3, params), {"m": params}, jnp.int32(3)))
    assert equal(found[1], params) and found[2] == {"best_loss": float("inf")}
    assert {path.name for path in tmp_path.iterdir() if path.name.isdigit()} == {"2", "3"}
