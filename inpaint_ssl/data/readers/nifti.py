"""Reader for data sets of NIfTI files; every scan is brought to RAS by flips and permutation alone."""

import gzip
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError, HeaderTypeError
from nibabel.wrapstruct import WrapStructError

from inpaint_ssl.data.geometry import axis_codes, ras_orientation, reorient
from inpaint_ssl.data.labels import LabelRules, checked_label
from inpaint_ssl.data.readers.grid import LARGEST_MM, SMALLEST_MM, Grid, orientation_on, with_depth
from inpaint_ssl.data.readers.layouts import Layout, relative_to
from inpaint_ssl.data.readers.participants import PARTICIPANTS
from inpaint_ssl.data.readers.quiet import quiet
from inpaint_ssl.data.readers.settings import ReaderSettings
from inpaint_ssl.data.readers.sidecar import read_sidecar, sidecar_of
from inpaint_ssl.data.scan import Scan, ScanEntry, ScanReader
from inpaint_ssl.errors import InputError
from inpaint_ssl.memory import check_free

# What nibabel, gzip and NumPy raise on damaged files; EOFError: cut short; OverflowError: senseless header numbers.
_DAMAGE = (
    ImageFileError, HeaderDataError, HeaderTypeError, WrapStructError, OSError, EOFError, ValueError, TypeError,
    OverflowError, MemoryError, zlib.error,
)  # fmt: skip
# Deflate cannot pack more than 1032 bytes into one, so a header that claims more than that lies.
_LARGEST_PACKING = 1032
_LARGEST_BYTES = 2**36
_LARGEST_OFFSET = 2**26  # bytes of header and extensions
_COPIES = 3  # of a volume that are in memory at once while it is read
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Volume:
    """One file: data (X, Y, Z, channels) in the order of the file with its scaling applied, and the affine (4, 4)."""

    data: np.ndarray
    affine: np.ndarray

    def grid(self, path: str) -> Grid:
        """Where the voxels lie."""
        i, j, k = self.data.shape[:3]
        return Grid((i, j, k), self.affine, path)


class NiftiDataset(ScanReader):
    """A data set of NIfTI files in one of the layouts of `layouts` and `folder`.

    participants: `Scan.acquisition` by scan id, and the notes on it, as `participants.read_participants` gives them.
    """

    def __init__(
        self,
        layout: Layout,
        settings: ReaderSettings,
        participants: tuple[Mapping[str, Mapping[str, float | str]], Sequence[str]] = ({}, ()),
    ):
        self.name = layout.name
        self.channel_names = layout.channel_names
        self.labels = layout.labels
        self.entries = layout.entries
        self._acquisition, notes = participants
        self.notes = (*layout.notes, *notes)
        self._root = layout.root
        self._rules = layout.rules
        self._tolerance_mm = settings.geometry_tolerance_mm

    def settings(self) -> Mapping[str, Any]:
        """Label rules, channels, and how far grids may lie apart."""
        return {
            "reader": "nifti",
            "version": 1,
            "labels": self._rules.to_dict(),
            "channels": list(self.channel_names),
            "geometry_tolerance_mm": self._tolerance_mm,
        }

    def sources(self, entry: ScanEntry) -> tuple[str, ...]:
        """Images, label, the JSON file beside the image, and participants.tsv where it tells of the scan."""
        told = [str(self._root / PARTICIPANTS)] if entry.scan_id in self._acquisition else []
        sidecar = sidecar_of(entry.image_paths)
        return (*super().sources(entry), *([sidecar] if sidecar else []), *told)

    def shown_path(self, path: str) -> str:
        """Relative to the root."""
        return relative_to(path, self._root)

    def stored_dtype(self, entry: ScanEntry) -> np.dtype:
        """From the headers of all channels."""
        return _common_dtype([nifti_dtype(path) for path in entry.image_paths])

    def read(self, entry: ScanEntry) -> Scan:
        """Read a scan into RAS.

        Raises InputError naming the file when it is damaged, holds NaN or a constant channel, has another shape or
        geometry than the scan's first channel, or holds label values that are not declared.
        """
        channels: list[np.ndarray] = []
        grid: Grid | None = None
        for path in entry.image_paths:
            volume = read_nifti(path)
            here = volume.grid(path)
            grid = grid or here
            orientation = orientation_on(here, grid, self._tolerance_mm)
            channels.append(checked_image(reorient(volume.data, volume.affine, orientation)[0], path))
        assert grid is not None
        n_channels = sum(channel.shape[3] for channel in channels)
        if n_channels != len(self.channel_names):
            raise InputError(
                f"{grid.path}: scan {entry.scan_id} has {n_channels} channels, expected {len(self.channel_names)}"
                f" ({', '.join(self.channel_names)}) as all scans of the data set; correct the file or remove the scan",
                "geometry",
            )
        label = read_label(entry.label_path, grid, self._rules, self._tolerance_mm) if entry.has_label else None
        dtype = _common_dtype([channel.dtype for channel in channels])
        image = channels[0] if len(channels) == 1 else np.concatenate(channels, axis=3, dtype=dtype, casting="unsafe")
        acquisition = {**read_sidecar(sidecar_of(entry.image_paths)), **self._acquisition.get(entry.scan_id, {})}
        return scan_of(entry, np.ascontiguousarray(image), label, grid, acquisition)


