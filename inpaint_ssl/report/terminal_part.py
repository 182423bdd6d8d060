"""What the terminal shows at the end of a study that is no comparison, and how every study ends there."""

import itertools
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import matplotlib
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from inpaint_ssl.report.drawing import STYLE
from inpaint_ssl.report.kinds import part_of
from inpaint_ssl.report.parts import TableView
from inpaint_ssl.report.provenance import failures, read_selection

# a terminal need not know more
_SIGNS = str.maketrans({"–": "-", "\N{MINUS SIGN}": "-", "\N{NO-BREAK SPACE}": " "})
_RAISED = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
_LONGEST = 30  # rows of a table; a longer one is in the report
_FEWEST = 3  # columns of a table without which it says nothing


def simple(text: str) -> str:
    """`text` with the signs of any terminal: 10⁻¹² becomes 10^-12, a unit such as mm² stays."""
    return re.sub("⁻[⁰¹²³⁴-⁹]+", lambda power: "^" + power[0].translate(_RAISED), text).translate(_SIGNS)


def print_part(workdir: Path, info: Mapping[str, Any], console: Console) -> None:
    """Print the tables, the verdict and the selection of a study; `info` is read_info(workdir).

    A chosen row carries an asterisk, so that it is seen without colour. InputError when the kind is unknown.
    """
    with matplotlib.rc_context(STYLE):
        part = part_of(str(info["kind"]))(workdir, info)
    for view in part.tables:
        found = _table(view, console.width)
        console.print(escape(found) if isinstance(found, str) else found, highlight=False)
    console.print(escape(simple(part.headline)), style="bold", highlight=False)
    for statement in part.statements:
        console.print(escape(simple(statement)), highlight=False)
    selected, remarks = read_selection(workdir), list(part.cautions)
    if selected is not None:
        chosen = ", ".join(f"{name} {value}" for name, value in selected.settings) or "nothing"
        console.print(f"Selected on the {selected.split} scans: {escape(chosen)}", highlight=False)
        said = {remark.rstrip(".").lower() for remark in remarks}
        remarks += [warning for warning in selected.warnings if warning.rstrip(".").lower() not in said]
    print_end(workdir, console, (*remarks, *info["warnings"], *failures(info)))


def print_end(workdir: Path, console: Console, warnings: Iterable[str]) -> None:
    """Print warnings and where the report is."""
    for warning in warnings:
        console.print(f"warning: {escape(str(warning))}", style="yellow", highlight=False)
    console.print(f"Report: {escape(str(workdir / 'report.html'))}", soft_wrap=True, highlight=False)


def _table(view: TableView, width: int) -> Table | str:
    """The columns of a table that fit into `width` characters; where there is no room for them, where they are."""
    where = f"tables/{view.name}.csv"
    if len(view.rows) > _LONGEST:
        return f"{view.title}: {len(view.rows)} rows in {where}"
    cells = [[simple(cell.shown) for cell in row] for row in view.rows]
    for k in view.emphasised:
        cells[k][0] += " *"
    widths = [max(map(len, column)) + 2 for column in zip([c.heading for c in view.columns], *cells, strict=True)]
    fitting = sum(total <= width for total in itertools.accumulate(widths))
    if fitting < min(_FEWEST, len(widths)):
        return f"{view.title}: {len(view.rows)} rows in {where}"
    table = Table(title=escape(view.title), title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    table.padding, table.show_edge = (0, 1, 0, 0), False
    for column in view.columns[:fitting]:
        table.add_column(escape(column.heading), justify="right" if column.numeric else "left", no_wrap=True)
    for k, row in enumerate(cells):
        table.add_row(*map(escape, row[:fitting]), style="bold" if k in view.emphasised else None)
    if left := len(widths) - fitting:
        table.caption = f"{left} more column{'s' if left > 1 else ''} in {where}"
    return table
