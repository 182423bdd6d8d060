"""The report of a study of arms with settings of their own: each against its control at every label fraction."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inpaint_ssl.report.info import VALIDATION
from inpaint_ssl.report.kinds.arm_figures import curves_of_average, curves_of_classes, gains_figure
from inpaint_ssl.report.kinds.arm_results import ArmResults, read_arms
from inpaint_ssl.report.kinds.arm_tables import arm_tables
from inpaint_ssl.report.kinds.extent_worth import labels_words
from inpaint_ssl.report.kinds.lost_runs import lost_words
from inpaint_ssl.report.kinds.strategy_text import capital, plural
from inpaint_ssl.report.parts import StudyPart
from inpaint_ssl.report.provenance import late_words
from inpaint_ssl.report.text import enumeration, interval, p_text, percent, ratio, signed
from inpaint_ssl.statistics.arm_gains import ArmGain

NOT_EVIDENCE = "Validation scans: for choosing settings, not evidence."
_SHORT = 10  # with fewer subjects a bootstrap interval of 95 % is too narrow
_FEW_RUNS = 5  # fewer say little about how much runs differ
_NAMED = 3  # with more arms the headline counts them
_ALL = 4  # with more arms only the best and the worst are in words


def part(workdir: Path, info: Mapping[str, Any]) -> StudyPart:
    """Verdict, tables and figures from per_scan.csv in `workdir`, on the scans of info["select_on"].

    info: its study.json with defaults. What has not been evaluated yet is left out. InputError for a damaged row or
    arm.
    """
    found = read_arms(workdir, info)
    figures = (curves_of_average(found), gains_figure(found), curves_of_classes(found))
    return StudyPart(
        headline=_headline(found),
        statements=tuple(_statements(found)),
        cautions=tuple(_cautions(found, info)),
        tables=tuple(arm_tables(found)),
        figures=tuple(figure for figure in figures if figure is not None),
    )


def _fractions(found: ArmResults) -> list[float]:
    """Label fractions at which something was compared."""
    return [f for f in found.gains.label_fractions if found.gains.at(f)]


def _controls(found: ArmResults, gains: Sequence[ArmGain]) -> str:
    """The one control of these gains, or "the control"."""
    names = {gain.control for gain in gains}
    return found.label(names.pop()) if len(names) == 1 else "the control"


def _places(found: ArmResults, gains: Sequence[ArmGain]) -> str:
    """For example "paper at 5 % and 10 %; tuned at 5 % of the labels"; of many arms how many."""
    at: dict[str, list[str]] = {}
    for gain in gains:
        at.setdefault(gain.arm, []).append(percent(gain.label_fraction))
    if len(at) > _NAMED:
        every = enumeration([percent(f) for f in sorted({gain.label_fraction for gain in gains})])
        return f"{len(at)} of {len(found.gains.pairs)} arms, at {every} of the labels"
    parts = [f"{found.label(arm)} at {enumeration(fractions)}" for arm, fractions in at.items()]
    return f"{'; '.join(parts)} of the labels"


def _headline(found: ArmResults) -> str:
    gains, on = found.gains, f" on the {found.split} scans" if found.split == VALIDATION else ""
    if not gains.gains:
        return f"No comparison yet{on}." if found.statistics.entries else f"No segmentation results yet{on}."
    better = [gain for gain in gains.gains if gains.is_better(gain)]
    worse = [gain for gain in gains.gains if gain.is_worse]
    if better:
        text = f"Significantly better than {_controls(found, gains.gains)}{on}: {_places(found, better)}."
    elif gains.too_few:
        text = (
            f"No verdict yet{on}: too few {found.split} subjects to reach p < {gains.alpha:g} for {gains.n_planned} "
            "tests."
        )
    else:
        text = f"No arm segmented significantly better than {_controls(found, gains.gains)}{on}."
    return f"{text} Worse: {_places(found, worse)}." if worse else text


def _gain_words(found: ArmResults, gain: ArmGain) -> str:
    p, verdict = gain.paired, ", worse" if gain.is_worse else ""
    words = (
        f"{found.label(gain.arm)} {ratio(p.first_mean)} against {ratio(p.second_mean)} {found.label(gain.control)} "
        f"({signed(p.mean_difference)}, interval {interval(p.lower, p.upper)}, adjusted p = {p_text(gain.p_holm)}"
        f"{verdict})"
    )
    return words.replace("= <", "<").replace("= >", ">")


def _statements(found: ArmResults) -> list[str]:
    sentences = []
    for fraction in _fractions(found):
        shown = sorted(found.gains.at(fraction), key=lambda g: -g.paired.mean_difference)
        start = f"{percent(fraction)} of the labels: "
        if len(shown) > _ALL:
            higher = sum(g.paired.mean_difference > 0 for g in shown)
            start += f"{higher} of {len(shown)} arms are higher than their control in the mean; most and least gain: "
            shown = [shown[0], shown[-1]]
        sentences.append(start + "; ".join(_gain_words(found, gain) for gain in shown) + ".")
    for arm, curves in found.labels.items():
        control = found.from_scratch_of(arm)
        sentences.append(capital(labels_words(found.label(arm), curves, control.label if control else "from scratch")))
    return sentences


def _cautions(found: ArmResults, info: Mapping[str, Any]) -> list[str]:
    gains, cautions = found.gains, [NOT_EVIDENCE] if found.split == VALIDATION else []
    if len(info["measured_on"]) > 1:
        scans = enumeration([f"{split} scans" for split in info["measured_on"]])
        cautions.append(f"Measured on {scans}; shown here: the {found.split} scans.")
    cautions += _of_runs(found)
    missing = gains.n_planned - len(gains.gains)
    if gains.gains and missing:
        cautions.append(
            f"Of the {gains.n_planned} planned tests {len(gains.gains)} could be made; a missing one counts as p = 1."
        )
    if gains.gains and 1 < (few := min(g.paired.n_subjects for g in gains.gains)) < _SHORT:
        cautions.append(f"With {few} {found.split} subjects the intervals are somewhat too narrow.")
    if gains.too_few:
        cautions.append(f"{gains.too_few} {found.split} subjects would do for {gains.n_planned} tests.")
    if any(of.late for of in found.late.values()):
        cautions.append(late_words(info["cells"]))
    if unpaired := sum(g.n_unpaired for g in gains.gains):
        cautions.append(f"{plural(unpaired, 'scan')} and runs have no partner in the control: not compared.")
    if lost := lost_words(found):
        cautions.append(lost)
    if divided := [gain for gain in gains.gains if gain.runs_disagree]:
        cautions.append(f"Higher than the control in some runs and lower in others: {_places(found, divided)}.")
    if len({arm for arm, _ in gains.pairs}) > 1 and gains.gains:
        cautions.append("The best of several arms looks better on these scans than it will on others.")
    return cautions


def _of_runs(found: ArmResults) -> list[str]:
    """How few runs the comparisons rest on, label fractions of one number together."""
    fewest = {f: min(gain.n_runs for gain in found.gains.at(f)) for f in _fractions(found)}
    groups: dict[int, list[str]] = {}
    for fraction, n in fewest.items():
        groups.setdefault(n, []).append(percent(fraction))
    if not groups or min(groups) >= _FEW_RUNS:
        return []
    words = [f"{plural(n, 'run')} at {enumeration(at)}" for n, at in groups.items()]
    return [
        f"Few runs (seeds) an arm: {', '.join(words)} of the labels. Tests and intervals cover differences between "
        "subjects, not between training runs."
    ]
