"""The network that a record describes, and the programs that apply it to slices."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from inpaint_ssl.models import UNet
from inpaint_ssl.normalise import normaliser, part_normaliser
from inpaint_ssl.trained.record import ModelRecord
from inpaint_ssl.types import AnyArray

Inputs = tuple[AnyArray, ...]  # images, boxes, statistics, and of parts of larger slices references and their boxes


def network(record: ModelRecord, dtype: Any = None) -> UNet:
    """The U-Net of a record. dtype: of its convolutions; None is that of its training on a GPU, float32 on a CPU."""
    if dtype is None:
        dtype = jnp.float32 if jax.default_backend() == "cpu" else jnp.dtype(record.compute_dtype)
    return UNet(record.filters, record.outputs, record.task, record.groups, dtype)


def parameter_shapes(record: ModelRecord) -> Any:
    """The tree of parameters as shapes and dtypes; nothing is computed."""
    image = jax.ShapeDtypeStruct((1, *record.preprocessing.image_size, len(record.input_channels)), jnp.float32)
    return jax.eval_shape(network(record, jnp.float32).init, jax.random.key(0), image)["params"]


def label_map_on_device(probability: Float[AnyArray, "n h w k"], threshold: float) -> UInt8[Array, "n h w"]:
    """0 where no class reaches `threshold`, else 1 + the class of the largest, as evaluate.label_map."""
    winner = jnp.argmax(probability, axis=-1).astype(jnp.uint8) + jnp.uint8(1)
    return jnp.where(jnp.max(probability, axis=-1) >= threshold, winner, jnp.uint8(0))


def outputs_of(record: ModelRecord, flips: tuple[tuple[int, ...], ...], parts: bool) -> Callable[..., jax.Array]:
    """(params, *inputs) -> (views, N, H, W, K) probabilities, one view for each entry of `flips`, axes that are turned
    round before the network and back after it. parts: whether images are parts of larger slices.

    Of a network that restores images the outputs are those images, normalised.
    """
    model, how = network(record), record.preprocessing
    normalise = part_normaliser(how) if parts else normaliser(how)

    def apply(params: Any, *inputs: AnyArray) -> jax.Array:
        images = normalise(*inputs)
        views = [model.apply({"params": params}, jnp.flip(images, axes)) for axes in flips]
        outputs = jnp.stack([jnp.flip(jnp.asarray(one), axes) for one, axes in zip(views, flips, strict=True)])
        outputs = outputs.astype(jnp.float32)
        return jax.nn.sigmoid(outputs) if record.task == "segmentation" else outputs

    return apply


@functools.lru_cache(maxsize=32)
def views_program(key: "Hashed", flips: tuple[tuple[int, ...], ...], parts: bool) -> Callable[..., jax.Array]:
    """`outputs_of`, compiled."""
    return jax.jit(outputs_of(key.record, flips, parts))


@functools.lru_cache(maxsize=32)
def labels_program(key: "Hashed", flips: tuple[tuple[int, ...], ...]) -> Callable[..., jax.Array]:
    """(params, *inputs) -> (N, H, W) uint8 label map of the views' mean, compiled as one program with the network."""
    views = outputs_of(key.record, flips, False)
    return jax.jit(lambda params, *inputs: label_map_on_device(views(params, *inputs).mean(axis=0), key.threshold))


class Hashed:
    """A record as a key: equal where programs are, so that models that differ in weights alone share them."""

    def __init__(self, record: ModelRecord) -> None:
        self.record, self.threshold = record, record.threshold
        names = ("task", "filters", "groups", "outputs", "compute_dtype", "preprocessing", "threshold")
        self._key = tuple(getattr(record, name) for name in names)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hashed) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)
