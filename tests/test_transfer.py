"""Grafting: named parts only, strictly, nothing shared with the pretrained arrays; other input channels adapted."""

import functools
import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console
from scipy.signal import correlate2d

from inpaint_ssl.errors import InputError
from inpaint_ssl.models import UNet
from inpaint_ssl.transfer import adapted_input, graft


@functools.cache
def params_of(seed: int, *, head="segmentation", out=3, channels=1, filters=(16, 32)):
    """Parameters of the network's shapes, of random numbers: initialising it would compile for seconds."""
    model, draw = UNet(filters=filters, out_channels=out, head=head), np.random.default_rng(seed)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 8, 8, channels)))["params"]
    return jax.tree.map(lambda leaf: jnp.asarray(draw.standard_normal(leaf.shape), leaf.dtype), shapes)


def equal(a, b) -> bool:
    return jax.tree.all(jax.tree.map(lambda x, y: np.array_equal(np.asarray(x), np.asarray(y)), a, b))


def test_encoder_only_by_default() -> None:
    pretrained, fresh = params_of(0, head="inpainting", out=1), params_of(1)
    params, report = graft(pretrained, fresh)
    assert equal(params["encoder"], pretrained["encoder"])
    assert equal(params["decoder"], fresh["decoder"])
    assert equal(params["post_processing"], fresh["post_processing"])
    assert not equal(pretrained["encoder"], fresh["encoder"])
    assert report.count("loaded") == len(jax.tree.leaves(fresh["encoder"]))
    assert report.count("fresh") == len(jax.tree.leaves(fresh)) - report.count("loaded")
    assert {row.name.split("/")[0] for row in report.rows if row.status == "loaded"} == {"encoder"}


def test_encoder_and_decoder() -> None:
    pretrained, fresh = params_of(0, head="inpainting", out=1), params_of(1)
    params, _ = graft(pretrained, fresh, parts=("encoder", "decoder"))
    assert equal(params["decoder"], pretrained["decoder"])
    assert equal(params["post_processing"], fresh["post_processing"])


def test_donating_the_result_leaves_the_pretrained_weights() -> None:
    pretrained, fresh = params_of(0), params_of(1)
    params, _ = graft(pretrained, fresh)
    jax.tree.map(lambda leaf: leaf.delete(), params["encoder"])
    assert np.isfinite(np.asarray(pretrained["encoder"]["level_0"]["conv_0"]["kernel"])).all()


@pytest.mark.parametrize(
    ("pretrained", "parts", "message"),
    [
        ({"filters": (16, 48)}, ("encoder",), r"encoder/level_1/conv_0/kernel has shape \(3, 3, 16, 48\)"),
        ({"filters": (16, 32, 64)}, ("encoder",), "level_2/conv_0/bias is only in the pretrained"),
        ({"filters": (16,)}, ("encoder",), "level_1/conv_0/bias is missing in the pretrained"),
        (
            {"channels": 3},
            ("encoder",),
            r'conv_0/kernel has shape \(3, 3, 3, 16\), expected \(3, 3, 1, 16\) \(set transfer.adapt_input to "mean"\)',
        ),
        ({"head": "inpainting"}, ("post_processing",), "post_processing/kernel has shape"),
        ({}, ("encodr",), "encodr"),
        ({}, (), "parts to transfer"),
    ],
)
def test_what_does_not_fit_is_an_error(pretrained, parts, message) -> None:
    with pytest.raises(ValueError, match=message):
        graft(params_of(0, **pretrained), params_of(1), parts)


def test_dtype_must_match() -> None:
    low = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params_of(0))
    with pytest.raises(ValueError, match="bfloat16, expected float32"):
        graft(low, params_of(1))


def first_kernel(params) -> np.ndarray:
    return np.asarray(params["encoder"]["level_0"]["conv_0"]["kernel"], np.float64)


def response(kernel: np.ndarray, image: np.ndarray) -> np.ndarray:
    """(filters, H, W): the convolution of (H, W, channels) by SciPy, without bias."""
    height, width, channels = image.shape
    found = np.zeros((kernel.shape[3], height, width))
    for k in range(kernel.shape[3]):
        for c in range(channels):
            found[k] += correlate2d(image[:, :, c], kernel[:, :, c, k], mode="same")
    return found


