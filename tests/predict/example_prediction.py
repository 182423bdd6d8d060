"""A model's record and what a prediction says of its scans, without a network."""

from typing import Any
from urllib.parse import quote

from inpaint_ssl.data import ClassMap, Preprocessing
from inpaint_ssl.trained.record import ModelRecord, TrainedOn


def model_record(*names: str, **changes: Any) -> ModelRecord:
    """Of a network with classes of these names, whose label values are 1, 2, ..."""
    names = names or ("right_parotid", "brainstem", "visceral_fat")
    values: dict[str, Any] = {
        "task": "segmentation",
        "filters": (8, 16),
        "groups": 4,
        "outputs": len(names),
        "compute_dtype": "float32",
        "preprocessing": Preprocessing("ct", "axial", (64, 64), "all", ((400.0, 50.0),)),
        "input_channels": ("ct_400_50",),
        "scan_channels": ("ct",),
        "classes": ClassMap(names, tuple((k + 1,) for k in range(len(names)))),
        "threshold": 0.5,
        "clinical": {},
        "trained_on": TrainedOn(32, 30, {"spacing_x_mm": (0.9, 1.1)}, ("ab" * 32,)),
        "study": "neck organs",
        "dataset": "OpenKBP",
        "arm": "pretrained",
        "label_fraction": 0.25,
        "seed": 0,
        "subset_draw": 0,
        "data_sha256": "d" * 64,
        "splits_sha256": "e" * 64,
        "config_sha256": "0123456789abcdef" * 4,
        "versions": {"jax": "0.10.2"},
    }
    return ModelRecord(**(values | changes))


def model_about(**changes: Any) -> dict[str, Any]:
    """What the page is told of a model."""
    record = model_record()
    about: dict[str, Any] = {
        name: getattr(record, name) for name in ("study", "dataset", "arm", "label_fraction", "seed")
    }
    about |= {"name": "model.zip", "labels": record.labels, "preprocessing": record.preprocessing.to_dict()}
    about["trained_on"] = {"scans": 32, "subjects": 30}
    return about | changes


def row(class_name: str, metric: str, value: float | None, flag: str = "") -> dict[str, Any]:
    unit = {"volume_mm3": "mm3", "area_mm2": "mm2", "mean_hu": "hu", "mean_t2_ms": "ms"}[metric]
    return {"class": class_name, "metric": metric, "unit": unit, "value": value, "flag": flag}


def scan_record(scan: str, volume_mm3: float = 25431.25, **changes: Any) -> dict[str, Any]:
    """Of a CT scan that was segmented; its classes are those of `model_record`."""
    name = quote(scan, safe="")
    rows = []
    for k, class_name in enumerate(("right_parotid", "brainstem", "visceral_fat")):
        flag = "touches_border" if k == 2 else ""
        rows.append(row(class_name, "volume_mm3", volume_mm3 / (k + 1), flag))
        rows.append(row(class_name, "area_mm2", 410.5 + k, flag))
        rows.append(row(class_name, "mean_hu", 30.0 - 55 * k, flag))
    record: dict[str, Any] = {
        "scan": scan,
        "status": "done",
        "source": f"{scan}.nii.gz",
        "shape": [64, 64, 31],
        "spacing_mm": [0.97656, 0.97656, 3.0],
        "orientation": "LPS",
        "slices": 31,
        "mask": f"masks/{name}.nii.gz",
        "dicom_seg": "",
        "overlay": f"overlays/{name}.png",
        "probabilities": [],
        "uncertainty": "",
        "disagreement": None,
        "warnings": [],
        "measurements": rows,
        "seconds": 1.2,
    }
    return record | changes


def failed_record(scan: str, error: str) -> dict[str, Any]:
    return {"scan": scan, "status": "failed", "source": f"{scan}.nii.gz", "error": error}
