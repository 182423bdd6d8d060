"""The doctor's page: one file, no script, nothing fetched from anywhere, no path of this machine."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.colors import to_rgb
from matplotlib.image import imsave
from ml_collections import ConfigDict
from rich.console import Console

import inpaint_ssl.report
from inpaint_ssl.colours import colour_of
from inpaint_ssl.doctor.checks_geometry import table
from inpaint_ssl.doctor.checks_labels import class_counts
from inpaint_ssl.doctor.examine import Diagnosis
from inpaint_ssl.doctor.findings import SEVERITIES, Finding
from inpaint_ssl.doctor.histograms import draw_histograms
from inpaint_ssl.doctor.inspect import Examination
from inpaint_ssl.doctor.plan import Plan
from inpaint_ssl.doctor.scans import PARTS, ScanSet
from inpaint_ssl.doctor.terminal import summary
from inpaint_ssl.doctor.tiles import NO_NUMBER, Tile, make_tile
from inpaint_ssl.doctor.workers import run_tasks
from inpaint_ssl.files import write_text_atomic
from inpaint_ssl.progress import StageProgress
from inpaint_ssl.report.drawing import STYLE, picture

_HERE = Path(__file__).parent
_TILES = 6  # pictures of a finding
_ITEMS = 100  # files of a finding that are listed
_OPACITY = 0.55  # of labels over the image


def write_page(path: Path, config: ConfigDict, diagnosis: Diagnosis, plan: Plan, console: Console) -> None:
    """Write the page atomically; the slices that findings are about are read once more for it."""
    tiles = _tiles(diagnosis, plan, config.data.prepare_processes, console)
    with matplotlib.rc_context(STYLE):
        histograms = [picture(drawing) for drawing in draw_histograms(diagnosis, plan)]
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    context = _context(config, diagnosis, plan, tiles) | {"histograms": histograms}
    write_text_atomic(path, environment.get_template("page.html.j2").render(context))


def _context(
    config: ConfigDict, diagnosis: Diagnosis, plan: Plan, tiles: Mapping[tuple[str, int], Tile]
) -> dict[str, Any]:
    found = diagnosis.found
    css = [Path(inpaint_ssl.report.__file__).with_name("page.css"), _HERE / "page.css"]
    return {
        "css": Markup("\n".join(file.read_text(encoding="utf-8") for file in css)),
        "name": found.reader.name if found else config.study.name,
        "study": config.study.name,
        "summary": summary(plan),
        "counts": {severity: sum(f.severity == severity for f in plan.findings) for severity in SEVERITIES},
        "findings": [_finding(finding, found, tiles) for finding in plan.findings],
        "lines": plan.lines,
        "parts": _parts(found) if found else [],
        "classes": class_counts(found.labelled, found.classes) if found and found.classes else [],
        "n_labelled": len(found.labelled) if found else 0,
        "sizes": table(found, diagnosis.preprocessing.slice_axis) if found else [],
        "slice_axis": diagnosis.preprocessing.slice_axis,
        "items_shown": _ITEMS,
    }


def _parts(found: ScanSet) -> list[tuple[str, int, int, int]]:
    """(part, subjects, scans, slices) of what could be read."""
    rows = []
    for part in (*PARTS, ""):
        scans = [scan for scan in found.scans if found.part.get(scan.entry.scan_id, "") == part]
        if scans:
            subjects = {scan.record.subject_id for scan in scans}
            rows.append((part or "not used", len(subjects), len(scans), sum(scan.n_slices for scan in scans)))
    return rows


def _finding(finding: Finding, found: ScanSet | None, tiles: Mapping[tuple[str, int], Tile]) -> dict[str, Any]:
    pictures = []
    for key in _shown(finding):
        if key in tiles and found is not None:
            pictures.append(_picture(tiles[key], found))
    return {"finding": finding, "pictures": pictures}


def _shown(finding: Finding) -> list[tuple[str, int]]:
    """The slices whose pictures a finding has; those of one item stay together."""
    return [key for item in finding.items for key in item.shown][:_TILES]


def _tiles(diagnosis: Diagnosis, plan: Plan, processes: int, console: Console) -> dict[tuple[str, int], Tile]:
    found = diagnosis.found
    if found is None:
        return {}
    entries = {entry.scan_id: entry for entry in found.reader.entries}
    # A decoder that crashed or hung is not asked again.
    given_up = {entry.scan_id for entry, trouble in found.troubles if trouble.kind in ("crashed", "hung")}
    wanted = list(dict.fromkeys(key for finding in plan.findings for key in _shown(finding)))
    keys = [key for key in wanted if key[0] in entries and key[0] not in given_up]
    examination = Examination(found.reader, diagnosis.preprocessing)
    with StageProgress("draw slices", len(keys), "slice", console=console) as progress:
        results = run_tasks(make_tile, examination, [(entries[i], n) for i, n in keys], processes, progress.update)
        progress.finish(len(keys))
    return {key: tile for key, tile in zip(keys, results, strict=True) if isinstance(tile, Tile)}


def _picture(tile: Tile, found: ScanSet) -> dict[str, Any]:
    """src, alt, caption and width of an <img>."""
    grey = np.repeat(tile.grey[..., None], 3, axis=2).astype(np.float64) / 255
    for value in np.unique(tile.label[tile.label > 0]).tolist():
        colour = (1.0, 0.0, 1.0) if value == NO_NUMBER else to_rgb(colour_of(value - 1))
        where = tile.label == value
        grey[where] = (1 - _OPACITY) * grey[where] + _OPACITY * np.array(colour)
    png = io.BytesIO()
    imsave(png, grey, format="png")
    entry = next(entry for entry in found.reader.entries if entry.scan_id == tile.scan_id)
    caption = f"{found.path(entry)}, slice {tile.slice_index}"
    return {
        "src": f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}",
        "caption": caption,
        "alt": f"slice of {caption}" + (", labels in colour" if tile.label.any() else ""),
        "width": tile.grey.shape[1],
        "height": tile.grey.shape[0],
    }
