"""Canonical convolution gradients: those of jax in every kind of layer, mapped, looped, sharded and in bfloat16."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from inpaint_ssl.models import UNet, layers
from inpaint_ssl.models.layers import _canonical, _convolve, _plain, gradient_form

SAME, POINT, SUBPIXEL = ((1, 1), (1, 1)), ((0, 0), (0, 0)), ((1, 0), (1, 0))
KINDS = [(3, SAME), (1, POINT), (2, SUBPIXEL)]
# Batch, height and width; channels in and out.
SHAPES = [((2, 8, 6), (4, 3)), ((2, 4, 6), (3, 4)), ((1, 5, 7), (4, 3)), ((1, 1, 3), (3, 4))]


@pytest.fixture(params=["convolutions", "products"])
def form_of_kernel_gradient(request, monkeypatch) -> None:
    """Small images take the form of large ones too, in strips of few rows."""
    if request.param == "products":
        monkeypatch.setattr(layers, "PIXELS_FOR_PRODUCTS", 1)
        monkeypatch.setattr(layers, "DEVICES_FOR_PRODUCTS", 4)  # the tests show jax four
        monkeypatch.setattr(layers, "PIXELS_OF_STRIP", 12)


def arrays(kind, size, lead=(), channels=(3, 4)):
    """Images, kernel and a gradient of the result in float64, drawn at random."""
    side, _ = kind
    rng = np.random.default_rng(0)
    shapes = (*size, channels[0]), (side, side, *channels), (*size, channels[1])
    return [jnp.asarray(rng.normal(size=(*lead, *shape))) for shape in shapes]


def gradients(convolve, padding, images, kernel, gradient):
    """Result, gradient of the images and gradient of the kernel."""
    result, pull = jax.vjp(lambda x, k: convolve(x, k, padding), images, kernel)
    return result, *pull(gradient)


def assert_close(ours, expected, tolerance):
    for one, other in zip(ours, expected, strict=True):
        assert one.shape == other.shape and one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance)


@pytest.mark.usefixtures("form_of_kernel_gradient")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("size", "channels"), SHAPES)
def test_gradients_are_those_of_jax(kind, size, channels) -> None:
    with jax.enable_x64(True):
        given = arrays(kind, size, channels=channels)
        assert given[0].dtype == jnp.float64
        ours = gradients(_canonical, kind[1], *given)
        assert_close(ours, gradients(_plain, kind[1], *given), 1e-10)
        assert float(jnp.abs(ours[2]).max()) > 1e-3


@pytest.mark.usefixtures("form_of_kernel_gradient")
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_under_vmap_and_scan(kind) -> None:
    with jax.enable_x64(True):
        given = arrays(kind, (2, 5, 4), lead=(3,))
        expected = [gradients(_plain, kind[1], *(part[seed] for part in given)) for seed in range(3)]
        expected = jax.tree.map(lambda *parts: jnp.stack(parts), *expected)
        one = lambda *parts: gradients(_canonical, kind[1], *parts)  # noqa: E731
        assert_close(jax.jit(jax.vmap(one))(*given), expected, 1e-10)
        _, looped = jax.jit(lambda parts: jax.lax.scan(lambda carry, part: (carry, one(*part)), 0, parts))(tuple(given))
        assert_close(looped, expected, 1e-10)


@pytest.mark.devices(2)
@pytest.mark.usefixtures("form_of_kernel_gradient")
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_a_batch_on_two_devices(kind) -> None:
    def one(images, kernel, gradient):
        result, of_images, of_kernel = gradients(_canonical, kind[1], images, kernel, gradient)
        return result, of_images, jax.lax.psum(of_kernel, "batch")

    split, whole = PartitionSpec("batch"), PartitionSpec()
    mesh = Mesh(np.array(jax.devices()[:2]), ("batch",))
    sharded = jax.shard_map(
        one, mesh=mesh, in_specs=(split, whole, split), out_specs=(split, split, whole), check_vma=False
    )
    with jax.enable_x64(True):
        given = arrays(kind, (4, 5, 4))
        assert_close(jax.jit(sharded)(*given), gradients(_plain, kind[1], *given), 1e-10)


@pytest.mark.usefixtures("form_of_kernel_gradient")
def test_gradients_in_bfloat16() -> None:
    given = [part.astype(jnp.bfloat16) for part in arrays(KINDS[0], (2, 8, 6))]
    ours, expected = (gradients(convolve, SAME, *given) for convolve in (_canonical, _plain))
    assert {part.dtype for part in ours} == {jnp.dtype("bfloat16")}
    for one, other in zip(ours, expected, strict=True):
        one, other = one.astype(jnp.float32), other.astype(jnp.float32)
        np.testing.assert_allclose(one, other, atol=0.02 * float(jnp.abs(other).max()))


def test_the_network_takes_the_setting_to_every_convolution() -> None:
    images = jnp.ones((1, 8, 8, 1))
    params = jax.eval_shape(UNet((16, 32)).init, jax.random.key(0), images)
    of_auto = {"canonical": 7, "derived": 0}[gradient_form("auto", jax.default_backend())]
    for setting, count in {"derived": 0, "canonical": 7, "auto": of_auto}.items():
        jaxpr = str(jax.make_jaxpr(UNet((16, 32), conv_gradients=setting).apply)(params, images))
        assert len(re.findall(r"custom_vjp_call\[\s*name=_canonical", jaxpr)) == count, setting


def test_the_form_of_the_platform() -> None:
    assert [gradient_form("auto", platform) for platform in ("cpu", "gpu", "tpu")] == [
        "canonical",
        "derived",
        "derived",
    ]
    for given in ("derived", "canonical"):
        assert gradient_form(given, "cpu") == gradient_form(given, "gpu") == given
    with pytest.raises(ValueError, match="conv_gradients is 'fast'"):
        _convolve(jnp.ones((1, 2, 2, 1)), jnp.ones((1, 1, 1, 1)), POINT, "fast")
