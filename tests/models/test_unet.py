"""The U-Net: parameter counts of the original, layers against Flax and NumPy, a whole forward pass against SciPy."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate

from inpaint_ssl.models import UNet
from inpaint_ssl.models.layers import Conv, UpsampleConv, standardise_weights

pytestmark = pytest.mark.usefixtures("full_precision")


def count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("channels", "head", "out", "encoder", "post_processing", "total"),
    [
        (1, "inpainting", 1, 4_713_632, 289, 7_849_281),
        (1, "segmentation", 4, 4_713_632, 132, 7_849_124),
        (3, "inpainting", 3, 4_714_208, 867, 7_850_435),
        (3, "segmentation", 4, 4_714_208, 132, 7_849_700),
    ],
)
def test_parameter_counts_of_the_original(channels, head, out, encoder, post_processing, total) -> None:
    model = UNet(out_channels=out, head=head)
    params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, channels)))["params"]
    assert set(params) == {"encoder", "decoder", "post_processing"}
    assert count(params["encoder"]) == encoder
    assert count(params["decoder"]) == 3_135_360
    assert count(params["post_processing"]) == post_processing
    assert count(params) == total


@pytest.mark.parametrize("size", [(4, 4), (5, 7), (1, 3)])
def test_subpixel_upsampling_is_the_transposed_convolution(size) -> None:
    images = jax.random.normal(jax.random.key(0), (2, *size, 3))
    ours, flax = UpsampleConv(5), nn.ConvTranspose(5, (3, 3), strides=(2, 2), padding="SAME")
    params = ours.init(jax.random.key(1), images)
    params["params"]["bias"] = jnp.arange(5.0)
    np.testing.assert_allclose(ours.apply(params, images), flax.apply(params, images), atol=1e-5)

    def loss(module):
        return lambda p: jnp.sum(jnp.sin(module.apply(p, images)))

    gradients = jax.grad(loss(ours))(params), jax.grad(loss(flax))(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), *gradients)


def test_weight_standardisation_in_numpy() -> None:
    kernel = np.random.default_rng(0).normal(3.0, 2.0, (3, 3, 4, 6)).astype(np.float32)
    expected = np.stack(
        [(kernel[..., o] - kernel[..., o].mean()) / (kernel[..., o].std() + 1e-5) for o in range(6)], axis=-1
    )
    np.testing.assert_allclose(standardise_weights(jnp.asarray(kernel)), expected, atol=1e-5)


def test_convolution_is_flax_convolution() -> None:
    images = jax.random.normal(jax.random.key(0), (2, 6, 7, 3))
    params = Conv(4).init(jax.random.key(1), images)
    expected = nn.Conv(4, (3, 3), padding="SAME").apply(params, images)
    np.testing.assert_allclose(Conv(4).apply(params, images), expected, atol=1e-5)


def _conv(image, p, standardised=False, size=3):
    kernel, bias = np.asarray(p["kernel"], np.float64), np.asarray(p["bias"], np.float64)
    if standardised:
        kernel = (kernel - kernel.mean((0, 1, 2))) / (kernel.std((0, 1, 2)) + 1e-5)
    out = np.stack([bias[o] + np.zeros(image.shape[:2]) for o in range(len(bias))], axis=-1)
    for o in range(len(bias)):
        for i in range(image.shape[-1]):
            out[..., o] += correlate(image[..., i], kernel[..., i, o], mode="same", method="direct")
    return out


def _group_norm(image, p, groups):
    h, w, c = image.shape
    split = image.reshape(h, w, groups, c // groups)
    split = (split - split.mean((0, 1, 3), keepdims=True)) / np.sqrt(split.var((0, 1, 3), keepdims=True) + 1e-5)
    return split.reshape(h, w, c) * np.asarray(p["scale"]) + np.asarray(p["bias"])


def _transposed(image, p):
    """Every input pixel adds its kernel at twice its position; the last row and column that stick out are cut."""
    h, w, _ = image.shape
    kernel = np.asarray(p["kernel"], np.float64)
    out = np.zeros((2 * h + 1, 2 * w + 1, kernel.shape[-1]))
    # Without flipping, output 2m takes x[m-1]*k[0] and x[m]*k[2], output 2m+1 takes x[m]*k[1].
    for y in range(h):
        for x in range(w):
            out[2 * y : 2 * y + 3, 2 * x : 2 * x + 3] += np.einsum("i,klio->klo", image[y, x], kernel[::-1, ::-1])
    return out[: 2 * h, : 2 * w] + np.asarray(p["bias"])


def test_whole_forward_pass_in_scipy() -> None:
    model = UNet(filters=(4, 8), out_channels=2, groups=2)
    image = np.random.default_rng(0).normal(size=(6, 8, 1))
    params = model.init(jax.random.key(0), jnp.asarray(image[None], jnp.float32))["params"]
    params = jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(jax.random.key(leaf.size), leaf.shape), params)

    def relu(x):
        return np.maximum(x, 0)

    def level(x, p):
        return _group_norm(relu(_conv(relu(_conv(x, p["conv_0"])), p["conv_1"], True)), p["norm"], 2)

    top = level(image, params["encoder"]["level_0"])
    pooled = top.reshape(3, 2, 4, 2, 4).max((1, 3))
    bottom = level(pooled, params["encoder"]["level_1"])
    decoder = params["decoder"]["level_0"]
    merged = np.concatenate([_transposed(bottom, decoder["upsample"]), top], axis=-1)
    decoded = _group_norm(relu(_conv(merged, decoder["conv"], True)), decoder["norm"], 2)
    expected = _conv(decoded, params["post_processing"])
    result = model.apply({"params": params}, jnp.asarray(image[None], jnp.float32))[0]
    np.testing.assert_allclose(result, expected, atol=2e-4)


@pytest.mark.slow
def test_bfloat16_computes_low_and_returns_float32() -> None:
    images = jax.random.normal(jax.random.key(0), (1, 16, 16, 1))
    full, low = UNet(filters=(16, 32)), UNet(filters=(16, 32), dtype=jnp.bfloat16)
    params = low.init(jax.random.key(1), images)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    a, b = full.apply(params, images), low.apply(params, images)
    assert b.dtype == jnp.float32
    difference = float(jnp.abs(a - b).max())
    assert 0 < difference < 0.1 * float(jnp.abs(a).max())


@pytest.mark.parametrize(
    ("kwargs", "size", "message"),
    [
        ({"filters": (8, 16)}, 16, "groups=16"),
        ({"filters": (16, 32, 64)}, 18, "multiples of 4"),
        ({"head": "classification"}, 16, "segmentation"),
    ],
)
def test_impossible_networks_are_refused(kwargs, size, message) -> None:
    with pytest.raises(ValueError, match=message):
        UNet(**kwargs).init(jax.random.key(0), jnp.zeros((1, size, size, 1)))
