"""The table at the end of a study in the terminal."""

from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from inpaint_ssl.report.clinical.text import flag_summary
from inpaint_ssl.report.info import COMPARISONS, read_info
from inpaint_ssl.report.load import Study, read_study
from inpaint_ssl.report.provenance import failures
from inpaint_ssl.report.tables import ordered_entries
from inpaint_ssl.report.terminal_part import print_end, print_part, simple
from inpaint_ssl.report.text import interval, is_significant, p_text, percent, ratio, signed, verdict
from inpaint_ssl.statistics import AVERAGE, FROM_SCRATCH, PRETRAINED, Entry

_PLAIN_WIDTH = 110  # a pipe or file has no width; wide enough for the table, narrow enough for a page
_WIDE = 110  # columns that the interval and the effect size need


def print_table(workdir: Path, console: Console) -> None:
    """Print Dice per label fraction, class and arm with p-values, the verdict, warnings and the path of report.html.

    A study that is no comparison prints its verdict, its tables and what it selected.

    Readable without colour: a planned test whose adjusted p-value is below alpha carries an asterisk. Intervals and
    effect sizes are left to the report below 110 columns. A console that is no terminal is widened to 110 columns.
    Raises InputError when study.json is missing or its kind unknown.
    """
    workdir = Path(workdir)
    if not console.is_terminal:
        console.width = max(console.width, _PLAIN_WIDTH)
    info = read_info(workdir)
    if info["kind"] not in COMPARISONS:
        print_part(workdir, info, console)
        return
    study = read_study(workdir)
    if study.statistics.entries:
        wide = console.width >= _WIDE
        console.print(_table(study, wide))
        console.print(_legend(study, wide), style="dim", highlight=False)
    elif study.restoration:
        for r in study.restoration:
            line = f"Inpainting L2 norm per test slice, {r.channel}: {r.mean:.4g} ({r.sd:.2g}), {r.n_slices} slices"
            console.print(line, markup=False, highlight=False)
    console.print(escape(verdict(study).headline), style="bold", highlight=False)
    if flagged := flag_summary(study):
        console.print(f"{escape(flagged)}; see the report", style="yellow", highlight=False)
    print_end(workdir, console, (*study.statistics.warnings, *study.info["warnings"], *failures(study.info)))


def _legend(study: Study, wide: bool) -> str:
    tests = study.statistics.n_planned
    holm = f"p Holm: adjusted for the planned tests of {tests} label fractions. " if tests > 1 else ""
    effect = (
        "Interval of the gain: bootstrap over test subjects. r: rank-biserial effect size, -1 to 1. " if wide else ""
    )
    return (
        "labels: share (number) of training subjects. Dice: mean (standard deviation) over test subjects. "
        f"p: one-sided Wilcoxon signed-rank test, pretrained > from scratch. {holm}* {'p Holm' if holm else 'p'} < "
        f"{study.statistics.alpha:g}. {effect}n: subjects with a difference. Planned test: the average; p-values of "
        "single classes describe."
    )


def _table(study: Study, wide: bool) -> Table:
    info = study.info
    title = escape(f"{info['study']}: Dice on the test scans")
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    table.padding, table.show_edge = (0, 1, 0, 0), False
    table.add_column("labels", no_wrap=True)
    table.add_column("class", overflow="fold")
    adjusted = study.statistics.n_planned > 1
    level = f"{percent(1 - study.statistics.alpha)} interval"
    shown = {"from scratch": True, "pretrained": True, "gain": True, level: wide, "p": True, "p Holm": adjusted}
    shown |= {"r": wide, "n": True}
    for name in shown:
        if shown[name]:
            table.add_column(name, justify="right", no_wrap=True)
    entries = ordered_entries(study)
    if len(study.class_names) == 1:  # the average would only repeat the one class
        entries = [entry for entry in entries if entry.class_name == AVERAGE]
    for i, entry in enumerate(entries):
        first = i == 0 or entries[i - 1].label_fraction != entry.label_fraction
        if first and i:
            table.add_row()
        kept = zip(_row(study, entry, first), (True, True, *shown.values()), strict=True)
        cells = [simple(cell) for cell, keep in kept if keep]
        table.add_row(*cells, style="bold" if entry.class_name == AVERAGE else None)
    return table


def _row(study: Study, entry: Entry, first: bool) -> list[str]:
    count = study.labelled(entry.label_fraction)
    labels = percent(entry.label_fraction) + ("" if count is None else f" ({count})") if first else ""
    name = entry.class_name
    if name == AVERAGE and len(study.class_names) == 1:
        name = study.class_names[0]
    cells = [labels, escape(name)]
    for arm in (FROM_SCRATCH, PRETRAINED):
        summary = entry.arms.get(arm)
        cells.append(f"{ratio(summary.mean)} ({ratio(summary.sd)})" if summary else "–")
    if entry.comparison is None:
        return [*cells, *("–" * 6)]
    c, w = entry.comparison, entry.comparison.wilcoxon
    star = "*" if is_significant(study, c) else " "
    p, holm = p_text(w.p_value), "" if c.p_holm is None else p_text(c.p_holm) + star
    if study.statistics.n_planned == 1:
        p += star
    cells += [signed(c.mean_difference), interval(c.difference_lower, c.difference_upper), p, holm]
    return [*cells, signed(w.rank_biserial), str(w.n)]
