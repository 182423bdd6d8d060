"""Fuzzing of the readers: a file of a small data set is damaged, and the set is opened and read in another process.

Allowed are a scan that keeps every promise of its interface, or an InputError of one line that names a file. Anything else
is a failure, and so are 20 s, 768 MB of resident memory, and the death of the process.

    python tests/data/fuzzing.py <kind | all> <seed>[:<end>]      repeats cases; kinds are those of fuzz_sets.KINDS
"""

import contextlib
import faulthandler
import itertools
import json
import multiprocessing
import os
import random
import resource
import shutil
import stat
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_bytes import mutated
from fuzz_sets import FOREIGN, KINDS, Kind, build_foreign, files_of, names_of, reader_of

from inpaint_ssl.data import Preprocessing, ScanReader, describe, source_of
from inpaint_ssl.data.readers.dicom_ids import IdHasher, load_salt
from inpaint_ssl.data.scan import Scan, ScanEntry
from inpaint_ssl.errors import InputError, Problems

SECONDS = 20.0
HANGS_AFTER = 60.0  # a process that has not answered is ended
RESIDENT_BYTES = 768 * 2**20
ADDRESS_BYTES = 3 * 2**30  # above what a process has before it reads
LONGEST_MESSAGE = 3000
ALLOWED = ("read", "refused")


@dataclass(frozen=True)
class Outcome:
    """What became of one case. result: "read", "refused", or a failure: "exception", "message", "scan", "slow", "memory",
    "died", "hung". detail: the message, or the traceback.
    """

    kind: str
    seed: int
    mutation: str
    result: str
    detail: str
    seconds: float = 0.0
    resident_bytes: int = 0


class Broken(Exception):
    """A promise that was not kept: (result, detail)."""


# One case


def run_case(name: str, seed: int, folder: Path) -> Outcome:
    """Damage a file of the set in folder/set, open and read it, and put everything back; a seed below 0 damages nothing."""
    kind, rng, root = KINDS[name], random.Random(f"{name}/{seed}"), folder / "set"
    target = rng.choice(sorted(path for pattern in kind.targets for path in root.glob(pattern)))
    kept = {path: path.read_bytes() for path in files_of(root)}
    others = [*kept, *sorted((folder.parent / FOREIGN).iterdir())]
    damage, what = plan_damage(rng, kind, target, others) if seed >= 0 else (lambda: None, "nothing")
    what = f"{target.relative_to(root)}: {what}"
    names = {name for name in names_of(root, hasher(folder)) if name}
    _reset_peak()
    before, began = resident_peak(), time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result, detail = _use(kind, root, target, damage, rng, names, what.endswith(": pipe"))
    except Broken as broken:
        result, detail = broken.args
    except BaseException:  # the process itself goes on
        result, detail = "exception", traceback.format_exc(limit=-12)
    seconds, more = time.perf_counter() - began, resident_peak() - before
    if result in ALLOWED and seconds > SECONDS:
        result = "slow"
    if result in ALLOWED and more > RESIDENT_BYTES:
        result = "memory"
    _put_back(root, kept)
    return Outcome(name, seed, what, result, detail, seconds, more)


def plan_damage(rng: random.Random, kind: Kind, target: Path, others: Sequence[Path]) -> tuple[Callable[[], None], str]:
    """What will be done to `target`, and its name."""
    chance = rng.random()
    if kind.special and chance < 0.02:
        special = rng.choice(kind.special)
        return lambda: (special(rng, target), None)[1], special.__name__
    if chance < 0.05:
        how = rng.choice(("removed", "folder", "pipe", "link_to_nowhere", "link_to_itself", "unreadable_device"))
        return lambda: _replace(target, how), how
    if chance < 0.09:
        other = rng.choice(others)
        return lambda: _write(target, other.read_bytes()), f"content of {other.name}"
    content, what = mutated(rng, target.read_bytes(), kind.own)
    return lambda: _write(target, content), what


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _replace(path: Path, how: str) -> None:
    path.unlink()
    if how == "folder":
        path.mkdir()
    elif how == "pipe":
        os.mkfifo(path)
    elif how == "link_to_nowhere":
        path.symlink_to("nowhere")
    elif how == "link_to_itself":
        path.symlink_to(path.name)
    elif how == "unreadable_device":
        path.symlink_to("/dev/full")


