"""Plain lines where the output is no terminal, a live bar where it is."""

import io

import pytest
from rich.console import Console

from inpaint_ssl import progress
from inpaint_ssl.progress import StageProgress


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_plain_lines_come_seldom_and_forecast_from_the_second_step(clock) -> None:
    text = io.StringIO()
    with StageProgress("pretrain", 100, console=Console(file=text, width=200)) as bar:
        for step in range(1, 61):
            clock[0] += 12.0 if step == 1 else 0.5  # the first step compiles
            bar.update(step, "loss 1")
        bar.finish(60, "done")
    lines = text.getvalue().splitlines()
    assert lines[0] == "pretrain  step 1/100  loss 1  0:12 elapsed"
    assert lines[1] == "pretrain  step 21/100  loss 1  0:22 elapsed, 0:40 left"  # 79 steps of half a second
    assert lines[-1] == "pretrain  step 60/60  done  0:42 elapsed"
    assert len(lines) == 4


def test_a_terminal_gets_a_bar() -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=120, color_system=None)
    with StageProgress("read scans", 3, "scan", console=console) as bar:
        bar.update(2, "scan_b")
        bar.finish(3, "all read")
    assert "read scans" in text.getvalue() and "scan 3/3  all read" in text.getvalue()
