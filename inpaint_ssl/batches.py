"""Batches of one fixed size from a source of slices: the last one is padded, none is dropped."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from inpaint_ssl.data import SliceSource
from inpaint_ssl.steps import ValidationStep
from inpaint_ssl.types import Batch, Params


def make_batch(source: SliceSource, indices: np.ndarray, batch_size: int) -> Batch:
    """The slices at `indices`, padded to `batch_size` by repeating the first with is_real = False."""
    records = [source[int(index)] for index in indices]
    padded = records + records[:1] * (batch_size - len(records))
    return Batch(
        images=np.stack([record.image for record in padded]),
        labels=np.stack([record.target for record in padded]),
        example_ids=np.array([record.example_id for record in padded], np.uint32),
        is_real=np.arange(batch_size) < len(records),
    )


def batches_in_order(source: SliceSource, batch_size: int) -> Iterator[Batch]:
    """Every slice once, in the order of the source; the last batch padded."""
    for start in range(0, len(source), batch_size):
        yield make_batch(source, np.arange(start, min(start + batch_size, len(source))), batch_size)


def summed_over(step: ValidationStep, params: Params, source: SliceSource, batch_size: int, key: jax.Array) -> Any:
    """float64 sums of a validation step's metrics over the whole source, in its order; one fetch at the end."""
    sums = [step(params, batch, key) for batch in batches_in_order(source, batch_size)]
    return jax.tree.map(lambda *parts: np.sum(np.asarray(parts, np.float64), axis=0), *jax.device_get(sums))
