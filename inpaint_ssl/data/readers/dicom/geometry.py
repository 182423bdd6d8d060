"""Where the images of a series lie: order of slices, spacing, and whether they make up one volume.

Positions decide everything; SliceThickness and SpacingBetweenSlices are often wrong and are not believed. Positions may
be rounded, so a slice may lie off the evenly spaced line by `tolerance_mm` or 2 % of the spacing, whichever is more.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from inpaint_ssl.data.readers.dicom.series import Frame
from inpaint_ssl.data.readers.grid import LARGEST_MM, SMALLEST_MM
from inpaint_ssl.errors import InputError

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_FARTHEST_MM = 1e6
_SAME_PLACE_MM = 0.01
_SAME_DIRECTION = 2e-3  # of direction cosines, which are often rounded to three digits
_SHARE_OF_SPACING = 0.02
_LARGEST_SHEAR_DEG = 0.5


class Localizer(Exception):
    """The series is a localizer: images in three orthogonal planes."""


@dataclass(frozen=True)
class Volume:
    """channels: for each channel its frames in the order of slices. shape: (columns, rows, slices). affine: (4, 4) from
    their indices to RAS in mm.
    """

    channel_names: tuple[str, ...]
    channels: tuple[tuple[Frame, ...], ...]
    shape: tuple[int, int, int]
    affine: np.ndarray


@dataclass(frozen=True)
class Place:
    """For messages: how the series and its frames may be called, the tilt that the header gives, and a hint."""

    series: str
    frame: Callable[[Frame], str]
    tilt_deg: float
    hint: str

    def error(self, what: str) -> InputError:
        """An error of kind "geometry"."""
        return InputError(f"{self.series}: {what}{self.hint}", "geometry")


def arrange(
    frames: Sequence[Frame], place: Place, default_channel: str, tolerance_mm: float, thickness_mm: float
) -> Volume:
    """Order the frames of a series by position, echoes apart.

    thickness_mm: voxel size across a single slice. Raises InputError (kind "geometry") when they do not make up a
    volume, and `Localizer`.
    """
    _check_planes(frames, place)
    first = frames[0]
    along_columns, along_rows, normal = _axes(first, place)
    names, channels = _channels(frames, normal, place, default_channel)
    ordered = tuple(tuple(sorted(channel, key=lambda frame: _height(frame, normal))) for channel in channels)
    if len(ordered[0]) == 1:
        origin, step = _positions(ordered[0])[0], thickness_mm * normal
    else:
        for name, channel in zip(names, ordered, strict=True):
            if len(channel) > 1:
                _check_gaps(channel, normal, place, tolerance_mm, name if len(names) > 1 else "")
        origin, step = _line(ordered[0], normal, place, tolerance_mm)
    _check_channels(names, ordered, place, max(tolerance_mm, _SHARE_OF_SPACING * float(np.linalg.norm(step))))
    assert first.pixel_spacing is not None
    between_rows, between_columns = first.pixel_spacing
    affine = np.eye(4)
    affine[:3] = np.column_stack([along_columns * between_columns, along_rows * between_rows, step, origin])
    return Volume(names, ordered, (first.columns, first.rows, len(ordered[0])), _LPS_TO_RAS @ affine)


def _positions(frames: Sequence[Frame]) -> np.ndarray:
    return np.array([frame.position for frame in frames])


def _height(frame: Frame, normal: np.ndarray) -> float:
    return float(np.array(frame.position) @ normal)


def _axes(frame: Frame, place: Place) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors along columns, along rows and along the normal."""
    directions = np.reshape(np.array(frame.orientation), (2, 3))
    lengths = np.linalg.norm(directions, axis=1)
    if np.abs(lengths - 1).max() > 0.01 or abs(directions[0] @ directions[1]) > 0.01:
        raise place.error(
            f"ImageOrientationPatient of {place.frame(frame)} is {_said(frame.orientation)}, expected two orthogonal "
            "unit vectors; export the series again"
        )
    first, second = directions / lengths[:, None]
    normal = np.cross(first, second)
    return first, second, normal / np.linalg.norm(normal)


def _said(values: Sequence[float] | None) -> str:
    return "missing" if values is None else "\\".join(f"{value:g}" for value in values)


