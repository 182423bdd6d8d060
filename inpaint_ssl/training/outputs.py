"""What a run shows while it trains: metrics.csv, TensorBoard events and a trace for the profiler."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import jax

from inpaint_ssl.events import EventWriter
from inpaint_ssl.files import write_csv_atomic
from inpaint_ssl.training.state import METRICS_COLUMNS

TRACED = (10, 20)  # first and last step of the profile, counted from the start of the process
SHARED = ("learning_rate", "images_per_second", "waiting_share")  # in TensorBoard under the name alone


class SeedOutputs:
    """metrics.csv and the event file of one seed; nothing is written unless `is_writer`."""

    def __init__(self, directory: Path, first_step: int, is_writer: bool) -> None:
        self._path = directory / "metrics.csv"
        self._events = EventWriter(directory / "tensorboard", first_step) if is_writer else None

    def row(self, row: Mapping[str, Any]) -> None:
        """One row of metrics.csv for TensorBoard; the rows themselves go to `write`."""
        if self._events is not None:
            values = {f"{row['split']}/{name}": float(row[name]) for name in ("loss", "gradient_norm") if name in row}
            if row["split"] == "train":
                values |= {name: float(row[name]) for name in SHARED}
            self._events.scalars(row["step"], values)

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """All rows so far."""
        if self._events is not None:
            write_csv_atomic(self._path, METRICS_COLUMNS, rows)
            self._events.flush()

    def close(self) -> None:
        """Release the event file."""
        if self._events is not None:
            self._events.close()


class Tracer:
    """A profiler trace of steps 10 to 20 of this process, when asked for; a context manager.

    Of several processes one writes it, but all must wait for the steps at its borders together.
    """

    def __init__(self, folder: Path, first_step: int, wanted: bool, is_writer: bool) -> None:
        self._folder, self._wanted, self._is_writer, self._running = folder, wanted, is_writer, False
        self._begin, self._end = (first_step + step for step in TRACED)

    def __enter__(self) -> "Tracer":
        return self

    def is_due(self, step: int) -> bool:
        """True when the trace begins or ends after `step` steps: wait until they are done, then call turn."""
        return self._wanted and step >= (self._end if self._running else self._begin)

    def turn(self) -> None:
        """Begin the trace, or end it."""
        if self._running:
            self._stop()
        else:
            if self._is_writer:
                jax.profiler.start_trace(self._folder)
            self._running = True

    def _stop(self) -> None:
        if self._is_writer:
            jax.profiler.stop_trace()
        self._running = self._wanted = False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._running:
            self._stop()
