"""Preparing that goes wrong or is stopped: what is said then, and that nothing half-written is taken for whole."""

import io
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from filelock import FileLock
from nifti_sets import message
from rich.console import Console
from store_readers import SmallReader, versions, write_sources

from inpaint_ssl.data import prepare_store as prepare
from inpaint_ssl.data.store import shards
from inpaint_ssl.data.store.layout import settings_folder
from inpaint_ssl.signals import Stopped

QUIET = Console(quiet=True)
HERE = Path(__file__).resolve().parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent.parent)])}


@pytest.fixture
def sources(tmp_path: Path) -> list[str]:
    return write_sources(tmp_path / "files")


def test_a_scan_that_cannot_be_read_leaves_nothing(tmp_path: Path, sources: list[str]) -> None:
    reader = SmallReader(sources, {"scan_0013": "fails"})
    assert "scan_0013 is broken" in message(prepare, reader, "axial", tmp_path / "prepared", QUIET, 2)
    assert versions(tmp_path / "prepared") == []
    assert list((tmp_path / "prepared").rglob("*array_record*")) == []
    assert len(prepare(SmallReader(sources), "axial", tmp_path / "prepared", QUIET, 2).records) == 20


def test_a_full_disk_is_said_in_one_line(tmp_path: Path, sources: list[str]) -> None:
    """A limit on the size of files does what a full disk does: the writer cannot write."""
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "from store_readers import SmallReader; from inpaint_ssl.data.store.shards import Job, Shard, write_shard\n"
        "import numpy as np; from pathlib import Path; from inpaint_ssl.errors import InputError\n"
        f"reader = SmallReader({sources!r}, shape=(64, 64, 20)); path = Path({str(tmp_path)!r}, 'version', 'shard')\n"
        "path.parent.mkdir()\n"
        "try: write_shard(Job(reader, 'axial', np.dtype(np.int16)), Shard(0, path, reader.entries))\n"
        "except InputError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True)
    assert f"{tmp_path} cannot be written (write() failed: File too large" in done.stdout, done.stderr


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, sources: list[str]) -> None:
    (tmp_path / "file").touch()
    assert "give one by data.prepared" in message(prepare, SmallReader(sources), "axial", tmp_path / "file", QUIET)


def test_what_others_prepared_is_used_where_nothing_can_be_written(tmp_path: Path, sources: list[str]) -> None:
    """A folder in place of the lock: a folder that is merely read-only would not stop the user root."""
    folder = tmp_path / "prepared"
    store = prepare(SmallReader(sources[:3]), "axial", folder, QUIET)
    lock = store.folder.parent / ".lock"
    lock.unlink(missing_ok=True)
    lock.mkdir()
    assert prepare(SmallReader(sources[:3]), "axial", folder, QUIET).folder == store.folder
    text = message(prepare, SmallReader(sources[:4]), "axial", folder, QUIET)
    assert f"{store.folder.parent} cannot be written" in text and "data.prepared" in text


def test_a_file_that_changes_while_it_is_read_is_noticed_next_time(tmp_path: Path, sources: list[str]) -> None:
    folder = tmp_path / "prepared"
    prepare(SmallReader(sources[:3], {"scan_0001": "changes"}), "axial", folder, QUIET)
    assert prepare(SmallReader(sources[:3]), "axial", folder, QUIET).folder.name == "2.0.0"
    reader = SmallReader([str(tmp_path / "gone")])
    assert f"{tmp_path / 'gone'} cannot be read (No such file" in message(
        shards.source_files, reader, reader.entries[0]
    )


def test_a_script_that_does_not_guard_its_calls_is_told(tmp_path: Path, sources: list[str]) -> None:
    """Every process that reads scans runs it again."""
    script = tmp_path / "script.py"
    script.write_text(f"import store_readers; store_readers.prepare_slowly({str(tmp_path / 'p')!r}, {sources!r})")
    done = subprocess.run([sys.executable, str(script)], env=ENVIRONMENT, capture_output=True, text=True, timeout=100)
    assert "no process can be started to read scans" in done.stderr.splitlines()[-1]
    assert "put the calls of your script under if __name__ == '__main__'" in done.stderr


def test_a_scan_that_ends_the_process_is_named(tmp_path: Path, sources: list[str]) -> None:
    reader = SmallReader(sources, {"scan_0009": "dies"})
    text = message(prepare, reader, "axial", tmp_path / "prepared", QUIET, 2)
    assert "scan_0009 (9.bin): reading it ends the process (exit code 7)" in text
    assert versions(tmp_path / "prepared") == []


def test_killed_in_the_middle(tmp_path: Path, sources: list[str]) -> None:
    folder = tmp_path / "prepared"
    code = f"import store_readers; store_readers.prepare_slowly({str(folder)!r}, {sources!r})"
    process = subprocess.Popen([sys.executable, "-c", code], env=ENVIRONMENT)
    began = time.monotonic()
    while not list(folder.rglob(".incomplete-*/*array_record*")):
        assert process.poll() is None and time.monotonic() - began < 60
        time.sleep(0.02)
    readers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    _, left = psutil.wait_procs(readers, timeout=30)
    assert len(readers) >= 2 and not left  # they do not wait for work from a parent that is gone
    assert versions(folder) and all(name.startswith(".incomplete-") for name in versions(folder))
    store = prepare(SmallReader(sources), "axial", folder, QUIET)
    assert versions(folder) == ["1.0.0"] and len(store.records) == 20


def test_a_signal_stops_it_within_a_second_or_two(tmp_path: Path, sources: list[str]) -> None:
    began = time.monotonic()
    reader, asked = SmallReader(sources, {"all": 3}), lambda: "SIGTERM" if time.monotonic() - began > 2 else ""
    with pytest.raises(Stopped, match="SIGTERM"):
        prepare(reader, "axial", tmp_path / "prepared", QUIET, 2, asked)
    assert versions(tmp_path / "prepared") == []
    assert not [process for process in psutil.Process().children() if "spawn_main" in " ".join(process.cmdline())]


def test_waiting_for_another_process_can_be_stopped_too(tmp_path: Path, sources: list[str]) -> None:
    reader, console = SmallReader(sources[:3]), Console(record=True, file=io.StringIO(), width=200)
    place = settings_folder(tmp_path, reader, "axial")
    place.mkdir(parents=True)
    with FileLock(place / ".lock"), pytest.raises(Stopped):
        prepare(
            reader,
            "axial",
            tmp_path,
            console,
            1,
            lambda: "SIGTERM" if "another" in console.export_text(clear=False) else "",
        )


@pytest.mark.slow
def test_two_at_once_prepare_once(tmp_path: Path, sources: list[str]) -> None:
    with ThreadPoolExecutor(2) as pool:
        stores = list(pool.map(lambda _: prepare(SmallReader(sources[:8]), "axial", tmp_path / "p", QUIET), range(2)))
    assert stores[0].folder == stores[1].folder and versions(tmp_path / "p") == ["1.0.0"]
