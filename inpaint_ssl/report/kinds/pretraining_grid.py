"""The report of the grid of pretraining strategies (paper, sections 2.5.2 and 3.2): Table 2, Figures 3, 4, 8 and 9."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from inpaint_ssl.report.drawing import Drawing
from inpaint_ssl.report.kinds.planned import planned_fractions
from inpaint_ssl.report.kinds.restoration_table import restoration_statements, restoration_table
from inpaint_ssl.report.kinds.strategy_curves import Curves, curves_of_average, curves_of_task
from inpaint_ssl.report.kinds.strategy_tables import dice_table, gain_table
from inpaint_ssl.report.kinds.strategy_text import capital, patch_name, plural, sampling_name, strategy_name, task_name
from inpaint_ssl.report.load import read_rows
from inpaint_ssl.report.parts import StudyPart, TableView
from inpaint_ssl.report.text import enumeration, interval, p_text, percent, ratio, signed
from inpaint_ssl.statistics import FROM_SCRATCH, Bootstrap, summarise
from inpaint_ssl.statistics.restoration import restorations
from inpaint_ssl.statistics.strategies import Strategy
from inpaint_ssl.statistics.strategy_gains import Gain, Gains, strategy_gains

_FACTORS: tuple[tuple[str, Callable[[Strategy], str]], ...] = (
    ("task", lambda s: task_name(s.task)),
    ("patch size", patch_name),
    ("sampling", lambda s: sampling_name(s.sampling)),
)
_SPLIT = "test"  # as in the paper; what is selected may come from other scans
_SHORT = 10  # with fewer subjects a bootstrap interval of 95 % is too narrow


def part(workdir: Path, info: Mapping[str, Any]) -> StudyPart:
    """Verdict, tables and figures from per_scan.csv and per_slice.csv in `workdir`; info: its study.json with defaults.

    Whatever has not been evaluated yet is left out. Raises InputError for a damaged row or arm.
    """
    rows, slices = (read_rows(workdir / name) for name in ("per_scan.csv", "per_slice.csv"))
    alpha, how = float(info["alpha"]), Bootstrap(**info["bootstrap"])
    arms, planned = info.get("arms", []), planned_fractions(info)
    gains = strategy_gains(rows, arms, split=_SPLIT, alpha=alpha, bootstrap=how, planned=planned)
    restored = restorations(slices, arms, _SPLIT)
    named = {s.arm for s in gains.strategies} | {FROM_SCRATCH}
    statistics = summarise([row for row in rows if row["arm"] in named], alpha, bootstrap=how)
    curves = Curves(statistics, gains.strategies, _classes(info, statistics.classes), info["label_counts"])
    tables: list[TableView] = []
    if restored.norms:
        tables.append(restoration_table(restored, alpha))
    if statistics.entries:
        tables.append(dice_table(curves, gains))
    if gains.gains:
        tables.append(gain_table(gains, how))
    return StudyPart(
        headline=_headline(gains, bool(statistics.entries)),
        statements=(*_statements(gains), *restoration_statements(restored, gains, alpha)),
        cautions=tuple(_cautions(gains)),
        tables=tuple(tables),
        figures=tuple(_figures(curves)),
    )


def _classes(info: Mapping[str, Any], found: Sequence[str]) -> tuple[str, ...]:
    """Classes with results, in the study's order."""
    known = [name for name in info["classes"] if name in found]
    return (*known, *(name for name in found if name not in known))


def _figures(curves: Curves) -> list[Drawing]:
    tasks = curves.tasks
    average = [curves_of_average(curves)] if tasks and len(curves.classes) > 1 else []
    return [*average, *(curves_of_task(curves, task) for task in tasks)]


def _fractions(gains: Gains) -> list[float]:
    """Label fractions at which something was compared."""
    return [f for f in gains.label_fractions if gains.at(f)]


