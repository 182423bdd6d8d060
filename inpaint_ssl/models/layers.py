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


# Measured (BUILD_NOTES.md): from so many pixels on, the gradient of a kernel is faster as products of matrices, and
# these are fastest with about so many rows.
PIXELS_FOR_PRODUCTS, PIXELS_OF_STRIP = 128 * 128, 2048
DEVICES_FOR_PRODUCTS = 1

Padding = tuple[tuple[int, int], tuple[int, int]]  # zeros before and after, along height and width


def _plain(images: jax.Array, kernel: jax.Array, padding: Padding) -> jax.Array:
    return jax.lax.conv_general_dilated(images, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _canonical(images: jax.Array, kernel: jax.Array, padding: Padding) -> jax.Array:
    """The same convolution, whose gradients are convolutions of NHWC images with HWIO kernels, or products of matrices.

    Those that jax derives have other orders of dimensions, which XLA on a CPU leaves to a slow kernel inside a loop.
    """
    return _plain(images, kernel, padding)


def _canonical_forward(images: jax.Array, kernel: jax.Array, padding: Padding) -> tuple[jax.Array, Any]:
    return _plain(images, kernel, padding), (images, kernel)


def _canonical_backward(padding: Padding, saved: Any, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    images, kernel = saved
    turned = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    of_images = _plain(gradient, turned, _turned(padding, kernel.shape[0]))
    # On several devices the strips would bring the whole batch to each of them.
    if images.shape[1] * images.shape[2] >= PIXELS_FOR_PRODUCTS and jax.device_count() <= DEVICES_FOR_PRODUCTS:
        return of_images, _kernel_gradient_by_products(images, gradient, padding, kernel.shape[0])
    # Summed over images and pixels: the batch takes the place of the input channels, the gradient that of the kernel.
    of_kernel = _plain(jnp.transpose(images, (3, 1, 2, 0)), jnp.transpose(gradient, (1, 2, 0, 3)), padding)
    return of_images, jnp.transpose(of_kernel, (1, 2, 0, 3))


_canonical.defvjp(_canonical_forward, _canonical_backward)


def _turned(padding: Padding, size: int) -> Padding:
    """The padding of the convolution with the kernel turned by 180 degrees that undoes the shifts of this one."""
    (top, bottom), (left, right) = padding
    return (size - 1 - top, size - 1 - bottom), (size - 1 - left, size - 1 - right)


def _kernel_gradient_by_products(images: jax.Array, gradient: jax.Array, padding: Padding, size: int) -> jax.Array:
    """Gradient of the `size` x `size` kernel (h, w, i, o): a sum over strips of rows, each one product of two matrices.

    Of the two arrays the one with fewer channels is laid out as shifted copies side by side, a strip at a time, so that
    they stay in the cache.
    """
    n, height, width, channels = images.shape
    features = gradient.shape[-1]
    rows = height
    while rows * width > PIXELS_OF_STRIP and rows % 2 == 0:
        rows //= 2
    turned = features < channels  # the gradient is shifted against the images, the other way round
    shifted, still = (gradient, images) if turned else (images, gradient)
    around = _turned(padding, size) if turned else padding
    padded = jnp.pad(shifted, ((0, 0), *around, (0, 0)))
    shifts = range(size)[::-1] if turned else range(size)

    def add_strip(total: jax.Array, strip: jax.Array) -> tuple[jax.Array, None]:
        image, row = strip // (height // rows), strip % (height // rows) * rows
        shape = (1, rows + size - 1, width + size - 1, padded.shape[-1])
        window = jax.lax.dynamic_slice(padded, (image, row, 0, 0), shape)[0]
        copies = [window[a : a + rows, b : b + width] for a in shifts for b in shifts]
        one = jnp.concatenate(copies, axis=-1).reshape(rows * width, -1)
        other = jax.lax.dynamic_slice(still, (image, row, 0, 0), (1, rows, width, still.shape[-1]))
        product = jnp.einsum("pi,pj->ij", one, other.reshape(rows * width, -1), preferred_element_type=total.dtype)
        return total + product, None

    precision = jnp.promote_types(images.dtype, jnp.float32)
    start = jnp.zeros((size * size * padded.shape[-1], still.shape[-1]), precision)
    total, _ = jax.lax.scan(add_strip, start, jnp.arange(n * (height // rows)))
    total = total.reshape(size, size, padded.shape[-1], still.shape[-1]).astype(images.dtype)
    return jnp.swapaxes(total, 2, 3) if turned else total


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
