"""The runs of a study as a plan shows them: what each is, how far it is, and which program it uses. Imports jax."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from inpaint_ssl.config import evaluated_with
from inpaint_ssl.forecast.lengths import steps_of, steps_per_epoch, validations_of
from inpaint_ssl.study.cells import FAILED, Cell, Group
from inpaint_ssl.study.designs import is_reported
from inpaint_ssl.study.prepare import StudyData

PRETRAINING, TUNING, FIRST, SECOND = ROLES = ("pretraining", "fine-tuning", "first run", "second run")
STATES = ("complete", "trained", "failed", "open")


class Program(NamedTuple):
    """A compiled training program. Those of one phase and one set of frozen parts take about the same time.

    steps_per_epoch: where the schedule depends on it, else 0. corruption: its settings, () in fine-tuning.
    """

    phase: str
    frozen: tuple[str, ...]
    steps_per_epoch: int
    corruption: tuple[Any, ...]

    @property
    def measured_as(self) -> tuple[str, tuple[str, ...]]:
        """What programs that take about the same time share."""
        return self.phase, self.frozen


@dataclass(frozen=True)
class PlannedRun:
    """One group of cells, which are trained together.

    state: one of STATES; "failed" is tried again at the next start. trains: whether config.stage goes on with its
    training. steps and validations: at most, when it does not stop early. steps_left and validations_left: after the
    newest checkpoint; 0 when it does not train.
    unmeasured: cells that are still to be evaluated. start: directory of the run of this study that it begins with, ""
    for none.
    """

    group: Group
    role: str
    state: str
    program: Program
    trains: bool
    steps: int
    steps_left: int
    validations: int
    validations_left: int
    unmeasured: int
    start: str


def role_of(group: Group) -> str:
    """One of ROLES: a fine-tuning that begins with another one is a second run, and that other a first one."""
    cell = group.cells[0]
    if cell.phase == "pretrain":
        return PRETRAINING
    return SECOND if cell.start is not None and cell.start.phase == "finetune" else TUNING


def roles_of(groups: Sequence[Group]) -> list[str]:
    """The role of each group."""
    begun_with = {start_directory(group) for group in groups if role_of(group) == SECOND}
    return [FIRST if group.directory in begun_with else role_of(group) for group in groups]


def state_of(config: ConfigDict, workdir: Path, group: Group) -> str:
    """One of STATES, from what is in the folder of the study."""
    length, settings = group.cells[0].length(config), evaluated_with(config, group.phase)
    trained = [cell.is_trained(workdir, length) for cell in group.cells]
    if all(trained):
        whole = all(not is_reported(config, c) or c.is_evaluated(workdir, settings) for c in group.cells)
        return "complete" if whole else "trained"
    cells = zip(group.cells, trained, strict=True)
    return "failed" if any((workdir / c.directory / FAILED).exists() for c, ok in cells if not ok) else "open"


def planned(config: ConfigDict, workdir: Path, group: Group, role: str, data: StudyData) -> PlannedRun:
    """What is left to do of `group` in config.stage; writes nothing."""
    cell, stage = group.cells[0], config.stage
    own = cell.config(config)
    section = own[group.phase]
    pretrains = group.phase == "pretrain"
    source = data.pretraining_of(own) if pretrains else data.labelled(cell.label_fraction, cell.subset_draw)
    state, n_slices = state_of(config, workdir, group), len(source)
    steps = done = steps_of(section, n_slices)
    trains = state in ("open", "failed") and stage in ("all", group.phase)
    if trains:
        done = min(_newest_checkpoint(workdir / group.directory / "checkpoints"), steps)
    program = Program(
        group.phase,
        tuple(own.transfer.parts) if cell.start and own.transfer.freeze else (),
        steps_per_epoch(section, n_slices) if section.schedule == "epoch_decay" else 0,
        tuple(own.corruption.items()) if pretrains else (),
    )
    return PlannedRun(
        group,
        role,
        state,
        program,
        trains,
        steps,
        steps - done,
        validations_of(section, n_slices),
        validations_of(section, n_slices, done),
        _unmeasured(config, workdir, group, trains),
        start_directory(group),
    )


def _unmeasured(config: ConfigDict, workdir: Path, group: Group, trains: bool) -> int:
    """Cells that the stage will evaluate."""
    if config.stage not in ("all", "evaluate"):
        return 0
    length, settings = group.cells[0].length(config), evaluated_with(config, group.phase)
    own: list[Cell] = [cell for cell in group.cells if is_reported(config, cell)]
    ready = [cell for cell in own if trains or cell.is_trained(workdir, length)]
    return sum(trains or not cell.is_evaluated(workdir, settings) for cell in ready)


def start_directory(group: Group) -> str:
    """Of the group that holds the runs which these begin with; "" for fresh weights."""
    starts = [cell.start for cell in group.cells if cell.start is not None]
    return Group(tuple(starts)).directory if starts else ""


def _newest_checkpoint(folder: Path) -> int:
    return max((int(path.name) for path in folder.glob("*") if path.name.isdecimal()), default=0)


def makespan(
    runs: Sequence[PlannedRun], seconds: Sequence[float], compiling: dict[tuple[str, tuple[str, ...]], float], n: int
) -> float:
    """Seconds until `n` workers have done all runs, each taking the next one that is ready, as study.work does.

    seconds: of each run, without compiling. compiling: seconds by Program.measured_as, which every worker spends once
    on each program. A run is ready when the one that it begins with has ended.
    """
    ends: dict[str, float] = {}
    free, known = [0.0] * n, [set[Program]() for _ in range(n)]
    waiting = list(zip(runs, seconds, strict=True))
    while waiting:
        begun = {run.group.directory for run, _ in waiting}
        # The earliest start that is possible, and of several the first in the order of the study.
        earliest, place = min(
            (max(min(free), ends.get(run.start, 0.0)), place)
            for place, (run, _) in enumerate(waiting)
            if run.start not in begun
        )
        run, taken = waiting.pop(place)
        worker = free.index(min(free))
        if run.trains and run.program not in known[worker]:
            known[worker].add(run.program)
            taken += compiling.get(run.program.measured_as, math.nan)
        free[worker] = ends[run.group.directory] = earliest + taken
    return max(max(free), 0.0)