def scan_of(
    entry: ScanEntry,
    image: np.ndarray,
    label: np.ndarray | None,
    grid: Grid,
    acquisition: Mapping[str, float | str] | None = None,
) -> Scan:
    """A scan of arrays that were brought to RAS from the stored `grid`; InputError for voxels of no sensible size."""
    orientation = ras_orientation(grid.affine)
    _, affine = reorient(np.broadcast_to(np.uint8(0), grid.shape), grid.affine, orientation)
    x, y, z = (float(n) for n in nib.affines.voxel_sizes(affine))
    if not (min(x, y, z) >= SMALLEST_MM and max(x, y, z) <= LARGEST_MM):
        raise InputError(
            f"{grid.path}: voxels of {x:.3g} x {y:.3g} x {z:.3g} mm, expected {SMALLEST_MM:g} to {LARGEST_MM:g} mm; "
            "correct the header, whose unit is mm, or remove the scan",
            "geometry",
        )
    codes = axis_codes(grid.affine)
    return Scan(entry, image, label, (x, y, z), affine, grid.affine, codes, grid.shape, acquisition or {})


def read_label(path: str, grid: Grid, rules: LabelRules, tolerance_mm: float) -> np.ndarray:
    """A label file in NIfTI as uint8 (X, Y, Z) in RAS, checked against the grid of its image and `rules`."""
    volume = read_nifti(path)
    orientation = orientation_on(volume.grid(path), grid, tolerance_mm)
    return checked_label(reorient(volume.data, volume.affine, orientation)[0], path, rules)


def checked_image(data: np.ndarray, path: str) -> np.ndarray:
    """Voxels (X, Y, Z, channels) as integers when they are, else float32; InputError (kind "intensities") for NaN,
    infinite values and channels of one value.
    """
    image = data
    if data.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite and is refused below
            image = data.astype(np.float32)
        bad = image.size - np.count_nonzero(np.isfinite(image))
        if bad:
            raise InputError(
                f"{path} has {bad} voxels that are NaN or infinite; correct the file or remove the scan", "intensities"
            )
    for channel in range(image.shape[3]):
        low, high = image[..., channel].min(), image[..., channel].max()
        if low == high:
            raise InputError(
                f"{path}: channel {channel} is {low:g} everywhere, expected an image; remove the scan", "intensities"
            )
    return image


def _common_dtype(dtypes: list[np.dtype]) -> np.dtype:
    """One type for all channels; NumPy would make float64 of int32 and float32."""
    return np.result_type(*dtypes) if all(dtype.kind in "iu" for dtype in dtypes) else np.dtype(np.float32)


def nifti_header(path: str) -> nib.Nifti1Header:
    """The header, also of NIfTI-2; InputError as for read_nifti."""
    return _damage_named(path, lambda: _open_header(path).header)


def nifti_dtype(path: str) -> np.dtype:
    """The type of `checked_image(read_nifti(path).data)`, from the header."""
    return _damage_named(path, lambda: _scaled_dtype(_open_header(path)))


def read_nifti(path: str) -> Volume:
    """Read one .nii or .nii.gz as (X, Y, Z, channels) with scl_slope and scl_inter applied, in the order of the file.

    Slices (X, Y) become (X, Y, 1, 1). Raises InputError (kind "unreadable") naming the file when it is missing, cut
    short, damaged, or no volume of numbers.
    """

    def read() -> Volume:
        image = _with_content(path, _open_header(path))
        data = _scaled(image)
        affine = with_depth(np.asarray(image.affine, np.float64), data.shape)
        ras_orientation(affine)
        return Volume(data.reshape(*(*data.shape, 1)[:3], -1), affine)

    return _damage_named(path, read)


