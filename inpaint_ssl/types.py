"""The two structures that cross the border of a jitted step."""

from typing import Any, NamedTuple

import flax
import numpy as np
from jaxtyping import Array, Bool, Float, Int32, UInt8, UInt32

AnyArray = Array | np.ndarray  # a step takes both; NumPy arrays are copied to the device

Params = Any  # a tree with the top-level names encoder, decoder, post_processing


class Batch(NamedTuple):
    """Slices of one step; the last batch of an epoch is padded with rows whose `is_real` is False.

    images: (N, H, W, C) normalised intensities. labels: (N, H, W) label values (zeros where there are none).
    example_ids: (N,) stable hash of scan and slice, never a position. is_real: (N,). boxes: (N, 4) top, left, bottom
    and right of what is no margin, in pixels, the last two just outside.
    """

    images: Float[AnyArray, "n h w c"]
    labels: UInt8[AnyArray, "n h w"]
    example_ids: UInt32[AnyArray, "n"]
    is_real: Bool[AnyArray, "n"]
    boxes: Int32[AnyArray, "n 4"]


@flax.struct.dataclass
class TrainState:
    """Everything that a training step changes; `step` is an int32 scalar array.

    A tree of JAX: its leaves may be shapes, specifications or flags instead of arrays.
    """

    params: Params
    opt_state: Any
    step: Any
