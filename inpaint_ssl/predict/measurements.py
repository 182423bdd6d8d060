"""measurements.csv of a prediction: one row a scan and class, to be opened in a spreadsheet."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from inpaint_ssl.files import write_csv_atomic
from inpaint_ssl.metrics import QUANTITIES

_BEFORE, _AFTER = ("scan", "status", "class"), ("flags", "disagreement", "warnings", "error")
_FORMULA = (
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
    "\n",
    "＝",
    "＋",
    "－",
    "＠",
)  # what spreadsheets take for a formula's begin
_BETWEEN_WARNINGS = " | "


def write_measurements(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write one row for every class of every scan, and one for every scan that failed.

    records: as predictions.json has them. Columns: scan; status (done or failed); class; one for each quantity that a
    scan has, named with its unit (volume_mm3, area_mm2, mean_hu, mean_t2_ms); flags (of metrics.FLAGS, joined by ";");
    and, in every row of the scan, disagreement of the models (empty for one model), warnings and error. A value
    that is not defined is an empty cell, never 0; numbers have 10 digits, predictions.json has all. A text that a
    spreadsheet would take for a formula gets an apostrophe before it.
    """
    records = list(records)
    found = {row["metric"] for record in records for row in record.get("measurements", ())}
    metrics = [*(name for name in QUANTITIES if name in found), *sorted(found - set(QUANTITIES))]
    rows = [row for record in records for row in _rows(record)]
    write_csv_atomic(path, (*_BEFORE, *metrics, *_AFTER), rows)


def measured(record: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """Class -> metric -> value (None where it is not defined) of a scan, both in the order of the record."""
    found: dict[str, dict[str, float | None]] = {}
    for row in record.get("measurements", ()):
        found.setdefault(row["class"], {})[row["metric"]] = defined(row["value"])
    return found


def flags_of(record: Mapping[str, Any], class_name: str) -> list[str]:
    """All flags of a class of a scan, sorted."""
    rows = (row for row in record.get("measurements", ()) if row["class"] == class_name)
    return sorted({flag for row in rows for flag in row["flag"].split(";") if flag})


def defined(value: float | None) -> float | None:
    """The value, None where it is NaN or infinite."""
    return None if value is None or not math.isfinite(value) else float(value)


def _rows(record: Mapping[str, Any]) -> list[dict[str, str]]:
    of_scan = {
        "scan": _text(record["scan"]),
        "status": _text(record["status"]),
        "disagreement": _number(record.get("disagreement")),
        "warnings": _text(_BETWEEN_WARNINGS.join(record.get("warnings", ()))),
        "error": _text(record.get("error", "")),
    }
    classes = measured(record)
    if not classes:
        return [of_scan]
    return [
        of_scan
        | {"class": _text(name), "flags": ";".join(flags_of(record, name))}
        | {metric: _number(value) for metric, value in values.items()}
        for name, values in classes.items()
    ]


def _number(value: float | None) -> str:
    value = defined(value)
    return "" if value is None else f"{value:.10g}"


def _text(words: str) -> str:
    return f"'{words}" if words.startswith(_FORMULA) else words
