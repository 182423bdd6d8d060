"""Figures of RESULTS.md as small PNG files that equal results make equal."""

import io
from collections.abc import Iterable
from pathlib import Path

import matplotlib

from inpaint_ssl.errors import InputError
from inpaint_ssl.files import write_bytes_atomic
from inpaint_ssl.report.drawing import STYLE, Drawing
from inpaint_ssl.report.evidence import files
from inpaint_ssl.report.evidence.read import EvidenceStudy
from inpaint_ssl.report.kinds.arm_figures import curves_of_average, gains_figure

LIMIT = 100_000  # bytes of one file
_DPI = (120, 100, 80, 60)


def figure_of(study: EvidenceStudy) -> Drawing | None:
    """Dice against labels of a study of several label fractions, else the gain of every arm; None without results.

    Its name is that of the study. Lines differ in marker and dash as well as in colour, so grey tells them apart.
    """
    with matplotlib.rc_context(STYLE):
        drawn = curves_of_average(study.results) if len(study.fractions) > 1 else gains_figure(study.results)
    return None if drawn is None else Drawing(study.name.folder, drawn.figure, drawn.alt, drawn.caption)


def png(drawing: Drawing) -> bytes:
    """The figure as PNG of at most LIMIT bytes, as fine as that allows; InputError where it is not small enough."""
    with matplotlib.rc_context(STYLE):
        for dpi in _DPI:
            stream = io.BytesIO()
            drawing.figure.savefig(stream, format="png", dpi=dpi, metadata={"Software": None})
            if len(stream.getvalue()) <= LIMIT:
                return stream.getvalue()
    raise InputError(f"the figure of {drawing.name} is larger than {LIMIT:,} bytes; leave arms out of the study")


def write_figures(drawings: Iterable[Drawing], folder: Path) -> None:
    """Write every figure as PNG into `folder`/figures, and remove those of studies that are no more."""
    kept = set()
    for drawing in drawings:
        path = folder / files.FIGURES / f"{drawing.name}.png"
        write_bytes_atomic(path, png(drawing))
        kept.add(path)
    for path in sorted((folder / files.FIGURES).glob("*.png")):
        if path not in kept:
            path.unlink()
