"""Histograms of all scans in one picture, those that a finding names in another colour."""

import numpy as np
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter1d

from inpaint_ssl.doctor.examine import Diagnosis
from inpaint_ssl.doctor.inspect import BINS
from inpaint_ssl.doctor.plan import Plan
from inpaint_ssl.doctor.scans import ScanSet
from inpaint_ssl.report.drawing import ARM_COLOURS, MUTED, Drawing
from inpaint_ssl.statistics import FROM_SCRATCH, PRETRAINED

_LINES = 150  # scans in a histogram, besides those that stand out
_STANDS_OUT = ("intensity_outlier", "wrong_intercept", "not_hu", "no_air", "looks_like_ct", "padding")
_HU_RANGE = (-1200.0, 1600.0)
_Z_RANGE = (-3.0, 5.0)
_SMOOTH_BINS = 3.0


def draw_histograms(diagnosis: Diagnosis, plan: Plan) -> list[Drawing]:
    """One for each channel: a line for every scan, those that a finding names in the other colour."""
    found, is_ct = diagnosis.found, diagnosis.preprocessing.modality == "ct"
    if found is None or not found.scans:
        return []
    named = {key[0] for f in plan.findings if f.kind in _STANDS_OUT for item in f.items for key in item.shown}
    return [_histogram(found, channel, named, is_ct) for channel in range(len(found.reader.channel_names))]


def _histogram(found: ScanSet, channel: int, named: set[str], is_ct: bool) -> Drawing:
    scans = [scan for scan in found.scans if channel < len(scan.levels)]
    usual = [scan for scan in scans if scan.entry.scan_id not in named]
    usual = usual[:: max(1, -(-len(usual) // _LINES))]
    figure = Figure(figsize=(9.2, 3.1), layout="constrained")
    axes = figure.subplots()
    low, high = _HU_RANGE if is_ct else _Z_RANGE
    shown: list[np.ndarray] = []
    for group, colour, width, opacity in (
        (usual, ARM_COLOURS[FROM_SCRATCH], 0.7, max(0.12, min(0.8, 12 / max(len(usual), 1)))),
        ([scan for scan in scans if scan.entry.scan_id in named], ARM_COLOURS[PRETRAINED], 1.3, 0.9),
    ):
        for scan in group:
            levels, statistics = scan.levels[channel], scan.record.intensity[channel]
            edges = np.linspace(levels.low, levels.high, BINS + 1)
            centres = (edges[1:] + edges[:-1]) / 2
            # Few distinct values would make a comb.
            density = gaussian_filter1d(levels.shares, _SMOOTH_BINS) / (edges[1] - edges[0])
            if not is_ct:
                centres = (centres - statistics.mean) / (statistics.std or 1.0)
                density = density * statistics.std
            inside = (centres >= low) & (centres <= high)
            step = slice(None, None, 2 if len(scans) > 20 else 1)
            shown.append(density[inside][step])
            axes.plot(centres[inside][step], shown[-1], color=colour, linewidth=width, alpha=opacity)
    name = found.reader.channel_names[channel]
    axes.set(
        xlabel="HU" if is_ct else "z-score, as training sees it", ylabel="share of voxels", yticks=[], xlim=(low, high)
    )
    axes.set_title(name, loc="left")
    # A peak of background would flatten everything else.
    tops = [np.quantile(heights, 0.97) for heights in shown if heights.size]
    axes.set_ylim(0, 1.25 * float(np.median(tops)) if tops and np.median(tops) > 0 else None)
    axes.tick_params(color=MUTED)
    lines = f"{len(usual)} of {len(scans)} scans" if len(usual) + len(named) < len(scans) else f"{len(scans)} scans"
    caption = f"Intensities of {name}: one line for each of {lines}" + (
        "; in the other colour those that a finding above names." if named else "."
    )
    return Drawing(f"histogram-{channel}", figure, caption, caption + " High peaks are cut off.")
