"""selection.json: what a study selected for the next one. From the files of finished runs alone; no jax."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict
from rich.console import Console

from inpaint_ssl.config import SELECTING, SELECTION, inherited_settings, to_json
from inpaint_ssl.errors import InputError
from inpaint_ssl.files import read_csv, read_json, write_json_atomic
from inpaint_ssl.statistics import Bootstrap
from inpaint_ssl.statistics.extents import select_extent
from inpaint_ssl.statistics.selection import Selection
from inpaint_ssl.statistics.strategies import Ranking, rank_strategies, select_strategy
from inpaint_ssl.statistics.transfer_grid import select_transfer
from inpaint_ssl.study.claims import Claims
from inpaint_ssl.study.designs import GRIDS, about_study
from inpaint_ssl.versions import versions

SELECTED = "Settings are selected on the validation scans; the paper selects on its test set."


def write_selection(config: ConfigDict, workdir: Path) -> None:
    """Write selection.json of a study that selects, from the runs that are complete; nothing while there are none."""
    path = workdir / "study.json"
    if config.study.kind not in SELECTING or not path.exists() or not (workdir / "per_scan.csv").exists():
        return
    info, rows = read_json(path, "summary of a study"), read_csv(workdir / "per_scan.csv")
    split, alpha, bootstrap = config.study.select_on, float(info["alpha"]), Bootstrap(**info["bootstrap"])
    if config.study.kind == "transfer_grid":
        own = select_transfer(rows, info["arms"], split, alpha, bootstrap)
    elif config.study.kind == "unlabelled_extent":
        own = select_extent(rows, info["arms"], split, alpha, bootstrap)
    else:
        own = select_strategy([_ranking(info, rows, split)])
    if info["select_on"] != split:
        _note_split(workdir, split)
    missing = sum(cell["status"] != "complete" for cell in info["cells"])
    late = (f"{missing} of {len(info['cells'])} runs are not complete",) if missing else ()
    _write(config, workdir, own, (*late, *own.warnings), inherited_settings(tuple(config.study["from"])))


def is_selected(config: ConfigDict, workdir: Path) -> bool:
    """True when selection.json is of the newest study.json and of config.study.select_on, or the study selects none."""
    path, study = workdir / SELECTION, workdir / "study.json"
    if config.study.kind not in SELECTING or not study.exists():
        return True
    is_newest = path.exists() and path.stat().st_mtime_ns >= study.stat().st_mtime_ns
    return is_newest and read_json(path, "what a study selected").get("select_on") == config.study.select_on


def _note_split(workdir: Path, split: str) -> None:
    """study.json with the scans that are selected on now; what runs write into it meanwhile stays."""
    path, claims = workdir / "study.json", Claims(workdir)
    claim = claims.wait("study")
    assert claim is not None
    with claim:
        info = read_json(path, "summary of a study")
        departures = [text for text in info["departures"] if text != SELECTED]
        info |= {"select_on": split, "departures": [SELECTED, *departures] if split == "validation" else departures}
        write_json_atomic(path, info)


def _write(
    config: ConfigDict, workdir: Path, own: Selection, warnings: tuple[str, ...], earlier: Mapping[str, Any]
) -> None:
    content = {
        "format_version": 1,
        "kind": config.study.kind,
        "study": config.study.name,
        "select_on": config.study.select_on,
        "from": list(config.study["from"]),
        "selected": {**earlier, **own.selected} if own.selected else {},
        "reason": own.reason,
        "warnings": list(warnings),
    }
    write_json_atomic(workdir / SELECTION, content)


def _ranking(info: Mapping[str, Any], rows: list[dict[str, str]], split: str) -> Ranking:
    name, planned = info["dataset"] or info["study"], info["label_fractions"]
    alpha, bootstrap = float(info["alpha"]), Bootstrap(**info["bootstrap"])
    return rank_strategies(name, rows, info["arms"], split=split, alpha=alpha, bootstrap=bootstrap, planned=planned)


def rank_studies(config: ConfigDict, workdir: Path, console: Console) -> None:
    """The optimal strategy over the pretraining grids in config.study.from (paper, section 2.5.3).

    Writes config.json, study.json and selection.json. InputError when a folder is no pretraining grid.
    """
    rankings, devices = [], []
    for folder in config.study["from"]:
        path = Path(folder) / "study.json"
        info = read_json(path, "summary of a study, which config.study.from names")
        if info.get("kind") not in GRIDS or not (Path(folder) / "per_scan.csv").exists():
            raise InputError(
                f"config.study.from: {path} is of a {info.get('kind', 'comparison')!r} study or has no evaluated runs, "
                "expected a pretraining_grid (configs/pretraining_grid.py) of which runs are complete"
            )
        rankings.append(_ranking(info, read_csv(Path(folder) / "per_scan.csv"), config.study.select_on))
        devices.append(info["device"])
    own = select_strategy(rankings)
    workdir.mkdir(parents=True, exist_ok=True)
    write_json_atomic(workdir / "config.json", to_json(config))
    write_json_atomic(workdir / "study.json", _summary(config, rankings, devices))
    earlier, conflicts = _agreed(config.study["from"])
    _write(config, workdir, own, (*own.warnings, *conflicts), earlier)
    style = "green" if own.selected else "yellow"
    console.print(own.reason, style=style, highlight=False, soft_wrap=True, markup=False)


def _agreed(folders: tuple[str, ...]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What the ranked studies took over themselves, such as the transfer; what differs is left out, and said."""
    found: dict[str, Any] = {}
    differing: dict[str, None] = {}
    for folder in folders:
        if not (Path(folder) / SELECTION).exists():
            continue
        for name, value in inherited_settings((folder,)).items():
            if not name.startswith(("corruption.", "grid.")) and found.setdefault(name, value) != value:
                differing[name] = None
    kept = {name: value for name, value in found.items() if name not in differing}
    return kept, tuple(f"{name} differs between the studies and is not passed on" for name in differing)


def _summary(config: ConfigDict, rankings: list[Ranking], devices: list[str]) -> dict[str, Any]:
    """study.json of a study without runs of its own."""
    return {
        **about_study(config),
        "dataset": " and ".join(ranking.name for ranking in rankings),
        "versions": versions(),
        "device": "; ".join(dict.fromkeys(devices)),
        "seconds": 0.0,
    }
