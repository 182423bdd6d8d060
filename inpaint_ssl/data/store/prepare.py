"""Preparing a data set: found again when nothing has changed, else written as a new version, whole or not at all."""

import contextlib
import itertools
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from rich.console import Console

from inpaint_ssl.data.record import ScanRecord
from inpaint_ssl.data.scan import ScanReader
from inpaint_ssl.data.store.layout import (
    FILE_TEMPLATE,
    FORMAT,
    INCOMPLETE,
    SPLIT,
    common_dtype,
    dataset_slug,
    features,
    settings_folder,
    shard_name,
    store_settings,
    versions,
)
from inpaint_ssl.data.store.read import METADATA, PreparedStore
from inpaint_ssl.data.store.shards import Job, Shard, Written, divided, write_shards
from inpaint_ssl.errors import InputError
from inpaint_ssl.files import file_sha256, read_json, sha256_of, write_json_atomic
from inpaint_ssl.progress import StageProgress
from inpaint_ssl.signals import Stopped

CHECKED = "checked.json"


def prepare_store(
    reader: ScanReader,
    slice_axis: str,
    folder: Path,
    console: Console,
    processes: int = 0,
    stop: Callable[[], str] = str,
) -> PreparedStore:
    """The prepared form of a data set in `folder`, written if it is not there yet or its sources have changed.

    processes: that read scans in parallel; 0 = one for each core. Another process that prepares the same waits. Raises
    InputError naming the first scan that cannot be read, and signals.Stopped when stop() names a signal; nothing then
    looks finished.
    """

    def check() -> None:
        if signal := stop():
            raise Stopped(signal)

    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise InputError(  # it would wait for the lock of the process that waits for this one
            "prepare_store is called while a process starts that is to read scans; put the calls of your script under "
            "if __name__ == '__main__'"
        )
    if not reader.entries:
        raise InputError(f"no scans in data set {reader.name}; check data.root")
    place = settings_folder(folder, reader, slice_axis)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder}: no folder for prepared data can be made there ({error.strerror}); give one by data.prepared"
        ) from None
    lock = FileLock(place / ".lock")
    try:
        _acquire(lock, lambda: _say(console, f"note: another process prepares {reader.name}; waiting"), check)
    except (OSError, NotImplementedError) as error:  # the latter where a file system has no locks
        store = _found(reader, place)  # what others have prepared can be used without writing
        if store is None:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"{place} cannot be written ({reason}); give another folder by data.prepared") from None
        return store
    try:
        version = _next_version(reader, place, console)
        if isinstance(version, PreparedStore):
            return version
        return _prepare(reader, slice_axis, version, console, processes or (os.cpu_count() or 1), check)
    finally:
        lock.release()


def _next_version(reader: ScanReader, place: Path, console: Console) -> PreparedStore | Path:
    """The version that fits what is there now, or the folder of the one to be made."""
    for left in place.glob(f"{INCOMPLETE}*"):  # of a preparation that was killed
        shutil.rmtree(left, ignore_errors=True)
    store = _found(reader, place)
    if store is not None:
        return store
    older = versions(place)
    if not older:
        return place / "1.0.0"
    _say(
        console,
        f"note: {older[0]} was prepared from other files than those that {reader.name} has now; "
        "it may be deleted unless another study uses it",
    )
    return place / f"{int(older[0].name.partition('.')[0]) + 1}.0.0"


def _acquire(lock: FileLock, tell: Callable[[], None], check: Callable[[], None]) -> None:
    """Wait for the lock; `tell` is called once if that takes longer, `check` about every second."""
    for tries in itertools.count():
        try:
            lock.acquire(timeout=1)
            return
        except Timeout:
            if tries == 1:
                tell()
            check()


def _found(reader: ScanReader, place: Path) -> PreparedStore | None:
    """The newest complete version that was made of the files that are there now.

    InputError of the first damaged one when none is: it may be of them.
    """
    damaged: list[InputError] = []
    for version in versions(place):
        try:
            store = PreparedStore.open(version)
        except InputError as error:
            damaged.append(error)
            continue
        if _is_of(store, reader, place):
            return store
    if damaged:
        raise damaged[0]
    return None


