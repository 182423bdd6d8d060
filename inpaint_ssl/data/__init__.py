"""Scans, splits and prepared slices. Nothing here imports jax."""

from inpaint_ssl.data.classes import ClassMap, class_map
from inpaint_ssl.data.geometry import Placement, display, to_volume
from inpaint_ssl.data.preprocess import Preprocessing
from inpaint_ssl.data.readers import ReaderSettings, open_dataset
from inpaint_ssl.data.record import ScanRecord, SourceFile, describe
from inpaint_ssl.data.scan import Scan, ScanEntry, ScanReader
from inpaint_ssl.data.source import (
    ArraySliceSource,
    ScanInfo,
    ScanVolumes,
    SliceRecord,
    SliceSource,
    example_id,
    indices_of,
    source_of,
)
from inpaint_ssl.data.splits import (
    Splits,
    SplitSettings,
    drop_leaks,
    load_or_make_splits,
    make_splits,
    read_splits,
    write_splits,
)
from inpaint_ssl.data.store import PreparedStore, StoredSliceSource, prepare_store, prepared_folder

__all__ = [
    "ArraySliceSource",
    "ClassMap",
    "Placement",
    "PreparedStore",
    "Preprocessing",
    "ReaderSettings",
    "Scan",
    "ScanEntry",
    "ScanInfo",
    "ScanReader",
    "ScanRecord",
    "ScanVolumes",
    "SliceRecord",
    "SliceSource",
    "SourceFile",
    "SplitSettings",
    "Splits",
    "StoredSliceSource",
    "class_map",
    "describe",
    "display",
    "drop_leaks",
    "example_id",
    "indices_of",
    "load_or_make_splits",
    "make_splits",
    "open_dataset",
    "prepare_store",
    "prepared_folder",
    "read_splits",
    "source_of",
    "to_volume",
    "write_splits",
]
