"""Sizes and spacings: how they vary, and which image size holds what is labelled."""

import itertools
from collections import Counter
from collections.abc import Sequence

import numpy as np

from inpaint_ssl.data.geometry import SLICE_AXES, plane_axes, resampled_size, slice_size
from inpaint_ssl.data.preprocess import Preprocessing
from inpaint_ssl.doctor.checks_intensity import FAR, FEWEST
from inpaint_ssl.doctor.findings import Finding, count
from inpaint_ssl.doctor.inspect import ScanSummary
from inpaint_ssl.doctor.scans import ScanSet, distances
from inpaint_ssl.errors import InputError

_VARIES = 0.1  # share of the median by which pixel spacing may vary
_FACTOR = 2.0  # by which an outlier must differ from the median, however alike the others are


def pixel_spacing(scan: ScanSummary, slice_axis: str) -> tuple[float, float]:
    """(row, column) in mm."""
    row, column = plane_axes(slice_axis)
    return scan.record.spacing_mm[row], scan.record.spacing_mm[column]


def geometry_findings(found: ScanSet, slice_axis: str, target_spacing_mm: tuple[float, ...]) -> list[Finding]:
    """Pixel spacing that varies, scans of an unusual size or spacing, and the orientations of the files."""
    scans = found.scans
    if not scans:
        return []
    findings = []
    spacing = np.array([pixel_spacing(scan, slice_axis) for scan in scans])
    median = np.median(spacing, axis=0)
    if not target_spacing_mm and (np.ptp(spacing, axis=0) > _VARIES * median).any():
        low, high = spacing.min(axis=0), spacing.max(axis=0)
        text = ", ".join(f"{mm:.4g}" for mm in median)
        extremes = sorted({int(i) for axis in range(2) for i in (spacing[:, axis].argmin(), spacing[:, axis].argmax())})
        findings.append(
            Finding(
                "warning",
                "spacing_varies",
                f"pixel spacing varies from {low[0]:.4g} x {low[1]:.4g} to {high[0]:.4g} x {high[1]:.4g} mm "
                f"(rows x columns of {slice_axis} slices), so that the same organ has different sizes in pixels",
                f'resample the slices in the plane: --config.data.target_spacing_mm="({text})" is the median',
                tuple(found.item(scans[i].entry, f"{spacing[i, 0]:.4g} x {spacing[i, 1]:.4g} mm") for i in extremes),
            )
        )
    findings += _outliers(found)
    orientations = Counter(scan.record.original_orientation for scan in scans)
    listed = ", ".join(f"{n} {codes}" for codes, n in orientations.most_common())
    findings.append(Finding("info", "orientation", f"orientation of the files: {listed}; all are brought to RAS"))
    return findings


def _outliers(found: ScanSet) -> list[Finding]:
    scans = found.scans
    if len(scans) < FEWEST:
        return []
    spacing = np.array([scan.record.spacing_mm for scan in scans])
    extent = np.array([scan.record.shape for scan in scans]) * spacing
    far: dict[int, str] = {}
    for what, unit, values in (("spacing", "mm", spacing), ("field of view", "mm", extent)):
        logs = np.log(values)
        for axis in range(3):
            z = distances(logs[:, axis], 0.02)
            strange = (z > FAR) & (np.abs(logs[:, axis] - np.median(logs[:, axis])) > np.log(_FACTOR))
            for index in np.flatnonzero(strange).tolist():
                usual = np.median(values[:, axis])
                text = f"{what} along {'XYZ'[axis]} {values[index, axis]:.4g} {unit}, usual are {usual:.4g}"
                far.setdefault(index, text)
    if not far:
        return []
    return [
        Finding(
            "warning",
            "geometry_outlier",
            f"{count(len(far), 'scan')} with a spacing or field of view unlike all others",
            "look whether the headers are right, and whether these scans belong to the set",
            tuple(found.item(scans[index].entry, text) for index, text in sorted(far.items())),
        )
    ]


