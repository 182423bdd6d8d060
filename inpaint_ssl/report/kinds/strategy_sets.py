"""The data sets that a choice of strategy rests on: a study's own grid, and those of the studies that it came from."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from inpaint_ssl.errors import InputError
from inpaint_ssl.report.info import read_info
from inpaint_ssl.report.load import read_rows
from inpaint_ssl.statistics.bootstrap import Bootstrap
from inpaint_ssl.statistics.strategies import Ranking, rank_strategies, strategies_of


@dataclass(frozen=True)
class StrategySet:
    """One grid of strategies on one data set: rows of its per_scan.csv, arms and label fractions of its study.json."""

    name: str
    rows: tuple[Mapping[str, str], ...]
    arms: tuple[Mapping[str, Any], ...]
    label_fractions: tuple[float, ...]

    def rank(self, split: str, alpha: float, bootstrap: Bootstrap) -> Ranking:
        """Strategies ranked on the scans of `split`; see `rank_strategies`."""
        settings: dict[str, Any] = {"split": split, "alpha": alpha, "bootstrap": bootstrap}
        return rank_strategies(self.name, self.rows, self.arms, planned=self.label_fractions, **settings)


def _found(workdir: Path, name: str) -> Path | None:
    """A study's folder as it was given, from where the command runs or else from beside this study."""
    given = Path(name)
    places = [given] if given.is_absolute() else [given, workdir / given, workdir.parent / given.name]
    return next((place for place in places if (place / "study.json").is_file()), None)


def _set(folder: Path, info: Mapping[str, Any]) -> StrategySet | None:
    """The grid in a folder; None where its study has no strategies (a study of another kind)."""
    arms = tuple(info.get("arms", ()))
    if not strategies_of(arms):
        return None
    rows = tuple(read_rows(folder / "per_scan.csv"))
    name = str(info.get("dataset") or info.get("study") or folder.name)
    return StrategySet(name, rows, arms, tuple(float(f) for f in info.get("label_fractions", ())))


def strategy_sets(workdir: Path, info: Mapping[str, Any]) -> tuple[tuple[StrategySet, ...], tuple[str, ...]]:
    """(data sets, notes): the study's own grid where it has rows, then those of info["from"]; info: its study.json.

    Studies without strategies among info["from"] (a transfer grid) are passed over. One that cannot be read is left out
    with a note, as is a grid on the data set of the study's own grid, which would count twice. Data sets of equal name
    get their study's name added. Raises InputError for damaged arms of its own.
    """
    found, notes, folders = list[tuple[StrategySet, str]](), list[str](), set[Path]()
    own = _set(workdir, info)
    if own is not None and own.rows:
        found.append((own, str(info.get("study") or workdir.name)))
    for name in info.get("from", ()):
        folder = _found(workdir, str(name))
        if folder is None:
            notes.append(f"The study {Path(name).name} that this one came from is not where it was: it is left out.")
            continue
        if folder.resolve() in folders:
            continue
        folders.add(folder.resolve())
        try:
            read = read_info(folder)
            other = _set(folder, read)
        except InputError as error:
            notes.append(f"A study that this one came from is left out: {error}")
            continue
        if other is not None and own is not None and own.rows and other.name == own.name:
            notes.append(f"The study {folder.name} is of the same data set as this one's own grid: it is left out.")
        elif other is not None:
            found.append((other, str(read["study"] or folder.name)))
    names = [one.name for one, _ in found]
    return tuple(
        one if names.count(one.name) == 1 else replace(one, name=f"{one.name} ({study})") for one, study in found
    ), tuple(notes)
