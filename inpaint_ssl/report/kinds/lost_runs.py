"""Runs that missed a class in most scans, in words."""

from inpaint_ssl.report.kinds.arm_results import ArmResults
from inpaint_ssl.report.kinds.strategy_text import plural
from inpaint_ssl.report.text import enumeration, percent
from inpaint_ssl.statistics.lost_classes import LOST, LostRun

_NAMED = 12  # runs that are named one by one


def lost_words(found: ArmResults) -> str:
    """One sentence on the runs in which a class was missed in most scans, "" where there are none.

    Each is named, or where they are many, how many there are of each arm.
    """
    lost, total = found.lost.runs, sum(found.lost.n_runs.values())
    if not lost:
        return ""
    named = "; ".join(_run(found, run) for run in lost) if len(lost) <= _NAMED else _by_arm(found)
    head = f"In {len(lost)} of {plural(total, 'run')} a class was missed in most scans (median Dice below {LOST:g})"
    return f"{head}: {named}."


def _run(found: ArmResults, run: LostRun) -> str:
    draw, seed = run.run
    several = len({other.run[0] for other in found.lost.runs if other.run[1] == seed}) > 1
    where = f"{found.label(run.arm)} at {percent(run.label_fraction)}, seed {seed}{f' draw {draw}' if several else ''}"
    return f"{where} ({', '.join(run.classes)})"


def _by_arm(found: ArmResults) -> str:
    arms = [run.arm for run in found.lost.runs]
    return enumeration(
        [f"{found.label(arm)} {arms.count(arm)} of {found.lost.n_runs[arm]}" for arm in dict.fromkeys(arms)]
    )
