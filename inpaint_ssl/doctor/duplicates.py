"""Scans and slices that are there twice: by their hash, and by likeness across the parts of the data."""

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from inpaint_ssl.data.geometry import display
from inpaint_ssl.data.scan import ScanEntry, ScanReader
from inpaint_ssl.doctor.inspect import Examination, ScanSummary
from inpaint_ssl.doctor.likeness import GRID, KEPT, descriptors, full_correlation, shifted
from inpaint_ssl.doctor.scans import PARTS, ScanSet

# Calibrated on real scans (tests/doctor): slices of different people reach 0.83 at full resolution (the crown of the
# head in coarse CT), and 0.31 in the mean of five slices along a scan. Copies of a scan with 20 % noise, gamma 0.6 or
# 1.6, JPEG of quality 30, blur, another size or a shift stay above 0.68 along the scan; a single slice with 10 % noise,
# gamma or another size above 0.88, at JPEG quality 50 mostly.
LIKE, LIKE_ALONG = 0.86, 0.55
_ROUGH, _CLOSE = 0.92, 0.88  # correlations of descriptions that are looked at more closely, and at full resolution
_ROUGH_KEPT = 12
LEAST_CONTENT = 0.08  # share of a slice's pixels above the scan's mean; round cross-sections of little else are alike
_SHIFT = 0.35  # grid pixels that a shift by one pixel must make to be tried
_BLOCK = 2048
_MOST_WORK = 3e10  # pairs of slices, shifts counted, beyond which shifts are not tried
MOST_PAIRS = 300  # pairs of scans that are looked at in full resolution
_SLICES_OF_PAIR = 3
_FEWEST_ALONG = 5  # slices that are compared along two scans
_SHARED, _LEAST_SHARED = 0.2, 8  # share and number of sketched values of scans that are cut from one image


@dataclass(frozen=True)
class Twins:
    """Slices of two scans: pairs of displayed slice indices; correlation of the best pair (1.0 = the same values)."""

    first: str
    second: str
    slices: tuple[tuple[int, int], ...]
    likeness: float


def duplicate_groups(scans: Sequence[ScanSummary]) -> list[list[ScanSummary]]:
    """Scans with the same shape and values, in groups of two or more."""
    groups: dict[str, list[ScanSummary]] = defaultdict(list)
    for scan in scans:
        groups[scan.record.image_sha256].append(scan)
    return [group for group in groups.values() if len(group) > 1]


def equal_slices(found: ScanSet) -> list[Twins]:
    """Slices with the same values in scans of different parts; not of scans that are duplicates as a whole."""
    whole = {scan.entry.scan_id: scan.record.image_sha256 for scan in found.scans}
    where: dict[int, list[tuple[str, int]]] = defaultdict(list)
    for scan in found.scans:
        for index in np.flatnonzero((scan.slice_hashes != 0) & (scan.content >= LEAST_CONTENT)).tolist():
            where[int(scan.slice_hashes[index])].append((scan.entry.scan_id, index))
    pairs: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for places in where.values():
        for (first, i), (second, j) in itertools.combinations(places, 2):
            if whole[first] != whole[second] and _parts_differ(found, first, second):
                pairs[first, second].append((i, j))
    return [Twins(a, b, tuple(slices), 1.0) for (a, b), slices in pairs.items()]


def _parts_differ(found: ScanSet, first: str, second: str) -> bool:
    parts = found.part.get(first, ""), found.part.get(second, "")
    return "" not in parts and parts[0] != parts[1]


@dataclass(frozen=True)
class _Slices:
    """The slices of one part that say something: coefficients (n, KEPT, KEPT), index of the scan and slice of each."""

    coefficients: np.ndarray
    scan: np.ndarray
    index: np.ndarray
    size: tuple[int, int]


def candidates(found: ScanSet) -> list[Twins]:
    """Pairs of scans of different parts with slices whose descriptions are alike, the most alike first.

    Those of training and unlabelled scans, which do no harm, come last.
    """
    parts = {name: _slices_of(found, name) for name in PARTS}
    scans = found.scans
    best: dict[tuple[int, int], list[tuple[float, int, int]]] = defaultdict(list)
    for one, other in itertools.combinations([part for part in parts.values() if part is not None], 2):
        for likeness, a, b in _alike(one, other):
            kept = best[int(one.scan[a]), int(other.scan[b])]
            kept.append((likeness, int(one.index[a]), int(other.index[b])))
    twins = []
    for (first, second), pairs in best.items():
        if scans[first].record.image_sha256 != scans[second].record.image_sha256:
            pairs.sort(reverse=True)
            slices = tuple((i, j) for _, i, j in pairs[:_SLICES_OF_PAIR])
            twins.append(Twins(scans[first].entry.scan_id, scans[second].entry.scan_id, slices, pairs[0][0]))
    harmless = {"train", "unlabelled"}
    return sorted(twins, key=lambda t: ({found.part[t.first], found.part[t.second]} == harmless, -t.likeness))


def _slices_of(found: ScanSet, part: str) -> _Slices | None:
    coefs, scan_of, index_of, sizes = [], [], [], []
    for number, scan in enumerate(found.scans):
        if found.part.get(scan.entry.scan_id) == part:
            used = np.flatnonzero(~scan.constant & (scan.content >= LEAST_CONTENT))
            coefs.append(scan.coefficients[used])
            scan_of.append(np.full(len(used), number))
            index_of.append(used)
            sizes.append(scan.slice_size)
    if not coefs or not sum(map(len, coefs)):
        return None
    rows, columns = np.median(sizes, axis=0).astype(int).tolist()
    return _Slices(np.concatenate(coefs), np.concatenate(scan_of), np.concatenate(index_of), (rows, columns))


