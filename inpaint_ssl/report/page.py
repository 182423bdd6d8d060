"""report.html: one file, no script, nothing fetched from anywhere."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from inpaint_ssl.files import write_text_atomic
from inpaint_ssl.report.clinical.bland_altman import bland_altman_plots
from inpaint_ssl.report.clinical.figures import percent_errors
from inpaint_ssl.report.clinical.page import FILTERS, clinical_part
from inpaint_ssl.report.clinical.t2_maps import t2_maps
from inpaint_ssl.report.clinical.tables import write_clinical_tables
from inpaint_ssl.report.drawing import STYLE, Drawing, Picture, save
from inpaint_ssl.report.figures import dice_against_labels, dice_of_classes, loss_curves
from inpaint_ssl.report.load import Study, read_gallery, read_study
from inpaint_ssl.report.pictures import corruption_gallery, inpainting_examples, overlays
from inpaint_ssl.report.tables import ordered_entries, write_tables
from inpaint_ssl.report.text import (
    METHOD_NAMES,
    duration,
    interval,
    is_significant,
    labels_text,
    methods_used,
    p_text,
    percent,
    ratio,
    signed,
    verdict,
)
from inpaint_ssl.report.worth import labels_saved, worth, write_label_curve
from inpaint_ssl.statistics import AVERAGE, FROM_SCRATCH, PRETRAINED

_HERE = Path(__file__).parent
_MODALITIES = {"mri": "MRI", "ct": "CT"}


def write_report(workdir: Path) -> Path:
    """Write report.html, figures/*.png and *.svg, tables/*.csv and results.csv from the files of a study.

    Reads study.json, per_scan.csv, per_slice.csv and the metrics.csv and examples/ of its cells; parts that do not
    exist yet are left out. Returns the path of report.html. Raises InputError when study.json is missing or a file is
    damaged.
    """
    study = read_study(Path(workdir))
    write_tables(study)
    write_clinical_tables(study)
    write_label_curve(study)
    with matplotlib.rc_context(STYLE):
        figures = {name: [save(d, study.workdir / "figures") for d in drawings] for name, drawings in _draw(study)}
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "ratio": ratio, "signed": signed, "p_text": p_text, "percent": percent, "duration": duration, "plain": _plain,
        "units": lambda text: text.replace(" %", "\N{NO-BREAK SPACE}%").replace(" ms", "\N{NO-BREAK SPACE}ms"),
    } | FILTERS  # fmt: skip
    page = environment.get_template("page.html.j2").render(_context(study, figures))
    path = study.workdir / "report.html"
    write_text_atomic(path, page)
    return path


def write_gallery_picture(workdir: Path) -> Path:
    """Write figures/corruption_gallery.png and .svg from gallery.npz; returns the path of the PNG."""
    with matplotlib.rc_context(STYLE):
        picture = save(corruption_gallery(read_gallery(workdir)), workdir / "figures")
    return workdir / "figures" / f"{picture.name}.png"


def _draw(study: Study) -> list[tuple[str, Sequence[Drawing]]]:
    main = dice_against_labels(study)
    return [
        ("main", [main] if main else []),
        ("worth", labels_saved(study)),
        ("classes", dice_of_classes(study)),
        ("losses", loss_curves(study)),
        ("gallery", [corruption_gallery(study.gallery)] if study.gallery else []),
        ("inpainting", inpainting_examples(study)),
        ("overlays", overlays(study)),
        ("clinical", percent_errors(study)),
        ("bland_altman", bland_altman_plots(study)),
        ("t2_maps", t2_maps(study)),
    ]


def _plain(value: Any) -> str:
    """A setting or a number as a person writes it."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(f"({_plain(v)})" if isinstance(v, list | tuple) else _plain(v) for v in value) or "()"
    return str(value)


def _context(study: Study, figures: dict[str, list[Picture]]) -> dict[str, Any]:
    info = study.info
    cells = info["cells"]
    return {
        "info": info,
        "modality": _MODALITIES.get(info["modality"], info["modality"]),
        "verdict": verdict(study),
        "warnings": [*study.statistics.warnings, *info["warnings"]],
        "groups": _groups(study),
        "figures": figures,
        "restoration": study.restoration,
        "clinical": clinical_part(study, figures),
        "worth": worth(study, figures["worth"]),
        "distances": study.distances,
        "excluded": sum(
            a.n_excluded for e in study.statistics.entries if e.class_name != AVERAGE for a in e.arms.values()
        ),
        "complete": sum(cell["status"] == "complete" for cell in cells),
        "methods": methods_used(study),
        "planned": study.statistics.n_planned,
        "bootstrap": study.statistics.bootstrap,
        "level": percent(1 - study.statistics.alpha),
        "interval": interval,
        "is_significant": functools.partial(is_significant, study),
        "css": Markup((_HERE / "page.css").read_text(encoding="utf-8")),
        "FROM_SCRATCH": FROM_SCRATCH,
        "PRETRAINED": PRETRAINED,
        "AVERAGE": AVERAGE,
        "METHOD_NAMES": METHOD_NAMES,
    }


def _groups(study: Study) -> list[dict[str, Any]]:
    """Rows of the table by label fraction; a single class is shown once, under its own name."""
    groups = []
    single = study.class_names[0] if len(study.class_names) == 1 else None
    for fraction in study.statistics.label_fractions:
        entries = [e for e in ordered_entries(study) if e.label_fraction == fraction]
        rows = [
            {"name": single or ("average" if e.class_name == AVERAGE else e.class_name), "entry": e}
            for e in entries
            if not (single and e.class_name != AVERAGE)
        ]
        groups.append({"labels": labels_text(study, fraction), "rows": rows})
    return groups
