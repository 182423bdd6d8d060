"""Event files read back record by record, and as TensorBoard reads them after a resume."""

import math
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from inpaint_ssl.events import EventWriter

ROOT = Path(__file__).resolve().parent.parent


def records(path: Path) -> list:
    """The events of one file: length (8 bytes), its checksum (4), the record, its checksum (4); half of one ends it."""
    from tensorboardX.proto import event_pb2

    content, events, place = path.read_bytes(), [], 0
    while place < len(content):
        (length,) = struct.unpack("<Q", content[place : place + 8])
        if place + 16 + length > len(content):
            break
        event = event_pb2.Event()
        event.ParseFromString(content[place + 12 : place + 12 + length])
        events.append(event)
        place += length + 16
    return events


def as_tensorboard(directory: Path) -> dict[str, list[tuple[int, float]]]:
    """(step, value) by tag: files in order of their names; a session that starts at a step drops it and later ones."""
    seen: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(directory.glob("events.out.tfevents.*")):
        events = records(path)
        assert events[0].file_version == "brain.Event:2"
        for event in events[1:]:
            if event.HasField("session_log") and event.session_log.status == event.session_log.START:
                seen = {tag: [pair for pair in pairs if pair[0] < event.step] for tag, pairs in seen.items()}
            for value in event.summary.value:
                seen.setdefault(value.tag, []).append((event.step, value.simple_value))
    return seen


def test_values_are_on_disk_after_a_flush(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path / "seed-0" / "tensorboard", 0)
    writer.scalars(25, {"train/loss": np.float32(0.5), "train/learning_rate": 1e-3})
    writer.scalars(50, {"train/loss": math.nan, "validation/loss": 0.25})
    writer.flush()
    seen = as_tensorboard(tmp_path / "seed-0" / "tensorboard")
    assert seen["train/loss"][0] == (25, 0.5) and math.isnan(seen["train/loss"][1][1])
    assert seen["train/learning_rate"] == [(25, pytest.approx(1e-3))]
    assert seen["validation/loss"] == [(50, 0.25)]
    writer.scalars(75, {"train/loss": 0.125})
    writer.close()
    assert as_tensorboard(tmp_path / "seed-0" / "tensorboard")["train/loss"][2] == (75, 0.125)


def test_a_resumed_run_drops_what_came_after_its_checkpoint(tmp_path: Path) -> None:
    before = [(10, 1.0), (20, 2.0)]
    attempts = (
        (0, (1.0, 2.0, 3.0, 4.0), [*before, (30, 3.0), (40, 4.0)]),
        (20, (30.0, 40.0), [*before, (30, 30.0), (40, 40.0)]),
        (0, (5.0,), [(10, 5.0)]),  # killed before its first checkpoint
    )
    writers = []
    for first, values, expected in attempts:  # within one second: each attempt has a file of its own
        writers.append(EventWriter(tmp_path, first))
        for number, value in enumerate(values, start=1):
            writers[-1].scalars(first + 10 * number, {"loss": value})
        writers[-1].flush()  # a killed run never closes
        assert as_tensorboard(tmp_path)["loss"] == expected
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 3
    for writer in writers:
        writer.close()


def test_a_record_cut_in_two_by_a_kill_leaves_the_others(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path, 0)
    for step in (1, 2, 3):
        writer.scalars(step, {"loss": step})
    writer.close()
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-20])
    assert as_tensorboard(tmp_path)["loss"] == [(1, 1.0), (2, 2.0)]
    writer = EventWriter(tmp_path, 1)
    writer.scalars(2, {"loss": 20.0})
    writer.close()
    assert as_tensorboard(tmp_path)["loss"] == [(1, 1.0), (2, 20.0)]


def test_neither_torch_nor_tensorflow_nor_jax_is_imported(tmp_path: Path) -> None:
    code = f"""
import pathlib, sys
from inpaint_ssl.events import EventWriter
assert "tensorboardX" not in sys.modules
EventWriter(pathlib.Path({str(tmp_path)!r}), 0).close()
print([name for name in ("torch", "tensorflow", "jax") if name in sys.modules])
try:
    import torch
except ImportError as error:
    assert "None in sys.modules" not in str(error), error
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[0] == "[]"