def smallest_image_size(scans: Sequence[ScanSummary], preprocessing: Preprocessing, multiple: int) -> tuple[int, int]:
    """(height, width): the least multiples whose centre crop holds every labelled pixel of all scans."""
    needed = [1, 1]
    for scan in scans:
        box = scan.record.labelled_box(preprocessing.slice_axis)
        if box is None:
            continue
        native = slice_size(scan.record.shape, preprocessing.slice_axis)
        for side, (n, length, (first, last)) in enumerate(zip(native, _placed(scan, preprocessing), box, strict=True)):
            # After resampling: the pixels whose nearest pixel may be labelled.
            first, last = int(first * length / n), min(length - 1, -(-(last + 1) * length // n) - 1)
            fits = (m for m in itertools.count(1) if (length - m) // 2 <= first and (length - m) // 2 + m > last)
            needed[side] = max(needed[side], next(fits))
    return _up(needed[0], multiple), _up(needed[1], multiple)


def whole_image_size(scans: Sequence[ScanSummary], preprocessing: Preprocessing, multiple: int) -> tuple[int, int]:
    """(height, width): the least multiples that hold the largest slice of all scans whole."""
    sizes = [_placed(scan, preprocessing) for scan in scans] or [(1, 1)]
    return _up(max(rows for rows, _ in sizes), multiple), _up(max(columns for _, columns in sizes), multiple)


def _up(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple


def _placed(scan: ScanSummary, preprocessing: Preprocessing) -> tuple[int, ...]:
    """(rows, columns) of the slices of a scan as they are placed."""
    record, axis = scan.record, preprocessing.slice_axis
    size = resampled_size(record.shape, record.spacing_mm, axis, preprocessing.target_spacing_mm)
    return size or slice_size(record.shape, axis)


def crop_findings(found: ScanSet, preprocessing: Preprocessing, multiple: int) -> list[Finding]:
    """Scans that cannot be cut into images of the set size, and a size that is much larger than needed."""
    items = []
    for scan in found.scans:
        try:
            preprocessing.placement(scan.record)
            preprocessing.statistics(scan.record.intensities, scan.record.scan_id)
        except InputError as error:
            text = str(error).removeprefix(f"scan {scan.record.scan_id}").lstrip(": ")
            items.append((scan, text, "crop" if scan.kept < scan.labelled else "channels"))
    findings = []
    labelled = found.labelled
    smallest = smallest_image_size(labelled, preprocessing, multiple)
    whole = whole_image_size(found.scans, preprocessing, multiple)
    for kind, message, remedy in (
        ("crop", "whose labelled voxels the crop to data.image_size would cut",
         f'use --config.data.image_size="{smallest}", the smallest that holds every labelled voxel'),
        ("channels", "that cannot be normalised", "see what is said of each"),
    ):  # fmt: skip
        concerned = [found.item(scan.entry, text, _edge_slices(scan)) for scan, text, of in items if of == kind]
        if concerned:
            findings.append(
                Finding("error", kind, f"{count(len(concerned), 'scan')} {message}", remedy, tuple(concerned))
            )
    height, width = preprocessing.image_size
    if height * width > 1.5 * whole[0] * whole[1]:
        share = 1 - whole[0] * whole[1] / (height * width)
        findings.append(
            Finding(
                "info",
                "large_images",
                f"images of {height} x {width} pixels are larger than every slice: {share:.0%} of each is padding",
                f'--config.data.image_size="{whole}" holds every slice whole and trains faster',
            )
        )
    return findings


def _edge_slices(scan: ScanSummary) -> tuple[int, ...]:
    """The slice with most labels present, where the cut is likely seen."""
    if not scan.label_slices:
        return (scan.n_slices // 2,)
    return (int(np.sum(list(scan.label_slices.values()), axis=0).argmax()),)


def table(found: ScanSet, slice_axis: str) -> list[tuple[str, str, str, str]]:
    """Rows (what, smallest, median, largest) of sizes and spacings."""
    if not found.scans:
        return []
    row, column = plane_axes(slice_axis)
    shapes = np.array([scan.record.shape for scan in found.scans])
    spacing = np.array([scan.record.spacing_mm for scan in found.scans])
    through = SLICE_AXES[slice_axis]
    columns: list[tuple[str, np.ndarray]] = [
        ("slices of a scan", shapes[:, through]),
        ("rows of a slice", shapes[:, row]),
        ("columns of a slice", shapes[:, column]),
        ("row spacing, mm", spacing[:, row]),
        ("column spacing, mm", spacing[:, column]),
        ("distance of slices, mm", spacing[:, through]),
    ]
    return [(name, f"{np.min(x):.4g}", f"{np.median(x):.4g}", f"{np.max(x):.4g}") for name, x in columns]
