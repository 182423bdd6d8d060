"""What a prepared data set looks like on disk, and the settings that decide what is in it.

    <folder>/<data set>/<hash of settings>/<n>.0.0/     a data set that tfds.builder_from_directory opens
        features.json  dataset_info.json  *.array_record-*
        metadata.json    format, settings, bytes of each file, and the record of every scan

A version that is not complete is in a folder whose name begins with ".incomplete-", and is renamed when it is.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from inpaint_ssl.data.scan import ScanReader
from inpaint_ssl.files import sha256_of

FORMAT = 1
SPLIT = "slices"
INCOMPLETE = ".incomplete-"
FILE_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"


def prepared_folder(given: str, workdir: Path) -> Path:
    """Where prepared data sets lie: config.data.prepared, or the folder "prepared" beside that of a study."""
    return Path(given).expanduser() if given else workdir.parent / "prepared"


def dataset_slug(name: str) -> str:
    """The name of a data set as tensorflow-datasets wants it: small letters, digits and _, a letter first."""
    slug = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return slug if slug[:1].isalpha() else f"data_{slug}".rstrip("_")


def store_settings(reader: ScanReader, slice_axis: str) -> dict[str, Any]:
    """Everything besides the source files that decides what is stored."""
    names = {name: list(v) if isinstance(v, tuple) else v for name, v in reader.labels.items()}
    return {"format": FORMAT, "reader": dict(reader.settings()), "labels": names, "slice_axis": slice_axis}


def settings_folder(folder: Path, reader: ScanReader, slice_axis: str) -> Path:
    """Where the versions lie that were prepared with these settings."""
    digest = sha256_of(store_settings(reader, slice_axis))[:8]
    return Path(folder) / dataset_slug(reader.name) / f"{slice_axis}_{digest}"


def versions(folder: Path) -> list[Path]:
    """The complete versions in a settings folder, newest first."""
    found = [path for path in folder.glob("*.0.0") if path.name.partition(".")[0].isdecimal() and path.is_dir()]
    return sorted(found, key=lambda path: int(path.name.partition(".")[0]), reverse=True)


def common_dtype(dtypes: Iterable[np.dtype]) -> np.dtype:
    """The type in which all scans are stored: the smallest integer type that holds all, else float32."""
    common = np.result_type(*dtypes)
    return common if common.kind in "iu" and common.itemsize <= 4 else np.dtype(np.float32)


def features(dtype: np.dtype) -> Any:
    """Features of one slice; rows and columns as displayed (data.geometry.display)."""
    import tensorflow_datasets as tfds

    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Tensor(shape=(None, None, None), dtype=dtype.type, encoding="zlib"),
            "label": tfds.features.Tensor(shape=(None, None), dtype=np.uint8, encoding="zlib"),
            "has_label": tfds.features.Scalar(np.bool_),
            "scan_id": tfds.features.Text(),
            "subject_id": tfds.features.Text(),
            "slice_index": tfds.features.Scalar(np.int32),
            "spacing_mm": tfds.features.Tensor(shape=(2,), dtype=np.float32),
        }
    )


def shard_name(slug: str, number: int, count: int) -> str:
    """File name of a shard, as FILE_TEMPLATE gives it."""
    return f"{slug}-{SPLIT}.array_record-{number:05d}-of-{count:05d}"
