"""Was training long enough? A fine-tuning whose best validation lies in the last tenth of its steps may not be done."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_EARLY = 9  # tenths of the steps; a best step beyond them is late


@dataclass(frozen=True)
class LateRuns:
    """How many of the runs with a known best step have it in the last tenth of the steps."""

    late: int
    total: int


def is_late(cell: Mapping[str, Any]) -> bool | None:
    """Does the best validation of a run lie in the last tenth of the steps, so that longer training might help?

    cell: of study.json. The steps are those that it was allowed, length["max_steps"]; without such a limit, or where
    max_epochs ended it first, those that it took. None while the run has no best step.
    """
    steps, best = cell.get("steps"), cell.get("best_step")
    if not steps or not best:
        return None
    allowed = (cell.get("length") or {}).get("max_steps")
    most = allowed if allowed and cell.get("stopped") != "max_epochs" else steps
    return bool(10 * best > _EARLY * most)


def late_runs(cells: Iterable[Mapping[str, Any]]) -> dict[tuple[str, float], LateRuns]:
    """By (arm, label fraction) how many fine-tunings have a late best step, in the order of the cells of study.json.

    Cells of pretraining, and those without a best step, do not count.
    """
    found: dict[tuple[str, float], list[bool]] = {}
    for cell in cells:
        late = is_late(cell)
        if cell["phase"] == "finetune" and late is not None:
            found.setdefault((cell["arm"], float(cell["label_fraction"] or 0)), []).append(late)
    return {key: LateRuns(sum(flags), len(flags)) for key, flags in found.items()}
