"""Scans, splits and preprocessed slices. Nothing here imports jax."""

from collections.abc import Mapping
from typing import Any

from inpaint_ssl.data.classes import ClassMap, class_map
from inpaint_ssl.data.geometry import display
from inpaint_ssl.data.nifti import NiftiDataset, open_detected, open_msd, open_nnunet
from inpaint_ssl.data.preprocess import Placement, Preprocessing, ScanSlices, preprocess, to_volume
from inpaint_ssl.data.scan import Scan, ScanDataset, ScanEntry
from inpaint_ssl.data.source import (
    ArraySliceSource,
    ScanInfo,
    SliceRecord,
    SliceSource,
    build_source,
    example_id,
    indices_of,
)
from inpaint_ssl.data.splits import Splits, load_or_make_splits, make_splits, read_splits, write_splits
from inpaint_ssl.errors import InputError

__all__ = [
    "ArraySliceSource",
    "ClassMap",
    "NiftiDataset",
    "Placement",
    "Preprocessing",
    "Scan",
    "ScanDataset",
    "ScanEntry",
    "ScanInfo",
    "ScanSlices",
    "SliceRecord",
    "SliceSource",
    "Splits",
    "build_source",
    "class_map",
    "display",
    "example_id",
    "indices_of",
    "load_or_make_splits",
    "make_splits",
    "open_dataset",
    "open_msd",
    "open_nnunet",
    "preprocess",
    "read_splits",
    "to_volume",
    "write_splits",
]


def open_dataset(*, format: str, root: str, geometry_tolerance_mm: float, phantom: Mapping[str, Any]) -> ScanDataset:
    """List the scans of config.data: format "auto" | "msd" | "nnunet" (folder `root`) or "phantom" (generated).

    Raises InputError naming the folder or file when the data set cannot be listed. No scan is read here.
    """
    if format == "phantom":
        from inpaint_ssl.data.phantom import PhantomDataset

        return PhantomDataset(**phantom)
    readers = {"auto": open_detected, "msd": open_msd, "nnunet": open_nnunet}
    if format not in readers:
        raise InputError(f"data.format is {format!r}, expected one of 'auto', 'msd', 'nnunet', 'phantom'")
    return readers[format](root, geometry_tolerance_mm)
