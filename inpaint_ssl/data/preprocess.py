"""From a scan in RAS to slices of one size with normalised intensities; the record of how travels with the weights."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from inpaint_ssl.data.geometry import SLICE_AXES, Placement, display, fill, place, to_volume, visible
from inpaint_ssl.data.intensity import root_sum_of_squares, window_z_score, z_score_volume
from inpaint_ssl.data.scan import Scan
from inpaint_ssl.errors import InputError

__all__ = ["Placement", "Preprocessing", "ScanSlices", "preprocess", "to_volume"]

VERSION = 1


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

    def channels_out(self, n_channels_in: int) -> int:
        """Channels of the network's input for scans of `n_channels_in` channels."""
        if self.modality == "ct":
            return len(self.hu_windows)
        return n_channels_in if self.channels == "all" else 1

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able copy for manifest.json."""
        windows = [list(window) for window in self.hu_windows]
        return {**asdict(self), "image_size": list(self.image_size), "hu_windows": windows}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocessing":
        """The inverse of to_dict; InputError when keys are missing or unknown."""
        try:
            windows = tuple((float(width), float(level)) for width, level in values["hu_windows"])
            height, width = values["image_size"]
            return cls(**{**values, "image_size": (int(height), int(width)), "hu_windows": windows})
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"the preprocessing record is of another version ({error}); use that version") from None


@dataclass(frozen=True)
class ScanSlices:
    """images float32 (S, H, W, C); targets uint8 (S, H, W) label values, zeros when unlabelled; and their place."""

    images: np.ndarray
    targets: np.ndarray
    placement: Placement


def preprocess(scan: Scan, preprocessing: Preprocessing) -> ScanSlices:
    """Normalise a scan and cut it into displayed slices, padded or cropped about the centre (paper, section 2.2).

    MRI: z-score over the volume and channel, margin = the scan's minimum. CT: HU windows, z-score per slice and
    channel, margin = -1024 HU. Raises InputError naming the scan when a crop would cut labelled voxels.
    """
    name, axis = scan.entry.scan_id, preprocessing.slice_axis
    placement = place(scan.image.shape[:3], axis, preprocessing.image_size)
    shape = (scan.image.shape[SLICE_AXES[axis]], *preprocessing.image_size)
    targets = np.zeros(shape, np.uint8)
    if scan.label is not None:
        labels = display(scan.label, axis)
        if np.count_nonzero(visible(labels, placement)) < np.count_nonzero(labels):
            raise InputError(_cut_message(name, labels, preprocessing))
        fill(targets, labels, placement)
    if preprocessing.modality == "ct":
        if scan.image.shape[3] != 1:
            n_channels = scan.image.shape[3]
            raise InputError(f"scan {name} has {n_channels} channels, a CT scan has 1; set data.modality to 'mri'")
        slices, margin = window_z_score(display(scan.image[..., 0], axis), preprocessing.hu_windows)
    else:
        image = scan.image if preprocessing.channels == "all" else root_sum_of_squares(scan.image)
        try:
            image = z_score_volume(image)
        except ValueError as error:
            raise InputError(f"scan {name}: {error}, so it cannot be z-scored; remove the scan") from None
        slices, margin = display(image, axis), image.min(axis=(0, 1, 2))[None]
    images = np.empty((*shape, slices.shape[-1]), np.float32)
    images[:] = margin[:, None, None, :]
    fill(images, slices, placement)
    return ScanSlices(images, targets, placement)


def _cut_message(name: str, labels: np.ndarray, preprocessing: Preprocessing) -> str:
    """Says how large image_size must be for the crop to hold every labelled voxel of displayed labels (S, h, w)."""
    needed = []
    for axis, given in enumerate(preprocessing.image_size):
        length = labels.shape[axis + 1]
        used = np.flatnonzero(labels.any(axis=(0, 2 - axis)))
        fits = (n for n in range(given, length) if (length - n) // 2 <= used[0] and (length - n) // 2 + n > used[-1])
        needed.append(next(fits, max(given, length)))
    return (
        f"scan {name}: a centre crop to data.image_size {preprocessing.image_size} would cut labelled voxels of its"
        f" {labels.shape[1]} x {labels.shape[2]} {preprocessing.slice_axis} slices; set data.image_size to at least"
        f" {tuple(needed)}"
    )
