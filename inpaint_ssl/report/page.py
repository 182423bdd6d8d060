"""Writes report.html with its figures and tables: the page of a comparison, or that of another kind of study."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

from inpaint_ssl.report.clinical.bland_altman import bland_altman_plots
from inpaint_ssl.report.clinical.figures import percent_errors
from inpaint_ssl.report.clinical.page import clinical_part
from inpaint_ssl.report.clinical.t2_maps import t2_maps
from inpaint_ssl.report.clinical.tables import write_clinical_tables
from inpaint_ssl.report.drawing import STYLE, Drawing, Picture, save
from inpaint_ssl.report.figures import dice_against_labels, dice_of_classes, loss_curves
from inpaint_ssl.report.frame import save_figures, shared_context, shared_drawings, write_page
from inpaint_ssl.report.info import COMPARISONS, read_info
from inpaint_ssl.report.kind_page import write_kind_report
from inpaint_ssl.report.load import Study, read_gallery, read_rows, read_study
from inpaint_ssl.report.pictures import corruption_gallery, overlays
from inpaint_ssl.report.study_views import study_views
from inpaint_ssl.report.tables import ordered_entries, write_tables
from inpaint_ssl.report.text import METHOD_NAMES, interval, is_significant, labels_text, methods_used, percent, verdict
from inpaint_ssl.report.views import write_latex
from inpaint_ssl.report.worth import labels_saved, worth, write_label_curve
from inpaint_ssl.statistics import AVERAGE, FROM_SCRATCH, PRETRAINED


def write_report(workdir: Path) -> Path:
    """Write report.html, figures/*.png and *.svg, tables/*.csv and *.tex, and of a comparison results.csv.

    Reads study.json, per_scan.csv, per_slice.csv, selection.json, manifest.json and the metrics.csv and examples/ of
    the cells; parts that do not exist yet are left out. Returns the path of report.html. Raises InputError when
    study.json is missing, its kind is unknown, or a file is damaged.
    """
    workdir = Path(workdir)
    info = read_info(workdir)
    return _write_comparison(workdir) if info["kind"] in COMPARISONS else write_kind_report(workdir, info)


def _write_comparison(workdir: Path) -> Path:
    study = read_study(workdir)
    write_tables(study)
    write_clinical_tables(study)
    write_label_curve(study)
    for view in study_views(study):
        write_latex(study.workdir / "tables", view)
    with matplotlib.rc_context(STYLE):
        figures = save_figures(_draw(study), study.workdir)
    return write_page("page.html.j2", _context(study, figures), study.workdir)


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
        *shared_drawings(study, [r.channel for r in study.restoration]),
        ("overlays", overlays(study)),
        ("clinical", percent_errors(study)),
        ("bland_altman", bland_altman_plots(study)),
        ("t2_maps", t2_maps(study)),
    ]


def _context(study: Study, figures: dict[str, list[Picture]]) -> dict[str, Any]:
    rows = read_rows(study.workdir / "per_scan.csv")
    shared = shared_context(study, rows, study.statistics.warnings)
    return shared | {
        "verdict": verdict(study),
        "groups": _groups(study),
        "figures": figures,
        "restoration": study.restoration,
        "clinical": clinical_part(study, figures),
        "worth": worth(study, figures["worth"]),
        "distances": study.distances,
        "excluded": sum(
            a.n_excluded for e in study.statistics.entries if e.class_name != AVERAGE for a in e.arms.values()
        ),
        "methods": methods_used(study),
        "planned": study.statistics.n_planned,
        "bootstrap": study.statistics.bootstrap,
        "level": percent(1 - study.statistics.alpha),
        "interval": interval,
        "is_significant": functools.partial(is_significant, study),
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
