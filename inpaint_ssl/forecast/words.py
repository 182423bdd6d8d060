"""The plan of a study in words."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ml_collections import ConfigDict
from rich.console import Console

from inpaint_ssl.report.text import duration, enumeration
from inpaint_ssl.study.cells import Group
from inpaint_ssl.study.designs import analyses_alone
from inpaint_ssl.study.pretrained import given_weights

if TYPE_CHECKING:
    from inpaint_ssl.forecast.disk import Room
    from inpaint_ssl.forecast.study_plan import Kind, StudyPlan

_PHASES = {"pretrain": "pretraining", "finetune": "fine-tuning"}
_STATES = ("complete", "trained", "failed", "open")
_UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def tell(console: Console, line: str, style: str | None = None) -> None:
    """One line as it is, however long."""
    console.print(line, style=style, highlight=False, soft_wrap=True, markup=False)


def number(count: int, thing: str) -> str:
    """ "1 run", "2 runs"."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def size_text(n_bytes: float) -> str:
    """Bytes with three digits, in units of 1000."""
    for unit, name in _UNITS:
        if n_bytes >= 0.9995 * unit:
            return f"{n_bytes / unit:.3g} {name}" if n_bytes < 999.5 * unit else f"{n_bytes / unit:,.0f} {name}"
    return f"{n_bytes:.0f} bytes"


def seconds_text(seconds: float) -> str:
    """Short times in milliseconds."""
    if seconds < 0.9995:
        return f"{1000 * seconds:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 59.95 else duration(seconds)


def device_text() -> str:
    """The devices that jax has here."""
    import jax

    devices = jax.local_devices()
    kind = devices[0].device_kind
    return f"{len(devices)} x {kind}" if len(devices) > 1 else str(kind)


def show_heading(config: ConfigDict, workdir: Path, groups: Sequence[Group], console: Console) -> None:
    """Which study, how many runs, and what they share."""
    from inpaint_ssl.forecast.runs import FIRST, PRETRAINING, SECOND, roles_of

    tell(console, f"Study: {config.study.name} ({config.study.kind}, scale {config.scale}) in {workdir}")
    if analyses_alone(config):
        tell(console, f"Runs: none, it ranks the strategies of {enumeration(list(config.study['from']))}")
        return
    roles = Counter(roles_of(groups))
    tunings = sum(count for role, count in roles.items() if role != PRETRAINING)
    text = number(tunings, "fine-tuning")
    if roles[SECOND]:
        rest = tunings - roles[FIRST] - roles[SECOND]
        parts = [(roles[FIRST], "first run"), (roles[SECOND], "second run"), (rest, "single run")]
        text += f": {', '.join(number(count, name) for count, name in parts if count)}"
    pretrainings = [number(roles[PRETRAINING], "pretraining")] if roles[PRETRAINING] else []
    seeds = len(config.seeds)
    together = f"; each of {seeds} seeds, trained together" if seeds > 1 else ""
    tell(console, f"Runs: {', '.join([*pretrainings, text])}{together}")
    if shared := _shared(config, groups):
        tell(console, f"Shared: {shared}")


def _shared(config: ConfigDict, groups: Sequence[Group]) -> str:
    """Which runs serve others: "1 pretraining serves 8 runs; ..."."""
    from inpaint_ssl.forecast.runs import PRETRAINING, role_of, start_directory

    followers = Counter(start_directory(group) for group in groups)
    served: dict[tuple[str, int], int] = {}
    for group in groups:
        if n := followers[group.directory]:
            thing = "pretraining" if role_of(group) == PRETRAINING else "first run"
            served[thing, n] = served.get((thing, n), 0) + 1
    parts = [
        f"{number(count, thing)} {'serves' if count == 1 else 'each serve'} {number(n, 'run')}"
        for (thing, n), count in served.items()
    ]
    if elsewhere := given_weights(config):
        parts.append(f"pretrained weights are those of {elsewhere}")
    return "; ".join(parts)


def show_runs(groups: Sequence[Group], roles: Sequence[str], states: Sequence[str], console: Console) -> None:
    """A line for each run, and how many are in each state."""
    wide = max(len(state) for state in states), max(len(role) for role in roles)
    for group, role, state in zip(groups, roles, states, strict=True):
        name = group.name.removeprefix(f"{group.phase} ")
        tell(console, f"  {state:<{wide[0]}}  {role:<{wide[1]}}  {name}", "red" if state == "failed" else None)
    counts = Counter(states)
    tell(console, f"State: {', '.join(f'{counts[state]} {state}' for state in _STATES if counts[state])}")


def show_time(config: ConfigDict, plan: "StudyPlan", console: Console) -> None:
    """What each kind of program takes, and all together."""
    for kind, took in plan.training.items():
        runs = [run for run in plan.runs if run.trains and run.program.measured_as == kind]
        programs = len(plan.programs(kind))
        steps = _between(run.steps_left for run in runs)
        each = f"{programs} programs, {seconds_text(took.compiling)} each" if programs > 1 else None
        tell(
            console,
            f"{_kind_text(kind)}: {number(len(runs), 'run')} of {steps} steps of "
            f"{config[kind[0]].batch_size} slices, {seconds_text(took.step)} each (measured); a validation takes "
            f"{seconds_text(took.validation)}, compiling {each or seconds_text(took.compiling)}",
        )
    of_phase = {phase: sum(run.unmeasured for run in plan.runs if run.group.phase == phase) for phase in _PHASES}
    for phase, count in of_phase.items():
        if count:
            took_each = seconds_text(plan.evaluating.seconds[phase])
            tell(console, f"Evaluation: {number(count, 'run')} of {_PHASES[phase]}, about {took_each} each")
    early = any(config[kind[0]].early_stopping_patience for kind in plan.training)
    sooner = "; early stopping may end it much sooner" if early else ""
    text = f"about {duration(plan.in_turn)} on this machine ({plan.device}), if nothing else runs on it"
    if plan.workers > 1:
        own = "each with a device of its own" if config.launcher == "local" else "on machines like this one"
        text = f"about {duration(plan.together)} with {plan.workers} workers, {own}; one alone takes {text}"
    tell(console, f"Time: {text}{sooner}; saving and the report come on top")


def _kind_text(kind: "Kind") -> str:
    phase, frozen = kind
    text = _PHASES[phase].capitalize()
    return f"{text}, {enumeration(list(frozen))} frozen" if frozen else text


def _between(numbers: Iterable[int]) -> str:
    found = sorted(set(numbers))
    return f"{found[0]:,}" if len(found) == 1 else f"{found[0]:,} to {found[-1]:,}"


def show_room(workdir: Path, room: "Room", console: Console) -> None:
    """The room that the folder will take, and a warning when there is less."""
    from inpaint_ssl.checkpoint.runs import KEPT
    from inpaint_ssl.forecast.disk import existing

    there = f", {size_text(room.present)} are there" if room.present else ""
    tell(
        console,
        f"Disk: about {size_text(room.total)} when complete: {size_text(room.checkpoints)} of checkpoints (the newest "
        f"{KEPT} of each run, with best weights and optimiser state), {size_text(room.best)} of weights, "
        f"{size_text(room.rest)} of rows, pictures and logs{there}; {size_text(room.left)} are still to be written, "
        f"{size_text(room.free)} are free",
    )
    if not room.fits:
        tell(
            console,
            f"warning: the disk of {existing(workdir)} has {size_text(room.free)} free and {size_text(room.left)} are "
            "needed; make room, or give a --workdir on another disk",
            "yellow",
        )
