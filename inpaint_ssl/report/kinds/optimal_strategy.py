"""The report of the choice of a pretraining strategy for all data sets (paper, sections 2.5.3 and 3.3, Table 3)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from inpaint_ssl.report.drawing import ARM_COLOURS, INK, MUTED, Drawing
from inpaint_ssl.report.kinds.strategy_sets import strategy_sets
from inpaint_ssl.report.kinds.strategy_tables import SCALED_NOTE, STRATEGY_COLUMNS, strategy_entries
from inpaint_ssl.report.kinds.strategy_text import (
    capital,
    count_entry,
    is_scaled,
    method_entry,
    p_entry,
    p_scientific,
    plural,
    signed_entry,
    strategy_name,
    text_entry,
)
from inpaint_ssl.report.parts import MISSING, Column, Entry, StudyPart, TableView
from inpaint_ssl.report.text import enumeration, p_text, percent, signed
from inpaint_ssl.statistics import PRETRAINED, Bootstrap
from inpaint_ssl.statistics.strategies import Key, RankedStrategy, Ranking, select_strategy

_SHOWN = 5  # strategies of a data set in Table 3
_POOLED = (
    "p, pooled: the paper's one-sided Wilcoxon test, in which a pair is one scan at one label subset; each scan counts "
    "once per subset, so its pairs are not independent and it serves to rank only."
)


def part(workdir: Path, info: Mapping[str, Any]) -> StudyPart:
    """Verdict, Table 3 and all tests, from the study's own grid and those of the studies in info["from"].

    info: its study.json with defaults. Strategies are ranked on the scans of info["select_on"]; whatever has not been
    evaluated yet is left out. Raises InputError for a damaged row or arm.
    """
    alpha, how, split = float(info["alpha"]), Bootstrap(**info["bootstrap"]), info.get("select_on") or "validation"
    sets, notes = strategy_sets(Path(workdir), info)
    rankings = [one.rank(split, alpha, how) for one in sets]
    selection = select_strategy(rankings)
    chosen = _chosen(rankings, selection.selected)
    filled = [ranking for ranking in rankings if ranking.strategies]
    return StudyPart(
        headline=_headline(rankings, chosen),
        statements=(capital(selection.reason), *(_statement(ranking, chosen) for ranking in filled)),
        cautions=tuple(capital(text) + ("" if text.endswith(".") else ".") for text in (*notes, *selection.warnings)),
        tables=(_table_3(filled, chosen), _all_tests(filled, chosen, how)) if filled else (),
        figures=(_gains(filled, chosen),) if filled else (),
    )


def _chosen(rankings: Sequence[Ranking], selected: Mapping[str, object]) -> Key | None:
    for strategy in (s.strategy for ranking in rankings for s in ranking.strategies):
        key = (selected.get("corruption.task"), selected.get("grid.selected_patch_size"))
        if (strategy.task, strategy.paper_patch_size, strategy.sampling) == (*key, selected.get("corruption.sampling")):
            return strategy.key
    return None


def _headline(rankings: Sequence[Ranking], chosen: Key | None) -> str:
    if not any(ranking.ranked for ranking in rankings):
        return "No strategy can be ranked yet."
    if empty := [ranking.name for ranking in rankings if not ranking.ranked]:
        return f"No strategy can be chosen yet: none can be ranked on {enumeration(empty)}."
    if chosen is None:
        every = f"of all {len(rankings)} data sets" if len(rankings) > 1 else f"of {rankings[0].name}"
        return f"No pretraining strategy qualifies: none in the top three {every} is better than from scratch there."
    found = [one for ranking in rankings if (one := ranking.of(chosen)) is not None]
    gains = [f"{signed(one.mean_difference)} on {r.name}" for one, r in zip(found, rankings, strict=True)]
    first = found[0].strategy
    equal = all(one.strategy.patch_size == first.patch_size for one in found)
    name = strategy_name(first) if equal else f"{first.words} (patch size of the paper)"
    return f"Chosen strategy: {name}; mean gain in Dice {enumeration(gains)}."


def _statement(ranking: Ranking, chosen: Key | None) -> str:
    better = [s for s in ranking.strategies if s.pooled.p_value < ranking.alpha]
    adjusted = [s for s in ranking.strategies if s.p_holm < ranking.alpha]
    subsets = enumeration([percent(f) for f in ranking.label_fractions])
    text = (
        f"{ranking.name}, {ranking.split} scans at {subsets} of the labels: {len(better)} of "
        f"{plural(len(ranking.strategies), 'strategy', 'strategies')} better than from scratch by the pooled test "
        f"(p < {ranking.alpha:g}), {len(adjusted)} with subjects as the unit and p adjusted"
    )
    if chosen is not None and (one := ranking.of(chosen)) is not None:
        p = f"p = {p_text(one.p_holm)}".replace("= <", "<").replace("= >", ">")
        text += f"; the chosen one has rank {one.rank} and {p} adjusted, n = {one.by_subject.n}"
    return f"{text}."


def _rank_entry(found: RankedStrategy) -> Entry:
    return MISSING if found.rank is None else count_entry(found.rank)


def _table_3(rankings: Sequence[Ranking], chosen: Key | None) -> TableView:
    """The first five strategies of every data set, as in the paper, and both kinds of p-values."""
    shown = [(ranking, s) for ranking in rankings for s in (ranking.ranked or ranking.strategies)[:_SHOWN]]
    scaled = f" {SCALED_NOTE}" if is_scaled(s.strategy for _, s in shown) else ""
    return TableView(
        name="table_3_strategies",
        title="Table 3: the first five strategies of every data set",
        columns=(
            Column("dataset", "Data set", numeric=False), Column("rank", "Rank"), *STRATEGY_COLUMNS,
            Column("p_pooled", "p, pooled"), Column("p_subjects", "p, by subject"),
            Column("p_holm", "p, by subject, adjusted"),
        ),
        rows=tuple(
            (
                text_entry(ranking.name), _rank_entry(s), *strategy_entries(s.strategy), p_entry(s.pooled.p_value),
                p_entry(s.by_subject.p_value), p_entry(s.p_holm),
            )
            for ranking, s in shown
        ),
        note=f"{_POOLED} By subject: after averaging the subsets, seeds and scans of each subject. Adjusted: Holm, for "
        f"all strategies of a data set. Bold: the chosen strategy.{scaled}",
        emphasised=frozenset(k for k, (_, s) in enumerate(shown) if s.strategy.key == chosen),
    )  # fmt: skip


def _all_tests(rankings: Sequence[Ranking], chosen: Key | None, how: Bootstrap) -> TableView:
    """Every strategy with both tests."""
    shown = [(ranking, s) for ranking in rankings for s in ranking.strategies]
    level = percent(1 - rankings[0].alpha)
    rows = []
    for ranking, s in shown:
        cells = (
            text_entry(ranking.name), _rank_entry(s), *strategy_entries(s.strategy), p_entry(s.pooled.p_value),
            count_entry(s.pooled.n), count_entry(s.pooled.n_zero), signed_entry(s.pooled.rank_biserial),
            *map(signed_entry, (s.mean_difference, s.lower, s.upper)), p_entry(s.by_subject.p_value),
            p_entry(s.p_holm), signed_entry(s.by_subject.rank_biserial), count_entry(s.by_subject.n),
            count_entry(s.by_subject.n_zero), method_entry(s.by_subject), count_entry(s.n_missing),
        )  # fmt: skip
        rows.append(cells)
    return TableView(
        name="strategies",
        title="All strategies, the pooled test and the one by subject",
        columns=(
            Column("dataset", "Data set", numeric=False), Column("rank", "Rank"), *STRATEGY_COLUMNS,
            Column("p_pooled", "p, pooled"), Column("pairs", "Pairs"), Column("pairs_equal", "Equal pairs"),
            Column("effect_pooled", "Effect, pooled"), Column("gain", "Mean gain"),
            Column("gain_lower", f"{level} from"), Column("gain_upper", "to"), Column("p_subjects", "p, by subject"),
            Column("p_holm", "p, adjusted"), Column("effect", "Effect, by subject"), Column("n", "n"),
            Column("n_zero", "Equal"), Column("method", "Null distribution", numeric=False),
            Column("missing", "Missing"),
        ),
        rows=tuple(rows),
        note=f"{_POOLED} Equal p-values are ordered by the pooled effect, then by the mean gain. Mean gain: Dice of "
        "the strategy minus from scratch, over subjects, label subsets averaged; intervals: BCa bootstrap over "
        f"subjects, {how.resamples:,} resamples, seed {how.seed}. Effect: matched-pairs rank-biserial correlation. n: "
        "subjects with a difference; equal: without. Missing: scans and runs that from scratch has and the strategy "
        "has not; such a strategy gets no rank.",
        emphasised=frozenset(k for k, (_, s) in enumerate(shown) if s.strategy.key == chosen),
    )  # fmt: skip


def _gains(rankings: Sequence[Ranking], chosen: Key | None) -> Drawing:
    """Mean gain of every strategy with its interval, one panel a data set, the first rank at the top."""
    heights = [0.27 * len(ranking.strategies) + 0.7 for ranking in rankings]
    figure = Figure(figsize=(7.4, sum(heights) + 0.35), layout="constrained")
    panels = figure.subplots(len(rankings), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    words = []
    for axes, ranking in zip(panels, rankings, strict=True):
        axes.axvline(0, color=MUTED, lw=1)
        for place, s in enumerate(ranking.strategies):
            colour = ARM_COLOURS[PRETRAINED] if s.strategy.key == chosen else INK
            axes.plot([s.lower, s.upper], [place, place], color=colour, lw=2 if s.strategy.key == chosen else 1.3)
            filled = colour if s.pooled.p_value < ranking.alpha else "none"
            axes.plot(s.mean_difference, place, "o", color=colour, ms=6, mfc=filled, mew=1.3)
            words.append(f"{ranking.name}, {strategy_name(s.strategy)} {signed(s.mean_difference)}")
        names = [f"{s.rank or '–'}  {strategy_name(s.strategy)}" for s in ranking.strategies]
        axes.set_yticks(range(len(names)), names, fontsize=8.5)
        for label, s in zip(axes.get_yticklabels(), ranking.strategies, strict=True):
            label.set_fontweight("bold" if s.strategy.key == chosen else "normal")
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        axes.set_title(f"{ranking.name} ({ranking.split} scans)", loc="left")
    panels[-1].set_xlabel("mean gain in Dice over from scratch")
    level = percent(1 - rankings[0].alpha)
    caption = (
        f"Mean gain over the subjects, label subsets below 100 % averaged, with its {level} bootstrap interval, "
        f"by rank. Filled: pooled p < {rankings[0].alpha:g}."
        + (" Coloured: the chosen strategy." if chosen is not None else "")
        + (f" {SCALED_NOTE}" if is_scaled(s.strategy for r in rankings for s in r.strategies) else "")
    )
    best = "; ".join(
        f"best pooled p on {r.name}: {p_scientific(r.ranked[0].pooled.p_value)}" for r in rankings if r.ranked
    )
    return Drawing("gains_by_rank", figure, f"Mean gain of every strategy. {'; '.join(words)}. {best}", caption)