def _put_back(root: Path, kept: dict[Path, bytes]) -> None:
    for path in [path for path in root.rglob("*") if path not in kept and (path.is_symlink() or not path.is_dir())]:
        path.unlink()
    for path, content in kept.items():
        if path.is_symlink() or (path.exists() and not stat.S_ISREG(path.lstat().st_mode)):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        if not path.exists() or path.stat().st_size != len(content) or path.read_bytes() != content:
            path.write_bytes(content)


def _use(
    kind: Kind,
    root: Path,
    target: Path,
    damage: Callable[[], None],
    rng: random.Random,
    names: set[str],
    is_pipe: bool,
) -> tuple[str, str]:
    """(result, detail) of opening and reading; raises Broken and whatever else comes out."""
    late, strict = rng.random() < 0.12 and not is_pipe, rng.random() < 0.25
    try:
        if kind.use is not None:
            damage()
            return "read", str(kind.use(root, rng))
        if not late:
            damage()
        problems = Problems(collect=not strict)
        reader = reader_of(root, kind, problems)
        for problem in problems.found:
            check_message(problem, names)
        check_listing(reader)
        if late:
            damage()
        read_entries(reader, target, rng)
    except InputError as error:
        check_message(error, names)
        return "refused", str(error)
    return ("refused", str(problems.found[0])) if problems.found else ("read", "")


def read_entries(reader: ScanReader, target: Path, rng: random.Random) -> None:
    """Read the scans that the file is of, else the first one, and check them and what follows from them."""
    concerned = [entry for entry in reader.entries if str(target) in reader.sources(entry)]
    for entry in (concerned or list(reader.entries))[:1]:
        scan = reader.read(entry)
        check_scan(scan, entry, reader)
        record = describe(scan)
        json.dumps(record.to_dict(), allow_nan=False).encode("utf-8")
        how = Preprocessing("mri", "axial", (512, 512), "all", (), rng.choice(((), (1.0, 1.0))))
        source = source_of(scan, how)
        _promise(np.isfinite(source.images).all() and np.isfinite(source.statistics).all(), "slices are not finite")


# What is promised


def _promise(kept: Any, what: str) -> None:
    if not kept:
        raise Broken("scan", what)


def check_message(error: InputError, names: set[str]) -> None:
    text = str(error)
    if not text.isprintable() or len(text) > LONGEST_MESSAGE:
        raise Broken("message", f"{len(text)} characters, or such as cannot be printed: {text[:2000]!r}")
    if not any(name in text for name in names) and "series in " not in text:
        raise Broken("message", f"names no file: {text}")
    if any(secret in text for secret in ("Miller", "QX-4711")):
        raise Broken("message", f"names the patient: {text}")


def check_listing(reader: ScanReader) -> None:
    for text in (reader.name, *reader.notes, *reader.channel_names, *reader.labels, *(e.scan_id for e in reader.entries)):
        _promise(text.isprintable() and len(text) <= LONGEST_MESSAGE, f"{text[:200]!r} cannot be printed")
    json.dumps(reader.settings(), allow_nan=False).encode("utf-8")
    _promise(all(type(v) is int or all(type(w) is int for w in v) for v in reader.labels.values()), "labels")
    _promise([e.scan_id for e in reader.entries] == sorted({e.scan_id for e in reader.entries}), "order of scans")


