"""What was not run: studies without files, and runs of a study that are not complete."""

from collections.abc import Sequence
from typing import Any

from inpaint_ssl.report.evidence.files import Name
from inpaint_ssl.report.evidence.markdown import bullets, folded
from inpaint_ssl.report.evidence.read import Evidence, EvidenceStudy
from inpaint_ssl.report.kinds.strategy_text import plural
from inpaint_ssl.report.text import enumeration

PLANNED = (
    Name("hippocampus", "tuning"), Name("hippocampus", "primary"), Name("headneck_ct", "primary"),
    Name("headneck_ct", "extent"), Name("hippocampus", "recipe"), Name("hippocampus", "best"),
)  # fmt: skip
_STATES = {
    "missing": "without results", "trained": "trained and not yet measured", "failed": "failed",
    "running": "not finished",
}  # fmt: skip
_NAMED = 8  # runs that are named before the rest is folded


def not_run(evidence: Evidence, *parts: str) -> str:
    """What of these parts has no files, with the commands that would run it; "" where nothing is lacking."""
    there = {(study.name.data, study.name.part) for study in evidence.studies}
    lacking = [name for name in PLANNED if name.part in parts and (name.data, name.part) not in there]
    return "\n\n".join(
        f"**Not run: {name.folder.replace('_', ' ')}.** There are no files of it. The command that runs it:\n\n"
        f"```bash\n{wrapped(name.command)}\n```"
        for name in lacking
    )


def wrapped(command: str) -> str:
    """A command on two lines where it is long."""
    head, flag, rest = command.partition(" --config.data.root")
    return f"{head} \\\n   {flag}{rest}" if flag else command


def missing_words(study: EvidenceStudy) -> str:
    """How many runs of a study are not complete, which, and why; "" where all are."""
    cells = study.incomplete
    if not cells:
        return ""
    by_state: dict[str, list[dict[str, Any]]] = {}
    for cell in cells:
        by_state.setdefault(_STATES.get(cell["status"], str(cell["status"])), []).append(cell)
    counts = enumeration([f"{len(some)} {state}" for state, some in by_state.items()])
    total = len(study.info["cells"])
    lines = [f"{state}: {_names(some)}" for state, some in by_state.items()]
    head = f"**Missing: {plural(len(cells), 'run')} of {total}** ({counts})."
    if len(cells) <= _NAMED:
        return f"{head} {capitalised('; '.join(lines))}."
    return f"{head}\n\n{folded('Which runs are missing', bullets(lines))}"


def capitalised(text: str) -> str:
    """The first letter as a capital."""
    return text[:1].upper() + text[1:]


def _names(cells: Sequence[dict[str, Any]]) -> str:
    return "; ".join(cell["name"] + (f" ({cell['error']})" if cell["error"] else "") for cell in cells)
