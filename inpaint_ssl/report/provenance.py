"""Where the numbers of a report come from: selection, earlier studies, hashes, runs that failed, what was left out."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inpaint_ssl.errors import InputError
from inpaint_ssl.files import read_json
from inpaint_ssl.report.info import TEST, read_info
from inpaint_ssl.report.parts import Column, Entry, TableView
from inpaint_ssl.report.text import duration, plain
from inpaint_ssl.statistics.convergence import is_late, late_runs

KIND_NAMES = {
    "comparison": "comparison", "clinical": "clinical metrics", "transfer_grid": "ways of transfer",
    "pretraining_grid": "ways of pretraining", "optimal_strategy": "best strategy of pretraining",
    "unlabelled_extent": "number of unlabelled scans", "arms": "arms compared",
}  # fmt: skip
HASHES = {"config_sha256": "SHA-256 of the settings", "data_sha256": "SHA-256 of the data"}
SPLIT_NAMES = {TEST: "test", "validation": "validation"}
_NAMED = 6  # arms with late runs that one sentence names
_LATE = {True: "yes", False: "no", None: ""}


@dataclass(frozen=True)
class Selected:
    """What a study selected (selection.json): settings as text, why, what to mind, and on the scans of which split."""

    study: str
    settings: tuple[tuple[str, str], ...]
    reason: str
    warnings: tuple[str, ...]
    split: str

    @property
    def on_test(self) -> bool:
        """Selected on the test scans, as in the paper? Then the test scores of what was selected are too high."""
        return self.split == TEST


@dataclass(frozen=True)
class Origin:
    """An earlier study that this one builds on; `problem` says why nothing is known of it."""

    folder: str
    study: str = ""
    kind: str = ""
    selected: Selected | None = None
    problem: str = ""


def read_selection(workdir: Path) -> Selected | None:
    """selection.json of a study; None where there is none yet. InputError when it is no selection."""
    path = Path(workdir) / "selection.json"
    if not path.is_file():
        return None
    found = read_json(path, "what a study selected")
    if not isinstance(found, dict) or not isinstance(found.get("selected"), dict):
        raise InputError(f'{path} has no table "selected"; expected what a study selected; run the study again')
    return Selected(
        study=str(found.get("study", "")),
        settings=tuple((str(name), plain(value)) for name, value in found["selected"].items()),
        reason=str(found.get("reason", "")),
        warnings=tuple(str(warning) for warning in found.get("warnings") or ()),
        split=str(found.get("select_on", "validation")),
    )


def origins(folders: Iterable[str]) -> tuple[Origin, ...]:
    """The studies in study.from, each with what it selected; one that cannot be read is listed with the reason."""
    found = []
    for folder in map(str, folders):
        try:
            info, selected = read_info(Path(folder)), read_selection(Path(folder))
            found.append(Origin(folder, str(info["study"]), kind_name(str(info["kind"])), selected))
        except InputError as error:
            found.append(Origin(folder, problem=str(error)))
    return tuple(found)


def kind_name(kind: str) -> str:
    """What a person calls a kind of study."""
    return KIND_NAMES.get(kind, kind.replace("_", " "))


def _manifest(workdir: Path) -> dict[str, Any]:
    path = Path(workdir) / "manifest.json"
    manifest = read_json(path, "manifest of a study") if path.is_file() else {}
    return manifest if isinstance(manifest, dict) else {}


def hashes(workdir: Path) -> dict[str, str]:
    """SHA-256 of settings and data from manifest.json; {} without one. That of the splits is in study.json."""
    found = _manifest(workdir)
    return {name: str(found[key]) for key, name in HASHES.items() if found.get(key)}


def pretrained_from(workdir: Path) -> dict[str, str]:
    """Where pretrained weights came from when it was not this study; {} otherwise.

    "kind" ("bundle" or "study"), "name" of the file or folder, "sha256", "study", "dataset" and "task", "" where
    manifest.json does not say.
    """
    found = _manifest(workdir).get("pretrained_from")
    if not isinstance(found, dict) or not found:
        return {}
    return {key: str(found.get(key, "")) for key in ("kind", "name", "sha256", "study", "dataset", "task")}


def runs_with(info: Mapping[str, Any], status: str) -> list[dict[str, Any]]:
    """Cells of a study with this status."""
    return [cell for cell in info["cells"] if cell["status"] == status]


def failures(info: Mapping[str, Any]) -> list[str]:
    """One sentence for every run that failed, with its error."""
    return [f"The run {c['name']} failed: {c['error'] or 'no error was recorded'}" for c in runs_with(info, "failed")]


def exclusions(rows: Iterable[Mapping[str, str]], split: str = TEST) -> list[str]:
    """What the rows of per_scan.csv leave out of the scores of a split, in words; [] when nothing.

    A class that is absent from truth and prediction has no Dice score.
    """
    values: list[float] = []
    for row in rows:
        if row.get("split") == split and row.get("metric") == "dice":
            try:
                values.append(float(row["value"] or "nan"))
            except ValueError:
                values.append(math.nan)
    undefined = sum(map(math.isnan, values))
    if not undefined:
        return []
    have, score = ("have", "scores") if undefined != 1 else ("has", "score")
    return [
        f"{undefined:,} of {len(values):,} pairs of prediction and truth on {SPLIT_NAMES.get(split, split)} scans "
        f"(scans × classes × runs) {have} no Dice {score}, as the class is absent from both, and were left out."
    ]


def _number(value: Any, shown: str | None = None) -> Entry:
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return Entry(shown if shown is not None and known else plain(value) if known else "–", value if known else math.nan)


def runs_view(cells: Sequence[Mapping[str, Any]]) -> TableView:
    """tables/runs: every run with its status, steps, best validation loss (late or not), time (s) and images/s."""
    columns = (
        Column("run", "Run", numeric=False), Column("status", "Status", numeric=False), Column("steps", "Steps"),
        Column("best_step", "Best step"), Column("late", "Best is late", numeric=False),
        Column("best_validation_loss", "Best validation loss"), Column("stopped", "Stopped by", numeric=False),
        Column("seconds", "Time"), Column("images_per_second", "Images/s"),
    )  # fmt: skip
    rows = []
    for c in cells:
        loss, speed, late = c["best_validation_loss"], c["images_per_second"], _LATE[is_late(c)]
        rows.append((
            Entry(c["name"]), Entry(c["status"]), _number(c["steps"]), _number(c["best_step"]),
            Entry(late or "–", late),
            _number(loss, f"{loss:.4g}" if isinstance(loss, int | float) else None),
            Entry((c["stopped"] or "–").replace("_", " "), c["stopped"] or ""),
            _number(c["seconds"], duration(c["seconds"])),
            _number(speed, f"{speed:.1f}" if isinstance(speed, int | float) else None),
        ))  # fmt: skip
    note = " ".join(["Best is late: the best validation lies in the last tenth of the steps.", late_words(cells)])
    return TableView("runs", "Runs of the study", columns, tuple(rows), note.strip())


def late_words(cells: Iterable[Mapping[str, Any]]) -> str:
    """One sentence on fine-tunings whose best validation lies in the last tenth of the steps; "" without fine-tunings.

    Arms are named where only some runs are late and there are few arms.
    """
    found = late_runs(cells)
    late, total = sum(r.late for r in found.values()), sum(r.total for r in found.values())
    if not total:
        return ""
    runs = f"{total} fine-tuning run{'s' if total != 1 else ''}"
    if not late:
        return f"In none of {runs} does the best validation lie in the last tenth of the steps."
    arms = list(dict.fromkeys(arm for arm, _ in found))
    each = [[r for (own, _), r in found.items() if own == arm] for arm in arms]
    some = [
        f"{arm.replace('_', ' ')} {n} of {sum(r.total for r in of)}"
        for arm, of in zip(arms, each, strict=True)
        if (n := sum(r.late for r in of))
    ]
    named = f" ({', '.join(some)})" if late < total and len(arms) > 1 and len(some) <= _NAMED else ""
    return (
        f"In {late} of {runs}{named} the best validation lies in the last tenth of the steps: longer training might "
        "help."
    )


def settings_view(settings: Mapping[str, Any]) -> TableView:
    """tables/settings: every setting and its value."""
    columns = (Column("setting", "Setting", numeric=False), Column("value", "Value", numeric=False))
    rows = tuple((Entry(key), Entry(plain(value))) for key, value in settings.items())
    return TableView("settings", "Settings of the study", columns, rows)
