"""A step whose loss or gradient is not finite: what is kept of it."""

from pathlib import Path
from typing import Any

import numpy as np

from inpaint_ssl.batches import raw_batch
from inpaint_ssl.checkpoint import save_weights
from inpaint_ssl.data import SliceSource
from inpaint_ssl.files import write_npz_atomic
from inpaint_ssl.normalise import jitted_normaliser
from inpaint_ssl.types import Batch, Params

SHOWN_SCANS = 8


def keep_for_replay(
    folder: Path,
    params: Params,
    source: SliceSource,
    indices: np.ndarray,
    dtype: Any,
    seed: int,
    step: int,
    rate: float,
) -> None:
    """Write `folder`/params (before the step) and `folder`/batch.npz: what loss(params, batch, key, step) needs again.

    batch.npz: images, labels, example_ids, is_real, boxes of the batch; scans and slices by name; seed, step (from 0),
    learning_rate. Images are as the step saw them: normalised from raw ones that were stored as `dtype`.
    """
    raw = raw_batch(source, indices, len(indices))
    images = np.asarray(raw.slices.images).astype(dtype)
    normalised = jitted_normaliser(source.preprocessing)(images, raw.slices.boxes, raw.slices.statistics)
    batch = Batch(np.asarray(normalised), raw.slices.labels, raw.slices.example_ids, raw.is_real, raw.slices.boxes)
    records = [source[int(index)] for index in indices]
    scans = np.array([source.scans[record.scan].scan_id for record in records])
    slices = np.array([record.slice_index for record in records])
    numbers = {"seed": np.int64(seed), "step": np.int64(step), "learning_rate": np.float64(rate)}
    write_npz_atomic(folder / "batch.npz", **batch._asdict(), scans=scans, slices=slices, **numbers)
    save_weights(folder / "params", params)


def named_scans(source: SliceSource, indices: np.ndarray) -> str:
    """The scans of a batch, each once, in its order; the first eight by name."""
    scans = list(dict.fromkeys(source.scans[source[int(index)].scan].scan_id for index in indices))
    return ", ".join(scans[:SHOWN_SCANS]) + (f" and {len(scans) - SHOWN_SCANS} more" if scans[SHOWN_SCANS:] else "")