def _prepare(
    reader: ScanReader,
    slice_axis: str,
    version: Path,
    console: Console,
    processes: int,
    check: Callable[[], None],
) -> PreparedStore:
    job = Job(reader, slice_axis, common_dtype(reader.stored_dtype(entry) for entry in reader.entries))
    temporary = Path(tempfile.mkdtemp(prefix=INCOMPLETE, dir=version.parent))
    try:
        slug, parts = dataset_slug(reader.name), divided(reader)
        shards = [
            Shard(number, temporary / shard_name(slug, number, len(parts)), entries)
            for number, entries in enumerate(parts)
        ]
        written: dict[int, Written] = {}
        done, total = 0, len(reader.entries)
        with StageProgress(f"prepare {reader.name}", total, "scan", console=console) as progress:
            for shard in write_shards(job, shards, processes, check):
                written[shard.number] = shard
                done += len(shard.records)
                progress.update(done, shard.records[-1].scan_id)
            progress.finish(done)
        _describe(temporary, version.name, job, slug, [written[number] for number in range(len(shards))])
        temporary.chmod(0o755)  # mkdtemp makes private folders; data sets are shared
        for path in temporary.iterdir():
            with open(path, "rb") as stream:
                os.fsync(stream.fileno())
        os.rename(temporary, version)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return PreparedStore.open(version)


def _describe(folder: Path, version: str, job: Job, slug: str, shards: list[Written]) -> None:
    """The files beside the shards; metadata.json, without which nothing is opened, last."""
    import tensorflow_datasets as tfds

    template = tfds.core.ShardedFileTemplate(
        data_dir=folder, template=FILE_TEMPLATE, dataset_name=slug, split=SPLIT, filetype_suffix="array_record"
    )
    axis = ("sagittal", "coronal", "axial").index(job.slice_axis)
    split = tfds.core.SplitInfo(
        name=SPLIT,
        shard_lengths=[sum(record.shape[axis] for record in shard.records) for shard in shards],
        num_bytes=sum(shard.n_bytes for shard in shards),
        filename_template=template,
    )
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=features(job.dtype),
        split_infos=[split],
        version=version,
        filename_template=template,
        check_data=False,
        description=f"{job.slice_axis.capitalize()} slices of {job.reader.name}, raw intensities, prepared by "
        "inpaint_ssl; the record of every scan is in builder.info.metadata['scans'].",
    )
    metadata = {
        "format": FORMAT,
        "name": job.reader.name,
        "settings": store_settings(job.reader, job.slice_axis),
        "channel_names": list(job.reader.channel_names),
        "dtype": job.dtype.name,
        "files": {path.name: path.stat().st_size for path in sorted(folder.glob("*.array_record-*"))},
        "descriptions": {path.name: file_sha256(str(path)) for path in sorted(folder.glob("*.json"))},
        "scans": [record.to_dict() for shard in shards for record in shard.records],
    }
    write_json_atomic(folder / METADATA, {**metadata, "sha256": sha256_of(metadata)})


def _is_of(store: PreparedStore, reader: ScanReader, place: Path) -> bool:
    """Whether a version was made of the files that are there now.

    Files of the same size and modification time are taken to be the same; where only the time differs the SHA-256
    decides, and the new times are remembered in checked.json.
    """
    if [record.scan_id for record in store.records] != [entry.scan_id for entry in reader.entries]:
        return False
    path = place / CHECKED
    times = _times(path)
    known = times.get(store.folder.name)
    if not isinstance(known, list) or len(known) != len(store.records):
        known = [None] * len(store.records)
    found: list[list[int]] = []
    to_compare: list[tuple[str, str]] = []
    for number, (record, entry) in enumerate(zip(store.records, reader.entries, strict=True)):
        if not _same_entry(record, entry.subject_id, entry.has_label, entry.split):
            return False
        files = reader.sources(entry)
        try:
            stats = [os.stat(file) for file in files]
        except OSError:  # gone since the set was listed; reading it says so
            return False
        if [stat.st_size for stat in stats] != [source.size for source in record.sources]:
            return False
        here = [stat.st_mtime_ns for stat in stats]
        found.append(here)
        if here not in ([source.mtime_ns for source in record.sources], known[number]):
            to_compare += zip(files, (source.sha256 for source in record.sources), strict=True)
    with ThreadPoolExecutor() as pool:
        if not all(pool.map(lambda pair: file_sha256(pair[0]) == pair[1], to_compare)):
            return False
    if to_compare:
        with contextlib.suppress(OSError):  # where nothing can be written, files are compared at every start
            write_json_atomic(path, {**times, store.folder.name: found})
    return True


def _times(path: Path) -> dict[str, Any]:
    """checked.json: version -> modification times of the sources of each scan. Without it, or when it is damaged, files
    are compared once more.
    """
    try:
        values = read_json(path, "times of checked files")
    except InputError:
        return {}
    return values if isinstance(values, dict) else {}


def _same_entry(record: ScanRecord, subject_id: str, has_label: bool, split: str) -> bool:
    return (record.subject_id, record.has_label, record.split) == (subject_id, has_label, split)


def _say(console: Console, line: str) -> None:
    console.print(line, highlight=False, soft_wrap=True, markup=False)
