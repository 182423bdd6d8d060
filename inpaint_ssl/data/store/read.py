"""A prepared data set: its table of scans, and its slices by index."""

import bisect
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from inpaint_ssl.data.geometry import SLICE_AXES, display
from inpaint_ssl.data.preprocess import Preprocessing
from inpaint_ssl.data.record import ScanRecord
from inpaint_ssl.data.source import (
    ArraySliceSource,
    ScanInfo,
    ScanVolumes,
    SliceRecord,
    chosen_scans,
    example_id,
    example_ids,
    put,
    renumbered,
    scan_info,
)
from inpaint_ssl.data.store.layout import FORMAT, SPLIT
from inpaint_ssl.errors import InputError
from inpaint_ssl.files import file_sha256, read_json, sha256_of

METADATA = "metadata.json"
_REMEDY = "delete this folder to have it prepared anew"


class PreparedStore:
    """One complete version on disk. records: of every scan; firsts: where the slices of each begin."""

    def __init__(self, folder: Path, metadata: dict[str, Any]) -> None:
        self.folder = folder
        self.name: str = metadata["name"]
        self.slice_axis: str = metadata["settings"]["slice_axis"]
        self.dtype = np.dtype(metadata["dtype"])
        self.channel_names = tuple(metadata["channel_names"])
        self.records = tuple(ScanRecord.from_dict(values) for values in metadata["scans"])
        counts = [record.shape[SLICE_AXES[self.slice_axis]] for record in self.records]
        self.firsts = np.concatenate([[0], np.cumsum(counts)]).astype(int)

    @classmethod
    def open(cls, folder: Path) -> "PreparedStore":
        """Open a version folder; InputError naming what is missing or damaged. No slice is read."""
        metadata = read_json(folder / METADATA, "description of a prepared data set")
        try:
            if metadata["format"] != FORMAT:
                raise InputError(f"{folder} was prepared in format {metadata['format']}, expected {FORMAT}; {_REMEDY}")
            if metadata["sha256"] != sha256_of({key: value for key, value in metadata.items() if key != "sha256"}):
                raise ValueError("its SHA-256 is another")
            for name, sha256 in metadata["descriptions"].items():
                if not (folder / name).is_file() or file_sha256(folder / name) != sha256:
                    raise InputError(f"{folder / name} is not as it was written; {_REMEDY}")
            for name, size in metadata["files"].items():
                found = (folder / name).stat().st_size if (folder / name).is_file() else "no file"
                if found != size:
                    raise InputError(f"{folder / name} has {found} bytes, expected {size}; {_REMEDY}")
            return cls(folder, metadata)
        except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            reason = f"{type(error).__name__}: {error}"
            raise InputError(f"{folder / METADATA} is not as it was written ({reason}); {_REMEDY}") from None

    @cached_property
    def slices(self) -> Any:
        """All slices as a random-access source of tensorflow-datasets; an item has the keys of layout.features."""
        import tensorflow_datasets as tfds

        return tfds.builder_from_directory(self.folder).as_data_source(split=SPLIT)

    def read(self, indices: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """images (n, rows, columns, channels) and labels (n, rows, columns) uint8 of slices of one size."""
        try:
            # Reading several at once starts threads, which takes longer than reading a single one.
            at_once = self.slices.__getitems__ if len(indices) > 1 else lambda few: [self.slices[few[0]]]
            found = at_once([int(index) for index in indices])
        except (ValueError, OSError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{self.folder} is damaged: a slice cannot be read ({reason}); {_REMEDY}") from None
        return np.stack([one["image"] for one in found]), np.stack([one["label"] for one in found])

    def summary(self) -> list[str]:
        """What is in it, in lines for a person."""
        labelled = sum(record.has_label for record in self.records)
        sizes = sorted({record.shape for record in self.records})
        shapes = f"{sizes[0]}" if len(sizes) == 1 else f"{len(sizes)} sizes from {sizes[0]} to {sizes[-1]}"
        size = sum(path.stat().st_size for path in self.folder.iterdir())
        return [
            f"{self.name}: {len(self.records)} scans ({labelled} labelled), {self.firsts[-1]} {self.slice_axis} slices,"
            f" voxels {shapes}, {self.dtype.name}, {size / 1e6:.0f} MB"
        ]

    def source(self, preprocessing: Preprocessing, scan_ids: Sequence[str]) -> "StoredSliceSource":
        """The slices of these scans, in this order, as images of one size; InputError for a scan that does not fit."""
        number = {record.scan_id: i for i, record in enumerate(self.records)}
        chosen = [number[scan_id] for scan_id in scan_ids]
        scans = renumbered(scan_info(self.records[i], preprocessing, 0) for i in chosen)
        statistics = tuple(
            preprocessing.statistics(self.records[i].intensities, self.records[i].scan_id) for i in chosen
        )
        return StoredSliceSource(self, preprocessing, scans, tuple(int(self.firsts[i]) for i in chosen), statistics)


@dataclass(frozen=True)
class StoredSliceSource:
    """Slices of a prepared data set, read when they are asked for. starts: where each scan begins in the store."""

    store: PreparedStore
    preprocessing: Preprocessing
    scans: tuple[ScanInfo, ...]
    starts: tuple[int, ...]
    statistics: tuple[np.ndarray, ...]

    @cached_property
    def _firsts(self) -> list[int]:
        return [scan.first for scan in self.scans]

    @cached_property
    def _length(self) -> int:
        return sum(scan.n_slices for scan in self.scans)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, channels) of a raw image."""
        return (*self.preprocessing.image_size, len(self.store.channel_names))

    @property
    def image_dtype(self) -> np.dtype:
        """Of the raw images: that of the store, or float32 where slices are resampled."""
        return np.dtype(np.float32) if self.preprocessing.target_spacing_mm else self.store.dtype

    def __len__(self) -> int:
        return self._length

    def _located(self, index: int) -> tuple[int, int]:
        """Scan and slice within the scan."""
        if not 0 <= index < len(self):
            raise IndexError(f"slice {index} of {len(self)}")
        number = bisect.bisect_right(self._firsts, index) - 1
        return number, index - self.scans[number].first

    def __getitem__(self, index: int) -> SliceRecord:
        number, offset = self._located(index)
        scan = self.scans[number]
        images, labels = self._zeros(1)
        self._put(number, [offset], images, labels)
        box = np.array(scan.placement.box, np.int32)
        name = example_id(scan.scan_id, offset)
        return SliceRecord(images[0], labels[0], name, number, offset, box, self.statistics[number])

    def _zeros(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """n images and label maps to be written into."""
        height, width, channels = self.image_shape
        return np.zeros((n, height, width, channels), self.image_dtype), np.zeros((n, height, width), np.uint8)

    def _put(self, number: int, offsets: Sequence[int], images: np.ndarray, targets: np.ndarray) -> None:
        """Write slices of one scan, raw, and their label maps into images and targets (n, H, W, ...) of zeros."""
        found, labels = self.store.read([self.starts[number] + offset for offset in offsets])
        placement = self.scans[number].placement
        put(found, placement, images)
        put(labels, placement, targets)

    def volumes(self, scan: ScanInfo) -> ScanVolumes:
        """Image and label of a scan on its own grid; zeros for a label that it does not have."""
        number, _ = self._located(scan.first)
        images, labels = self.store.read(range(self.starts[number], self.starts[number] + scan.n_slices))
        shape = scan.placement.shape
        image, label = np.empty((*shape, images.shape[3]), images.dtype), np.zeros(shape, np.uint8)
        display(image, self.preprocessing.slice_axis)[:] = images
        if scan.has_label:
            display(label, self.preprocessing.slice_axis)[:] = labels
        return ScanVolumes(image, label)

    def subset(self, subject_ids: Collection[str], labelled_only: bool = False) -> "StoredSliceSource":
        """The scans of these subjects in the present order; nothing is read."""
        kept = chosen_scans(self.scans, subject_ids, labelled_only)
        return StoredSliceSource(
            self.store,
            self.preprocessing,
            renumbered(self.scans[i] for i in kept),
            tuple(self.starts[i] for i in kept),
            tuple(self.statistics[i] for i in kept),
        )

    def load(self) -> ArraySliceSource:
        """All slices in memory."""
        n = len(self)
        images, targets = self._zeros(n)
        counts = [scan.n_slices for scan in self.scans]
        for number, scan in enumerate(self.scans):
            part = slice(scan.first, scan.first + scan.n_slices)
            self._put(number, range(scan.n_slices), images[part], targets[part])
        boxes = np.array([scan.placement.box for scan in self.scans], np.int32)
        return ArraySliceSource(
            images=images,
            targets=targets,
            example_ids=example_ids(self.scans),
            scan_of=np.repeat(np.arange(len(self.scans), dtype=np.int32), counts),
            slice_of=np.concatenate([np.arange(count, dtype=np.int32) for count in counts]),
            scans=self.scans,
            boxes=np.repeat(boxes, counts, axis=0),
            statistics=np.repeat(np.stack(self.statistics), counts, axis=0),
            preprocessing=self.preprocessing,
        )
