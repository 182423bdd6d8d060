"""index.html of a prediction: what was found in every scan, what to look at again, and by which model.

The page and its pictures need no network; its only script sorts tables.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import inpaint_ssl.report
from inpaint_ssl.colours import colour_of
from inpaint_ssl.files import write_text_atomic
from inpaint_ssl.metrics import FLAGS, QUANTITIES
from inpaint_ssl.predict.measurements import defined, flags_of, measured
from inpaint_ssl.report.clinical.text import amount
from inpaint_ssl.report.text import ARM_NAMES, duration, enumeration, percent, plain, ratio

_HERE = Path(__file__).parent
_REPORT = Path(inpaint_ssl.report.__file__).parent
_MODALITIES = {"mri": "MRI", "ct": "CT"}
_ML = 1e-3  # in a cubic mm
_AREA, _VOLUME = "area_mm2", "volume_mm3"
_FILES = (
    ("mask", "mask"), ("dicom_seg", "DICOM"), ("probabilities", "probabilities"), ("uncertainty", "uncertainty"),
)  # fmt: skip
_FLAGS = {
    "empty_prediction": ("nothing found", "the class is nowhere in the scan; its volume is 0"),
    "touches_border": ("touches border", "the mask reaches the border of the scan, so that tissue may lie outside"),
    "t2_invalid": ("T2 invalid", "too many voxels of the mask have no valid T2"),
    "t2_unknown": ("T2 unknown", FLAGS["t2_unknown"]),
}
_MANY = 1000  # flags; warnings come first in the order of the table


@dataclass(frozen=True)
class Cell:
    """What is shown of a number, and what the table is sorted by ("" last)."""

    shown: str
    sorted_by: str


def write_index(output: Path, about: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> Path:
    """Write index.html into the folder of a prediction; returns its path.

    records: of all scans, as predictions.json has them. about: "models", of each its name, study, dataset, arm,
    label_fraction, seed, labels (name -> value in masks), preprocessing, trained_on (scans, subjects) and, where known,
    card (of a bundle, MetricsCard.to_dict); "settings", name -> value; and, where known, "versions" (name -> version),
    "seconds" (of the whole command) and "problems" (texts: files that are no scan). All text is taken for untrusted.
    """
    done = [record for record in records if record["status"] == "done"]
    failed = [record for record in records if record["status"] != "done"]
    classes = list(dict.fromkeys(name for record in done for name in measured(record)))
    metrics = _metrics(done)
    labels = {name: value for model in about["models"][:1] for name, value in model["labels"].items()}
    colours = {name: colour_of(index) for index, name in enumerate(labels)}
    context = {
        "css": Markup("\n".join((folder / "page.css").read_text(encoding="utf-8") for folder in (_REPORT, _HERE))),
        "script": Markup((_REPORT / "sort.js").read_text(encoding="utf-8")),
        "headline": headline(records),
        "models": [_model(model) for model in about["models"]],
        "classes": [(name, value, colours[name]) for name, value in labels.items()],
        "columns": [(name, colours.get(name)) for name in classes],
        "headings": [_heading(metric) for metric in metrics],
        "scans": [_scan(record, classes, metrics) for record in done],
        "failed": [(record["scan"], record.get("source", ""), record.get("error", "")) for record in failed],
        "problems": list(about.get("problems", ())),
        "has_disagreement": any(defined(record.get("disagreement")) is not None for record in done),
        "flags": [_flag(flag) for flag in sorted({flag for record in done for flag in _all_flags(record)})],
        "settings": [(name.replace("_", " "), plain(value)) for name, value in about.get("settings", {}).items()],
        "versions": list(about.get("versions", {}).items()),
        "seconds": about.get("seconds"),
        "has_dicom": any(record.get("dicom_seg") for record in done),
        "hash_ids": bool(about.get("settings", {}).get("hash_ids")),
    }
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"duration": duration, "link": _link, "ratio": ratio}
    path = Path(output) / "index.html"
    write_text_atomic(path, environment.get_template("page.html.j2").render(context))
    return path


def headline(records: Sequence[Mapping[str, Any]]) -> str:
    """For example "12 scans segmented, 1 failed, 3 with warnings."."""
    done = [record for record in records if record["status"] == "done"]
    warned, failed = sum(bool(record.get("warnings")) for record in done), len(records) - len(done)
    parts = [f"{len(done):,} scan{'s' if len(done) != 1 else ''} segmented"]
    parts += [f"{failed:,} failed"] if failed else []
    parts += [f"{warned:,} with warnings"] if warned else []
    return f"{', '.join(parts)}."


def _link(path: str) -> str:
    """A path below the folder of the page as an address: a "%20" in a file's name is no space."""
    return quote(path, safe="/")


