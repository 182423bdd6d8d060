"""The parts of a report that are particular to a kind of study, one module each."""

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from inpaint_ssl.errors import InputError
from inpaint_ssl.report.parts import StudyPart

Part = Callable[[Path, Mapping[str, Any]], StudyPart]
# loaded when asked for: each brings the statistics of its kind
MODULES = {
    kind: f"{__name__}.{kind}"
    for kind in ("transfer_grid", "pretraining_grid", "optimal_strategy", "unlabelled_extent", "arms")
}


def part_of(kind: str) -> Part:
    """The function (study's folder, study.json with defaults) -> StudyPart of a kind of study.

    InputError for a kind that no report knows; comparisons have a page of their own (inpaint_ssl.report.page).
    """
    if kind not in MODULES:
        known = ", ".join(MODULES)
        raise InputError(
            f'study.json has kind "{kind}"; expected comparison, clinical, {known}; evaluate the study again, or '
            "update the program if the study was made by a later version"
        )
    part: Part = importlib.import_module(MODULES[kind]).part
    return part