def _check_planes(frames: Sequence[Frame], place: Place) -> None:
    """Every frame says where it lies, and all are parallel and of one size."""
    for keyword, name in (
        ("position", "ImagePositionPatient"),
        ("orientation", "ImageOrientationPatient"),
        ("pixel_spacing", "PixelSpacing"),
    ):
        bare = [frame for frame in frames if getattr(frame, keyword) is None]
        if bare:
            raise place.error(
                f"{len(bare)} of {len(frames)} images have no {name}, first {place.frame(bare[0])}; export the series "
                "with it"
            )
    orientations = {frame.orientation: frame for frame in frames}
    _check_localizer(list(orientations.values()), place)
    first = frames[0]
    assert first.orientation is not None and first.pixel_spacing is not None
    if not all(SMALLEST_MM <= mm <= LARGEST_MM for mm in first.pixel_spacing):
        expected = f"expected {SMALLEST_MM:g} to {LARGEST_MM:g} mm"
        raise place.error(f"PixelSpacing is {_said(first.pixel_spacing)}, {expected}; correct the header")
    far = next((frame for frame in frames if max(map(abs, frame.position or ())) > _FARTHEST_MM), None)
    if far is not None:
        raise place.error(
            f"ImagePositionPatient of {place.frame(far)} is {_said(far.position)}, expected mm up to {_FARTHEST_MM:g}; "
            "correct the header"
        )
    for frame in frames:
        assert frame.orientation is not None and frame.pixel_spacing is not None
        differences = {
            "sizes": (f"{first.columns} x {first.rows}", f"{frame.columns} x {frame.rows}"),
            "orientations": (_said(first.orientation), _said(frame.orientation)),
            "pixel spacings": (_said(first.pixel_spacing), _said(frame.pixel_spacing)),
        }
        turned = max(abs(a - b) for a, b in zip(first.orientation, frame.orientation, strict=True))
        stretched = max(abs(a / b - 1) for a, b in zip(frame.pixel_spacing, first.pixel_spacing, strict=True))
        is_off = {
            "sizes": (first.columns, first.rows) != (frame.columns, frame.rows),
            "orientations": turned > _SAME_DIRECTION,
            "pixel spacings": stretched > 1e-3,
        }
        for what, (one, other) in differences.items():
            if is_off[what]:
                raise place.error(
                    f"mixed {what}: {place.frame(first)} has {one} and {place.frame(frame)} has {other}; split the "
                    "series or remove the odd images"
                )


def _check_localizer(frames: Sequence[Frame], place: Place) -> None:
    """Raise Localizer for three mutually orthogonal planes."""
    if len(frames) < 3:
        return
    normals: list[np.ndarray] = []
    for frame in frames:
        normal = _axes(frame, place)[2]
        if all(abs(normal @ other) < 0.3 for other in normals):
            normals.append(normal)
    if len(normals) == 3:
        raise Localizer


def _channels(
    frames: Sequence[Frame], normal: np.ndarray, place: Place, default_channel: str
) -> tuple[tuple[str, ...], list[list[Frame]]]:
    """Frames by echo: by EchoNumbers where there are several, by EchoTime where places repeat."""
    numbers = {frame.echo_number for frame in frames}
    if len(numbers) > 1 and None not in numbers:
        return _by_echo(frames, lambda frame: frame.echo_number)
    if not _repeats(frames, normal):
        return (default_channel,), [list(frames)]
    times = {frame.echo_time_ms for frame in frames}
    if len(times) > 1 and None not in times:
        names, channels = _by_echo(frames, lambda frame: frame.echo_time_ms)
        if not any(_repeats(channel, normal) for channel in channels):
            return names, channels
    return (default_channel,), [list(frames)]


def _by_echo(
    frames: Sequence[Frame], key: Callable[[Frame], float | None]
) -> tuple[tuple[str, ...], list[list[Frame]]]:
    values = sorted({value for frame in frames if (value := key(frame)) is not None})
    channels = [[frame for frame in frames if key(frame) == value] for value in values]
    return tuple(f"echo{number}" for number in range(1, len(values) + 1)), channels


def _repeats(frames: Sequence[Frame], normal: np.ndarray) -> list[tuple[Frame, Frame]]:
    """Pairs of neighbouring frames in the same place."""
    ordered = sorted(frames, key=lambda frame: _height(frame, normal))
    return [
        (one, other)
        for one, other in itertools.pairwise(ordered)
        if _height(other, normal) - _height(one, normal) < _SAME_PLACE_MM
    ]


