"""Who works on what in a study that several processes share, on one machine or many, through its folder alone.

<workdir>/claims/<directory of a group>/<n>.json is the n-th claim on that group: who holds it, and whether it has been
released. A number is created exclusively (O_EXCL, which network file systems keep) and only when the claim before it is
released or its holder is dead, and the newest one counts; no file is ever replaced by another process, so of several
that find a dead holder exactly one gets the next number. A holder sets its file's time of modification anew every few
seconds; how old that is, is read from the clock of the file system, as clocks of machines differ.
"""

import contextlib
import datetime
import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from inpaint_ssl.files import write_json_atomic

STALE_S = 120.0  # well above the minute for which a network file system may show old times of modification
_BEATS = 8  # heartbeats in that time
_KEPT = 8  # claims on one directory that stay on disk for a person to read
_POLL_S = 0.5


class Claims:
    """The claims of one process on the directories of the study in `workdir`.

    stale_s: seconds without a heartbeat after which a holder on another machine counts as dead. On the same machine
    its process decides, at once: one that is suspended lives, one whose id now belongs to another is dead.
    """

    def __init__(self, workdir: Path, stale_s: float = STALE_S) -> None:
        self._folder = Path(workdir) / "claims"
        self.stale_s = stale_s
        self._held: list[Claim] = []

    def take(self, directory: str) -> "Claim | None":
        """Claim a directory (of the study, relative); None while a living process, this one included, holds it.

        What has been done in it must be looked at afterwards: another process may have released it a moment ago.
        """
        folder = self._folder_of(directory)
        folder.mkdir(parents=True, exist_ok=True)
        number = max(_numbers(folder), default=0)
        while True:
            path = folder / f"{number}.json"
            found = _read(path)
            if found is not None:
                if self._is_held(*found):
                    return None
                number += 1
            elif _create(path):
                break
        if max(_numbers(folder)) > number:  # the list was so old that its successor has been cleared away since
            path.unlink(missing_ok=True)
            return self.take(directory)
        for old in sorted(_numbers(folder))[:-_KEPT]:
            (folder / f"{old}.json").unlink(missing_ok=True)
        claim = Claim(path, directory, self.stale_s / _BEATS)
        self._held = [*(held for held in self._held if not held.is_released), claim]
        return claim

    def wait(self, directory: str, stop: Callable[[], str] = str) -> "Claim | None":
        """Claim a directory as soon as it is free; None once stop() names a signal."""
        while not stop():
            if (claim := self.take(directory)) is not None:
                return claim
            time.sleep(_POLL_S)
        return None

    def holder(self, directory: str) -> str:
        """Who holds a directory, for a person to read; "" when nobody does."""
        folder = self._folder_of(directory)
        numbers = _numbers(folder) if folder.is_dir() else []
        found = _read(folder / f"{max(numbers)}.json") if numbers else None
        if found is None or not self._is_held(*found):
            return ""
        about = found[0]
        return f"process {about['pid']} on {about['host']}" if about else "a process that has just begun"

    def lost(self) -> str:
        """Why this process must stop: another has taken over what it holds, since it gave no sign of life; else ""."""
        for claim in self._held:
            if claim.is_lost:
                return f"the loss of its claim on {claim.directory}"
        return ""

    def _folder_of(self, directory: str) -> Path:
        path = Path(directory)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise ValueError(f"expected a directory inside the study, got {directory!r}")
        return self._folder / path

    def _is_held(self, about: dict[str, Any], changed: float) -> bool:
        if about.get("released"):
            return False
        if about and about["machine"] == _machine() and not _is_hidden(about["pid"]):
            return _start_of(about["pid"]) == about["start"]
        return self._now() - changed < self.stale_s

    def _now(self) -> float:
        """Seconds since the epoch by the clock of the file system."""
        with tempfile.NamedTemporaryFile(dir=self._folder, prefix=".clock.") as stream:
            os.utime(stream.name)
            return os.stat(stream.name).st_mtime


class Claim:
    """What Claims.take gives: held until release() or the end of a `with` block, or until this process dies."""

    def __init__(self, path: Path, directory: str, every_s: float) -> None:
        self.directory = directory
        self.is_lost = self.is_released = False
        self._path, self._every_s = path, every_s
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"claim {directory}", daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Let others have it; calling it again does nothing."""
        if self.is_released:
            return
        self._end.set()
        self._thread.join()
        about = _read(self._path)
        write_json_atomic(self._path, {**(about[0] if about else {}), "released": True})
        self.is_released = True

    def __enter__(self) -> "Claim":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _beat(self) -> None:
        while not self._end.wait(self._every_s):
            with contextlib.suppress(OSError):  # a file system that is away for a moment
                self.is_lost |= max(_numbers(self._path.parent)) > int(self._path.stem)
                os.utime(self._path)


def _numbers(folder: Path) -> list[int]:
    return [int(path.stem) for path in folder.glob("*.json") if path.stem.isdecimal()]


def _read(path: Path) -> tuple[dict[str, Any], float] | None:
    """(content, time of modification) of a claim; {} when its maker has not come to write yet; None when there is none.

    The file is opened first, since that is when a network file system asks for its newest state.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            changed, text = os.fstat(stream.fileno()).st_mtime, stream.read()
    except FileNotFoundError:
        return None
    try:
        return json.loads(text), changed
    except ValueError:
        return {}, changed


def _create(path: Path) -> bool:
    """Make the file of a claim; False when another process was faster."""
    begun = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    pid = os.getpid()
    about = {"pid": pid, "host": socket.gethostname(), "machine": _machine(), "start": _start_of(pid), "begun": begun}
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(json.dumps({**about, "released": False}, indent=1) + "\n")
    return True


def _machine() -> str:
    """What tells whether a process id means the same there and here: name, start of the system, space of ids."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):  # not Linux
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _start_of(pid: int) -> str:
    """When the process started, in a form to be compared; "" when it has ended, or has and nobody has noticed yet."""
    try:
        process = psutil.Process(pid)
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return ""
        stat = Path(f"/proc/{pid}/stat")
        # Ticks since the system's start: psutil adds that start, which moves when the clock is set.
        return stat.read_text().rpartition(")")[2].split()[19] if stat.exists() else str(process.create_time())
    except (psutil.Error, OSError):
        return ""


def _is_hidden(pid: int) -> bool:
    """True for a process of another user, of which a system may show nothing but that it is there."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return False
