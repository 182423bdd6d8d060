"""Workers as processes side by side on this machine."""

import datetime
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from inpaint_ssl.signals import EXIT_AT_ONCE, EXIT_STOPPED, Stopped, Stops
from inpaint_ssl.study.claims import Claim, Claims
from inpaint_ssl.study.launch.codes import worst
from inpaint_ssl.study.launch.command import worker_command
from inpaint_ssl.study.launch.devices import environment_of, take_cores, visible_gpus
from inpaint_ssl.study.launch.logs import Display, Log

_POLL_S = 0.2


@dataclass
class Worker:
    """A process of this launcher; `place` keeps its number, and so its log, from other launchers."""

    name: str
    process: subprocess.Popen[bytes]
    log: Log
    place: Claim

    def code(self) -> int | None:
        """Its exit code, of one that a signal ended 128 and the signal's number; None while it runs."""
        code = self.process.poll()
        return code if code is None or code >= 0 else 128 - code


def run_local(
    command: Sequence[str],
    workdir: Path,
    console: Console,
    stops: Stops,
    count: int,
    left: Callable[[], int] | None = None,
) -> int:
    """Run `count` workers (module and flags in `command`) until all have ended; the worst of their exit codes.

    What they print goes to <workdir>/workers/<n>.log and is shown here. A signal is passed on, and signals.Stopped
    raised when all have saved. They end by themselves when this process is killed.
    """
    workers: list[Worker] = []
    try:
        for index in range(count):
            workers.append(_start(command, Path(workdir), index, count))
        with Display(console, left) as display:
            codes = _watch(workers, display, stops)
    finally:
        for worker in workers:
            if worker.process.stdin is not None:
                worker.process.stdin.close()  # one that still runs, because something failed here, ends by this
            worker.place.release()
    if (asked := stops.here()) and worst(codes) == EXIT_STOPPED:
        raise Stopped(asked)
    return worst(codes)


def _start(command: Sequence[str], workdir: Path, index: int, count: int) -> Worker:
    place, number = _free_place(workdir)
    path = workdir / "workers" / f"{number}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    log, gpus = Log(path), visible_gpus()
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", **environment_of(index, count, gpus)}
    module, *flags = command
    with open(path, "ab") as output:
        output.write(f"--- {datetime.datetime.now().astimezone().isoformat(timespec='seconds')}\n".encode())
        output.flush()
        process = subprocess.Popen(
            [*worker_command(module, follow=True), *flags],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C would reach it from the terminal as well as from here: twice is at once
        )
    if not gpus:
        take_cores(process.pid, index, count)
    return Worker(f"worker {number}", process, log, place)


def _free_place(workdir: Path) -> tuple[Claim, int]:
    """A number that no worker of another launcher on this study has."""
    claims, number = Claims(workdir), 1
    while (place := claims.take(f"workers/{number}")) is None:
        number += 1
    return place, number


def _watch(workers: list[Worker], display: Display, stops: Stops) -> list[int]:
    """Their exit codes, once all have ended."""
    codes: dict[str, int] = {}
    asked, number = "", signal.SIGTERM
    while len(codes) < len(workers):
        display.count()
        if not asked and (asked := stops.here()):
            number = getattr(signal, asked, signal.SIGTERM)
            for worker in workers:
                worker.process.send_signal(number)
        for worker in workers:
            code = worker.code()
            display.show(worker.name, "running" if code is None else "ended", worker.log)
            if code is None or worker.name in codes:
                continue
            if asked and code in (128 + number, EXIT_AT_ONCE):
                code = EXIT_STOPPED  # it had not come to the point from which on it saves
            codes[worker.name] = code
            if code not in (0, EXIT_STOPPED):
                display.say(f"{worker.name} ended with exit code {code}; its last lines ({worker.log.path}):", "red")
                display.say(worker.log.tail())
        time.sleep(_POLL_S)
    return list(codes.values())
