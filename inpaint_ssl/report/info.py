"""study.json as the report needs it: every key is there, whatever wrote the file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inpaint_ssl.errors import InputError
from inpaint_ssl.files import read_json

COMPARISON = "comparison"
COMPARISONS = (COMPARISON, "clinical")  # kinds that compare pretrained with from scratch
ARMS = "arms"
TEST, VALIDATION = "test", "validation"
_EMPTY: dict[str, Any] = {
    "study": "", "kind": COMPARISON, "dataset": "", "modality": "", "classes": [], "label_fractions": [],
    "label_counts": {}, "seeds": [], "subset_draw": 0, "alpha": 0.05, "splits": {}, "departures": [], "warnings": [],
    "versions": {}, "device": "", "settings": {}, "cells": [], "seconds": None, "clinical": {}, "bootstrap": {},
    "arms": [], "select_on": VALIDATION, "measured_on": [TEST], "from": [], "demographics": None,
}  # fmt: skip
_EMPTY_CELL: dict[str, Any] = {
    "name": "", "directory": "", "phase": "", "arm": "", "label_fraction": None, "seed": 0, "subset_draw": 0,
    "status": "complete", "error": "", "steps": None, "best_step": None, "best_validation_loss": None, "stopped": "",
    "seconds": None, "images_per_second": None, "length": {},
}  # fmt: skip


def read_info(workdir: Path) -> dict[str, Any]:
    """study.json of a study with a default for every key that it lacks; seconds, subjects and ratios as written there.

    label_counts has numbers as keys; every cell has all keys of a cell (None or "" where unknown). InputError when the
    file is missing, no JSON, or no table.
    """
    path = Path(workdir) / "study.json"
    info = read_json(path, "summary of a study, written by evaluation")
    if not isinstance(info, dict):
        raise InputError(f"{path} holds no table; expected the summary of a study; evaluate again")
    found = _EMPTY | {key: value for key, value in info.items() if value is not None}
    try:
        found["label_counts"] = {float(f): int(n) for f, n in found["label_counts"].items()}
        found["cells"] = [_cell(cell) for cell in found["cells"]]
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(f"{path}: {error}; expected label_counts and cells of a study; evaluate again") from None
    found["from"] = [found["from"]] if isinstance(found["from"], str) else list(found["from"])
    return found


def shown_split(info: Mapping[str, Any]) -> str:
    """The scans that a report shows: the test scans, in a study of arms those that it was measured on to be shown."""
    return str(info["select_on"]) if info["kind"] == ARMS else TEST


def _cell(cell: Mapping[str, Any]) -> dict[str, Any]:
    found = _EMPTY_CELL | dict(cell)
    return found | {"name": found["name"] or found["directory"]}
