"""Reader for data sets of NIfTI files; every scan is brought to RAS by flips and permutation alone."""

import gzip
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, HeaderTypeError
from nibabel.wrapstruct import WrapStructError

from inpaint_ssl.data.geometry import axis_codes, corner_distance_mm, ras_orientation, reorient
from inpaint_ssl.data.layouts import Layout, dataset_folder, detect_format, list_msd, list_nnunet
from inpaint_ssl.data.scan import Scan, ScanEntry
from inpaint_ssl.errors import InputError

# What nibabel, gzip and NumPy raise on damaged files; EOFError: cut short; OverflowError: senseless header numbers.
_DAMAGE = (
    ImageFileError, HeaderDataError, HeaderTypeError, WrapStructError, OSError, EOFError, ValueError, TypeError,
    OverflowError, MemoryError, zlib.error,
)  # fmt: skip
# Deflate cannot pack more than 1032 bytes into one, so a header that claims more than that lies.
_LARGEST_PACKING = 1032
_LARGEST_BYTES = 2**36


@dataclass(frozen=True)
class _Volume:
    data: np.ndarray  # (X, Y, Z, channels) as stored on disk, scaling applied
    affine: np.ndarray


class NiftiDataset:
    """A data set in the MSD or nnU-Net v2 layout. notes: harmless differences between dataset.json and the files."""

    def __init__(self, layout: Layout, geometry_tolerance_mm: float = 0.1):
        self.name = layout.name
        self.channel_names = layout.channel_names
        self.labels: Mapping[str, int | tuple[int, ...]] = layout.labels
        self.entries = layout.entries
        self.notes = layout.notes
        self._layout = layout
        self._tolerance_mm = geometry_tolerance_mm

    def read(self, entry: ScanEntry) -> Scan:
        """Read a scan into RAS: image float32 (X, Y, Z, channels), label uint8 (X, Y, Z) or None.

        Raises InputError naming the file when it is damaged, holds NaN or a constant channel, has another shape or
        geometry than the scan's first channel, or holds label values that dataset.json does not declare.
        """
        first_path = entry.image_paths[0]
        channels: list[np.ndarray] = []
        for path in entry.image_paths:
            volume = read_nifti(path)
            if path == first_path:
                grid = volume
            orientation = self._orientation(volume, path, grid, first_path)
            channels.append(_checked_image(reorient(volume.data, volume.affine, orientation)[0], path))
        n_channels = sum(channel.shape[3] for channel in channels)
        if n_channels != len(self.channel_names):
            raise InputError(
                f"{first_path}: scan {entry.scan_id} has {n_channels} channels, but dataset.json names"
                f" {len(self.channel_names)} ({', '.join(self.channel_names)}); correct dataset.json or the file"
            )
        label = None
        if entry.has_label:
            volume = read_nifti(entry.label_path)
            orientation = self._orientation(volume, entry.label_path, grid, first_path)
            label = self._checked_label(reorient(volume.data, volume.affine, orientation)[0], entry.label_path)
        image = np.empty((*channels[0].shape[:3], n_channels), np.float32)
        np.concatenate(channels, axis=3, out=image)
        _, affine = reorient(grid.data, grid.affine, ras_orientation(grid.affine))
        x, y, z = (float(n) for n in nib.affines.voxel_sizes(affine))
        i, j, k = grid.data.shape[:3]
        return Scan(entry, image, label, (x, y, z), affine, grid.affine, axis_codes(grid.affine), (i, j, k))

    def _orientation(self, volume: _Volume, path: str, grid: _Volume, grid_path: str) -> np.ndarray:
        """How to bring a volume to RAS, after a check that it lies on the same grid as the scan's first channel.

        The same grid may be stored in another axis order, so the two are compared in RAS unless they agree as stored.
        """
        shape = grid.data.shape[:3]
        if volume is grid:
            return ras_orientation(grid.affine)
        if (
            volume.data.shape[:3] == shape
            and corner_distance_mm(shape, volume.affine, grid.affine) <= self._tolerance_mm
        ):
            return ras_orientation(grid.affine)
        orientation = ras_orientation(volume.affine)
        moved, affine = reorient(volume.data, volume.affine, orientation)
        expected, expected_affine = reorient(grid.data, grid.affine, ras_orientation(grid.affine))
        if moved.shape[:3] != expected.shape[:3]:
            raise InputError(
                f"{path} has shape {volume.data.shape[:3]}, but {grid_path} has {shape};"
                " resample one of them onto the grid of the other"
            )
        distance = corner_distance_mm(moved.shape, affine, expected_affine)
        if not distance <= self._tolerance_mm:
            raise InputError(
                f"{path} and {grid_path} do not lie on the same grid: their corners are up to {distance:.4g} mm apart,"
                f" allowed are {self._tolerance_mm:g} mm; correct the headers, or raise data.geometry_tolerance_mm"
            )
        return orientation

    def _checked_label(self, data: np.ndarray, path: str) -> np.ndarray:
        if data.shape[3] != 1:
            raise InputError(f"{path} has {data.shape[3]} values per voxel, expected one label map; store one")
        values = data[..., 0]
        if values.dtype != np.uint8:
            # Scaled files come within rounding of whole numbers.
            if not (np.isfinite(values).all() and values.min() > -0.5 and values.max() < 255.5):
                raise InputError(f"{path}: label values must be whole numbers from 0 to 255; correct the file")
            whole = np.rint(values)
            if np.abs(values - whole).max() > 1e-3:
                raise InputError(
                    f"{path}: a label value is {_fraction(values)}, expected whole numbers; correct the file"
                )
            values = whole.astype(np.uint8)
        label = np.array(values, np.uint8, order="C")
        present = set(np.flatnonzero(np.bincount(label.ravel(), minlength=256)).tolist())
        if present - self._layout.declared:
            raise InputError(self._undeclared_message(present, path))
        if self._layout.ignore in present:
            raise InputError(
                f"{path} has voxels of the label 'ignore' ({self._layout.ignore}), which training cannot leave out;"
                " label them or remove the scan"
            )
        return label

    def _undeclared_message(self, present: set[int], path: str) -> str:
        declared = self._layout.declared
        strange, unused = sorted(present - declared), sorted(declared - present - {0, self._layout.ignore})
        remap = (
            ", ".join(f"{a} to {b}" for a, b in zip(strange, unused, strict=True))
            if len(strange) == len(unused)
            else ""
        )
        return (
            f"{path} holds the label values {', '.join(map(str, strange))}, but dataset.json declares only"
            f" {', '.join(map(str, sorted(declared)))}; declare them under 'labels' or change them in the file"
            + (f" (perhaps {remap})" if remap else "")
        )


