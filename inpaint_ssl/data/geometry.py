"""Grids: from file order to RAS, from RAS volumes to displayed slices of one size, and back."""

from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
from nibabel import orientations

SLICE_AXES = {"sagittal": 0, "coronal": 1, "axial": 2}


def ras_orientation(affine: np.ndarray) -> np.ndarray:
    """The flips and permutation (nibabel orientation array) that bring a grid closest to RAS; no resampling.

    Raises ValueError when the affine does not describe a grid in space.
    """
    linear = affine[:3, :3]
    if not np.isfinite(affine).all() or abs(np.linalg.det(linear)) <= 1e-9 * np.prod(np.linalg.norm(linear, axis=0)):
        raise ValueError("the affine in the header is not invertible")
    orientation = orientations.io_orientation(affine)
    if np.isnan(orientation).any():
        raise ValueError("the affine in the header has no usable axis directions")
    return orientation


def reorient(data: np.ndarray, affine: np.ndarray, orientation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Apply an orientation array to (X, Y, Z, ...) data; returns the data (a view) and the affine of the new grid."""
    moved = orientations.apply_orientation(data, orientation)
    return moved, affine @ orientations.inv_ornt_aff(orientation, data.shape[:3])


def axis_codes(affine: np.ndarray) -> str:
    """Directions towards which the voxel indices grow, for example "LPS"."""
    return "".join(orientations.aff2axcodes(affine))


def corner_distance_mm(shape: tuple[int, ...], first: np.ndarray, second: np.ndarray) -> float:
    """Largest distance in mm between corresponding outer corners of two grids of the same shape.

    Of a single slice the corners lie in its middle plane: files of one slice often differ in the depth they give it.
    """
    ends = [(-0.5, n - 0.5) if n > 1 else (0.0,) for n in shape[:3]]
    corners = np.array([(*corner, 1.0) for corner in product(*ends)])
    return float(np.linalg.norm((corners @ (first - second).T)[:, :3], axis=1).max())


@dataclass(frozen=True)
class Placement:
    """Where the slices of a volume lie inside images of one size.

    shape: the RAS volume. image_size: (height, width). offset: (row, column) of the slice's first pixel inside the
    image; negative where the slice is cropped. resampled: (rows, columns) that slices are resampled to before they are
    placed, () when they are not. The same for every slice of a scan.
    """

    shape: tuple[int, int, int]
    slice_axis: str
    image_size: tuple[int, int]
    offset: tuple[int, int]
    resampled: tuple[int, ...] = ()

    @property
    def slice_size(self) -> tuple[int, int]:
        """(rows, columns) of a slice as it is placed."""
        if self.resampled:
            rows, columns = self.resampled
            return rows, columns
        return slice_size(self.shape, self.slice_axis)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(top, left, bottom, right) of what the image shows of a slice; the rest is margin."""
        (rows, columns), _ = windows(self)
        return rows.start, columns.start, rows.stop, columns.stop

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able copy."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Placement":
        """The inverse of to_dict."""
        given: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        return cls(**given)


def place(
    shape: tuple[int, int, int], slice_axis: str, image_size: tuple[int, int], resampled: tuple[int, ...] = ()
) -> Placement:
    """Pad or crop about the centre: of an odd difference the smaller half comes before."""
    rows, columns = resampled or slice_size(shape, slice_axis)
    height, width = image_size
    return Placement(shape, slice_axis, image_size, (_half(height - rows), _half(width - columns)), resampled)


def _half(difference: int) -> int:
    return difference // 2 if difference >= 0 else -(-difference // 2)


def plane_axes(slice_axis: str) -> tuple[int, int]:
    """The RAS axes along the rows' direction of counting and along the columns': of (X, Y, Z) the later comes first."""
    column_axis, row_axis = (axis for axis in range(3) if axis != SLICE_AXES[slice_axis])
    return row_axis, column_axis


def slice_size(shape: tuple[int, ...], slice_axis: str) -> tuple[int, int]:
    """(rows, columns) of a displayed slice."""
    row_axis, column_axis = plane_axes(slice_axis)
    return shape[row_axis], shape[column_axis]


def resampled_size(
    shape: tuple[int, ...], spacing_mm: tuple[float, ...], slice_axis: str, target_mm: tuple[float, ...]
) -> tuple[int, ...]:
    """(rows, columns) that cover the same field of view with pixels as near as possible to `target_mm`.

    () when `target_mm` is () or the slices have that spacing already, to within half a pixel of the field of view.
    """
    if not target_mm:
        return ()
    native = slice_size(shape, slice_axis)
    axes = plane_axes(slice_axis)
    size = tuple(max(1, round(n * spacing_mm[axis] / mm)) for n, axis, mm in zip(native, axes, target_mm, strict=True))
    return () if size == native else size


def resample_slices(slices: np.ndarray, size: tuple[int, int], *, nearest: bool = False) -> np.ndarray:
    """Slices (S, rows, columns, ...) on a grid of `size` pixels over the same field of view, in the plane alone.

    Linear with a Gaussian against aliasing where pixels become larger (standard deviation (factor - 1) / 2), float32;
    or the nearest pixel, in the type of `slices`, for label maps.
    """
    factors = [n / m for n, m in zip(slices.shape[1:3], size, strict=True)]
    if nearest:
        rows, columns = (
            np.clip(np.floor((np.arange(m) + 0.5) * factor), 0, n - 1).astype(int)
            for m, factor, n in zip(size, factors, slices.shape[1:3], strict=True)
        )
        return slices[:, rows[:, None], columns[None, :]]
    from scipy import ndimage  # here, since most studies do not resample and every process would import it

    result = slices.astype(np.float32)
    for axis, (m, factor) in enumerate(zip(size, factors, strict=True), start=1):
        if factor > 1:
            result = ndimage.gaussian_filter1d(result, (factor - 1) / 2, axis=axis, mode="nearest")
        n = result.shape[axis]
        position = np.clip((np.arange(m) + 0.5) * factor - 0.5, 0, n - 1)
        below = np.minimum(position.astype(int), max(n - 2, 0))
        share = (position - below).astype(np.float32).reshape(-1, *([1] * (result.ndim - 1 - axis)))
        first, second = np.take(result, below, axis), np.take(result, np.minimum(below + 1, n - 1), axis)
        result = first + (second - first) * share
    return result


def display(volume: np.ndarray, slice_axis: str) -> np.ndarray:
    """A view of an RAS volume (X, Y, Z, ...) as displayed slices (S, rows, columns, ...).

    Sagittal: rows superior to inferior, columns anterior to posterior. Coronal: rows superior to inferior, columns
    patient right to left. Axial: rows anterior to posterior, columns patient right to left. Slices run along +RAS.
    """
    axis, (row_axis, column_axis) = SLICE_AXES[slice_axis], plane_axes(slice_axis)
    # Both image axes of all three planes run against RAS, and rows follow the later of the two remaining axes.
    return np.moveaxis(volume, (axis, row_axis, column_axis), (0, 1, 2))[:, ::-1, ::-1]


def windows(placement: Placement) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The overlap of image and slice: (rows, columns) inside the image, and (rows, columns) inside the slice."""
    size = placement.slice_size
    inside_image, inside_slice = [], []
    for image, n, offset in zip(placement.image_size, size, placement.offset, strict=True):
        length = min(image, n)
        inside_image.append(slice(max(offset, 0), max(offset, 0) + length))
        inside_slice.append(slice(max(-offset, 0), max(-offset, 0) + length))
    return tuple(inside_image), tuple(inside_slice)


def fill(images: np.ndarray, slices: np.ndarray, placement: Placement) -> None:
    """Write displayed slices (S, rows, columns, ...) into images (S, H, W, ...) in place; the margin stays as it is."""
    inside_image, inside_slice = windows(placement)
    images[(slice(None), *inside_image)] = slices[(slice(None), *inside_slice)]


def to_volume(slices: np.ndarray, placement: Placement, outside: float = 0) -> np.ndarray:
    """Images (S, H, W, ...) of one scan back on its RAS grid (X, Y, Z, ...); voxels outside a crop are `outside`.

    Resampled slices are resampled back, linearly; integers (label maps) take the nearest pixel. Raises ValueError when
    the images are not those of the placement.
    """
    count = placement.shape[SLICE_AXES[placement.slice_axis]]
    if slices.shape[:3] != (count, *placement.image_size):
        expected = (count, *placement.image_size)
        raise ValueError(f"got images of shape {slices.shape}, expected (slices, height, width) = {expected}")
    inside_image, inside_slice = windows(placement)
    shown = np.full((count, *placement.slice_size, *slices.shape[3:]), outside, slices.dtype)
    shown[(slice(None), *inside_slice)] = slices[(slice(None), *inside_image)]
    if placement.resampled:
        native = slice_size(placement.shape, placement.slice_axis)
        shown = resample_slices(shown, native, nearest=slices.dtype.kind in "iub")
    volume = np.empty((*placement.shape, *slices.shape[3:]), shown.dtype)
    display(volume, placement.slice_axis)[:] = shown
    return volume
