"""TensorBoard event files."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class EventWriter:
    """Scalars of a run in the event files of `directory`, which is made when missing.

    `first_step`: steps that are done already. What a killed attempt wrote of later steps disappears in TensorBoard,
    whichever files it is in. A value is on disk after `flush` or `close`.
    """

    def __init__(self, directory: Path, first_step: int):
        tensorboard = _tensorboard()
        self._event, log = tensorboard.event_pb2.Event, tensorboard.event_pb2.SessionLog
        directory.mkdir(parents=True, exist_ok=True)
        # tensorboardX names files by the second, and a second attempt would write over the first one's. Its
        # SummaryWriter hands values to a thread, and its flush does not wait for them: this is the layer below.
        suffix = f".{time.time_ns()}"
        self._writer = tensorboard.EventsWriter(str(directory / "events"), filename_suffix=suffix)
        start = log(status=log.START)
        self._writer.write_event(self._event(wall_time=time.time(), step=first_step + 1, session_log=start))

    def scalars(self, step: int, values: Mapping[str, Any]) -> None:
        """Numbers by name, such as train/loss, after `step` steps. Not-a-number and infinity are kept."""
        event = self._event(wall_time=time.time(), step=step)
        for name, value in values.items():
            event.summary.value.add(tag=name, simple_value=float(value))
        self._writer.write_event(event)

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


def _tensorboard() -> Any:
    """tensorboardX.event_file_writer, imported when needed and without PyTorch.

    The package imports PyTorch wherever that is installed: seconds of waiting and a second thread pool for nothing.
    """
    hidden = "torch" not in sys.modules
    if hidden:
        sys.modules["torch"] = None  # type: ignore[assignment]  # an import of it fails
    try:
        from tensorboardX import event_file_writer
    finally:
        if hidden:
            del sys.modules["torch"]
    return event_file_writer
