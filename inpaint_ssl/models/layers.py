"""The layers of the U-Net that Flax does not have in this form."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

STANDARDISATION_EPSILON = 1e-5


def standardise_weights(kernel: Float[Array, "h w i o"]) -> Float[Array, "h w i o"]:
    """Zero mean and unit standard deviation over (height, width, in-channels) of each output channel.

    Weight standardisation (Qiao et al. 2019, reference 21 of the paper): (kernel - mean) / (std + 1e-5).
    """
    mean = jnp.mean(kernel, axis=(0, 1, 2), keepdims=True)
    centred = kernel - mean
    std = jnp.sqrt(jnp.mean(jnp.square(centred), axis=(0, 1, 2), keepdims=True))
    return centred / (std + STANDARDISATION_EPSILON)


Padding = tuple[tuple[int, int], tuple[int, int]]  # zeros before and after, along height and width


def _plain(images: jax.Array, kernel: jax.Array, padding: Padding) -> jax.Array:
    return jax.lax.conv_general_dilated(images, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _canonical(images: jax.Array, kernel: jax.Array, padding: Padding) -> jax.Array:
    """The same convolution, whose two gradients are written as convolutions of NHWC images with HWIO kernels.

    Those that jax derives have other orders of dimensions, which XLA on a CPU leaves to a slow kernel inside a loop.
    """
    return _plain(images, kernel, padding)


def _canonical_forward(images: jax.Array, kernel: jax.Array, padding: Padding) -> tuple[jax.Array, Any]:
    return _plain(images, kernel, padding), (images, kernel)


def _canonical_backward(padding: Padding, saved: Any, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    images, kernel = saved
    (top, bottom), (left, right) = padding
    rows, columns = kernel.shape[:2]
    turned = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    back = ((rows - 1 - top, rows - 1 - bottom), (columns - 1 - left, columns - 1 - right))
    # Summed over images and pixels: the batch takes the place of the input channels, the gradient that of the kernel.
    of_kernel = _plain(jnp.transpose(images, (3, 1, 2, 0)), jnp.transpose(gradient, (1, 2, 0, 3)), padding)
    return _plain(gradient, turned, back), jnp.transpose(of_kernel, (1, 2, 0, 3))


_canonical.defvjp(_canonical_forward, _canonical_backward)


def gradient_form(conv_gradients: str, platform: str) -> str:
    """ "derived" or "canonical": the setting `conv_gradients`, where "auto" is the choice for the platform.

    On a CPU "canonical": in no layer of the networks measured (64 x 64 to 256 x 256, 16 to 512 channels) slower than
    "derived" beyond noise, and 20 times faster in a loop over steps. On a GPU jax's own. ValueError for another name.
    """
    if conv_gradients == "auto":
        return "canonical" if platform == "cpu" else "derived"
    if conv_gradients not in ("derived", "canonical"):
        raise ValueError(f'conv_gradients is {conv_gradients!r}; expected "derived", "canonical" or "auto"')
    return conv_gradients


def _convolve(images: jax.Array, kernel: jax.Array, padding: Padding, conv_gradients: str) -> jax.Array:
    form = gradient_form(conv_gradients, jax.default_backend())
    return (_canonical if form == "canonical" else _plain)(images, kernel, padding)


class Conv(nn.Module):
    """`size` x `size` convolution with bias, zero-padded to the same size, He-normal; standardised on request."""

    features: int
    size: int = 3
    standardised: bool = False
    dtype: Any = jnp.float32
    conv_gradients: str = "derived"

    @nn.compact
    def __call__(self, images: Float[Array, "n h w i"]) -> Float[Array, "n h w o"]:
        shape = (self.size, self.size, images.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,), jnp.float32)
        if self.standardised:
            kernel = standardise_weights(kernel)
        around = ((self.size - 1) // 2, self.size // 2)
        padding = (around, around)
        convolved = _convolve(images.astype(self.dtype), kernel.astype(self.dtype), padding, self.conv_gradients)
        return convolved + bias.astype(self.dtype)


def subpixel_kernel(kernel: Float[Array, "3 3 i o"]) -> Float[Array, "2 2 i _"]:
    """The (2, 2, in, 4*out) kernel whose convolution, followed by depth-to-space, is the transposed convolution.

    Along each axis output 2m sums x[m-1]*k[0] + x[m]*k[2] and output 2m+1 is x[m]*k[1].
    """

    def split(taps: jax.Array) -> jax.Array:  # (3, ...) -> (tap, phase, ...)
        before = jnp.stack([taps[0], jnp.zeros_like(taps[0])])
        here = jnp.stack([taps[2], taps[1]])
        return jnp.stack([before, here])

    rows = split(kernel)  # (tap_h, phase_h, 3, i, o)
    both = split(jnp.moveaxis(rows, 2, 0))  # (tap_w, phase_w, tap_h, phase_h, i, o)
    ordered = jnp.transpose(both, (2, 0, 4, 3, 1, 5))  # (tap_h, tap_w, i, phase_h, phase_w, o)
    return ordered.reshape(2, 2, kernel.shape[2], 4 * kernel.shape[3])


class UpsampleConv(nn.Module):
    """3x3 transposed convolution of stride 2 with bias, in sub-pixel form (twice as fast on a CPU).

    The parameter is the (3, 3, in, out) kernel of flax.linen.ConvTranspose with padding "SAME"; results are equal.
    """

    features: int
    dtype: Any = jnp.float32
    conv_gradients: str = "derived"

    @nn.compact
    def __call__(self, images: Float[Array, "n h w i"]) -> Float[Array, "n h2 w2 o"]:
        n, height, width, channels = images.shape
        shape = (3, 3, channels, self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,), jnp.float32)
        kernel = subpixel_kernel(kernel.astype(self.dtype))
        phases = _convolve(images.astype(self.dtype), kernel, ((1, 0), (1, 0)), self.conv_gradients)
        phases = phases.reshape(n, height, width, 2, 2, self.features)
        upsampled = jnp.transpose(phases, (0, 1, 3, 2, 4, 5)).reshape(n, 2 * height, 2 * width, self.features)
        return upsampled + bias.astype(self.dtype)
