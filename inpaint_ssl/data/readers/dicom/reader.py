"""Reader for folder trees of DICOM files: every CT or MR series is a scan, and no patient is named.

Values are HU for CT (rescaled, padding set to air) and, for MR, what the scanner stored, rescaled. Echoes of one series
are channels. What is no image of data.modality is skipped by name in the notes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from inpaint_ssl.data.geometry import ras_orientation
from inpaint_ssl.data.readers.dicom.headers import Damage, damage_told
from inpaint_ssl.data.readers.dicom.listing import Listing, Plan, hinted, list_dicom
from inpaint_ssl.data.readers.dicom.pixels import read_slices
from inpaint_ssl.data.readers.grid import Grid
from inpaint_ssl.data.readers.nifti import checked_image, read_label, scan_of
from inpaint_ssl.data.readers.settings import ReaderSettings
from inpaint_ssl.data.scan import Scan, ScanEntry, ScanReader
from inpaint_ssl.errors import InputError, Problems, one_line
from inpaint_ssl.memory import check_free

_COPIES = 2  # of a volume that are in memory at once while it is read ...
_BYTES_OF_PIXEL = 64  # ... and what the slice takes that is being unpacked


def open_dicom(root: Path, settings: ReaderSettings, problems: Problems, use_labels: bool = True) -> "DicomDataset":
    """List the series below `root` by their headers; what is wrong with single ones goes to `problems`.

    use_labels: False passes label files over.
    Raises InputError when there is no series of settings.modality, or the salt of hashed ids cannot be had.
    """
    return DicomDataset(list_dicom(root, settings, problems, use_labels), settings)


class DicomDataset(ScanReader):
    """The CT or MR series of a folder tree. `ScanEntry.image_paths` has every file of a series in the order of slices,
    echo after echo; these paths are for opening files, `shown_path` says how they may be written.
    """

    def __init__(self, listing: Listing, settings: ReaderSettings):
        self.name = listing.name
        self.channel_names = listing.channel_names
        self.labels = listing.labels
        self.entries = tuple(plan.entry for plan in listing.plans.values())
        self.notes = listing.notes
        self._listing = listing
        self._tolerance_mm = settings.geometry_tolerance_mm

    def settings(self) -> Mapping[str, Any]:
        """Label rules, channels, and the fingerprint of the salt of ids (never the salt)."""
        listing = self._listing
        return {
            "reader": "dicom",
            "version": 1,
            "labels": listing.rules.to_dict(),
            "channels": list(listing.channel_names),
            "geometry_tolerance_mm": self._tolerance_mm,
            "ids": listing.ids,
        }

    def shown_path(self, path: str) -> str:
        """Relative to the root; components that identify the patient are hashes."""
        return self._listing.shown.get(path) or self._listing.paths.shown(path, None)

    def stored_dtype(self, entry: ScanEntry) -> np.dtype:
        """int16 or int32 where every value is a whole number, else float32."""
        return self._listing.plans[entry.scan_id].dtype

    def source_images(self, entry: ScanEntry) -> list[tuple[str, int]]:
        """(file, frame in it) of every slice, in the order of slices: axis 2 of `Scan.original_shape`.

        Of a series of several echoes those of the first echo. The paths are for opening files, as in `ScanEntry`.
        """
        plan = self._listing.plans[entry.scan_id]
        of_slice = {
            position: (path, index)
            for path, places in plan.files.items()
            for index, position, channel in places
            if channel == 0
        }
        return [of_slice[position] for position in range(plan.shape[2])]

    def read(self, entry: ScanEntry) -> Scan:
        """Read a series, one file after another, into RAS.

        Raises InputError naming a file that is damaged or changed since it was listed, a constant image, and a label
        that has another grid or undeclared values.
        """
        plan = self._listing.plans[entry.scan_id]
        try:
            image = checked_image(self._image(plan), plan.shown)
            grid = Grid(plan.shape, plan.affine, plan.shown)
            label = self._label(entry.label_path, grid) if entry.has_label else None
        except InputError as error:
            raise hinted(error) from None
        return scan_of(entry, image, label, grid, plan.acquisition)

    def _image(self, plan: Plan) -> np.ndarray:
        """(X, Y, Z, channels) in RAS; slices are written straight to their places."""
        orientation = ras_orientation(plan.affine)
        target, flips = orientation[:, 0].astype(int), orientation[:, 1].astype(int)
        n_channels = len(self.channel_names)
        columns, rows, slices = plan.shape
        check_free(rows * columns * (_COPIES * slices * n_channels * plan.dtype.itemsize + _BYTES_OF_PIXEL), plan.shown)
        image = np.empty([plan.shape[axis] for axis in np.argsort(target)] + [n_channels], plan.dtype)
        as_stored = image.transpose(*target, 3)[tuple(slice(None, None, flip) for flip in flips)]
        padding: dict[tuple[int, int], np.ndarray] = {}
        for path, places in plan.files.items():
            where = {index: (position, channel) for index, position, channel in places}
            try:
                with damage_told():
                    for one in read_slices(path, plan.modality, plan.dtype):
                        if one.index not in where:
                            continue
                        position, channel = where.pop(one.index)
                        if one.values.T.shape != plan.shape[:2]:
                            raise Damage("has another size than when the data set was opened; open it again")
                        as_stored[:, :, position, channel] = one.values.T
                        if one.is_padding is not None:
                            padding[position, channel] = np.packbits(one.is_padding.T)
                    if where:
                        raise Damage("has fewer frames than when the data set was opened; open it again")
            except Damage as damage:
                raise InputError(f"{self.shown_path(path)} {damage}", "unreadable") from None
        _fill_padding(as_stored, padding)
        return image

    def _label(self, path: str, grid: Grid) -> np.ndarray:
        try:
            return read_label(path, grid, self._listing.rules, self._tolerance_mm)
        except InputError as error:
            raise InputError(str(error).replace(one_line(path), self.shown_path(path)), error.kind) from None


def _fill_padding(volume: np.ndarray, padding: Mapping[tuple[int, int], np.ndarray]) -> None:
    """Set padding to the smallest value of its channel, unless it is no more than that already and not negative.

    volume: (columns, rows, slices, channels). padding: (slice, channel) -> mask of a slice, as packed bits.
    """
    for channel in {channel for _, channel in padding}:
        lowest = None
        for position in range(volume.shape[2]):
            values = volume[:, :, position, channel]
            image = values[~_mask(padding.get((position, channel)), values.shape)]
            if image.size:
                lowest = image.min() if lowest is None else min(lowest, image.min())
        if lowest is None:  # nothing but padding: a constant image, which is refused
            continue
        for position in {position for position, of in padding if of == channel}:
            values = volume[:, :, position, channel]
            mask = _mask(padding[position, channel], values.shape)
            padded = values[mask]
            values[mask] = np.where((padded >= 0) & (padded <= lowest), padded, lowest)


def _mask(bits: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    if bits is None:
        return np.zeros(shape, bool)
    return np.unpackbits(bits, count=shape[0] * shape[1]).astype(bool).reshape(shape)
