"""Reading scans in parallel processes, each of which writes the shards it is given."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inpaint_ssl.data.geometry import display, plane_axes
from inpaint_ssl.data.record import ScanRecord, SourceFile, describe
from inpaint_ssl.data.scan import Scan, ScanEntry, ScanReader
from inpaint_ssl.data.store.layout import features
from inpaint_ssl.errors import InputError
from inpaint_ssl.files import file_sha256

SCANS_PER_SHARD = 8
BYTES_PER_SHARD = 2**28  # of source files; a shard ends with the scan that passes it


@dataclass(frozen=True)
class Job:
    """What every process needs: the reader, the plane of the slices and the type of their pixels."""

    reader: ScanReader
    slice_axis: str
    dtype: np.dtype


@dataclass(frozen=True)
class Shard:
    """Where a shard is written and which scans it holds."""

    number: int
    path: Path
    entries: tuple[ScanEntry, ...]


@dataclass(frozen=True)
class Written:
    """A shard that was written: its scans in their order, and the bytes of its examples."""

    number: int
    records: tuple[ScanRecord, ...]
    n_bytes: int


def divided(reader: ScanReader) -> list[tuple[ScanEntry, ...]]:
    """The scans of each shard: a function of the files, not of the number of processes."""
    shards: list[list[ScanEntry]] = []
    room = 0
    for entry in reader.entries:
        if room <= 0 or len(shards[-1]) == SCANS_PER_SHARD:
            shards.append([])
            room = BYTES_PER_SHARD
        shards[-1].append(entry)
        room -= sum(os.path.getsize(path) for path in reader.sources(entry))
    return [tuple(shard) for shard in shards]


def write_shards(
    job: Job, shards: Sequence[Shard], processes: int, check: Callable[[], None] = lambda: None
) -> Iterator[Written]:
    """Write all shards, several at once; yields each as it is done. `check` is called about every second.

    Generated scans of a single shard are made in this process. Raises the InputError of the first scan that cannot be
    read; when a process dies, one that names the scan it died of.
    """
    if len(shards) == 1 and not any(job.reader.sources(entry) for entry in shards[0].entries):
        yield write_shard(job, shards[0])
        return
    context = multiprocessing.get_context("spawn")  # a fork of a process in which jax has started can hang
    count = max(1, min(processes, len(shards)))
    waiting = list(reversed(shards))
    running: dict[Future[Written], Shard] = {}
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(count, mp_context=context, initializer=_take_job, initargs=(job,)) as pool:
        try:
            while waiting or running:
                while waiting and len(running) < count + 1:  # one ahead, so that no process waits
                    shard = waiting.pop()
                    running[pool.submit(_write, shard)] = shard
                done, _ = wait(running, timeout=1, return_when=FIRST_COMPLETED)
                check()
                for future in done:
                    written = future.result()
                    del running[future]
                    yield written
        except BrokenProcessPool:
            raise _death(job, [entry for shard in running.values() for entry in shard.entries]) from None
        except BaseException:  # the shards that are being written are of no use any more
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


_job: list[Job] = []  # of a process of the pool


def _take_job(job: Job) -> None:
    _job[:] = [job]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent ends these
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed parent says nothing to its pool, whose processes would wait for work forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _write(shard: Shard) -> Written:
    return write_shard(_job[0], shard)


def _death(job: Job, entries: Sequence[ScanEntry]) -> InputError:
    """Which of these scans ends the process that reads it: each is read once more in a process of its own."""
    if _exit_code(os.getpid):
        return InputError(
            "no process can be started to read scans; a script has to be a file and call this under "
            "if __name__ == '__main__', since each process runs the rest of it"
        )
    for entry in entries:
        exit_code = _exit_code(_read_once, job.reader, entry)
        if exit_code:
            files = ", ".join(job.reader.shown_path(path) for path in job.reader.sources(entry)[:3])
            return InputError(
                f"scan {entry.scan_id} ({files}): reading it ends the process (exit code {exit_code}); "
                "the file is damaged, or memory is short: copy it again, remove the scan, or lower "
                "data.prepare_processes",
                "unreadable",
            )
    return InputError(
        f"a process that read one of {', '.join(entry.scan_id for entry in entries[:8])} was killed; memory may be "
        "short: lower data.prepare_processes"
    )


def _exit_code(target: Callable[..., Any], *args: Any) -> int | None:
    """Of a process that only calls `target`."""
    process = multiprocessing.get_context("spawn").Process(target=target, args=args)
    process.start()
    process.join()
    return process.exitcode


def _read_once(reader: ScanReader, entry: ScanEntry) -> None:
    with contextlib.suppress(InputError):
        reader.read(entry)


def write_shard(job: Job, shard: Shard) -> Written:
    """Read the scans of a shard and write their slices, scan by scan."""
    from array_record.python.array_record_module import ArrayRecordWriter

    shape = features(job.dtype)
    writer = ArrayRecordWriter(str(shard.path), "group_size:1")
    records, n_bytes = [], 0
    try:
        for entry in shard.entries:
            sources = source_files(job.reader, entry)  # before reading: a change meanwhile is then noticed next time
            scan = job.reader.read(entry)
            record = describe(scan, sources)
            for example in examples(scan, job.slice_axis, job.dtype):
                content = shape.serialize_example(example)
                n_bytes += len(content)
                writer.write(content)
            records.append(record)
        writer.close()
    except RuntimeError as error:  # as the writer says that the disk is full
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{shard.path.parent.parent} cannot be written ({reason}); make room there, or give another folder by "
            "data.prepared"
        ) from None
    return Written(shard.number, tuple(records), n_bytes)


def examples(scan: Scan, slice_axis: str, dtype: np.dtype) -> Iterator[dict[str, object]]:
    """The slices of a scan as examples of layout.features."""
    images = display(scan.image, slice_axis)
    labels = None if scan.label is None else display(scan.label, slice_axis)
    spacing = np.array([scan.spacing_mm[axis] for axis in plane_axes(slice_axis)], np.float32)
    nothing = np.zeros(images.shape[1:3], np.uint8)
    for index, image in enumerate(images):
        yield {
            "image": np.ascontiguousarray(image, dtype),
            "label": nothing if labels is None else np.ascontiguousarray(labels[index]),
            "has_label": scan.label is not None,
            "scan_id": scan.entry.scan_id,
            "subject_id": scan.entry.subject_id,
            "slice_index": index,
            "spacing_mm": spacing,
        }


def source_files(reader: ScanReader, entry: ScanEntry) -> tuple[SourceFile, ...]:
    """The files of a scan with their SHA-256; InputError for one that cannot be read."""
    found = []
    for path in reader.sources(entry):
        try:
            stat, sha256 = os.stat(path), file_sha256(path)
        except OSError as error:
            raise InputError(
                f"{path} cannot be read ({error.strerror}); make it readable or remove the scan", "unreadable"
            ) from None
        found.append(SourceFile(reader.shown_path(path), stat.st_size, stat.st_mtime_ns, sha256))
    return tuple(found)
