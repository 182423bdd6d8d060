"""Whether two files of one scan lie on the same grid."""

from dataclasses import dataclass

import numpy as np

from inpaint_ssl.data.geometry import corner_distance_mm, ras_orientation, reorient
from inpaint_ssl.errors import InputError

SMALLEST_MM, LARGEST_MM = 1e-3, 1e3  # that a voxel may measure


@dataclass(frozen=True)
class Grid:
    """shape (X, Y, Z) and affine (4, 4) as stored; path: of the file, for messages."""

    shape: tuple[int, int, int]
    affine: np.ndarray
    path: str


def orientation_on(grid: Grid, reference: Grid, tolerance_mm: float) -> np.ndarray:
    """The nibabel orientation array that brings `grid` to RAS, after a check that it is the grid of `reference`.

    The same grid may be stored in another axis order, so the two are compared in RAS unless they agree as stored.
    Raises InputError (kind "geometry") naming both files, the largest distance, and what causes it.
    """
    if grid is reference:
        return ras_orientation(reference.affine)
    same_shape = grid.shape == reference.shape
    if same_shape and corner_distance_mm(grid.shape, grid.affine, reference.affine) <= tolerance_mm:
        return ras_orientation(reference.affine)
    orientation = ras_orientation(grid.affine)
    shape, affine = _in_ras(grid, orientation)
    expected, expected_affine = _in_ras(reference, ras_orientation(reference.affine))
    if shape != expected:
        if not same_shape:
            raise InputError(
                f"{grid.path} has shape {grid.shape}, but {reference.path} has {reference.shape};"
                " resample one of them onto the grid of the other",
                "geometry",
            )
        # Directions so different that they sort the axes of equal shapes differently.
        shape, affine, expected_affine = grid.shape, grid.affine, reference.affine
    elif corner_distance_mm(shape, affine, expected_affine) <= tolerance_mm:
        return orientation
    distance = corner_distance_mm(shape, affine, expected_affine)
    raise InputError(
        f"{grid.path} and {reference.path} do not lie on the same grid: their corners are up to {distance:.4g} mm "
        f"apart, allowed are {tolerance_mm:g} mm ({_causes(shape, affine, expected_affine)}); correct the headers, or "
        "raise data.geometry_tolerance_mm",
        "geometry",
    )


def _in_ras(grid: Grid, orientation: np.ndarray) -> tuple[tuple[int, ...], np.ndarray]:
    moved, affine = reorient(np.broadcast_to(np.uint8(0), grid.shape), grid.affine, orientation)
    return moved.shape, affine


def _causes(shape: tuple[int, ...], first: np.ndarray, second: np.ndarray) -> str:
    """How directions, spacing and centre differ, beginning with what moves the corners most."""
    spacing, other_spacing = (np.linalg.norm(affine[:3, :3], axis=0) for affine in (first, second))
    directions, other_directions = first[:3, :3] / spacing, second[:3, :3] / other_spacing
    degrees = _degrees(directions, other_directions)
    middle = np.array([*((n - 1) / 2 for n in shape), 1.0])
    shift = float(np.linalg.norm((first - second)[:3] @ middle))
    # Corners moved by one cause alone, about the centre.
    turned = _corner_shift(shape, (directions - other_directions) * spacing)
    scaled = _corner_shift(shape, other_directions * (spacing - other_spacing))
    causes = [
        (turned, f"directions differ by {degrees:.3g} degrees" if degrees > 1e-3 else ""),
        (scaled, f"spacing is {_sizes(spacing)} and {_sizes(other_spacing)} mm" if scaled > 1e-3 else ""),
        (shift, f"centres are {shift:.4g} mm apart" if shift > 1e-3 else ""),
    ]
    return ", ".join(text for _, text in sorted(causes, key=lambda cause: -cause[0]) if text)


def _degrees(first: np.ndarray, second: np.ndarray) -> float:
    """Largest angle between corresponding axes; from the chord, since a cosine near 1 says little."""
    chord = np.linalg.norm(first - second, axis=0).max()
    return float(np.degrees(2 * np.arcsin(np.clip(chord / 2, 0, 1))))


def _corner_shift(shape: tuple[int, ...], linear: np.ndarray) -> float:
    centred = np.eye(4)
    centred[:3, :3] = linear
    centred[:3, 3] = -linear @ [(n - 1) / 2 for n in shape]
    return corner_distance_mm(shape, centred, np.diag([0.0, 0, 0, 1]))


def _sizes(spacing: np.ndarray) -> str:
    return " x ".join(f"{size:.5g}" for size in spacing)


def with_depth(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The stored affine (4, 4) of data of this shape; that of a single slice gets 1 mm across where its header gives no
    direction or size.
    """
    if len(shape) > 2 and shape[2] > 1:
        return affine
    first, second, across = affine[:3, :3].T
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    with np.errstate(invalid="ignore", over="ignore"):
        normal = np.cross(first, second)
        plane, depth = np.linalg.norm(normal), abs(normal @ across)
    if not 1e-9 * lengths[0] * lengths[1] < plane < np.inf or 1e-9 * np.prod(lengths) < depth < np.inf:
        return affine
    affine = affine.copy()
    affine[:3, 2] = normal / plane
    return affine
