"""Intensities that are not what the modality has, and scans that are unlike all others."""

from collections.abc import Callable

import numpy as np

from inpaint_ssl.doctor.findings import Finding, count
from inpaint_ssl.doctor.inspect import QUANTILES, Hounsfield
from inpaint_ssl.doctor.scans import ScanSet, distances

FEWEST, FAR = 8, 6.0  # scans for a comparison, and the robust z beyond which one is unlike the others
_SOME, _FEW = 0.02, 0.005  # shares of voxels
_SINGLE = 0.05  # share of the scans up to which another scale is an exception
_PADDING_HU = -1100.0
_RANGE = "range"
_MEDIAN, _NARROW, _WIDE = (QUANTILES.index(q) for q in (0.5, 0.005, 0.995))
_LOW, _HIGH = (QUANTILES.index(q) for q in (0.05, 0.95))


def _no_intercept(h: Hounsfield) -> bool:
    return h.lowest >= -100 and h.air_higher >= _SOME and h.soft_higher >= _SOME


def _intercept_twice(h: Hounsfield) -> bool:
    return h.air_lower >= _SOME and h.soft_lower >= _SOME and h.soft < _SOME


def _no_hu(h: Hounsfield) -> bool:
    return h.soft < _FEW or (h.lowest >= 0 and h.highest <= 255)


def _padded(h: Hounsfield) -> bool:
    return h.lowest < _PADDING_HU and h.lowest_share > 1e-3


def _no_air(h: Hounsfield) -> bool:
    return h.air < _FEW and h.lowest > -500


# In this order: a scan is reported under the first that fits, except for padding, which may come on top.
_CT: tuple[tuple[str, Callable[[Hounsfield], bool], str, str, str], ...] = (
    (
        "wrong_intercept",
        _no_intercept,
        "whose values begin at 0, as if the rescale intercept (-1024) had not been applied",
        "smallest value {0.lowest:g}, {0.soft_higher:.0%} of the voxels near 1024 where soft tissue would be",
        "convert them again with rescale slope and intercept, or subtract 1024",
    ),
    (
        "wrong_intercept",
        _intercept_twice,
        "whose air is near -2048, as if the rescale intercept (-1024) had been applied twice",
        "{0.air_lower:.0%} of the voxels near -2024, {0.soft_lower:.0%} near -1024",
        "convert them again, or add 1024",
    ),
    (
        "not_hu",
        _no_hu,
        "whose values are no HU: nothing near 0, where soft tissue would be, or 8 bits",
        "values from {0.lowest:g} to {0.highest:g}, {0.soft:.2%} of the voxels from -150 to 150",
        "convert them again from DICOM without windowing or normalising, or set data.modality to 'mri'",
    ),
    (
        "no_air",
        _no_air,
        "without air: hardly a voxel is near -1000 HU, and none below -500",
        "smallest value {0.lowest:g}, {0.air:.2%} of the voxels from -1100 to -900",
        "look whether the values were windowed or shifted when they were converted; scans cropped to the inside of the "
        "body are fine",
    ),
)  # fmt: skip


def hounsfield_findings(found: ScanSet, modality: str, windows: tuple[tuple[float, float], ...]) -> list[Finding]:
    """CT whose values are no HU, and MRI whose values are."""
    if modality != "ct":
        return _looks_like_ct(found)
    findings: list[Finding] = []
    scans = found.scans
    told: set[str] = set()
    for kind, holds, message, detail, remedy in _CT:
        concerned = [scan for scan in scans if scan.entry.scan_id not in told and holds(scan.hounsfield)]
        told |= {scan.entry.scan_id for scan in concerned}
        if concerned:
            items = tuple(found.item(scan.entry, detail.format(scan.hounsfield)) for scan in concerned)
            findings.append(Finding("warning", kind, f"{count(len(items), 'CT scan')} {message}", remedy, items))
    padded = [scan for scan in scans if scan.entry.scan_id not in told and _padded(scan.hounsfield)]
    if padded:
        lowest = min((level - width / 2 for width, level in windows), default=0.0)
        harm = "below all HU windows, so that they count as air" if lowest >= _PADDING_HU else "inside the HU windows"
        detail = "{0.lowest_share:.1%} of the voxels are exactly {0.lowest:g}"
        findings.append(
            Finding(
                "warning",
                "padding",
                f"{count(len(padded), 'CT scan')} with padding: many voxels of one value below {_PADDING_HU:g} HU",
                f"set them to -1024; they lie {harm}",
                tuple(found.item(scan.entry, detail.format(scan.hounsfield)) for scan in padded),
            )
        )
    return findings


