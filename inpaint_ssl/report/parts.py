"""What a kind of study contributes to its report: sentences, tables and figures. The page lays them out."""

import math
from dataclasses import dataclass

from inpaint_ssl.report.drawing import Drawing

Value = str | int | float | None


@dataclass(frozen=True)
class Column:
    """One column of a table: `key` in the CSV file, `heading` for a person; numbers are aligned to the right."""

    key: str
    heading: str
    numeric: bool = True


@dataclass(frozen=True)
class Entry:
    """One cell of a table: what is shown, and the value that is written to CSV and sorted by."""

    shown: str
    value: Value = None

    @property
    def written(self) -> Value:
        """For the CSV file: the value, "" where it is missing or not a number."""
        if isinstance(self.value, float) and math.isnan(self.value):
            return ""
        return self.shown if self.value is None else self.value


MISSING = Entry("–", math.nan)  # a cell without a value: a dash, nothing in the CSV file


@dataclass(frozen=True)
class TableView:
    """A table of the report, also written as tables/<name>.csv and tables/<name>.tex.

    title: one line; note: what a reader must know, below it. emphasised: indices of rows shown in bold.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Entry, ...], ...]
    note: str = ""
    emphasised: frozenset[int] = frozenset()


@dataclass(frozen=True)
class StudyPart:
    """The part of a report that is particular to a kind of study.

    headline: the verdict in one sentence; statements: what it rests on, one sentence each; cautions: what limits it.
    """

    headline: str
    statements: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()
    tables: tuple[TableView, ...] = ()
    figures: tuple[Drawing, ...] = ()
