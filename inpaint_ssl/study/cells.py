"""The cells of a study: one run directory each, named by its meaning."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from inpaint_ssl.config import length_of
from inpaint_ssl.errors import InputError
from inpaint_ssl.files import read_csv, read_json

EVALUATION = "evaluation.json"  # what a cell's rows were measured with
FAILED = "failed.json"  # why the last try at a cell failed


@dataclass(frozen=True)
class Cell:
    """One training run. `label_fraction` is 0 for pretraining, which uses no labels.

    arm: what is compared; of a pretraining the arm that it serves, "" where there is only one. settings: dotted
    settings in which the run differs from the study's. start: the run whose best weights it begins with, whole after
    another fine-tuning, the parts of config.transfer.parts after a pretraining; None for fresh weights.
    """

    phase: str  # "pretrain" | "finetune"
    seed: int
    arm: str = ""
    label_fraction: float = 0.0
    subset_draw: int = 0
    settings: tuple[tuple[str, Any], ...] = ()
    start: "Cell | None" = None

    @property
    def directory(self) -> str:
        """Relative to the study's folder."""
        if self.phase == "pretrain":
            return f"pretrain/{f'{self.arm}_' if self.arm else ''}seed-{self.seed}"
        percent = f"{100 * self.label_fraction:.10g}".replace(".", "p")
        return f"finetune/{self.arm}_labels-{percent}pct_draw-{self.subset_draw}_seed-{self.seed}"

    @property
    def name(self) -> str:
        """For a person to read."""
        if self.phase == "pretrain":
            return f"pretrain {f'{self.arm} ' if self.arm else ''}seed {self.seed}"
        return f"finetune {self.arm} {100 * self.label_fraction:g} % labels seed {self.seed}"

    def with_seed(self, seed: int) -> "Cell":
        """The same run of another seed, and so those that it begins with."""
        return replace(self, seed=seed, start=self.start and self.start.with_seed(seed))

    def config(self, study: ConfigDict) -> ConfigDict:
        """The settings of this run, those of `study` unless its own differ."""
        if not self.settings:
            return study
        own = study.copy_and_resolve_references()
        with own.unlocked():
            for name, value in self.settings:
                *path, key = name.split(".")
                section = own
                for part in path:
                    section = section[part]
                section[key] = value
        return own.lock()

    def length(self, study: ConfigDict) -> dict[str, int]:
        """How long it is to be trained, as result.json has it."""
        return length_of(self.config(study), self.phase)

    def record(self) -> dict[str, Any]:
        """JSON-able, for manifest.json."""
        values = {name: value for name, value in vars(self).items() if name not in ("settings", "start")}
        started = self.start.directory if self.start else ""
        return {**values, "settings": dict(self.settings), "start": started}

    def result(self, workdir: Path) -> dict[str, Any] | None:
        """What training wrote when it ended, or None while it has not."""
        return _read(workdir / self.directory / "result.json", "result of a run")

    def failure(self, workdir: Path) -> dict[str, Any] | None:
        """failed.json of the last try, or None where there is none."""
        return _read(workdir / self.directory / FAILED, "why a run failed")

    def is_trained(self, workdir: Path, length: dict[str, int]) -> bool:
        """True when training has ended and was as long as `length` (Cell.length), or stopped early by itself."""
        result = self.result(workdir)
        return result is not None and (result["stopped"] == "early_stopping" or result["length"] == length)

    def rows(self, workdir: Path) -> list[dict[str, str]]:
        """The evaluation's rows, or [] while there are none."""
        try:
            return read_csv(workdir / self.directory / self.evaluation_file)
        except FileNotFoundError:
            return []

    @property
    def evaluation_file(self) -> str:
        """per_slice.csv for pretraining, per_scan.csv for fine-tuning."""
        return "per_slice.csv" if self.phase == "pretrain" else "per_scan.csv"

    def is_evaluated(self, workdir: Path, settings: dict[str, Any]) -> bool:
        """True once the rows are there and were measured with `settings` (config.evaluated_with)."""
        rows, record = (workdir / self.directory / name for name in (self.evaluation_file, EVALUATION))
        return rows.exists() and _read(record, "settings of an evaluation") == settings


def _read(path: Path, what: str) -> Any:
    """The value in a JSON file; None when it is not there, or another process has removed it a moment ago."""
    try:
        return read_json(path, what) if path.exists() else None
    except InputError:
        if path.exists():
            raise
        return None


@dataclass(frozen=True)
class Group:
    """Cells that differ in their seed alone and are trained together."""

    cells: tuple[Cell, ...]

    @property
    def phase(self) -> str:
        """ "pretrain" or "finetune"."""
        return self.cells[0].phase

    @property
    def name(self) -> str:
        """For a person to read."""
        return self._with_seeds(self.cells[0].name, "seed ", ", ")

    @property
    def directory(self) -> str:
        """Where the checkpoints of all seeds are; of one seed the cell's own folder."""
        return self._with_seeds(self.cells[0].directory, "seed-", "-")

    def _with_seeds(self, text: str, word: str, between: str) -> str:
        if len(self.cells) == 1:
            return text
        seeds = [str(cell.seed) for cell in self.cells]
        listed = (
            between.join(seeds) if len(seeds) <= 8 else f"{seeds[0]}{between}and{between}{len(seeds) - 1}{between}more"
        )
        return text.removesuffix(f"{word}{seeds[0]}") + f"{word[:-1]}s{word[-1]}{listed}"


def grouped(cells: Sequence[Cell]) -> list[Group]:
    """The cells by all but their seed, in the order in which each first comes up."""
    groups: dict[Cell, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.with_seed(0), []).append(cell)
    return [Group(tuple(members)) for members in groups.values()]
