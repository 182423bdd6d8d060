"""The 2D U-Net of the paper (section 2.3, Figure 2) with group normalisation and weight standardisation."""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from inpaint_ssl.models.layers import Conv, UpsampleConv
from inpaint_ssl.types import AnyArray

GROUP_NORM_EPSILON = 1e-5


def _group_norm(groups: int, dtype: Any, name: str) -> nn.GroupNorm:
    return nn.GroupNorm(num_groups=groups, epsilon=GROUP_NORM_EPSILON, dtype=dtype, name=name)


class EncoderLevel(nn.Module):
    """Convolution, ReLU, weight-standardised convolution, ReLU, one GroupNorm."""

    features: int
    groups: int
    dtype: Any
    conv_gradients: str

    @nn.compact
    def __call__(self, images: Float[Array, "n h w i"]) -> Float[Array, "n h w o"]:
        conv = functools.partial(Conv, self.features, dtype=self.dtype, conv_gradients=self.conv_gradients)
        images = nn.relu(conv(name="conv_0")(images))
        images = nn.relu(conv(standardised=True, name="conv_1")(images))
        return _group_norm(self.groups, self.dtype, "norm")(images)


class Encoder(nn.Module):
    """Feature maps of every level, top first; 2x2 max pooling between the levels."""

    filters: Sequence[int]
    groups: int
    dtype: Any
    conv_gradients: str

    @nn.compact
    def __call__(self, images: Float[Array, "n h w c"]) -> list[jax.Array]:
        features = []
        for level, width in enumerate(self.filters):
            if level:
                images = nn.max_pool(images, (2, 2), strides=(2, 2))
            encode = EncoderLevel(width, self.groups, self.dtype, self.conv_gradients, name=f"level_{level}")
            images = encode(images)
            features.append(images)
        return features


class DecoderLevel(nn.Module):
    """Upsample, concatenate [upsampled, skip], one weight-standardised convolution, ReLU, GroupNorm."""

    features: int
    groups: int
    dtype: Any
    conv_gradients: str

    @nn.compact
    def __call__(self, images: Float[Array, "n h w i"], skip: Float[Array, "n h2 w2 s"]) -> Float[Array, "n h2 w2 o"]:
        shared = {"dtype": self.dtype, "conv_gradients": self.conv_gradients}
        images = UpsampleConv(self.features, name="upsample", **shared)(images)
        images = jnp.concatenate([images, skip], axis=-1)
        images = nn.relu(Conv(self.features, standardised=True, name="conv", **shared)(images))
        return _group_norm(self.groups, self.dtype, "norm")(images)


class Decoder(nn.Module):
    """From the encoder's feature maps back to the full resolution."""

    filters: Sequence[int]
    groups: int
    dtype: Any
    conv_gradients: str

    @nn.compact
    def __call__(self, features: list[jax.Array]) -> jax.Array:
        images = features[-1]
        for level in reversed(range(len(self.filters) - 1)):
            width = self.filters[level]
            decode = DecoderLevel(width, self.groups, self.dtype, self.conv_gradients, name=f"level_{level}")
            images = decode(images, features[level])
        return images


class UNet(nn.Module):
    """2D U-Net for inpainting and segmentation; the two differ in the last convolution alone.

    filters: channels per level, each a multiple of `groups`; image sides must be multiples of 2**(levels - 1).
    out_channels: image channels (inpainting) or classes (segmentation). head: "segmentation", a 1x1 convolution whose
    logits go through one sigmoid per class; "inpainting", a 3x3 convolution without activation.
    dtype: of the computation; parameters are made in float32, and the result has at least that precision.
    conv_gradients: "derived" (by jax), "canonical" or "auto"; see layers.gradient_form. Results agree to rounding.

    `init(key, images)["params"]` has the keys encoder, decoder and post_processing (the paper's word for the last
    convolution); `apply` maps (N, H, W, C) to (N, H, W, out_channels) logits. ValueError when sizes do not fit.
    """

    filters: Sequence[int] = (32, 64, 128, 256, 512)
    out_channels: int = 4
    head: str = "segmentation"
    groups: int = 16
    dtype: Any = jnp.float32
    conv_gradients: str = "derived"

    def setup(self) -> None:
        if self.head not in ("segmentation", "inpainting"):
            raise ValueError(f'head is {self.head!r}; expected "segmentation" or "inpainting"')
        if not self.filters:
            raise ValueError("filters is empty, expected the channels of each level, such as (32, 64, 128, 256, 512)")
        uneven = [width for width in self.filters if width % self.groups]
        if uneven:
            raise ValueError(f"filters {uneven} are no multiples of groups={self.groups}; change filters or groups")
        shared = {"dtype": self.dtype, "conv_gradients": self.conv_gradients}
        self.encoder = Encoder(tuple(self.filters), self.groups, **shared)
        self.decoder = Decoder(tuple(self.filters), self.groups, **shared)
        self.post_processing = Conv(self.out_channels, size=1 if self.head == "segmentation" else 3, **shared)

    def __call__(self, images: Float[AnyArray, "n h w c"]) -> Float[Array, "n h w k"]:
        images = jnp.asarray(images)
        multiple = 2 ** (len(self.filters) - 1)
        if images.shape[1] % multiple or images.shape[2] % multiple:
            raise ValueError(
                f"image of {images.shape[1]} x {images.shape[2]} pixels; a U-Net of {len(self.filters)} levels needs "
                f"sides that are multiples of {multiple}: pad the image or use fewer levels"
            )
        decoded = self.decoder(self.encoder(images))
        return self.post_processing(decoded).astype(jnp.promote_types(self.dtype, jnp.float32))
