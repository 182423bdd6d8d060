"""One damaged file: what is done to it, what reading it ends in, and what every scan and message must keep to."""

import contextlib
import json
import os
import random
import re
import stat
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_bytes import mutated
from fuzz_sets import FOREIGN, KINDS, Kind, reader_of

from inpaint_ssl.data import Preprocessing, ScanReader, describe, source_of
from inpaint_ssl.data.readers.dicom.ids import IdHasher, load_salt
from inpaint_ssl.data.readers.quiet import quiet
from inpaint_ssl.data.scan import Scan, ScanEntry
from inpaint_ssl.errors import InputError, Problems

SECONDS = 20.0  # of the processor: a machine may be busy with other things
RESIDENT_BYTES = 768 * 2**20
LONGEST_MESSAGE = 3000
ALLOWED = ("read", "refused")


@dataclass(frozen=True)
class Outcome:
    """What became of one case. result: "read", "refused", or a failure: "exception", "message", "scan", "slow",
    "memory", "died", "hung". detail: the message, or the traceback.
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
    """Damage a file of the set in folder/set, open and read it, and put all back; a seed below 0 damages nothing."""
    kind, rng, root = KINDS[name], random.Random(f"{name}/{seed}"), folder / "set"
    target = rng.choice(sorted(path for pattern in kind.targets for path in root.glob(pattern)))
    kept = {path: path.read_bytes() for path in files_of(root)}
    others = [*kept, *sorted((folder.parent / FOREIGN).iterdir())]
    with quiet("pydicom"):
        damage, what = plan_damage(rng, kind, target, others) if seed >= 0 else (lambda: None, "nothing")
    what = f"{target.relative_to(root)}: {what}"
    names = {name for name in names_of(root, hasher(folder)) if len(name) > 4}
    _reset_peak()
    before, began = resident_peak(), time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result, detail = _use(kind, root, target, damage, rng, names, what.endswith(": pipe"))
    except Broken as broken:
        result, detail = broken.args
    except BaseException:  # the process itself goes on
        result, detail = "exception", traceback.format_exc(limit=-12)
    seconds, more = time.process_time() - began, resident_peak() - before
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
        return lambda: special(rng, target), special.__name__
    if chance < 0.05:
        how = rng.choice(("removed", "folder", "pipe", "link_to_nowhere", "link_to_itself", "endless_device"))
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
    elif how == "endless_device":
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
        names = names | {entry.scan_id for entry in reader.entries}
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


def can_be_printed(text: str) -> bool:
    return text.replace("\u00a0", " ").isprintable()


def names_a_patient(text: str) -> bool:
    """Whether it has the name or id that dicom_sets writes."""
    return "Miller" in text or "QX-4711" in text


def check_message(error: InputError, names: set[str]) -> None:
    text = str(error)
    if not can_be_printed(text) or len(text) > LONGEST_MESSAGE:
        raise Broken("message", f"{len(text)} characters, or such as cannot be printed: {text[:2000]!r}")
    if not any(name in text for name in names) and not re.search(r"series (\S+ )?in ", text):
        raise Broken("message", f"names no file: {text}")
    if names_a_patient(text):
        raise Broken("message", f"names the patient: {text}")


def check_listing(reader: ScanReader) -> None:
    for text in (
        reader.name,
        *reader.notes,
        *reader.channel_names,
        *reader.labels,
        *(e.scan_id for e in reader.entries),
    ):
        _promise(can_be_printed(text), f"{text[:200]!r} cannot be printed")
        _promise(not names_a_patient(text), f"{text} names the patient")
    _promise(all(len(note) <= LONGEST_MESSAGE for note in reader.notes), "a note is endless")
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
    _promise(
        len(scan.spacing_mm) == 3 and all(1e-3 <= mm <= 1e3 for mm in scan.spacing_mm), f"spacing {scan.spacing_mm}"
    )
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


def status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) * 1024


def resident_peak() -> int:
    return status("VmHWM")


def _reset_peak() -> None:
    with contextlib.suppress(OSError):  # without it the peak only grows, which shows a large one just as well
        Path("/proc/self/clear_refs").write_text("5")


def files_of(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def names_of(root: Path, hashed: Callable[[str], str]) -> Iterator[str]:
    """What a message may call the data set, a file of it, or the scan of a file."""
    yield str(root)
    for path in files_of(root):
        yield path.name
        yield re.sub(r"(_0000)?\.(nii\.gz|nii|h5|dcm)$", "", path.name)
        yield hashed(path.name)