def _alike(one: _Slices, other: _Slices) -> Iterator[tuple[float, int, int]]:
    """(correlation, index into `one`, index into `other`) of pairs with like descriptions."""
    moves = [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1)]
    if GRID / min(one.size) < _SHIFT or len(one.index) * len(other.index) * len(moves) > _MOST_WORK:
        moves = [(0, 0)]
    rough = descriptors(other.coefficients, _ROUGH_KEPT)
    for start in range(0, len(one.index), _BLOCK):
        block = one.coefficients[start : start + _BLOCK]
        for rows, columns in moves:
            moved = block if (rows, columns) == (0, 0) else shifted(block, rows, columns, one.size)
            a, b = np.nonzero(descriptors(moved, _ROUGH_KEPT) @ rough.T > _ROUGH)
            own, (seen, place) = descriptors(moved, KEPT), np.unique(b, return_inverse=True)
            fine = descriptors(other.coefficients[seen], KEPT)
            for first in range(0, len(a), _BLOCK):
                rows_a, rows_b = a[first : first + _BLOCK], b[first : first + _BLOCK]
                values = np.einsum("ij,ij->i", own[rows_a], fine[place[first : first + _BLOCK]])
                for hit in np.flatnonzero(values > _CLOSE).tolist():
                    yield float(values[hit]), start + int(rows_a[hit]), int(rows_b[hit])


@dataclass(frozen=True)
class Pair:
    """Two scans to compare at full resolution: entries, windows of their intensities, and slices that seem alike."""

    entries: tuple[ScanEntry, ScanEntry]
    windows: tuple[tuple[float, float], tuple[float, float]]
    twins: Twins


def pair_of(found: ScanSet, twins: Twins) -> Pair:
    """What a worker needs to compare two scans."""
    first, second = found.summaries[twins.first], found.summaries[twins.second]
    return Pair((first.entry, second.entry), (first.window, second.window), twins)


def look_at_twins(examination: Examination, pair: Pair) -> Twins | None:
    """The pair with those slices that are alike at full resolution, or None. Runs in a worker process."""
    twins, windows, axis = pair.twins, pair.windows, examination.preprocessing.slice_axis
    one, other = (_first_channel(examination.reader, entry, axis) for entry in pair.entries)
    checked = [(full_correlation(one[i], other[j], windows), (i, j)) for i, j in twins.slices]
    found = sorted((match for match in checked if match[0] >= LIKE), reverse=True)
    if not found:
        # The same scan with more noise or stronger compression: less alike in each slice, but all along.
        along = _along(len(one), len(other), twins.slices[0])
        values = [full_correlation(one[i], other[j], windows) for i, j in along]
        if len(values) < _FEWEST_ALONG or np.mean(values) < LIKE_ALONG:
            return None
        found = sorted(zip(values, along, strict=True), reverse=True)
    return Twins(twins.first, twins.second, tuple(slices for _, slices in found), found[0][0])


def _along(n: int, m: int, pair: tuple[int, int]) -> list[tuple[int, int]]:
    """Pairs of slices of two scans with n and m slices, as far apart as `pair`, spread over what both have."""
    by = pair[1] - pair[0]
    low, high = max(0, -by), min(n, m - by) - 1
    inner = np.linspace(low, high, _FEWEST_ALONG + 2).round().astype(int)[1:-1]
    return [(i, i + by) for i in sorted(set(inner.tolist()))]


def _first_channel(reader: ScanReader, entry: ScanEntry, slice_axis: str) -> np.ndarray:
    """Displayed slices (S, rows, columns)."""
    return display(reader.read(replace(entry, has_label=False, label_path="")).image[..., 0], slice_axis)


def same_origin(scans: Sequence[ScanSummary]) -> list[tuple[str, str, float]]:
    """(scan, scan, share) of scans that seem to be cut from one image: they share values that are no whole numbers.

    share: of their distinct values, estimated from sketches. Nothing where sharing values is usual in the set.
    """
    sketched = [scan for scan in scans if len(scan.sketch)]
    if len(sketched) < 3:
        return []
    owners: dict[int, list[int]] = defaultdict(list)
    for number, scan in enumerate(sketched):
        for value in scan.sketch.tolist():
            owners[value].append(number)
    usual = max(2, len(sketched) // 10)
    common: dict[tuple[int, int], int] = defaultdict(int)
    for numbers in owners.values():
        if len(numbers) <= usual:  # a value that many scans have says nothing
            for pair in itertools.combinations(numbers, 2):
                common[pair] += 1
    pairs = []
    for (a, b), n in common.items():
        if n < _LEAST_SHARED:
            continue
        size = len(sketched[a].sketch)
        union = np.union1d(sketched[a].sketch, sketched[b].sketch)[:size]
        shared = np.isin(union, sketched[a].sketch) & np.isin(union, sketched[b].sketch)
        share = float(shared.mean())
        if share > _SHARED and sketched[a].record.image_sha256 != sketched[b].record.image_sha256:
            pairs.append((sketched[a].entry.scan_id, sketched[b].entry.scan_id, share))
    return pairs
