"""What several workers print, in one place: their logs are followed, shown line by line or as a table that changes."""

import math
import re
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

_LAST_LINES = 15  # of a log, shown when its worker fails
_COUNT_EVERY_S = 5.0
_KEPT = ("failed:", "error:", "skipped:", "note:", "warning:")  # lines that stay on a terminal
_LEFT_OUT = ("submitit INFO",)  # each job tells what it is about to do
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Log:
    """A file that another process writes: what it has now is old and left out, unless `whole`."""

    def __init__(self, path: Path, *, whole: bool = False) -> None:
        self.path = path
        self.last = ""  # newest line that is not empty
        self._position = path.stat().st_size if path.exists() and not whole else 0
        self._begun = self._position
        self._rest = b""

    def new_lines(self) -> list[str]:
        """The complete lines since the last call, without escapes of terminals; [] while there is no file."""
        if not self.path.exists():
            return []
        with open(self.path, "rb") as stream:
            stream.seek(self._position)
            content = stream.read()
        self._position += len(content)
        *lines, self._rest = (self._rest + content).split(b"\n")
        texts = [_plain(line) for line in lines]
        self.last = next((text for text in reversed(texts) if text.strip()), self.last)
        return texts

    def tail(self) -> str:
        """The last lines that were not old."""
        if not self.path.exists():
            return ""
        with open(self.path, "rb") as stream:
            stream.seek(self._begun)
            lines = [_plain(line) for line in stream.read().split(b"\n")]
        return "\n".join([line for line in lines if line.strip()][-_LAST_LINES:])


def _plain(line: bytes) -> str:
    return _CONTROL.sub("", line.decode("utf-8", "replace").rpartition("\r")[2] or "")


class Display:
    """Shows workers by name: on a terminal a table of what each printed last, elsewhere every line with the name.

    left(): how many groups are still to do, or None. Use as a context manager.
    """

    def __init__(self, console: Console, left: Callable[[], int] | None = None) -> None:
        self.console, self._left = console, left
        self._rows: dict[str, tuple[str, str]] = {}
        self._counted: tuple[float, int | None] = (-math.inf, None)
        self._live = Live(console=console, refresh_per_second=2, transient=True) if console.is_terminal else None

    def __enter__(self) -> "Display":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, line: str, style: str = "") -> None:
        """A line that stays."""
        self.console.print(line, style=style, highlight=False, soft_wrap=True, markup=False)

    def show(self, name: str, state: str, log: Log) -> None:
        """What a worker, of which `state` is a word such as "running", has printed since the last call."""
        for line in log.new_lines():
            if line.strip() and not line.startswith(_LEFT_OUT) and (self._live is None or line.startswith(_KEPT)):
                self.say(f"{name}: {line}")
        if self._live is not None:
            self._rows[name] = (state, log.last)
            self._live.update(self._table())

    def count(self) -> None:
        """Show how much is still to do, when that has changed; looks every few seconds only."""
        now, (when, before) = time.monotonic(), self._counted
        if self._left is None or now - when < _COUNT_EVERY_S:
            return
        self._counted = now, self._left()
        if self._live is None and self._counted[1] != before:
            self.say(self._to_do())

    def _to_do(self) -> str:
        number = self._counted[1]
        return "" if number is None else f"{number} group{'' if number == 1 else 's'} of runs to do"

    def _table(self) -> Table:
        table = Table(title=self._to_do(), title_justify="left", box=None, show_header=False, expand=True)
        for name, width in (("name", None), ("state", None), ("last", 1)):
            table.add_column(name, no_wrap=True, overflow="ellipsis", ratio=width)
        for name, (state, last) in self._rows.items():
            table.add_row(*(Text(text) for text in (name, state, last)))
        return table
