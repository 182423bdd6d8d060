"""Being asked to stop: SIGTERM, SIGINT and SIGUSR1 let the step finish and be saved; batch systems send them.

The process then ends with the exit code EXIT_STOPPED, and the same command goes on.
"""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

EXIT_STOPPED = 75  # EX_TEMPFAIL of sysexits.h: nothing is wrong, run the same command again
EXIT_AT_ONCE = 130  # what a shell shows for a process that SIGINT has ended
NAMES = ("SIGTERM", "SIGINT", "SIGUSR1")  # Windows has no SIGUSR1


class Stopped(Exception):
    """Training was asked to stop by the signal of this name, and what was reached is saved."""


class Stops(NamedTuple):
    """Who asks to stop: each gives the name of the signal, or "".

    together: the same in all processes of a run, which must all call it. here: known to this process alone.
    """

    together: Callable[[], str] = str
    here: Callable[[], str] = str


class StopRequest:
    """`requested` is the name of the first signal that has come, "" before."""

    def __init__(self) -> None:
        self.requested = ""


@contextlib.contextmanager
def graceful_stop(warn: Callable[[str], None]) -> Iterator[StopRequest]:
    """While this is entered, signals only note a request to stop; a second SIGINT ends the process at once.

    `warn` gets one line when the first signal comes. Python's own handlers wait for the main thread, which may be in a
    compilation of minutes; a thread that reads the numbers of the signals as they come does not. Earlier handlers come
    back at the end. Outside of the main thread, where Python takes no handlers, nothing is changed.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    signals = {getattr(signal, name): name for name in NAMES if hasattr(signal, name)}
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    watcher = threading.Thread(target=_watch, args=(reader, signals, request, warn), name="signals", daemon=True)
    watcher.start()
    earlier_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    earlier = {number: signal.signal(number, lambda *_: None) for number in signals}
    try:
        yield request
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        signal.set_wakeup_fd(earlier_fd)
        writer.close()  # ends the watcher
        watcher.join()
        reader.close()


def _watch(reader: socket.socket, signals: dict[int, str], request: StopRequest, warn: Callable[[str], None]) -> None:
    """Read the numbers of signals, one byte each, until the other end is closed."""
    interrupted = False
    while number := reader.recv(1):
        name = signals.get(number[0], "")
        if name == "SIGINT" and interrupted:
            os._exit(EXIT_AT_ONCE)
        interrupted |= name == "SIGINT"
        if name and not request.requested:
            request.requested = name
            again = "a second SIGINT" if interrupted else "SIGINT twice"
            with contextlib.suppress(OSError, ValueError):  # the terminal may be gone
                warn(f"{name}: finishing the step and saving; {again} exits at once")
