"""Whether a scan is unlike those that a network was trained on: spacing, field of view and intensities as numbers.

What is compared is what the network can notice. An MRI scan is z-scored, so its scale and offset do not count, but how
far its extremes lie from its mean does. HU beyond air and beyond 12 bits are taken as these: the windows cut them off.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from inpaint_ssl.data.intensity import AIR_HU, ChannelStatistics

_HIGHEST_HU = 3071.0
_AXES = "xyz"
# How far outside the range of training scans a value may lie: a share of the range's width, which grows as scans get
# fewer, since the range of a few says little about the next one, and at least this share of the nearer bound ...
_SHARE_OF_WIDTH, _SCANS_FOR_WIDTH = 0.25, 5.0
_LEAST_SHARE = {"spacing": 0.2, "fov": 0.25, "channel": 0.25}
# ... or, of HU, which have no natural zero, this many. Both are larger by 1 / scans.
_LEAST_HU = {"hu_min": 50.0, "hu_mean": 100.0, "hu_std": 100.0, "hu_max": 500.0}
_HU_IN_WORDS = {
    "hu_min": "lowest intensity",
    "hu_mean": "mean intensity",
    "hu_std": "standard deviation of the intensity",
    "hu_max": "highest intensity",
}


def quantities(
    shape: Sequence[int], spacing_mm: Sequence[float], intensity: Sequence[ChannelStatistics], modality: str
) -> dict[str, float]:
    """What is compared of one scan: shape (X, Y, Z), spacing_mm along X, Y, Z and the statistics of every channel.

    spacing_x_mm ... and fov_x_mm ... (of all voxels together). CT (modality "ct"): hu_min, hu_mean, hu_std, hu_max of
    the first channel. MRI: channel_<i>_z_min and channel_<i>_z_max, the extremes in standard deviations from the mean;
    a channel of one value has none.
    """
    found = {f"spacing_{axis}_mm": float(mm) for axis, mm in zip(_AXES, spacing_mm, strict=True)}
    found |= {f"fov_{axis}_mm": float(n * mm) for axis, n, mm in zip(_AXES, shape, spacing_mm, strict=True)}
    if modality == "ct":
        one = intensity[0]
        low, high = (float(np.clip(value, AIR_HU, _HIGHEST_HU)) for value in (one.min, one.max))
        return found | {"hu_min": low, "hu_mean": float(one.mean), "hu_std": float(one.std), "hu_max": high}
    for channel, one in enumerate(intensity):
        if one.std > 0:
            found[f"channel_{channel}_z_min"] = float((one.min - one.mean) / one.std)
            found[f"channel_{channel}_z_max"] = float((one.max - one.mean) / one.std)
    return found


def ranges_of(scans: Iterable[Mapping[str, float]]) -> dict[str, tuple[float, float]]:
    """The lowest and highest value of every quantity over `scans`, as `quantities` gives them; {} of no scans."""
    found: dict[str, tuple[float, float]] = {}
    for scan in scans:
        for name, value in scan.items():
            low, high = found.get(name, (value, value))
            found[name] = (min(low, value), max(high, value))
    return found


def outside(ranges: Mapping[str, tuple[float, float]], scan: Mapping[str, float], n_scans: int) -> list[str]:
    """A sentence with the numbers for every quantity of a scan that lies outside the range of the training scans.

    ranges: of ranges_of; scan: of quantities; n_scans: how many scans the ranges are of. A value may lie
    outside by a quarter of the range's width (5 / n_scans of it where that is more), and at least by 20 % (spacing) or
    25 % (field of view, MRI extremes) of the nearer bound, or by 50 HU (lowest), 100 HU (mean, standard deviation) or
    500 HU (highest, which a metal implant decides), all of these times 1 + 1 / n_scans. Quantities that are not in
    `ranges` are passed over.
    """
    several = sum(name.endswith("_z_min") for name in ranges) > 1
    counted = max(n_scans, 1)
    share, few = max(_SHARE_OF_WIDTH, _SCANS_FOR_WIDTH / counted), 1 + 1 / counted
    sentences = []
    for name, value in scan.items():
        if name in ranges:
            low, high = ranges[name]
            below, above = (max(share * (high - low), few * _least_margin(name, bound)) for bound in (low, high))
            if not low - below <= value <= high + above:
                sentences.append(_sentence(name, value, low, high, several) + f" ({n_scans} scan{'s' * (n_scans > 1)})")
    return sentences


def _least_margin(name: str, bound: float) -> float:
    return _LEAST_HU[name] if name in _LEAST_HU else abs(bound) * _LEAST_SHARE[name.partition("_")[0]]


def _sentence(name: str, value: float, low: float, high: float, several: bool) -> str:
    if name in _HU_IN_WORDS:
        return f"{_HU_IN_WORDS[name]} is {_number(value)} HU, training scans had {_span(low, high)} HU"
    kind, axis = name.split("_")[:2]
    if kind == "channel":
        of = f" of channel {axis}" if several else ""
        if name.endswith("_min"):
            end, side, value, low, high = "darkest", "below", -value, -high, -low  # as distances from the mean
        else:
            end, side = "brightest", "above"
        return (
            f"the {end} voxel{of} is {_number(value)} standard deviations {side} the mean, in training scans "
            f"{_span(low, high)}"
        )
    what = "voxel spacing" if kind == "spacing" else "field of view"
    return f"{what} along {axis} is {_number(value)} mm, training scans had {_span(low, high)} mm"


def _span(low: float, high: float) -> str:
    first, last = _number(low), _number(high)
    return first if first == last else f"{first} to {last}"


def _number(value: float) -> str:
    """Three digits, or all of those before the point."""
    size = abs(value)
    if size >= 1e6 or size < 0.1:
        return f"{value:.3g}"
    return f"{value:.{0 if size >= 100 else 1 if size >= 10 else 2}f}"
