"""Schedules by hand, and Adam's first steps worked out from its definition."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inpaint_ssl.optim import OptimSettings, make_optimizer, make_schedule

PAPER = OptimSettings(
    learning_rate=1e-3,
    schedule="epoch_decay",
    decay_factor=0.9,
    decay_every_epochs=2,
    decay_every_steps=500,
    learning_rate_floor=1e-8,
    warmup_steps=0,
    max_steps=0,
    adam_b1=0.99,
    adam_b2=0.995,
    adam_eps=1e-8,
)


def test_paper_schedule_falls_by_a_tenth_every_two_epochs() -> None:
    schedule = make_schedule(PAPER, steps_per_epoch=33)
    for step, expected in ((0, 1e-3), (65, 1e-3), (66, 0.9e-3), (131, 0.9e-3), (132, 0.81e-3)):
        assert float(schedule(step)) == pytest.approx(expected, rel=1e-5)
    assert float(schedule(66 * 500)) == pytest.approx(1e-8, rel=1e-4)


@pytest.mark.parametrize("steps_per_epoch", [1, 33, 5000])
def test_step_decay_counts_steps_whatever_the_epoch(steps_per_epoch: int) -> None:
    settings = dataclasses.replace(PAPER, schedule="step_decay", decay_every_steps=7, learning_rate_floor=0.65e-3)
    schedule = make_schedule(settings, steps_per_epoch)
    by_hand = ((0, 1e-3), (6, 1e-3), (7, 0.9e-3), (13, 0.9e-3), (14, 0.81e-3), (21, 0.729e-3), (28, 0.6561e-3))
    for step, expected in (*by_hand, (34, 0.6561e-3), (35, 0.65e-3), (10**6, 0.65e-3)):
        assert float(schedule(step)) == pytest.approx(expected, rel=1e-5)


def test_a_floor_above_the_initial_rate_raises_nothing() -> None:
    for name in ("epoch_decay", "step_decay"):
        settings = dataclasses.replace(PAPER, schedule=name, learning_rate=1e-5, learning_rate_floor=1e-4)
        schedule = make_schedule(settings, steps_per_epoch=1)
        assert [float(schedule(step)) for step in (0, 10, 10**6)] == pytest.approx([1e-5] * 3, rel=1e-5)


def test_the_rate_falls_at_the_very_step_in_a_compiled_program() -> None:
    for every in (3, 7, 33, 49, 83, 107, 400):
        settings = dataclasses.replace(PAPER, schedule="step_decay", decay_every_steps=every, decay_factor=0.5)
        borders = np.arange(1, 9) * every
        steps = np.stack([borders - 1, borders]).astype(np.int32)
        rates = jax.jit(jax.vmap(jax.vmap(make_schedule(settings, steps_per_epoch=1))))(steps)
        np.testing.assert_allclose(rates, 1e-3 * 0.5 ** np.stack([np.arange(8), np.arange(1, 9)]), rtol=1e-5)


def test_cosine_with_warmup() -> None:
    settings = dataclasses.replace(PAPER, schedule="cosine", warmup_steps=10, max_steps=110)
    schedule = make_schedule(settings, steps_per_epoch=7)
    assert float(schedule(0)) == 0.0
    assert float(schedule(5)) == pytest.approx(5e-4)
    assert float(schedule(10)) == pytest.approx(1e-3)
    assert float(schedule(60)) == pytest.approx(5e-4, rel=1e-4)
    assert float(schedule(110)) == pytest.approx(0.0, abs=1e-9)
    without = make_schedule(dataclasses.replace(settings, warmup_steps=0), steps_per_epoch=7)
    assert float(without(0)) == pytest.approx(1e-3)


def test_constant_and_unknown() -> None:
    assert float(make_schedule(dataclasses.replace(PAPER, schedule="constant"), 1)(1000)) == pytest.approx(1e-3)
    with pytest.raises(ValueError, match="epoch_decay"):
        make_schedule(dataclasses.replace(PAPER, schedule="linear"), 1)


def test_adam_by_its_definition() -> None:
    optimizer = make_optimizer(PAPER, 100)
    weight, state = jnp.array([1.0, -2.0]), optimizer.init(jnp.array([1.0, -2.0]))
    expected, m, v = np.array([1.0, -2.0]), np.zeros(2), np.zeros(2)
    for step, gradient in enumerate(([0.5, -1.0], [0.1, 3.0], [-0.2, 0.0]), start=1):
        updates, state = optimizer.update(jnp.array(gradient), state)
        weight = weight + updates
        m, v = 0.99 * m + 0.01 * np.array(gradient), 0.995 * v + 0.005 * np.square(gradient)
        expected = expected - 1e-3 * (m / (1 - 0.99**step)) / (np.sqrt(v / (1 - 0.995**step)) + 1e-8)
    np.testing.assert_allclose(weight, expected, rtol=1e-5)
