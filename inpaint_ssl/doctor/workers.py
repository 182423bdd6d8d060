"""Tasks in processes of their own: one that crashes or hangs costs its own result and nothing else."""

import contextlib
import multiprocessing
import os
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from inpaint_ssl.errors import InputError

SECONDS_PER_TASK = 600.0
_SECONDS_TO_START = 120.0
_STARTED = "started"
_SPAWN = multiprocessing.get_context("spawn")  # fork would copy the locks of threads that run here


@dataclass(frozen=True)
class Failed:
    """A task without a result. kind: "crashed" (its process ended), "hung" (stopped after a time limit), "refused" (an
    InputError) or "raised" (any other exception); detail in words.
    """

    kind: str
    detail: str


def run_tasks(
    function: Callable[[Any, Any], Any],
    shared: Any,
    tasks: Sequence[Any],
    processes: int = 0,
    on_done: Callable[[int], None] = lambda done: None,
    seconds_per_task: float = SECONDS_PER_TASK,
) -> list[Any]:
    """function(shared, task) for every task, in the order of `tasks`; Failed in place of a result where there is none.

    `function` is of a module's top level, and `shared`, sent to each process once, can be pickled. processes: 0 = one
    for each core. on_done: told after each task how many are done.
    """
    count = min(len(tasks), processes or os.cpu_count() or 1)
    results: list[Any] = [None] * len(tasks)
    waiting, done = list(range(len(tasks)))[::-1], 0
    workers = [_Worker(function, shared, seconds_per_task) for _ in range(count)]
    try:
        while done < len(tasks):
            for number, worker in enumerate(workers):
                if worker.task is None and waiting:
                    if not worker.process.is_alive():
                        worker = workers[number] = _Worker(function, shared, seconds_per_task)
                    worker.give(waiting.pop(), tasks)
            busy = [worker for worker in workers if worker.task is not None]
            for worker in _ready(busy):
                result = worker.take()
                if result is not _STARTED:
                    results[worker.task], done = result, done + 1
                    worker.task = None
                    on_done(done)
    finally:
        for worker in workers:
            worker.end()
    return results


class _Worker:
    """One process and the index of its present task. The time of a task begins when the process has started."""

    def __init__(self, function: Callable[[Any, Any], Any], shared: Any, limit: float) -> None:
        self.connection, other = _SPAWN.Pipe()
        self.process = _SPAWN.Process(target=_serve, args=(other, function, shared), daemon=True)
        self.process.start()
        other.close()
        self.task: Any = None
        self.limit, self.started = limit, False
        self.until = 0.0

    def give(self, task: int, tasks: Sequence[Any]) -> None:
        self.task = task
        self._begin()
        with contextlib.suppress(BrokenPipeError):  # it has just died: `take` says so
            self.connection.send(tasks[task])

    def _begin(self) -> None:
        self.until = time.monotonic() + (self.limit if self.started else max(self.limit, _SECONDS_TO_START))

    def take(self) -> Any:
        """The result, what became of it, or _STARTED when the process has only now begun with the task."""
        try:
            if self.connection.poll():
                result = self.connection.recv()
                if self.started:
                    return result
                self.started = True
                self._begin()
                return _STARTED
        except (EOFError, ConnectionResetError):
            self.process.join()
            code = self.process.exitcode or 0
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            return Failed("crashed", f"the process that read it ended at once ({how})")
        self.process.kill()
        self.process.join()
        return Failed("hung", f"reading it took more than {self.limit:.0f} s and was given up")

    def end(self) -> None:
        self.connection.close()
        if self.process.is_alive():
            self.process.kill()
        self.process.join()


def _ready(busy: list[_Worker]) -> list[_Worker]:
    """Workers that have answered, ended, or had their time."""
    answered = wait([worker.connection for worker in busy], max(min(w.until for w in busy) - time.monotonic(), 0.0))
    now = time.monotonic()
    return [worker for worker in busy if worker.connection in answered or now >= worker.until]


def _serve(connection: Connection, function: Callable[[Any, Any], Any], shared: Any) -> None:
    """A worker's life: tasks in, results out, until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    warnings.simplefilter("ignore")  # the libraries' remarks on odd headers; what matters is checked
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        connection.send(_STARTED)
        while True:
            task = connection.recv()
            connection.send(_result(function, shared, task))


def _result(function: Callable[[Any, Any], Any], shared: Any, task: Any) -> Any:
    try:
        return function(shared, task)
    except InputError as error:
        return Failed("refused", str(error))
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        text = " ".join(str(error).split())
        return Failed("raised", f"{type(error).__name__}: {text} ({os.path.basename(place.filename)}:{place.lineno})")