def _check_gaps(frames: Sequence[Frame], normal: np.ndarray, place: Place, tolerance_mm: float, channel: str) -> None:
    """No slice twice, none missing; frames in the order of slices."""
    of_channel = f" of {channel}" if channel else ""
    repeats = _repeats(frames, normal)
    if repeats:
        one, other = repeats[0]
        differing = [
            f"{name} ({first} and {second})"
            for (name, first), (_, second) in zip(one.distinctions, other.distinctions, strict=False)
            if first != second
        ]
        why = f"they differ in {' and '.join(differing)}: keep" if differing else "nothing tells them apart: keep"
        raise place.error(
            f"duplicate slices{of_channel}: {place.frame(one)} and {place.frame(other)} lie in the same place, as do "
            f"{len(repeats)} pairs of {len(frames)} images; {why} one of each, or export them as series of their own"
        )
    heights = np.array([_height(frame, normal) for frame in frames])
    gaps = np.diff(heights)
    unit = float(np.sort(gaps)[(len(gaps) - 1) // 2])
    tolerance = max(tolerance_mm, _SHARE_OF_SPACING * unit)
    wide = [int(k) for k in np.flatnonzero(gaps > 1.5 * unit)]
    if wide and all(abs(gaps[k] - round(gaps[k] / unit) * unit) <= 2 * tolerance for k in wide):
        k = max(wide, key=lambda gap: float(gaps[gap]))
        missing = sum(round(gaps[gap] / unit) - 1 for gap in wide)
        raise place.error(
            f"missing slices{of_channel}: about {missing} of {missing + len(frames)}; {place.frame(frames[k])} and "
            f"{place.frame(frames[k + 1])} are {gaps[k]:.4g} mm apart, slices {unit:.4g} mm; copy the whole series"
        )
    line = np.polyval(np.polyfit(np.arange(len(heights)), heights, 1), np.arange(len(heights)))
    worst = float(np.abs(heights - line).max())
    if worst > tolerance:
        k = int(np.abs(gaps - unit).argmax())
        raise place.error(
            f"unevenly spaced slices{of_channel}: gaps of {gaps.min():.4g} to {gaps.max():.4g} mm, the oddest between "
            f"{place.frame(frames[k])} and {place.frame(frames[k + 1])}; a slice lies {worst:.3g} mm off even spacing, "
            f"allowed are {tolerance:.3g} mm; remove odd slices, or raise data.geometry_tolerance_mm"
        )


def _line(
    frames: Sequence[Frame], normal: np.ndarray, place: Place, tolerance_mm: float
) -> tuple[np.ndarray, np.ndarray]:
    """Position of the first slice and step from slice to slice, fitted to all positions (which may be rounded)."""
    positions, index = _positions(frames), np.arange(len(frames)) - (len(frames) - 1) / 2
    centre = positions.mean(axis=0)
    step = index @ (positions - centre) / (index @ index)
    along = float(step @ normal)
    sideways = float(np.linalg.norm(step - along * normal))
    tolerance = max(tolerance_mm, _SHARE_OF_SPACING * along)
    angle = math.degrees(math.atan2(sideways, along))
    if sideways * (len(frames) - 1) > tolerance and angle > _LARGEST_SHEAR_DEG:
        said = f" (GantryDetectorTilt {place.tilt_deg:g})" if place.tilt_deg else ""
        raise place.error(
            f"gantry tilt: slices are stacked at {angle:.1f} degrees to their normal{said}, which makes a sheared "
            "volume; resample the series to an untilted grid or remove it"
        )
    fitted = centre + np.outer(index, step)
    off = np.linalg.norm(positions - fitted, axis=1)
    if off.max() > tolerance:
        raise place.error(
            f"slices are shifted against each other: {place.frame(frames[int(off.argmax())])} lies {off.max():.3g} mm "
            f"off the line through the others, allowed are {tolerance:.3g} mm; remove it, or raise "
            "data.geometry_tolerance_mm"
        )
    return fitted[0], step


def _check_channels(
    names: Sequence[str], channels: Sequence[Sequence[Frame]], place: Place, tolerance_mm: float
) -> None:
    """All echoes have the same slices."""
    reference = channels[0]
    for name, channel in zip(names[1:], channels[1:], strict=True):
        if len(channel) != len(reference):
            raise place.error(
                f"{names[0]} has {len(reference)} slices and {name} has {len(channel)}; copy the whole series"
            )
        apart = np.linalg.norm(_positions(channel) - _positions(reference), axis=1)
        if apart.max() > tolerance_mm:
            raise place.error(
                f"slices of {names[0]} and {name} do not lie in the same places, they are up to {apart.max():.3g} mm "
                "apart; export them as series of their own"
            )
