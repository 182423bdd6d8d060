"""Writing maps, masks and shares as NIfTI on the grid of the file that a scan was read from."""

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
from nibabel import orientations

from inpaint_ssl.data.geometry import corner_distance_mm, ras_orientation
from inpaint_ssl.data.record import ScanRecord
from inpaint_ssl.data.scan import Scan
from inpaint_ssl.errors import InputError
from inpaint_ssl.files import write_atomic

_SAME_PLACE_MM = 1e-2  # the header's quaternion has the precision of float32
_SLAB_BYTES = 2**24  # of the file's voxels that are converted at a time
_GZIP = zlib.MAX_WBITS + 16
_STEPS = 65535  # of a share, in uint16
_ROUNDING = 1e-6  # by which a share in float32 may lie outside 0 to 1
_PLACES = (
    *("qform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("sform_code", "srow_x", "srow_y", "srow_z"),
)  # of a header, besides pixdim
Header = nib.Nifti1Header  # that of NIfTI-2 is one too


def write_nifti(path: Path, volume: np.ndarray, scan: Scan | ScanRecord, like: Header | None = None) -> None:
    """Write an RAS volume (X, Y, Z) of `scan` back in the orientation, shape and affine of the scan's file.

    Floats become float32 (NaN stays), bool and whole numbers of 0 to 255 uint8. volume: may be a view or a memory map;
    it is converted and compressed slab by slab. path: ends in .nii or .nii.gz; written under a temporary name, then
    renamed; the same volume gives the same bytes. like: of the scan's file when that is NIfTI: qform, sform and their
    codes are then as in it, so that viewers of either show both in one place. Raises InputError for another name,
    another shape than the scan's, and whole numbers that uint8 does not hold.
    """
    path = Path(path)
    dtype = np.dtype(np.float32) if volume.dtype.kind == "f" else np.dtype(np.uint8)
    if not _holds(dtype, volume):
        raise InputError(f"{path}: got {volume.dtype} voxels, expected floats, or whole numbers from 0 to 255")
    _write(path, volume, scan, (dtype, None, like), lambda slab: slab.astype(dtype, copy=False))


def write_share(path: Path, volume: np.ndarray, scan: Scan | ScanRecord, like: Header | None = None) -> None:
    """Write shares of 0 to 1 (probabilities, uncertainty) as uint16 with a slope of 1/65535, which readers apply.

    volume: RAS (X, Y, Z) of floats. Everything else as in `write_nifti`. InputError for other types, and for a value
    that is NaN or lies outside 0 to 1.
    """
    path = Path(path)
    if volume.dtype.kind != "f":
        raise InputError(f"{path}: got {volume.dtype} voxels, expected floats from 0 to 1")

    def steps(slab: np.ndarray) -> np.ndarray:
        shares = slab.astype(np.float32)
        lowest, highest = shares.min(initial=0), shares.max(initial=0)  # NaN stays NaN
        if not (lowest >= -_ROUNDING and highest <= 1 + _ROUNDING):
            raise InputError(f"{path}: got values from {lowest:g} to {highest:g}, expected shares from 0 to 1")
        np.clip(shares, 0, 1, out=shares)
        shares *= _STEPS
        return np.rint(shares, out=shares).astype(np.uint16)

    _write(path, volume, scan, (np.dtype(np.uint16), 1 / _STEPS, like), steps)


def _holds(dtype: np.dtype, volume: np.ndarray) -> bool:
    """Whether a file of `dtype` can hold the volume."""
    if dtype.kind == "f" or volume.dtype in (np.bool_, np.uint8):
        return True
    return volume.dtype.kind in "iu" and bool(volume.min(initial=0) >= 0 and volume.max(initial=0) <= 255)


def _write(
    path: Path,
    volume: np.ndarray,
    scan: Scan | ScanRecord,
    about: tuple[np.dtype, float | None, Header | None],
    convert: Callable[[np.ndarray], np.ndarray],
) -> None:
    """about: type of the voxels, their slope, header of the scan's file; convert: a slab of the volume to voxels."""
    if not path.name.endswith((".nii", ".nii.gz")):
        raise InputError(f"{path}: expected a name that ends in .nii or .nii.gz")
    affine = np.asarray(scan.original_affine, np.float64)
    stored = _on_file_grid(volume, affine)
    if stored.shape != tuple(scan.original_shape):
        raise InputError(
            f"{path}: got a volume of shape {volume.shape} in RAS, which is {stored.shape} in the order of the file, "
            f"expected {tuple(scan.original_shape)}; give a volume on the scan's own grid"
        )
    head = _header(stored.shape, affine, *about)

    def fill(stream: BinaryIO) -> None:
        # One compression level and no time in the header of gzip, so that equal volumes give equal files.
        packer = zlib.compressobj(1, zlib.DEFLATED, _GZIP) if path.suffix == ".gz" else None
        for part in _parts(head, stored, about[0], convert):
            stream.write(packer.compress(part) if packer else part)
        if packer:
            stream.write(packer.flush())

    write_atomic(path, fill)


def _on_file_grid(volume: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """A view: the inverse of geometry.reorient with the orientation of `affine`."""
    ras = orientations.axcodes2ornt("RAS")
    return orientations.apply_orientation(volume, orientations.ornt_transform(ras, ras_orientation(affine)))


def _parts(
    head: bytes, stored: np.ndarray, dtype: np.dtype, convert: Callable[[np.ndarray], np.ndarray]
) -> Iterator[Any]:
    """The bytes of the file: the header, then the voxels, whose first index runs fastest."""
    yield head
    of_slice = stored[..., 0].size * dtype.itemsize
    count = max(1, _SLAB_BYTES // max(1, of_slice))
    for first in range(0, stored.shape[-1], count):
        slab = np.asfortranarray(convert(stored[..., first : first + count]))
        yield memoryview(slab.T).cast("B")  # type: ignore[arg-type]


def _header(
    shape: tuple[int, ...], affine: np.ndarray, dtype: np.dtype, slope: float | None, like: Header | None
) -> bytes:
    """With sform and qform, since some viewers read only one of them; a quaternion cannot tell of sheared axes."""
    image = nib.Nifti1Image(np.broadcast_to(np.zeros((), dtype), shape), affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    if corner_distance_mm(shape, image.get_qform(), affine) > _SAME_PLACE_MM:
        image.set_qform(None, 0)
    image.update_header()
    header = image.header if like is None else _placed_as(image.header, like, affine)
    header.set_slope_inter(1.0 if slope is None else slope, 0.0)
    header["vox_offset"] = header.single_vox_offset
    no_extension = bytes(4)
    return bytes(header.binaryblock) + no_extension


def _placed_as(header: Any, like: Any, affine: np.ndarray) -> Any:
    """With all that `like` says of the place of voxels, unless they would come to lie elsewhere than `affine` says."""
    placed = header.copy()
    for name in _PLACES:
        placed[name] = like[name]
    placed["pixdim"][:4] = like["pixdim"][:4]
    same = corner_distance_mm(header.get_data_shape(), placed.get_best_affine(), affine) <= _SAME_PLACE_MM
    return placed if same else header
