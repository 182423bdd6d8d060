"""Signals are noted and answered at once in real processes, whatever the main thread is doing."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from inpaint_ssl.signals import EXIT_STOPPED, NAMES, Stopped, graceful_stop

STEPS = """
import os, sys, time
from inpaint_ssl.signals import EXIT_STOPPED, Stopped, graceful_stop
try:
    with graceful_stop(lambda line: print(line, flush=True)) as request:
        print("ready", flush=True)
        for _ in range(600):
            time.sleep(0.1)
            if request.requested:
                raise Stopped(request.requested)
except Stopped as stopped:
    print("saved after", stopped, flush=True)
    sys.exit(EXIT_STOPPED)
"""
# As a compilation does, this keeps the main thread from Python's signal handlers and lets other threads run.
COMPILATION = """
import hashlib
from inpaint_ssl.signals import graceful_stop
with graceful_stop(lambda line: print(line, flush=True)):
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
"""


def start(script: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("name", NAMES)
def test_the_step_is_finished_and_the_exit_code_says_go_on(name: str) -> None:
    process = start(STEPS)
    process.send_signal(getattr(signal, name))
    output = process.communicate(timeout=20)[0]
    assert process.returncode == EXIT_STOPPED == 75
    again = "a second SIGINT" if name == "SIGINT" else "SIGINT twice"
    assert output == f"{name}: finishing the step and saving; {again} exits at once\nsaved after {name}\n"


def test_many_signals_are_one_request() -> None:
    process = start(STEPS)
    for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        process.send_signal(number)
    output = process.communicate(timeout=20)[0]
    assert process.returncode == EXIT_STOPPED
    assert output.count("finishing") == 1 and len(output.splitlines()) == 2


@pytest.mark.parametrize("first", NAMES)
def test_a_second_sigint_ends_even_a_long_compilation(first: str) -> None:
    process = start(COMPILATION)
    process.send_signal(getattr(signal, first))
    assert process.stdout is not None and process.stdout.readline().startswith(f"{first}: finishing the step")
    if first != "SIGINT":
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130
    assert time.monotonic() - began < 2
    process.stdout.close()


def test_a_vanished_terminal_does_no_harm() -> None:
    process = start(STEPS.replace("print(line, flush=True)", "os.write(99, b'')"))
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=20)[0]
    assert process.returncode == EXIT_STOPPED and output == "saved after SIGTERM\n"


def test_earlier_handlers_come_back() -> None:
    before = {name: signal.getsignal(getattr(signal, name)) for name in NAMES}
    seen: list[int] = []
    earlier = signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
    try:
        threads = threading.active_count()
        lines: list[str] = []
        with graceful_stop(lines.append) as request, pytest.raises(Stopped, match="SIGUSR1"):
            os.kill(os.getpid(), signal.SIGUSR1)
            while not lines:
                time.sleep(0.01)
            raise Stopped(request.requested)
        assert seen == [] and len(lines) == 1
        os.kill(os.getpid(), signal.SIGUSR1)
        assert seen == [signal.SIGUSR1] and len(lines) == 1
        assert threading.active_count() == threads and signal.set_wakeup_fd(-1) == -1
    finally:
        signal.signal(signal.SIGUSR1, earlier)
    assert before == {name: signal.getsignal(getattr(signal, name)) for name in NAMES}


def test_other_threads_change_nothing() -> None:
    before = signal.getsignal(signal.SIGTERM)
    requests: list[str] = []

    def enter() -> None:
        with graceful_stop(requests.append) as request:
            assert signal.getsignal(signal.SIGTERM) is before
            requests.append(request.requested)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert requests == [""]
