"""How scans become network input: a record that travels with the weights, and what follows from it for one scan.

The numbers themselves are made on the device (inpaint_ssl.normalise); here is what the host knows beforehand.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from inpaint_ssl.data.geometry import SLICE_AXES, Placement, place, resampled_size
from inpaint_ssl.data.intensity import Intensities
from inpaint_ssl.data.record import ScanRecord
from inpaint_ssl.errors import InputError

__all__ = ["Preprocessing"]

VERSION = 2


@dataclass(frozen=True)
class Preprocessing:
    """How scans become network input (keys of config.data; sizes in pixels, windows as (width, level) in HU).

    version changes whenever the same scan would give other numbers. Raises InputError for values it does not know.
    """

    modality: str
    slice_axis: str
    image_size: tuple[int, int]
    channels: str
    hu_windows: tuple[tuple[float, float], ...]
    target_spacing_mm: tuple[float, ...] = ()
    version: int = VERSION

    def __post_init__(self) -> None:
        for key, allowed in (
            ("modality", ("mri", "ct")),
            ("slice_axis", tuple(SLICE_AXES)),
            ("channels", ("all", "root_sum_of_squares")),
            ("version", (VERSION,)),
        ):
            value = getattr(self, key)
            if value not in allowed:
                raise InputError(f"preprocessing {key} is {value!r}, expected one of {', '.join(map(repr, allowed))}")

    @classmethod
    def from_config(cls, data: Mapping[str, Any]) -> "Preprocessing":
        """From config.data, whose other keys are left alone."""
        names = ("modality", "slice_axis", "image_size", "channels", "hu_windows", "target_spacing_mm")
        return cls(**{name: data[name] for name in names})

    def channels_out(self, n_channels_in: int) -> int:
        """Channels of the network's input for scans of `n_channels_in` channels."""
        if self.modality == "ct":
            return len(self.hu_windows)
        return n_channels_in if self.channels == "all" else 1

    def placement(self, record: ScanRecord) -> Placement:
        """Where the slices of a scan lie in images; InputError when a crop would cut labelled voxels."""
        resampled = resampled_size(record.shape, record.spacing_mm, self.slice_axis, self.target_spacing_mm)
        placement = place(record.shape, self.slice_axis, self.image_size, resampled)
        box = record.labelled_box(self.slice_axis)
        if box is not None:
            self._check_crop(record.scan_id, placement, box)
        return placement

    def _check_crop(self, scan_id: str, placement: Placement, box: tuple[tuple[int, int], tuple[int, int]]) -> None:
        """box: first and last labelled row and column of the displayed slices, before resampling."""
        needed, native = [], Placement(placement.shape, placement.slice_axis, placement.image_size, (0, 0)).slice_size
        for given, n, length, (first, last) in zip(self.image_size, native, placement.slice_size, box, strict=True):
            # The labelled pixels after resampling are those whose nearest pixel is labelled.
            scale = length / n
            first, last = math.ceil(first * scale - 0.5), math.ceil((last + 1) * scale - 0.5) - 1
            fits = (m for m in range(given, length) if (length - m) // 2 <= first and (length - m) // 2 + m > last)
            needed.append(next(fits, max(given, length)))
        if tuple(needed) != tuple(self.image_size):
            rows, columns = placement.slice_size
            raise InputError(
                f"scan {scan_id}: a centre crop to data.image_size {self.image_size} would cut labelled voxels of its"
                f" {rows} x {columns} {self.slice_axis} slices; set data.image_size to at least {tuple(needed)}"
            )

    def statistics(self, intensities: Intensities, scan_id: str) -> np.ndarray:
        """(4, C) float32 of an MRI scan: the mean as a whole number and the rest of it, 1 / standard deviation, and the
        normalised minimum, which fills the margin (paper, section 2.2: z-score per volume). (4, 0) of a CT scan.

        The mean is split so that the difference of whole numbers is exact in float32. Raises InputError, which names
        the scan, when it cannot be normalised.
        """
        channels = intensities.channels
        if self.modality == "ct":
            if len(channels) != 1:
                raise InputError(
                    f"scan {scan_id} has {len(channels)} channels, a CT scan has 1; set data.modality to 'mri'"
                )
            return np.zeros((4, 0), np.float32)
        combined = self.channels == "root_sum_of_squares" and len(channels) > 1
        columns = []
        for channel, one in enumerate((intensities.combined,) if combined else channels):
            if not one.std > 0:
                raise InputError(
                    f"scan {scan_id}: channel {channel} has the same value everywhere, so it cannot be z-scored;"
                    " remove the scan"
                )
            whole = np.rint(one.mean)
            columns.append((whole, one.mean - whole, 1 / one.std, (one.min - one.mean) / one.std))
        with np.errstate(over="ignore"):
            found = np.array(columns, np.float64).T.astype(np.float32)
        if not np.isfinite(found).all():
            raise InputError(
                f"scan {scan_id}: its values are too large or vary too little to be z-scored; remove the scan"
            )
        return found

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able copy for manifest.json."""
        windows = [list(window) for window in self.hu_windows]
        lists = {"image_size": list(self.image_size), "target_spacing_mm": list(self.target_spacing_mm)}
        return {**asdict(self), **lists, "hu_windows": windows}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocessing":
        """The inverse of to_dict; InputError when keys are missing or unknown."""
        try:
            windows = tuple((float(width), float(level)) for width, level in values["hu_windows"])
            height, width = values["image_size"]
            spacing = tuple(float(mm) for mm in values["target_spacing_mm"])
            sizes = {"image_size": (int(height), int(width)), "target_spacing_mm": spacing}
            return cls(**{**values, **sizes, "hu_windows": windows})
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"the preprocessing record is of another version ({error}); use that version") from None
