"""Evaluation per scan and class on the whole volume, and per slice for inpainting; writes nothing itself.

Never per batch: a scan's Dice counts all its voxels once, on the grid of the scan (paper, section 2.5.2).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from inpaint_ssl.batches import batches_of_scan
from inpaint_ssl.data import ScanInfo, SliceSource, display, to_volume
from inpaint_ssl.measure import Measurements, Measures, measure_scan
from inpaint_ssl.types import Batch, Params

SCAN_COLUMNS = (
    *("study", "dataset", "arm", "label_fraction", "subset_draw", "seed", "split", "subject", "scan", "class"),
    *("metric", "unit", "prediction", "truth", "value", "flag"),
)
SLICE_COLUMNS = (*SCAN_COLUMNS[:9], "slice", *SCAN_COLUMNS[9:])


@dataclass(frozen=True)
class Evaluation:
    """Rows for per_scan.csv and per_slice.csv, and pictures by file name, each a set of arrays for one .npz."""

    rows: list[dict[str, Any]]
    slice_rows: list[dict[str, Any]]
    examples: dict[str, dict[str, Any]]


def label_map(probability: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """(..., K) probabilities to a uint8 map: 0 where none reaches `threshold`, else 1 + the class of the largest."""
    winner = np.argmax(probability, axis=-1).astype(np.uint8) + np.uint8(1)
    return np.where(np.max(probability, axis=-1) >= threshold, winner, np.uint8(0))


def _picture(
    image: np.ndarray, truth: np.ndarray, measured: Measurements, scan: ScanInfo, names: Sequence[str]
) -> dict[str, Any]:
    """The slice of a scan with most truly labelled pixels, else most predicted ones; volumes are (X, Y, Z).

    image: first channel; truth: label map of the classes `names`.
    """
    axis = scan.placement.slice_axis
    shown, true, predicted = (display(volume, axis) for volume in (image, truth, measured.prediction))
    labelled = (true > 0 if true.any() else predicted > 0).sum(axis=(1, 2))
    index = int(np.argmax(labelled))
    picture: dict[str, Any] = {"truth": true[index], "prediction": predicted[index]}
    if measured.t2 is not None:
        t2 = measured.t2.view(lambda echo: display(echo, axis)[index])
        for which, labels in tuple(picture.items()):
            masks = ((name, labels == k + 1) for k, name in enumerate(names))
            picture[f"t2_{which}_ms"] = t2.labelled_ms(masks).astype(np.float32)
    return {**picture, "image": shown[index].astype(np.float32), "slice": index}


def _predicted(
    predict: Callable[[Params, Any], jax.Array],
    params: Params,
    source: SliceSource,
    scan: ScanInfo,
    batch_size: int,
    threshold: float,
) -> tuple[np.ndarray, np.ndarray]:
    """The label map and the first channel of the normalised image of a scan, on its own grid (X, Y, Z).

    What the network says about the margin does not count. Of resampled slices it is the probabilities that are brought
    back, so that the borders of the map are not those of larger pixels.
    """
    outputs, shown = [], []
    for indices, batch in batches_of_scan(source, scan, batch_size):
        probability = np.asarray(predict(params, batch.images))[: len(indices)]
        outputs.append(probability if scan.placement.resampled else label_map(probability, threshold))
        shown.append(np.asarray(batch.images)[: len(indices), ..., 0])
    predicted = to_volume(np.concatenate(outputs), scan.placement)
    images = np.concatenate(shown)
    image = to_volume(images, scan.placement, outside=float(images.min()))
    return label_map(predicted, threshold) if scan.placement.resampled else predicted, image


def evaluate_segmentation(
    predict: Callable[[Params, Any], jax.Array],
    params: Params,
    source: SliceSource,
    measures: Measures,
    columns: Mapping[str, Any],
    *,
    batch_size: int,
    threshold: float,
    on_scan: Callable[[int], None],
) -> Evaluation:
    """All that is measured on every scan of `source` and class; `columns` are the constant columns of the rows.

    `predict` maps (params, images (N, H, W, C)) to sigmoid probabilities (N, H, W, K). `on_scan` gets the number of
    scans done.
    """
    rows: list[dict[str, Any]] = []
    slice_rows: list[dict[str, Any]] = []
    examples = {}
    for number, scan in enumerate(source.scans):
        predicted, image = _predicted(predict, params, source, scan, batch_size, threshold)
        volumes = source.volumes(scan)
        measured = measure_scan(predicted, volumes, scan, measures)
        identity = {**columns, "subject": scan.subject_id, "scan": scan.scan_id}
        rows += [{**identity, **row} for row in measured.rows]
        slice_rows += [{**identity, **row} for row in measured.slice_rows]
        values = np.array([float(row["value"]) for row in measured.rows if row["metric"] == "dice"])
        mean = float(values[~np.isnan(values)].mean()) if not np.isnan(values).all() else float("nan")
        truth = measures.classes.label_map(volumes.label)
        picture = _picture(image, truth, measured, scan, measures.classes.names)
        examples[scan.scan_id] = {**picture, "scan": np.array(scan.scan_id), "dice": mean}
        on_scan(number + 1)
    return Evaluation(rows, slice_rows, examples)


def evaluate_inpainting(
    restore: Callable[[Params, Batch, jax.Array], tuple[jax.Array, jax.Array]],
    params: Params,
    source: SliceSource,
    channel_names: tuple[str, ...],
    columns: Mapping[str, Any],
    *,
    key: jax.Array,
    batch_size: int,
    examples: int,
    on_scan: Callable[[int], None],
) -> Evaluation:
    """L2 norm of the inpainting error (paper, Table 2): square root of the summed squared error per slice and channel.

    `restore` maps (params, batch, key) to (corrupted, restored) images. `examples` scans, spread over the set, give the
    picture of their middle slice.
    """
    slice_rows, pictures = [], {}
    shown = set(np.linspace(0, len(source.scans) - 1, min(examples, len(source.scans))).round().astype(int).tolist())
    for number, scan in enumerate(source.scans):
        middle = scan.first + scan.n_slices // 2
        for indices, batch in batches_of_scan(source, scan, batch_size):
            corrupted, restored = (np.asarray(part, np.float32) for part in restore(params, batch, key))
            original = np.asarray(batch.images)
            error = np.square(restored.astype(np.float64) - original).sum(axis=(1, 2))
            for position, index in enumerate(indices):
                identity = {"subject": scan.subject_id, "scan": scan.scan_id, "slice": int(index) - scan.first}
                for channel, name in enumerate(channel_names):
                    norm = repr(float(np.sqrt(error[position, channel])))
                    values = {"class": name, "metric": "inpainting_l2_norm", "unit": "normalised intensity"}
                    measured = {"prediction": "", "truth": "", "value": norm, "flag": ""}
                    slice_rows.append({**columns, **identity, **values, **measured})
                if number in shown and index == middle:
                    pictures[scan.scan_id] = {
                        "original": original[position],
                        "corrupted": corrupted[position],
                        "restored": restored[position],
                        "scan": np.array(scan.scan_id),
                        "slice": int(index) - scan.first,
                    }
        on_scan(number + 1)
    return Evaluation([], slice_rows, pictures)
