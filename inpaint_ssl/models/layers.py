"""The layers of the U-Net that Flax does not have in this form."""

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


def _convolve(images: jax.Array, kernel: jax.Array, padding: Any) -> jax.Array:
    return jax.lax.conv_general_dilated(images, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


class Conv(nn.Module):
    """`size` x `size` convolution with bias, zero-padded to the same size, He-normal; standardised on request."""

    features: int
    size: int = 3
    standardised: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Float[Array, "n h w i"]) -> Float[Array, "n h w o"]:
        shape = (self.size, self.size, images.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,), jnp.float32)
        if self.standardised:
            kernel = standardise_weights(kernel)
        convolved = _convolve(images.astype(self.dtype), kernel.astype(self.dtype), "SAME")
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

    @nn.compact
    def __call__(self, images: Float[Array, "n h w i"]) -> Float[Array, "n h2 w2 o"]:
        n, height, width, channels = images.shape
        shape = (3, 3, channels, self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,), jnp.float32)
        kernel = subpixel_kernel(kernel.astype(self.dtype))
        phases = _convolve(images.astype(self.dtype), kernel, ((1, 0), (1, 0)))
        phases = phases.reshape(n, height, width, 2, 2, self.features)
        upsampled = jnp.transpose(phases, (0, 1, 3, 2, 4, 5)).reshape(n, 2 * height, 2 * width, self.features)
        return upsampled + bias.astype(self.dtype)