def _looks_like_ct(found: ScanSet) -> list[Finding]:
    concerned = [
        scan
        for scan in found.scans
        if scan.hounsfield.air >= _SOME and scan.hounsfield.soft >= _SOME and scan.hounsfield.lowest < -900
    ]
    if not concerned:
        return []
    detail = "{0.air:.0%} of the voxels near -1000, {0.soft:.0%} near 0"
    return [
        Finding(
            "warning",
            "looks_like_ct",
            f"{count(len(concerned), 'scan')} of MRI whose values look like HU of a CT",
            "set --config.data.modality=ct if they are; else look where the scans come from",
            tuple(found.item(scan.entry, detail.format(scan.hounsfield)) for scan in concerned),
        )
    ]


def outlier_findings(found: ScanSet, modality: str) -> list[Finding]:
    """Scans whose intensities are far from those of all others, channel by channel; with fewer than 8 scans none."""
    scans = found.scans
    if len(scans) < FEWEST:
        return []
    strange: dict[str, str] = {}  # scan id -> what is said of it
    rescaled: dict[str, str] = {}
    for channel in range(max(len(scan.levels) for scan in scans)):
        of_channel = [scan for scan in scans if channel < len(scan.levels)]
        quantiles = np.array([scan.levels[channel].quantiles for scan in of_channel])
        name = f"channel {channel}: " if len(found.reader.channel_names) > 1 else ""
        usual = _levels_text(np.median(quantiles, axis=0))
        for feature, (values, floor) in _features(quantiles, modality).items():
            target = rescaled if feature == _RANGE else strange
            for index in np.flatnonzero(distances(values, floor) > FAR).tolist():
                text = f"{name}{feature}: {_levels_text(quantiles[index])}; usual are {usual}"
                target.setdefault(of_channel[index].entry.scan_id, text)
    findings = []
    # Where many scans are of another scale, that is how the set is; the z-score of each volume makes up for it.
    if len(rescaled) <= _SINGLE * len(scans):
        strange = {**rescaled, **strange}
    else:
        message = f"intensity scales differ: {count(len(rescaled), 'scan')} far from the usual range"
        remedy = "none is needed: the z-score of each volume makes up for it"
        items = tuple(found.item(found.summaries[scan_id].entry, text) for scan_id, text in rescaled.items())
        findings.append(Finding("info", "intensity_scales", message, remedy, items))
    if strange:
        remedy = "look whether they are of the same kind of acquisition and were converted alike"
        message = f"{count(len(strange), 'scan')} with intensities unlike those of all others"
        items = tuple(found.item(found.summaries[scan_id].entry, text) for scan_id, text in strange.items())
        findings.append(Finding("warning", "intensity_outlier", message, remedy, items))
    return findings


def _features(quantiles: np.ndarray, modality: str) -> dict[str, tuple[np.ndarray, float]]:
    """Name -> (a number for each scan, the smallest deviation that counts)."""
    if modality == "ct":
        # In HU; where there is much air depends on the field of view, so only the upper half is compared.
        return {"bright end": (quantiles[:, _HIGH], 100.0), "brightest": (quantiles[:, _WIDE], 200.0)}
    spread = np.maximum(quantiles[:, _WIDE] - quantiles[:, _NARROW], 1e-12)
    return {
        _RANGE: (np.log(spread), 0.1),
        "median in the range": ((quantiles[:, _MEDIAN] - quantiles[:, _NARROW]) / spread, 0.05),
        "bright end in the range": ((quantiles[:, _HIGH] - quantiles[:, _NARROW]) / spread, 0.05),
    }


def _levels_text(q: np.ndarray) -> str:
    return f"median {q[_MEDIAN]:.4g}, 90 % of the voxels in {q[_LOW]:.4g} to {q[_HIGH]:.4g}"
