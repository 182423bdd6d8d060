"""Writing that never leaves half a file, and the small readers that go with it."""

import csv
import hashlib
import io
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from inpaint_ssl.errors import InputError


def write_atomic(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Let `write` fill a stream under a temporary name, then rename; nothing is left when it raises."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)  # mkstemp makes files private; results are meant to be shared
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_bytes_atomic(path: Path, content: bytes) -> None:
    """Write `content` under a temporary name in the same folder, then rename."""
    write_atomic(path, lambda stream: stream.write(content))


def write_text_atomic(path: Path, text: str) -> None:
    """Write UTF-8 text under a temporary name, then rename."""
    write_bytes_atomic(path, text.encode("utf-8"))


def write_json_atomic(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with a final newline."""
    write_text_atomic(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_csv_atomic(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows with exactly `columns`, in that order; a row with another key is an error."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(columns), lineterminator="\n", extrasaction="raise")
    writer.writeheader()
    writer.writerows(rows)
    write_text_atomic(path, text.getvalue())


def write_npz_atomic(path: Path, **arrays: Any) -> None:
    """Write a compressed .npz of plain arrays."""
    write_atomic(path, lambda stream: np.savez_compressed(stream, allow_pickle=False, **arrays))


def read_csv(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file with a header line, every value a string."""
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def read_json(path: Path, what: str) -> Any:
    """The value in a JSON file; InputError naming the file when it is missing or no JSON.

    `what` says in the message what the file should have been, for example "splits of a study".
    """
    if os.path.exists(path) and not os.path.isfile(path):  # a device or pipe may have no end
        raise InputError(f"{path} is no file (expected: {what}); mend or replace it")
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        value = json.loads(text)
        if re.search(r"\\[uU][dD][89a-fA-F]", text):  # half a character, which could not be written again
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        return value
    except FileNotFoundError:
        raise InputError(f"no such file: {path} (expected: {what})") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror} (expected: {what})") from None
    except (ValueError, RecursionError) as error:  # ValueError: no JSON, no UTF-8, or a number of thousands of digits
        raise InputError(f"{path} is not valid JSON ({error}); expected: {what}; mend or replace the file") from None


def sha256_of(value: Any) -> str:
    """SHA-256 of a JSON-able value, the same for equal content whatever the order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()
