"""Writing maps and masks as NIfTI on the grid of the file that a scan was read from."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel import orientations

from inpaint_ssl.data.geometry import corner_distance_mm, ras_orientation
from inpaint_ssl.data.record import ScanRecord
from inpaint_ssl.data.scan import Scan
from inpaint_ssl.errors import InputError
from inpaint_ssl.files import write_bytes_atomic

_SAME_PLACE_MM = 1e-2  # the header's quaternion has the precision of float32


def write_nifti(path: Path, volume: np.ndarray, scan: Scan | ScanRecord) -> None:
    """Write an RAS volume (X, Y, Z) of `scan` back in the orientation, shape and affine of the scan's file.

    Floats become float32 (NaN stays), bool and whole numbers of 0 to 255 uint8. path: ends in .nii or .nii.gz; written
    under a temporary name, then renamed; the same volume gives the same bytes. Raises InputError for another name,
    another shape than the scan's, and whole numbers that uint8 does not hold.
    """
    path, affine = Path(path), np.asarray(scan.original_affine, np.float64)
    if not path.name.endswith((".nii", ".nii.gz")):
        raise InputError(f"{path}: expected a name that ends in .nii or .nii.gz")
    stored = _on_file_grid(_as_stored(volume, path), affine)
    if stored.shape != tuple(scan.original_shape):
        raise InputError(
            f"{path}: got a volume of shape {volume.shape} in RAS, which is {stored.shape} in the order of the file, "
            f"expected {tuple(scan.original_shape)}; give a volume on the scan's own grid"
        )
    # to_bytes takes the voxels in the file's order of axes; one compression level and no time in the header.
    content = _image(stored, affine).to_bytes()
    write_bytes_atomic(path, gzip.compress(content, 1, mtime=0) if path.suffix == ".gz" else content)


def _as_stored(volume: np.ndarray, path: Path) -> np.ndarray:
    if volume.dtype.kind == "f":
        return volume.astype(np.float32)
    if volume.dtype.kind not in "iub" or (volume.size and (volume.min() < 0 or volume.max() > 255)):
        raise InputError(f"{path}: got {volume.dtype} voxels, expected floats, or whole numbers from 0 to 255")
    return volume.astype(np.uint8)


def _on_file_grid(volume: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """The inverse of geometry.reorient with the orientation of `affine`."""
    ras = orientations.axcodes2ornt("RAS")
    return orientations.apply_orientation(volume, orientations.ornt_transform(ras, ras_orientation(affine)))


def _image(stored: np.ndarray, affine: np.ndarray) -> nib.Nifti1Image:
    """With sform and qform, since some viewers read only one of them; a quaternion cannot tell of sheared axes."""
    image = nib.Nifti1Image(stored, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    if corner_distance_mm(stored.shape, image.get_qform(), affine) > _SAME_PLACE_MM:
        image.set_qform(None, 0)
    return image
