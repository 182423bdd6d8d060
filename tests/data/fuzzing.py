"""Fuzzing of the readers: a file of a small data set is damaged, and the set is opened and read in another process.

Allowed are a scan that keeps every promise of its interface, or an InputError of one line that names a file. Anything
else is a failure, and so are 20 s of computing, no answer in 120 s, 768 MB of resident memory, MemoryError (the address
space is bounded) and the death of the process.

    python tests/data/fuzzing.py <kind | all> <seed>[:<end>]      repeats cases; kinds are those of fuzz_sets.KINDS
"""

import faulthandler
import itertools
import json
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from fuzz_case import ALLOWED, Outcome, run_case, status
from fuzz_sets import FOREIGN, KINDS, build_foreign

HANGS_AFTER = 120.0  # a process that has not answered is ended
ADDRESS_BYTES = 3 * 2**30  # above what a process has before it reads


def build_sets(names: Iterable[str], folder: Path, data: Path) -> None:
    """The data sets of these kinds as they are before they are damaged: <folder>/<kind>/set."""
    build_foreign(folder / FOREIGN, data)
    for name in names:
        if not (folder / name).exists():
            (folder / name).mkdir()
            (folder / name / "salt").write_text(f"{'salt' * 8}\n")
            KINDS[name].build(folder / name, data)


def _worker(connection: Connection, sets: Path, folder: Path, case: Callable[[str, int, Path], Outcome]) -> None:
    """Says that it is ready, and answers (kind, seed) with an Outcome until it is ended."""
    faulthandler.enable()
    shutil.copytree(sets, folder)
    limit = status("VmSize") + ADDRESS_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    connection.send(None)
    while True:
        name, seed = connection.recv()
        connection.send(case(name, seed, folder / name))


class _Process:
    """A worker and the case it works at."""

    def __init__(self, sets: Path, folder: Path, case: Callable[[str, int, Path], Outcome]) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_worker, args=(other, sets, folder, case), daemon=True)
        self.process.start()
        other.close()
        self.told = ("", 0)
        self.since: float | None = None  # when the case was begun; starting takes some seconds that are not its own

    def tell(self, case: tuple[str, int]) -> None:
        self.told = case
        self.since = None if self.since is None else time.monotonic()
        self.connection.send(case)

    def end(self) -> int | None:
        self.process.kill()
        self.process.join()
        return self.process.exitcode


def fuzz(
    cases: Iterable[tuple[str, int]],
    sets: Path,
    processes: int = 2,
    case: Callable[[str, int, Path], Outcome] = run_case,
    hangs_after: float = HANGS_AFTER,
) -> Iterator[Outcome]:
    """Run cases in `processes` at once; a process that dies or hangs fails its case, and another one goes on."""
    with tempfile.TemporaryDirectory(prefix="fuzz_") as folder:
        numbers = itertools.count()
        waiting = iter(cases)
        workers: list[_Process] = []

        def start() -> None:
            told = next(waiting, None)
            if told is not None:
                workers.append(_Process(sets, Path(folder, str(next(numbers))), case))
                workers[-1].tell(told)

        try:
            for _ in range(processes):
                start()
            while workers:
                wait([worker.connection for worker in workers], timeout=1.0)
                for worker in list(workers):
                    outcome = _outcome(worker, hangs_after)
                    if outcome is None:
                        continue
                    yield outcome
                    if outcome.result in ("died", "hung"):
                        workers.remove(worker)
                        start()
                    elif (told := next(waiting, None)) is not None:
                        worker.tell(told)
                    else:
                        worker.end()
                        workers.remove(worker)
        finally:
            for worker in workers:
                worker.end()


def _outcome(worker: _Process, hangs_after: float) -> Outcome | None:
    passed = 0.0 if worker.since is None else time.monotonic() - worker.since
    try:
        if worker.connection.poll():
            answer = worker.connection.recv()
            if answer is None:
                worker.since = time.monotonic()
            return answer
    except (EOFError, OSError):
        worker.process.join(5)
        return Outcome(*worker.told, "", "died", f"exit code {worker.end()}", passed)
    if passed > hangs_after:
        worker.end()
        return Outcome(*worker.told, "", "hung", f"no answer in {passed:.0f} s", passed)
    return None


def mixed(names: Sequence[str], count: int, first: int = 0) -> Iterator[tuple[str, int]]:
    """`count` cases, the kinds in turn."""
    return ((names[n % len(names)], first + n // len(names)) for n in range(count))


def summary(outcomes: Iterable[Outcome]) -> dict[str, Any]:
    """Counts by kind and result, what took longest and most memory, and every failure."""
    outcomes = list(outcomes)
    counts: dict[str, Counter[str]] = {}
    for one in outcomes:
        counts.setdefault(one.kind, Counter())[one.result] += 1
    slowest = max(outcomes, key=lambda one: one.seconds)
    largest = max(outcomes, key=lambda one: one.resident_bytes)
    return {
        "cases": len(outcomes),
        "results": dict(sorted(Counter(one.result for one in outcomes).items())),
        "by_kind": {kind: dict(sorted(found.items())) for kind, found in sorted(counts.items())},
        "slowest": {**_about(slowest), "seconds": round(slowest.seconds, 2)},
        "most_memory": {**_about(largest), "mb": round(largest.resident_bytes / 1e6)},
        "failures": [asdict(one) for one in outcomes if one.result not in ALLOWED],
    }


def _about(one: Outcome) -> dict[str, Any]:
    return {"kind": one.kind, "seed": one.seed, "mutation": one.mutation}


def main(arguments: Sequence[str]) -> int:
    """Run cases and print their outcomes, whole where one case is asked for; 1 when one failed."""
    names = list(KINDS) if arguments[0] == "all" else [arguments[0]]
    first, colon, end = arguments[1].partition(":")
    count = (int(end) - int(first) if colon else 1) * len(names)
    data = Path(os.environ.get("INPAINT_SSL_TEST_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="fuzz_sets_") as folder:
        build_sets(names, Path(folder), data)
        for one in fuzz(mixed(names, count, int(first)), Path(folder)):
            outcomes.append(one)
            if one.result not in ALLOWED or count == 1:
                print(
                    f"{one.kind} {one.seed} [{one.mutation}] {one.result} in {one.seconds:.2f} s\n{one.detail}",
                    flush=True,
                )
    found = summary(outcomes)
    print(json.dumps({key: value for key, value in found.items() if key != "failures"}, indent=1))
    return 1 if found["failures"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
