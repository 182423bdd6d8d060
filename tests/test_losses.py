"""Equations 1 and 2 against values worked out by hand and against plain NumPy."""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inpaint_ssl.losses import batch_dice_loss, cross_entropy_loss, dice_sums, inpainting_l2

ROOT = Path(__file__).resolve().parent.parent


def test_inpainting_l2_by_hand() -> None:
    # Two images of 1 x 2 pixels and 2 channels. Squared errors: image 0 1+4 and 0+9, image 1 all 0 but one 16.
    prediction = jnp.array([[[[1.0, 0.0], [2.0, 3.0]]], [[[0.0, 4.0], [0.0, 0.0]]]])
    target = jnp.zeros_like(prediction)
    # Sum over pixels per image and channel: (1+4, 0+9), (0, 16); mean over 2 images, then over 2 channels: 30/4.
    assert float(inpainting_l2(prediction, target)) == 7.5


def test_inpainting_l2_is_a_sum_over_pixels() -> None:
    image = np.ones((1, 6, 4, 1), np.float32)
    assert float(inpainting_l2(image, 0 * image)) == 24.0


def test_batch_dice_by_hand() -> None:
    # One class: p = .5 and 1, truth = 1 and 0 -> intersection .5, sum 2.5, loss 1 - 1/2.5 = .6.
    # Other class perfect -> 0. Mean .3.
    probability = jnp.array([[[[0.5, 1.0]]], [[[1.0, 0.0]]]])
    target = jnp.array([[[[1, 1]]], [[[0, 0]]]])
    assert float(batch_dice_loss(probability, target)) == pytest.approx(0.3, abs=1e-6)


def test_batch_dice_aggregates_over_the_batch_not_per_image() -> None:
    rng = np.random.default_rng(0)
    probability, target = rng.random((3, 4, 5, 2)).astype(np.float32), rng.integers(0, 2, (3, 4, 5, 2))
    per_class = [
        1
        - (2 * (probability[..., k] * target[..., k]).sum() + 1e-7)
        / (probability[..., k].sum() + target[..., k].sum() + 1e-7)
        for k in range(2)
    ]
    assert float(batch_dice_loss(probability, target)) == pytest.approx(np.mean(per_class), rel=1e-5)
    per_image = [float(batch_dice_loss(probability[i : i + 1], target[i : i + 1])) for i in range(3)]
    assert abs(np.mean(per_image) - np.mean(per_class)) > 1e-4


def test_absent_everywhere_has_no_loss() -> None:
    nothing = jnp.zeros((2, 4, 4, 3))
    assert float(batch_dice_loss(nothing, nothing)) == pytest.approx(0.0, abs=1e-6)


def test_cross_entropy_is_that_of_numpy() -> None:
    rng = np.random.default_rng(3)
    logits, target = (
        rng.normal(0, 3, (4, 6, 5, 2)).astype(np.float32),
        rng.integers(0, 2, (4, 6, 5, 2)).astype(np.uint8),
    )
    probability = 1 / (1 + np.exp(-logits.astype(np.float64)))
    each = -(target * np.log(probability) + (1.0 - target) * np.log(1 - probability))
    is_real = np.array([True, False, True, True])
    assert float(cross_entropy_loss(logits, target)) == pytest.approx(each.mean(), rel=1e-5)
    assert float(cross_entropy_loss(logits, target, is_real=is_real)) == pytest.approx(each[is_real].mean(), rel=1e-5)
    assert float(cross_entropy_loss(logits, target, is_real=np.zeros(4, bool))) == 0.0


def test_cross_entropy_is_stable() -> None:
    logits, target = jnp.array([-1e4, -90.0, 0.0, 90.0, 1e4]).reshape(5, 1, 1, 1), np.ones((5, 1, 1, 1), np.uint8)
    value, slope = jax.value_and_grad(cross_entropy_loss)(logits, target)
    assert float(value) == pytest.approx((1e4 + 90 + np.log(2)) / 5, rel=1e-6)
    np.testing.assert_allclose(slope.ravel(), np.array([-1, -1, -0.5, 0, 0]) / 5, atol=1e-7)
    small = float(cross_entropy_loss(jnp.full((1, 1, 1, 1), 20.0), np.ones((1, 1, 1, 1), np.uint8)))
    assert small == pytest.approx(np.exp(-20), rel=1e-4)  # not lost in the rounding of 20


def test_padded_rows_do_not_count() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.random((4, 5, 3, 2)).astype(np.float32), rng.random((4, 5, 3, 2)).astype(np.float32)
    is_real = np.array([True, True, True, False])
    target = (second > 0.5).astype(np.uint8)
    assert float(inpainting_l2(first, second, is_real=is_real)) == pytest.approx(
        float(inpainting_l2(first[:3], second[:3])), rel=1e-6
    )
    assert float(batch_dice_loss(first, target, is_real=is_real)) == pytest.approx(
        float(batch_dice_loss(first[:3], target[:3])), rel=1e-6
    )
    intersection, total = dice_sums(first, target, is_real)
    np.testing.assert_allclose(intersection, (first * target)[:3].sum(axis=(0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(total, (first + target)[:3].sum(axis=(0, 1, 2)), rtol=1e-5)


def test_shapes_that_differ_are_refused_not_broadcast() -> None:
    # In a process of its own, where nothing checks the shapes in the signatures.
    code = """
import numpy as np
from inpaint_ssl.losses import batch_dice_loss, cross_entropy_loss, inpainting_l2
good = np.zeros((2, 4, 4, 2), np.float32)
for loss in (inpainting_l2, batch_dice_loss, cross_entropy_loss):
    loss(good, good, is_real=np.ones(2, bool))
    for first, second, real in ((good, good[..., :1], None), (good[0], good[0], None), (good, good, np.ones(3, bool))):
        try:
            loss(first, second, is_real=real)
        except ValueError as error:
            assert "expected" in str(error)
        else:
            raise SystemExit(f"{loss} took {first.shape} and {second.shape}")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.devices(2)
@pytest.mark.parametrize("loss", [inpainting_l2, batch_dice_loss, cross_entropy_loss])
def test_devices_see_the_loss_of_the_whole_batch(loss) -> None:
    rng = np.random.default_rng(2)
    first, second = rng.random((4, 6, 5, 2)).astype(np.float32), rng.random((4, 6, 5, 2)).astype(np.float32)
    is_real = np.array([True, True, True, False])

    def on_device(p, t, r):
        return loss(p, t, is_real=r, axis_name="batch")

    split = [part.reshape(2, 2, *part.shape[1:]) for part in (first, second, is_real)]
    values = jax.pmap(on_device, axis_name="batch", devices=jax.devices()[:2])(*split)
    whole = float(loss(first, second, is_real=is_real))
    np.testing.assert_allclose(values, [whole, whole], rtol=1e-6)


def test_low_precision_is_summed_in_float32() -> None:
    ones = jnp.ones((1, 64, 64, 1), jnp.bfloat16)  # 4096 ones cannot be counted in bfloat16
    assert float(inpainting_l2(ones, jnp.zeros_like(ones))) == 4096.0