def _metrics(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """The quantities shown of each class: the volume, or the area where every scan is one slice, and HU or T2."""
    found = {name for record in records for values in measured(record).values() for name in values}
    of_one_slice = all(record.get("slices") == 1 for record in records)
    return [name for name in QUANTITIES if name in found and name != (_VOLUME if of_one_slice else _AREA)]


def _heading(metric: str) -> str:
    if metric == _VOLUME:
        return "volume (ml)"
    title, symbol = QUANTITIES[metric].title, QUANTITIES[metric].symbol
    return title if title.endswith(symbol) else f"{title} ({symbol})"


def _flag(flag: str) -> tuple[str, str]:
    """Name and meaning of a flag where there is no truth."""
    return _FLAGS.get(flag, (flag.replace("_", " "), FLAGS.get(flag, "")))


def _all_flags(record: Mapping[str, Any]) -> set[str]:
    return {flag for name in measured(record) for flag in flags_of(record, name)}


def _scan(record: Mapping[str, Any], classes: Sequence[str], metrics: Sequence[str]) -> dict[str, Any]:
    values = measured(record)
    by_flag: dict[str, list[str]] = {}
    for name in values:
        for flag in flags_of(record, name):
            by_flag.setdefault(flag, []).append(name)
    size = f"{' x '.join(map(str, record['shape']))} voxels ({record['orientation']})"
    spacing = f"{' x '.join(f'{mm:.3g}' for mm in record['spacing_mm'])} mm"
    return {
        "name": record["scan"],
        "source": record.get("source", ""),
        "grid": [part.replace(" ", "\N{NO-BREAK SPACE}") for part in (size, spacing)],
        "overlay": record["overlay"],
        "files": [(_first(record[key]), said) for key, said in _FILES if record.get(key)],
        "cells": [[_cell(values.get(name, {}).get(metric), metric) for metric in metrics] for name in classes],
        "flags": [(_flag(flag)[0], enumeration(of)) for flag, of in by_flag.items()],
        "order": _MANY * len(record.get("warnings", ())) + sum(map(len, by_flag.values())),
        "warnings": record.get("warnings", ()),
        "disagreement": _cell(record.get("disagreement"), ""),
        "seconds": record.get("seconds"),
    }


def _first(files: str | Sequence[str]) -> str:
    """Of a file its path, of several the folder: a row has no room for a link to each."""
    return files if isinstance(files, str) else f"{files[0].rpartition('/')[0]}/"


def _cell(value: float | None, metric: str) -> Cell:
    value = defined(value)
    if value is None:
        return Cell("–", "")
    if not metric:
        return Cell(ratio(value), repr(value))
    return Cell(amount(value * _ML if metric == _VOLUME else value), repr(value))


def _model(model: Mapping[str, Any]) -> dict[str, Any]:
    """Lines of (what, value) on one model, and its scores on test scans where they are known."""
    preprocessing, trained_on = model["preprocessing"], model["trained_on"]
    height, width = preprocessing["image_size"]
    image = f"{_MODALITIES.get(preprocessing['modality'], preprocessing['modality'])}, {preprocessing['slice_axis']}"
    scans, subjects = trained_on["scans"], trained_on["subjects"]
    lines = [
        ("model", model["name"]),
        ("study", model["study"]),
        ("data set", model["dataset"]),
        ("start", ARM_NAMES.get(model["arm"], model["arm"])),
        ("labels used", f"{percent(model['label_fraction'])} of the training set"),
        ("seed", plain(model["seed"])),
        ("trained on", f"{scans:,} scans of {subjects:,} subjects, pretraining included"),
        ("slices", f"{image}, {height} x {width} pixels"),
    ]
    return {"lines": [(what, value) for what, value in lines if value], "card": _card(model.get("card"))}


def _card(card: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not card or card["metric"] != "dice":
        return None
    rows = []
    for one in card["scores"]:
        mean, *ends = (defined(one[key]) for key in ("mean", "lower", "upper"))
        known = [end for end in ends if end is not None]
        interval = f"{ratio(known[0])} to {ratio(known[1])}" if len(known) == 2 else "–"
        rows.append((one["name"], "–" if mean is None else ratio(mean), interval, one["subjects"]))
    about = f"{card['scans']:,} {card['part']} scans of {card['subjects']:,} subjects of {card['dataset']}"
    return {"rows": rows, "level": percent(card["level"]), "about": about}