def _fraction(values: np.ndarray) -> float:
    return float(values[np.abs(values - np.rint(values)) > 1e-3][0])


def _checked_image(data: np.ndarray, path: str) -> np.ndarray:
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite and is refused below
        image = data.astype(np.float32)
    bad = image.size - np.count_nonzero(np.isfinite(image))
    if bad:
        raise InputError(f"{path} has {bad} voxels that are NaN or infinite; correct the file or remove the scan")
    for channel in range(image.shape[3]):
        low, high = image[..., channel].min(), image[..., channel].max()
        if low == high:
            raise InputError(f"{path}: channel {channel} is {low:g} everywhere, expected an image; remove the scan")
    return image


def read_nifti(path: str) -> _Volume:
    """Read one .nii or .nii.gz as (X, Y, Z, channels) with scl_slope and scl_inter applied, in the order of the file.

    Raises InputError naming the file when it is missing, cut short, damaged, or no volume of numbers.
    """
    try:
        image = _open_checked(path)
        data = np.asanyarray(image.dataobj)
        affine = np.asarray(image.affine, np.float64)
        ras_orientation(affine)
    except FileNotFoundError:
        raise InputError(f"no such file: {path}; add it or remove the scan from the data set") from None
    except _DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        message = f"{path} cannot be read, it is damaged or cut short ({reason}); copy it again or remove the scan"
        raise InputError(message) from None
    return _Volume(data.reshape(*data.shape[:3], -1), affine)


def _open_checked(path: str) -> Any:
    """Open a NIfTI file; ValueError when its header asks for more than the file can hold, before memory is taken."""
    image: Any = nib.load(path)
    if not isinstance(image, nib.Nifti1Image):
        raise ValueError(f"{type(image).__name__} instead of a NIfTI file")
    shape, dtype = image.shape, image.get_data_dtype()
    if len(shape) < 3 or min(shape) < 1 or sum(n > 1 for n in shape[3:]) > 1:
        raise ValueError(f"shape {shape}, expected three axes and at most one more for channels")
    if dtype.kind not in "iuf":
        raise ValueError(f"voxels of type {dtype}, expected numbers")
    stored: Any = image.dataobj
    needed = int(stored.offset) + dtype.itemsize * int(np.prod([int(n) for n in shape], dtype=object))
    size = Path(path).stat().st_size
    packed = path.endswith(".gz")
    if needed > min(size * _LARGEST_PACKING if packed else size, _LARGEST_BYTES):
        raise ValueError(f"the header asks for {needed} bytes of volume of shape {shape}, the file has {size} bytes")
    if not packed:
        return image
    with gzip.open(path) as stream:
        content = stream.read(needed)
        stream.read(1)  # at the end of the file gzip compares its checksum
    return type(image).from_bytes(content)


def _open(root: str, tolerance_mm: float, list_files: Callable[[Path], Layout]) -> NiftiDataset:
    return NiftiDataset(list_files(dataset_folder(root)), tolerance_mm)


def open_msd(root: str, geometry_tolerance_mm: float = 0.1) -> NiftiDataset:
    """List a data set in the Medical Segmentation Decathlon layout; InputError naming what is missing."""
    return _open(root, geometry_tolerance_mm, list_msd)


def open_nnunet(root: str, geometry_tolerance_mm: float = 0.1) -> NiftiDataset:
    """List a data set in the nnU-Net v2 raw layout; InputError naming what is missing."""
    return _open(root, geometry_tolerance_mm, list_nnunet)


def open_detected(root: str, geometry_tolerance_mm: float = 0.1) -> NiftiDataset:
    """List a data set in the layout that its dataset.json has."""
    is_msd = detect_format(dataset_folder(root)) == "msd"
    return (open_msd if is_msd else open_nnunet)(root, geometry_tolerance_mm)
