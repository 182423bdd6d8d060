"""Evaluation per scan and class on the whole volume, and per slice for inpainting; writes nothing itself.

Never per batch: a scan's Dice counts all its voxels once, on the grid of the scan (paper, section 2.5.2).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from inpaint_ssl.batches import batches_of_scan
from inpaint_ssl.data import ClassMap, ScanInfo, SliceSource, display, to_volume
from inpaint_ssl.metrics import cv, dice, voe
from inpaint_ssl.types import Batch, Params

SCAN_COLUMNS = (
    *("study", "dataset", "arm", "label_fraction", "subset_draw", "seed", "split", "subject", "scan", "class"),
    *("metric", "unit", "prediction", "truth", "value", "flag"),
)
SLICE_COLUMNS = (*SCAN_COLUMNS[:9], "slice", *SCAN_COLUMNS[9:])
METRICS: Mapping[str, Callable[[np.ndarray, np.ndarray], float]] = {"dice": dice, "voe": voe, "cv": cv}


@dataclass(frozen=True)
class Evaluation:
    """Rows for per_scan.csv or per_slice.csv and pictures by file name, each a set of arrays for one .npz."""

    rows: list[dict[str, Any]]
    examples: dict[str, dict[str, Any]]


def label_map(probability: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """(..., K) probabilities to a uint8 map: 0 where none reaches `threshold`, else 1 + the class of the largest."""
    winner = np.argmax(probability, axis=-1).astype(np.uint8) + np.uint8(1)
    return np.where(np.max(probability, axis=-1) >= threshold, winner, np.uint8(0))


def overlap_rows(
    prediction: np.ndarray, truth: np.ndarray, class_map: ClassMap, columns: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """One row per class and metric of one scan. `prediction` is a label map, `truth` holds label values; (X, Y, Z)."""
    rows = []
    membership = class_map.membership()
    for index, name in enumerate(class_map.names):
        predicted, true = prediction == index + 1, membership[truth, index]
        counts = int(predicted.sum()), int(true.sum())
        flag = {(True, True): "", (False, False): "absent", (False, True): "empty_prediction"}.get(
            (counts[0] > 0, counts[1] > 0), "empty_truth"
        )
        for metric, compute in METRICS.items():
            values = {"class": name, "metric": metric, "unit": "ratio", "value": repr(float(compute(predicted, true)))}
            rows.append({**columns, **values, "prediction": counts[0], "truth": counts[1], "flag": flag})
    return rows


def _picture(image: np.ndarray, truth: np.ndarray, prediction: np.ndarray, class_map: ClassMap) -> dict[str, Any]:
    """The slice with most true (else predicted) labelled pixels, of displayed slices (S, rows, columns) of one scan.

    image: first channel; truth: label values; prediction: label map. The result's truth is a label map too.
    """
    membership = class_map.membership()[truth]  # (S, rows, columns, K)
    labelled = membership.any(axis=-1).sum(axis=(1, 2))
    labelled = labelled if labelled.any() else (prediction > 0).sum(axis=(1, 2))
    slice_index = int(np.argmax(labelled))
    classes = np.zeros(truth.shape[1:], np.uint8)
    for index in range(len(class_map.names)):
        classes[membership[slice_index, ..., index]] = index + 1
    return {
        "image": image[slice_index].astype(np.float32),
        "truth": classes,
        "prediction": prediction[slice_index],
        "slice": slice_index,
    }


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
    class_map: ClassMap,
    columns: Mapping[str, Any],
    *,
    batch_size: int,
    threshold: float,
    on_scan: Callable[[int], None],
) -> Evaluation:
    """Dice, VOE and CV of every scan of `source` and class; `columns` are the constant columns of the rows.

    `predict` maps (params, images (N, H, W, C)) to sigmoid probabilities (N, H, W, K). `on_scan` gets the number of
    scans done.
    """
    rows: list[dict[str, Any]] = []
    examples = {}
    for number, scan in enumerate(source.scans):
        predicted, image = _predicted(predict, params, source, scan, batch_size, threshold)
        truth = source.label_volume(scan)
        identity = {**columns, "subject": scan.subject_id, "scan": scan.scan_id}
        scan_rows = overlap_rows(predicted, truth, class_map, identity)
        rows += scan_rows
        values = np.array([float(row["value"]) for row in scan_rows if row["metric"] == "dice"])
        axis = scan.placement.slice_axis
        picture = _picture(display(image, axis), display(truth, axis), display(predicted, axis), class_map)
        mean = float(values[~np.isnan(values)].mean()) if not np.isnan(values).all() else float("nan")
        examples[scan.scan_id] = {**picture, "scan": np.array(scan.scan_id), "dice": mean}
        on_scan(number + 1)
    return Evaluation(rows, examples)


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
    rows, pictures = [], {}
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
                    rows.append({**columns, **identity, **values, **measured})
                if number in shown and index == middle:
                    pictures[scan.scan_id] = {
                        "original": original[position],
                        "corrupted": corrupted[position],
                        "restored": restored[position],
                        "scan": np.array(scan.scan_id),
                        "slice": int(index) - scan.first,
                    }
        on_scan(number + 1)
    return Evaluation(rows, pictures)
