"""Tables of the page as files: tables/<name>.csv with the values, tables/<name>.tex with what is shown."""

import math
from collections.abc import Iterable
from pathlib import Path

from inpaint_ssl.files import write_csv_atomic, write_text_atomic
from inpaint_ssl.report.latex import latex
from inpaint_ssl.report.parts import Entry, TableView


def sort_value(entry: Entry) -> str:
    """What the page sorts a cell by: its value with all digits, "" where it is missing (sorted last)."""
    written = entry.written
    if isinstance(written, float):
        return repr(written) if math.isfinite(written) else "Infinity" if written > 0 else "-Infinity"
    return "" if written is None or written in ("–", "-") else str(written)


def write_latex(folder: Path, view: TableView) -> None:
    """Write <name>.tex alone: for a table whose CSV file holds more than the page shows."""
    write_text_atomic(folder / f"{view.name}.tex", latex(view))


def write_views(folder: Path, views: Iterable[TableView]) -> None:
    """Write <name>.csv and <name>.tex of every table; the columns of the CSV file are the keys of the columns."""
    for view in views:
        keys = [column.key for column in view.columns]
        rows = [dict(zip(keys, (entry.written for entry in row), strict=True)) for row in view.rows]
        write_csv_atomic(folder / f"{view.name}.csv", keys, rows)
        write_latex(folder, view)