def check_scan(scan: Scan, entry: ScanEntry, reader: ScanReader) -> None:
    image, label = scan.image, scan.label
    _promise(image.ndim == 4 and image.size and image.shape[3] == len(reader.channel_names), f"shape {image.shape}")
    _promise(image.dtype == reader.stored_dtype(entry), f"type {image.dtype}, not {reader.stored_dtype(entry)}")
    whole = image.dtype.kind in "iu" and image.dtype.itemsize <= 4
    _promise(whole or (image.dtype == np.float32 and np.isfinite(image).all()), f"values of {image.dtype}")
    _promise((label is not None) == entry.has_label, "label")
    if label is not None:
        _promise(label.dtype == np.uint8 and label.shape == image.shape[:3], f"label {label.dtype} {label.shape}")
    _promise(len(scan.spacing_mm) == 3 and all(1e-3 <= mm <= 1e3 for mm in scan.spacing_mm), f"spacing {scan.spacing_mm}")
    for affine in (scan.affine, scan.original_affine):
        _promise(affine.shape == (4, 4) and np.isfinite(affine).all() and np.linalg.matrix_rank(affine) == 4, "affine")
    _promise(np.allclose(np.linalg.norm(scan.affine[:3, :3], axis=0), scan.spacing_mm, rtol=1e-4), "spacing and affine")
    _promise(sorted(scan.original_shape) == sorted(image.shape[:3]), f"original shape {scan.original_shape}")
    _promise(len(scan.original_orientation) == 3, f"orientation {scan.original_orientation}")
    for key, value in scan.acquisition.items():
        _promise(value.isprintable() if isinstance(value, str) else np.isfinite(value), f"{key} {value!r}")


def hasher(folder: Path) -> Callable[[str], str]:
    """How the DICOM reader may call a file that it must not name."""
    salt = folder / "salt"
    if not salt.exists():
        return lambda name: ""
    ids = IdHasher(load_salt(str(salt)))
    return lambda name: f"hash-{ids.of('path', name)}"


# Memory


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) * 1024


def resident_peak() -> int:
    return _status("VmHWM")


def _reset_peak() -> None:
    with contextlib.suppress(OSError):  # without it the peak only grows, which shows a large one just as well
        Path("/proc/self/clear_refs").write_text("5")


# Processes


def build_sets(names: Iterable[str], folder: Path, data: Path) -> None:
    """The data sets of these kinds as they are before they are damaged: <folder>/<kind>/set."""
    build_foreign(folder / FOREIGN, data)
    for name in names:
        if not (folder / name).exists():
            (folder / name).mkdir()
            (folder / name / "salt").write_text(f"{'salt' * 8}\n")
            KINDS[name].build(folder / name, data)


def _worker(connection: Connection, sets: Path, folder: Path, case: Callable[[str, int, Path], Outcome]) -> None:
    """Answers (kind, seed) with an Outcome until it is told None."""
    faulthandler.enable()
    shutil.copytree(sets, folder)
    warm_up = False
    while (told := connection.recv()) is not None:
        if not warm_up:
            case(told[0], -1, folder / told[0])  # imports, so that they are counted to no case
            limit = _status("VmSize") + ADDRESS_BYTES
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            warm_up = True
        connection.send(case(*told, folder / told[0]))


class _Process:
    """A worker and the case it works at."""

    def __init__(self, sets: Path, folder: Path, case: Callable[[str, int, Path], Outcome]) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_worker, args=(other, sets, folder, case), daemon=True)
        self.process.start()
        other.close()
        self.told: tuple[str, int] | None = None
        self.since = 0.0

    def tell(self, case: tuple[str, int]) -> None:
        self.told, self.since = case, time.monotonic()
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
    assert worker.told is not None
    passed = time.monotonic() - worker.since
    try:
        if worker.connection.poll():
            return worker.connection.recv()
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
        "slowest": {"kind": slowest.kind, "seed": slowest.seed, "mutation": slowest.mutation, "seconds": round(slowest.seconds, 2)},
        "most_memory": {
            "kind": largest.kind, "seed": largest.seed, "mutation": largest.mutation, "mb": round(largest.resident_bytes / 1e6),
        },
        "failures": [asdict(one) for one in outcomes if one.result not in ALLOWED],
    }  # fmt: skip


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
                print(f"{one.kind} {one.seed} [{one.mutation}] {one.result} in {one.seconds:.2f} s\n{one.detail}", flush=True)
    found = summary(outcomes)
    print(json.dumps({key: value for key, value in found.items() if key != "failures"}, indent=1))
    return 1 if found["failures"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