def _headline(gains: Gains, has_dice: bool) -> str:
    fractions = _fractions(gains)
    if not fractions:
        return "No comparison with from scratch yet." if has_dice else "No segmentation results yet."
    if gains.too_few:
        return f"No verdict yet: too few test subjects to reach p < {gains.alpha:g} for {gains.n_planned} tests."
    counts = {f: (sum(map(gains.is_better, gains.at(f))), len(gains.at(f))) for f in fractions}
    some = [f for f, (better, _) in counts.items() if better]
    if not some:
        return "No pretraining strategy segmented significantly better than training from scratch."
    same = len({n for _, n in counts.values()}) == 1
    words = [f"{counts[f][0]}{'' if same and f != some[0] else f' of {counts[f][1]}'} at {percent(f)}" for f in some]
    none = [percent(f) for f in fractions if f not in some]
    rest = f"; none at {enumeration(none)}" if none else ""
    return f"Strategies better than from scratch: {enumeration(words)} of the labels{rest}."


def _gain_words(gain: Gain) -> str:
    p = gain.paired
    return (
        f"{signed(p.mean_difference)} ({ratio(p.first_mean)} against {ratio(p.second_mean)}; interval "
        f"{interval(p.lower, p.upper)}; p = {p_text(gain.p_holm)} adjusted)".replace("= <", "<").replace("= >", ">")
    )


def _statements(gains: Gains) -> list[str]:
    found = []
    for fraction in _fractions(gains):
        ordered = sorted(gains.at(fraction), key=lambda g: g.paired.mean_difference)
        best, worst = ordered[-1], ordered[0]
        text = f"{percent(fraction)} of the labels: best is {strategy_name(best.strategy)}, {_gain_words(best)}"
        if len(ordered) > 1:
            text += f"; worst is {strategy_name(worst.strategy)}, {signed(worst.paired.mean_difference)}"
            higher = sum(g.paired.mean_difference > 0 for g in ordered)
            text += f"; {higher} of {len(ordered)} are higher than from scratch in the mean"
        found.append(f"{text}.")
    for words, choices in _choices(gains):
        found.append(f"Mean gain over all label fractions by {words}: {choices}.")
    return found


def _choices(gains: Gains) -> list[tuple[str, str]]:
    """Mean gain over the strategies of each task, patch size and sampling that are there at every label fraction."""
    fractions = _fractions(gains)
    means: dict[Strategy, float] = {}
    for strategy in gains.strategies:
        own = [gain.paired.mean_difference for f in fractions if (gain := gains.of(strategy, f)) is not None]
        if len(own) == len(fractions) and own:
            means[strategy] = sum(own) / len(own)
    if len(means) < len(gains.strategies):  # a mean over other strategies would compare nothing
        return []
    found = []
    for words, of in _FACTORS:
        groups: dict[str, list[float]] = {}
        for strategy, mean in means.items():
            groups.setdefault(of(strategy), []).append(mean)
        if len(groups) > 1:
            found.append((words, enumeration([f"{name} {signed(sum(g) / len(g))}" for name, g in groups.items()])))
    return found


def _cautions(gains: Gains) -> list[str]:
    found = []
    if gains.n_runs == 1:
        found.append("One run a strategy: the tests cover differences between subjects, not between training runs.")
    missing = gains.n_planned - len(gains.gains)
    if gains.gains and missing:
        found.append(
            f"Of the {gains.n_planned} planned tests {len(gains.gains)} could be made; a missing one counts as p = 1."
        )
    if gains.gains:
        few = min(g.paired.n_subjects for g in gains.gains)
        if 1 < few < _SHORT:
            found.append(f"With {few} test subjects the intervals are somewhat too narrow.")
    if gains.too_few:
        found.append(f"{gains.too_few} test subjects would do for {gains.n_planned} tests.")
    if gains.n_unpaired:
        found.append(f"{plural(gains.n_unpaired, 'scan')} and runs have no partner in the other arm: not compared.")
    if gains.gains:
        found.append("The best of many strategies looks better on these scans than it will on others.")
    return [capital(text) for text in found]
