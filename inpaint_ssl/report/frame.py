"""What the pages of all kinds of study share: templates, filters, the record of a study, and the one script.

report.html is one file that fetches nothing. Its only script sorts tables; without it everything can still be read.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from inpaint_ssl.files import write_text_atomic
from inpaint_ssl.report.clinical.page import FILTERS
from inpaint_ssl.report.demographics import demographics_table
from inpaint_ssl.report.drawing import Drawing, Picture, save
from inpaint_ssl.report.info import shown_split
from inpaint_ssl.report.load import StudyFiles
from inpaint_ssl.report.pictures import corruption_gallery, inpainting_examples
from inpaint_ssl.report.provenance import (
    exclusions,
    failures,
    hashes,
    origins,
    pretrained_from,
    read_selection,
    runs_view,
    runs_with,
    settings_view,
)
from inpaint_ssl.report.text import duration, p_text, percent, plain, ratio, signed
from inpaint_ssl.report.views import sort_value, write_views

_HERE = Path(__file__).parent
_MODALITIES = {"mri": "MRI", "ct": "CT"}
Figures = dict[str, list[Picture]]


def save_figures(drawings: Sequence[tuple[str, Sequence[Drawing]]], workdir: Path) -> Figures:
    """Write figures/<name>.png and .svg of every drawing; the pictures by the name of their group."""
    return {name: [save(drawing, workdir / "figures") for drawing in group] for name, group in drawings}


def shared_drawings(files: StudyFiles, channels: Sequence[str] = ()) -> list[tuple[str, Sequence[Drawing]]]:
    """The corruption gallery (figure 1 of the paper) and inpainting examples, as far as the study has them."""
    return [
        ("gallery", [corruption_gallery(files.gallery)] if files.gallery else []),
        ("inpainting", inpainting_examples(files, channels)),
    ]


def shared_context(
    files: StudyFiles, rows: Sequence[Mapping[str, str]], warnings: Sequence[str] = ()
) -> dict[str, Any]:
    """What base.html.j2 shows of a study of any kind; writes tables/runs and tables/settings, and Table 1.

    rows: those of per_scan.csv; warnings: those of its statistics. InputError when manifest.json or selection.json is
    damaged.
    """
    info, workdir = files.info, files.workdir
    table_one = demographics_table(info["demographics"]) if info["demographics"] else None
    runs, settings = runs_view(info["cells"]), settings_view(info["settings"])
    write_views(workdir / "tables", [view for view in (runs, settings, table_one) if view is not None and view.rows])
    failed = runs_with(info, "failed")
    return {
        "info": info,
        "modality": _MODALITIES.get(info["modality"], info["modality"]),
        "complete": len(runs_with(info, "complete")),
        "failed": failed,
        "warnings": [*warnings, *info["warnings"], *failures(info)],
        "selection": read_selection(workdir),
        "origins": origins(info["from"]),
        "pretrained_from": pretrained_from(workdir),
        "hashes": hashes(workdir),
        "exclusions": exclusions(rows, shown_split(info)),
        "runs": runs,
        "settings": settings,
        "table_one": table_one,
        "restoration": (),
        "css": Markup((_HERE / "page.css").read_text(encoding="utf-8")),
        "script": Markup((_HERE / "sort.js").read_text(encoding="utf-8")),
    }


def write_page(template: str, context: Mapping[str, Any], workdir: Path) -> Path:
    """Write report.html from a template; returns its path."""
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "ratio": ratio, "signed": signed, "p_text": p_text, "percent": percent, "duration": duration, "plain": plain,
        "units": _units, "sort_value": sort_value,
    } | FILTERS  # fmt: skip
    path = Path(workdir) / "report.html"
    write_text_atomic(path, environment.get_template(template).render(context))
    return path


def _units(text: str) -> str | Markup:
    """Keep a number and its unit on one line; markup stays markup."""
    kept = re.sub(r" (?=(%|ms)(\W|$))", "\N{NO-BREAK SPACE}", str(text))
    return Markup(kept) if isinstance(text, Markup) else kept