@pytest.mark.parametrize(
    ("how", "before", "after", "reason"),
    [
        ("mean", 2, 1, "mean over 2 input channels, times 2/1"),
        ("mean", 3, 2, "mean over 3 input channels, times 3/2"),
        ("mean", 1, 3, "the one input channel, times 1/3"),
        ("mean", 2, 5, "mean over 2 input channels, times 2/5"),
        ("repeat", 1, 3, "repeated from 1 to 3 input channels, times 1/3"),
        ("repeat", 2, 4, "repeated from 2 to 4 input channels, times 1/2"),
        ("repeat", 2, 3, "repeated from 2 to 3 input channels, each divided by its number of copies"),
    ],
)
def test_adapted_input_responds_to_equal_channels_as_before(how: str, before: int, after: int, reason: str) -> None:
    pretrained, fresh = params_of(0, channels=before), params_of(1, channels=after)
    params, report = graft(pretrained, fresh, adapt_input=how)
    assert [(row.name, row.reason) for row in report.rows if row.status == "adapted"] == [
        ("encoder/level_0/conv_0/kernel", reason)
    ]
    (row,) = [row for row in report.rows if row.status == "adapted"]
    assert (row.pretrained_shape, row.finetuned_shape) == ((3, 3, before, 16), (3, 3, after, 16))
    old, new = first_kernel(pretrained), first_kernel(params)
    if how == "mean":
        expected = np.stack([old.mean(axis=2) * before / after] * after, axis=2)
    else:
        copies = [sum(j % before == i for j in range(after)) for i in range(before)]
        expected = np.stack([old[:, :, j % before] / copies[j % before] for j in range(after)], axis=2)
    np.testing.assert_allclose(new, expected, rtol=1e-6, atol=1e-8)
    grey = np.random.default_rng(0).standard_normal((6, 7, 1))
    images = [np.repeat(grey, channels, axis=2) for channels in (before, after)]
    np.testing.assert_allclose(response(new, images[1]), response(old, images[0]), rtol=1e-5, atol=1e-6)
    # the rest of the encoder is loaded, what is no part of it is fresh
    assert report.count("loaded") == len(jax.tree.leaves(fresh["encoder"])) - 1
    assert equal(params["encoder"]["level_1"], pretrained["encoder"]["level_1"])
    assert equal(params["decoder"], fresh["decoder"])


def test_the_order_of_repeated_channels() -> None:
    kernel = np.arange(1, 3, dtype=np.float32).reshape(1, 1, 2, 1)
    found, _ = adapted_input(jnp.asarray(kernel), 5, "repeat")
    np.testing.assert_allclose(np.asarray(found).ravel(), [1 / 3, 1, 1 / 3, 1, 1 / 3], rtol=1e-6)
    found, _ = adapted_input(jnp.asarray(kernel), 5, "mean")
    np.testing.assert_allclose(np.asarray(found).ravel(), [1.5 * 2 / 5] * 5, rtol=1e-6)


@pytest.mark.parametrize(
    ("how", "before", "after", "message"),
    [
        (
            "refuse",
            2,
            3,
            r'\(3, 3, 2, 16\), expected \(3, 3, 3, 16\) \(set transfer.adapt_input to "mean" or "repeat"\)',
        ),
        ("repeat", 3, 2, '"repeat", which cannot make 2 input channels of 3; use "mean"'),
        ("average", 3, 2, "adapt_input is 'average'; expected one of 'refuse', 'mean', 'repeat'"),
    ],
)
def test_input_channels_that_cannot_be_adapted(how: str, before: int, after: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        graft(params_of(0, channels=before), params_of(1, channels=after), adapt_input=how)


def test_only_the_first_convolution_is_adapted() -> None:
    with pytest.raises(InputError, match="level_1/conv_0/kernel has shape"):
        graft(params_of(0, filters=(16, 48), channels=2), params_of(1), adapt_input="mean")


def test_the_output_is_transferred_only_when_asked_for() -> None:
    pretrained, fresh = params_of(0), params_of(1)  # both segment, so that the shapes are the same
    params, report = graft(pretrained, fresh, parts=("encoder", "decoder"))
    assert equal(params["post_processing"], fresh["post_processing"])
    assert {row.reason for row in report.rows if row.name.startswith("post_processing")} == {"not in transfer.parts"}
    params, _ = graft(pretrained, fresh, parts=("encoder", "post_processing"))
    assert equal(params["post_processing"], pretrained["post_processing"])


def test_weights_of_numpy_serve_as_well() -> None:
    pretrained, fresh = jax.tree.map(np.asarray, params_of(0)), params_of(1)
    params, _ = graft(pretrained, fresh)
    assert equal(params["encoder"], pretrained["encoder"])


def test_nothing_loaded_is_an_error() -> None:
    fresh = params_of(1)
    with pytest.raises(InputError, match=r"nothing was loaded: the parts to transfer, \('extra',\), hold no tensor"):
        graft({**params_of(0), "extra": {}}, {**fresh, "extra": {}}, parts=("extra",))


def test_table_shows_both_sides() -> None:
    _, report = graft(params_of(0, head="inpainting", out=1), params_of(1))
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(report.table())
    text = console.export_text()
    assert "encoder/level_0/conv_0/kernel" in text and "loaded" in text and "3x3x1x16" in text
    assert "not in transfer.parts" in " ".join(text.split())
