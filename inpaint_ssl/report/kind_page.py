"""The page of a study that is no comparison: what its kind contributes, in the frame that all pages share."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib

from inpaint_ssl.report.drawing import STYLE, Drawing
from inpaint_ssl.report.frame import save_figures, shared_context, shared_drawings, write_page
from inpaint_ssl.report.info import shown_split
from inpaint_ssl.report.kinds import part_of
from inpaint_ssl.report.load import read_files, read_rows
from inpaint_ssl.report.losses import arm_losses, losses_note
from inpaint_ssl.report.parts import StudyPart
from inpaint_ssl.report.provenance import kind_name
from inpaint_ssl.report.seed_table import seed_table
from inpaint_ssl.report.tables import write_dice
from inpaint_ssl.report.views import write_views
from inpaint_ssl.statistics import Bootstrap, summarise

_WIDEST = 7.5  # inches; the room beside the verdict is 6.2 wide
_TALLEST = 1.8  # height over width


def write_kind_report(workdir: Path, info: Mapping[str, Any]) -> Path:
    """Write report.html, figures/ and tables/ of a study; returns report.html's path.

    info: read_info(workdir). Raises InputError when the kind is unknown or a file is damaged.
    """
    files, rows = read_files(workdir, info), read_rows(workdir / "per_scan.csv")
    context = shared_context(files, rows)
    with matplotlib.rc_context(STYLE):
        part = _with_seeds(part_of(str(info["kind"]))(workdir, info), info, rows)
        beside = part.figures[:1] if part.figures and fits_beside(part.figures[0]) else ()
        drawings = [
            ("beside", beside),
            ("kind", part.figures[len(beside) :]),
            ("losses", arm_losses(files)),
            *shared_drawings(files),
        ]
        figures = save_figures(drawings, workdir)
    write_views(workdir / "tables", part.tables)
    split = shown_split(info)
    if entries := summarise(rows, float(info["alpha"]), split=split).entries:
        write_dice(workdir / "tables", entries, info["label_counts"])
    context |= {
        "part": part,
        "kind": kind_name(str(info["kind"])),
        "figures": figures,
        "losses_note": losses_note(files),
        "bootstrap": Bootstrap(**info["bootstrap"]),
        "split": split,
    }
    return write_page("kind.html.j2", context, workdir)


def _with_seeds(part: StudyPart, info: Mapping[str, Any], rows: Sequence[Mapping[str, str]]) -> StudyPart:
    """With the table of every seed's value where there are several."""
    labels = {arm["arm"]: arm.get("label", arm["arm"]) for arm in info["arms"]}
    table = seed_table(rows, labels, shown_split(info))
    return part if table is None else replace(part, tables=(*part.tables, table))


def fits_beside(drawing: Drawing) -> bool:
    """Is the first figure of a kind narrow and low enough to stand beside the verdict?"""
    width, height = drawing.figure.get_size_inches()
    return bool(width <= _WIDEST and height <= _TALLEST * width)