def _damage_named(path: str, read: Callable[[], _Result]) -> _Result:
    try:
        with quiet("nibabel.global"):
            return read()
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"no such file: {path}; add it or remove the scan from the data set", "unreadable") from None
    except _DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        message = f"{path} cannot be read, it is damaged or cut short ({reason}); copy it again or remove the scan"
        raise InputError(message, "unreadable") from None


def _open_header(path: str) -> Any:
    """A NIfTI image without its voxels, from the start of the file; no memory is taken for sizes that cannot be.

    ValueError when the header asks for more or less than the file has, InputError for more than memory has.
    """
    image: Any = _from_start(path)
    shape, dtype = image.shape, image.get_data_dtype()
    if len(shape) < 2 or min(shape) < 1 or sum(n > 1 for n in shape[3:]) > 1:
        raise ValueError(f"shape {shape}, expected two or three axes and at most one more for channels")
    if dtype.kind not in "iuf":
        raise ValueError(f"voxels of type {dtype}, expected numbers")
    needed, size = _needed_bytes(image), Path(path).stat().st_size
    if needed > min(size * _LARGEST_PACKING if path.endswith(".gz") else size, _LARGEST_BYTES):
        raise ValueError(f"the header asks for {needed} bytes of volume of shape {shape}, the file has {size} bytes")
    if not path.endswith(".gz"):
        _refuse_more(image, size - needed)
    check_free(_COPIES * max(needed, _scaled_dtype(image).itemsize * math.prod(shape)), path)
    return image


def _from_start(path: str) -> Any:
    """Header and extensions. These could unpack to gigabytes, so nibabel gets no more than what is read here."""
    with gzip.open(path) if path.endswith(".gz") else open(path, "rb") as stream:
        start = stream.read(Nifti2Header.template_dtype.itemsize)
        for kind in (nib.Nifti1Image, nib.Nifti2Image):
            header = kind.header_class
            if header.may_contain_header(start):
                offset = float(header(start[: header.template_dtype.itemsize], check=False)["vox_offset"])
                if not 0 <= offset <= _LARGEST_OFFSET:
                    raise ValueError(f"the header says that voxels begin at byte {offset:g}")
                return kind.from_bytes(start + stream.read(max(0, int(offset) - len(start))))
    raise ValueError("it has no header of a NIfTI file")


def _refuse_more(image: Any, more: int) -> None:
    """ValueError when the file goes on for another row, column or slice: its header has lost one."""
    if more >= image.get_data_dtype().itemsize * math.prod(image.shape) // max(image.shape):
        raise ValueError(f"the header says shape {image.shape}, but the file goes on after that")


def _needed_bytes(image: Any) -> int:
    return int(image.dataobj.offset) + image.get_data_dtype().itemsize * math.prod(int(n) for n in image.shape)


def _with_content(path: str, image: Any) -> Any:
    """The image with its voxels in memory; a compressed file's checksum is compared."""
    if not path.endswith(".gz"):
        return type(image).from_filename(path)
    with gzip.open(path) as stream:
        content = stream.read(_needed_bytes(image))
        _refuse_more(image, len(stream.read(len(content))))  # at the end of the file gzip compares its checksum
    return type(image).from_bytes(content)


def _scaled_dtype(image: Any) -> np.dtype:
    """Integers stay integers when slope and intercept are whole; anything else becomes float32."""
    stored, scaling = image.get_data_dtype().newbyteorder("="), (float(image.dataobj.slope), float(image.dataobj.inter))
    if stored.kind not in "iu" or stored.itemsize > 4 or stored == np.uint32:
        return np.dtype(np.float32)
    if scaling == (1.0, 0.0):
        return np.dtype(stored)
    small = stored.itemsize <= 2 and all(part.is_integer() and abs(part) <= 2**14 for part in scaling)
    return np.dtype(np.int32 if small else np.float32)


def _scaled(image: Any) -> np.ndarray:
    """Integers in the type of _scaled_dtype; floats as nibabel computes them, so that none overflows unseen."""
    dtype = _scaled_dtype(image)
    if dtype.kind == "f":
        data = np.asanyarray(image.dataobj)
        return data if data.dtype.kind == "f" else data.astype(np.float32)
    stored = np.asarray(image.dataobj.get_unscaled()).astype(dtype)
    slope, intercept = float(image.dataobj.slope), float(image.dataobj.inter)
    return stored if (slope, intercept) == (1.0, 0.0) else stored * int(slope) + int(intercept)
