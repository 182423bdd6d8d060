"""One progress line per stage: a live bar on a terminal, plain lines elsewhere."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS_BETWEEN_PLAIN_LINES = 10.0


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


class StageProgress:
    """Shows stage, position of `total`, a note (loss, images/s) and the time left. Use as a context manager."""

    def __init__(self, stage: str, total: int, unit: str = "step", *, start: int = 0, console: Console | None = None):
        self.stage, self.total, self.unit, self.start = stage, total, unit, start
        self.console = console or Console()
        self._live: Progress | None = None
        self._base: tuple[int, float] | None = None

    def __enter__(self) -> "StageProgress":
        self._began = self._printed = time.monotonic()
        if self.console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn(f"{self.unit} {{task.completed:.0f}}/{{task.total:.0f}}  {{task.fields[note]}}"),
                TimeRemainingColumn(),
            )
            self._live = Progress(*columns, console=self.console)
            self._live.start()
            self._task = self._live.add_task(self.stage, total=self.total, completed=self.start, note="")
        return self

    def update(self, position: int, note: str = "") -> None:
        """`position` of `total` is reached; `note` is shown beside it."""
        if self._live is not None:
            self._live.update(self._task, completed=position, note=note)
            return
        now = time.monotonic()
        # The first step compiles, so the time left is forecast from what follows it.
        self._base = self._base or (position, now)
        if now - self._printed >= SECONDS_BETWEEN_PLAIN_LINES:
            self._printed = now
            self._line(position, note, now)

    def finish(self, position: int, note: str = "") -> None:
        """The stage ends at `position`, which early stopping may place before `total`."""
        if self._live is not None:
            self._live.update(self._task, completed=position, total=position, note=note)
        else:
            self.total = position
            self._line(position, note, time.monotonic())

    def _line(self, position: int, note: str, now: float) -> None:
        base_position, base_time = self._base or (position, now)
        pace = (now - base_time) / (position - base_position) if position > base_position else 0.0
        left = f", {_duration(pace * (self.total - position))} left" if pace and position < self.total else ""
        parts = (
            self.stage,
            f"{self.unit} {position}/{self.total}",
            note,
            f"{_duration(now - self._began)} elapsed{left}",
        )
        text = "  ".join(part for part in parts if part)
        self.console.print(text, highlight=False, soft_wrap=True, markup=False)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
