"""Which clinical metrics the page shows, and how they relate to figure 6 of the paper."""

import math

from inpaint_ssl.report.load import Study

_OF_THE_PAPER = {"mri": ("volume_mm3", "mean_t2_ms"), "ct": ("area_mm2", "mean_hu")}  # in its figure 6


def shown_metrics(study: Study) -> tuple[str, ...]:
    """Clinical metrics of the page, in order; of scans of one slice without the volume, which only repeats the area."""
    return tuple(m for m in study.clinical_metrics if m != "volume_mm3" or not one_slice_scans(study))


def one_slice_scans(study: Study) -> bool:
    """Whether each volume is the area times the thickness of a scan's only slice: all their percent errors are equal.

    Errors of 0 and of -100 % (nothing predicted) decide nothing: they are equal for scans of any number of slices.
    """
    volume, area = _errors(study, "volume_mm3"), _errors(study, "area_mm2")
    tell = any(all(abs(error - common) > 1e-9 for common in (0.0, -100.0)) for error in volume.values())
    same = (math.isclose(volume[key], area[key], rel_tol=1e-9, abs_tol=1e-9) for key in volume.keys() & area.keys())
    return tell and volume.keys() == area.keys() and all(same)


def _errors(study: Study, metric: str) -> dict[tuple[object, ...], float]:
    return {
        (a.label_fraction, a.class_name, a.arm, p.run, p.subject, p.scan): p.percent_error
        for a in study.agreements
        if a.metric == metric
        for p in a.pairs
    }


def like_the_paper(study: Study, metric: str) -> str:
    """How a caption begins: the paper's figure 6 has volume and T2 of MRI, and area and HU of CT."""
    own = metric in _OF_THE_PAPER.get(str(study.info["modality"]), ())
    return "As figure 6 of the paper" if own else "In the manner of figure 6 of the paper"
