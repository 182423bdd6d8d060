"""The plan of a study: its runs, what they share, and the time and room that what is left will take.

Nothing is written to the folder of the study; scans that are not prepared yet are, as every study would first do.
Imports jax where something is measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ml_collections import ConfigDict
from rich.console import Console

from inpaint_ssl.config import check_same_study
from inpaint_ssl.study.cells import Group, grouped
from inpaint_ssl.study.designs import analyses_alone, cells_of
from inpaint_ssl.study.launch import side_by_side

if TYPE_CHECKING:
    from inpaint_ssl.forecast.disk import Room
    from inpaint_ssl.forecast.programs import Evaluating, Training
    from inpaint_ssl.forecast.runs import PlannedRun, Program
    from inpaint_ssl.study.phases import Phases
    from inpaint_ssl.study.prepare import StudyData

Kind = tuple[str, tuple[str, ...]]  # Program.measured_as: phase and frozen parts


@dataclass(frozen=True)
class StudyPlan:
    """What is left of a study.

    runs: all of them; seconds: of each, what is left without compiling. training: measured times by phase and frozen
    parts, of what is left to train. compiling: seconds of all programs, once each. together: seconds with all workers.
    device: in words.
    """

    runs: "tuple[PlannedRun, ...]"
    seconds: tuple[float, ...]
    training: "dict[Kind, Training]"
    evaluating: "Evaluating"
    compiling: float
    workers: int
    together: float
    room: "Room"
    device: str

    @property
    def in_turn(self) -> float:
        """Seconds of all that is left, on one worker."""
        return sum(self.seconds) + self.compiling

    def programs(self, kind: "Kind") -> "set[Program]":
        """Those of a kind that are left to be used."""
        return {run.program for run in self.runs if run.trains and run.program.measured_as == kind}


def show_plan(config: ConfigDict, workdir: Path, console: Console) -> StudyPlan | None:
    """Print what running the study in `workdir` would do; None when there is nothing to run.

    Raises InputError when data, splits or `workdir` do not fit, or a training step does not fit into memory.
    """
    from inpaint_ssl.forecast import words

    for note in check_same_study(workdir, config):
        words.tell(console, f"note: {note}")
    groups = grouped(cells_of(config))
    words.show_heading(config, workdir, groups, console)
    if analyses_alone(config) or not _has_work(config, workdir, groups, console):
        return None
    plan = make_plan(config, workdir, groups, console)
    words.show_time(config, plan, console)
    words.show_room(workdir, plan.room, console)
    return plan


def _has_work(config: ConfigDict, workdir: Path, groups: Sequence[Group], console: Console) -> bool:
    """Show the state of every run; False when nothing is left of the stage."""
    from inpaint_ssl.forecast import words
    from inpaint_ssl.forecast.runs import roles_of, state_of

    states = [state_of(config, workdir, group) for group in groups]
    words.show_runs(groups, roles_of(groups), states, console)
    if config.stage in ("gallery", "report"):
        words.tell(console, f"Left: nothing to train or evaluate in --config.stage={config.stage}")
        return False
    if set(states) == {"complete"}:
        words.tell(console, "Left: nothing, the study is complete")
        return False
    return True


def make_plan(config: ConfigDict, workdir: Path, groups: Sequence[Group], console: Console) -> StudyPlan:
    """Read or prepare the data, then measure each kind of program of what is left."""
    from inpaint_ssl.forecast import words
    from inpaint_ssl.forecast.disk import room_for
    from inpaint_ssl.forecast.programs import measure_evaluation
    from inpaint_ssl.forecast.runs import makespan, planned, roles_of
    from inpaint_ssl.machines import Machines
    from inpaint_ssl.runtime import configure
    from inpaint_ssl.study.phases import Phases
    from inpaint_ssl.study.prepare import prepare

    workers = max(1, side_by_side(config, len(groups)))
    if workers > 1 and config.launcher == "local":  # a worker has one device
        config = config.copy_and_resolve_references()
        with config.unlocked():
            config.engine.devices = 1
        config.lock()
    configure(config)
    data = prepare(config, workdir, console)
    roles = roles_of(groups)
    runs = tuple(planned(config, workdir, group, role, data) for group, role in zip(groups, roles, strict=True))
    words.tell(console, "measuring a few steps of each kind of program")
    phases = Phases(config, data, Machines(1, 0, {}))
    training = _measured(phases, data, runs)
    evaluating = measure_evaluation(config, phases, data)
    seconds = []
    for run in runs:
        spent = evaluating.seconds[run.group.phase] * run.unmeasured
        if run.trains:
            took = training[run.program.measured_as]
            spent += run.steps_left * took.step + run.validations_left * took.validation
        seconds.append(spent)
    compiling = {kind: took.compiling for kind, took in training.items()}
    programs = {run.program for run in runs if run.trains}
    workers = max(1, side_by_side(config, sum(run.trains or bool(run.unmeasured) for run in runs)))
    return StudyPlan(
        runs,
        tuple(seconds),
        training,
        evaluating,
        sum(compiling[program.measured_as] for program in programs),
        workers,
        makespan(runs, seconds, compiling, workers),
        room_for(phases, data, workdir, runs, evaluating.row_bytes),
        words.device_text(),
    )


def _measured(phases: "Phases", data: "StudyData", runs: "Sequence[PlannedRun]") -> "dict[Kind, Training]":
    """By phase and frozen parts, each with the first program of the kind that is left."""
    from inpaint_ssl.forecast.programs import measure_training

    found: dict[Kind, Training] = {}
    for run in runs:
        if run.trains and run.program.measured_as not in found:
            own = run.group.cells[0].config(phases.config)
            found[run.program.measured_as] = measure_training(phases, data, own, run.program)
    return found
