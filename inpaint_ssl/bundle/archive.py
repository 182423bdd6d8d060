"""The zip of a bundle: a few flat files of known names. Written byte for byte alike, read with distrust, in memory.

No jax here, and nothing is ever extracted to disk.
"""

import hashlib
import io
import json
import os
import re
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inpaint_ssl.errors import InputError
from inpaint_ssl.memory import check_free

FORMAT_VERSION = 1
MODEL, WEIGHTS, NETWORK = "model.json", "weights.safetensors", "network.stablehlo"
CONFIG, README, CITATION = "config.json", "README.md", "CITATION.cff"
# In the order in which they are written, with the most bytes that each may have.
MEMBERS = {MODEL: 2**24, README: 2**22, CITATION: 2**20, CONFIG: 2**22, WEIGHTS: 2**34, NETWORK: 2**34}
TEXTS = (MODEL, README, CITATION, CONFIG)

_MOMENT = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip can state: equal content makes equal bytes
_HIGHEST_RATIO = 1032  # deflate cannot do better, so whoever claims more lies
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_METHODS = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflated"}
_LOCAL_HEADER = 30  # bytes before the name
_REMEDY = "ask for the bundle again, or write it with python -m experiments.bundle"


def write_archive(members: Mapping[str, bytes]) -> bytes:
    """The bytes of a zip of exactly MEMBERS: texts deflated, arrays stored, no times, no places, no owners.

    ValueError for other names or a member that is too large to be read again.
    """
    if set(members) != set(MEMBERS):
        raise ValueError(f"got the members {sorted(members)}, expected {sorted(MEMBERS)}")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, most in MEMBERS.items():
            if len(members[name]) > most:
                raise ValueError(f"{name} has {len(members[name])} bytes, a bundle holds {most} at most")
            info = zipfile.ZipInfo(name, _MOMENT)
            info.compress_type = zipfile.ZIP_DEFLATED if name in TEXTS else zipfile.ZIP_STORED
            info.create_system, info.external_attr = 3, (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, members[name])
    return stream.getvalue()


def fingerprints(members: Mapping[str, bytes]) -> dict[str, dict[str, Any]]:
    """SHA-256 and size in bytes of each member but model.json, which holds this list."""
    return {
        name: {"sha256": hashlib.sha256(members[name]).hexdigest(), "size": len(members[name])}
        for name in MEMBERS
        if name != MODEL
    }


def read_archive(path: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """(content of model.json, bytes of every other member) of a bundle, each as its SHA-256 in model.json says.

    Raises InputError that names the file, what is wrong with it and the remedy: for a file that is no zip, is cut short
    or damaged, is encrypted, holds other names than MEMBERS (paths and repeated names too), links or other special
    files, claims more than a member may have, than its compressed bytes can give or than there is memory for, and for
    another format.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise InputError(f"{path}: no such file; expected a bundle, written by python -m experiments.bundle")
        with open(path, "rb") as stream, zipfile.ZipFile(stream) as archive:
            infos = _checked(archive, os.fstat(stream.fileno()).st_size, path)
            about = _model(_content(archive, infos[MODEL], path), path)
            stated = _stated(about, infos, path)
            members = {name: _content(archive, infos[name], path) for name in stated}
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}; {_REMEDY}") from None
    except Exception as error:  # zipfile and zlib raise of all kinds for what is damaged
        reason = str(error).strip() or type(error).__name__
        raise InputError(f"{path} is no zip, or is damaged or cut short ({reason}); {_REMEDY}") from None
    for name, sha256 in stated.items():
        if hashlib.sha256(members[name]).hexdigest() != sha256:
            raise InputError(f"{path}: {name} is not what was written (its SHA-256 differs); {_REMEDY}")
    return about, members


def _checked(archive: zipfile.ZipFile, file_bytes: int, path: Path) -> dict[str, zipfile.ZipInfo]:
    """The entries by name, once each of them can be read safely; sizes are claims so far."""
    infos: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        _check_name(info, path)
        if info.filename in infos:
            raise InputError(f"{path}: {info.filename} is there twice, expected once; {_REMEDY}")
        _check_entry(info, path)
        infos[info.filename] = info
    missing = [name for name in MEMBERS if name not in infos]
    if missing:
        raise InputError(f"{path} is no whole bundle: {', '.join(missing)} is missing; {_REMEDY}")
    ordered = sorted(infos.values(), key=lambda info: info.header_offset)
    ends = [*(info.header_offset for info in ordered[1:]), file_bytes]
    starts = [info.header_offset + _LOCAL_HEADER + len(info.filename) + info.compress_size for info in ordered]
    if ordered[0].header_offset != 0 or any(start > end for start, end in zip(starts, ends, strict=True)):
        raise InputError(f"{path}: its members overlap or other bytes come before them; {_REMEDY}")
    check_free(sum(info.file_size for info in infos.values()), str(path))
    return infos


def _check_name(info: zipfile.ZipInfo, path: Path) -> None:
    name = info.orig_filename  # before zipfile cuts it at a zero byte and turns backslashes round
    if re.search(r"[/\\:\x00]|^\.\.?$", name):
        raise InputError(f"{path}: the member {name!r} names a place outside of the bundle; do not trust this file")
    if name not in MEMBERS or name != info.filename:
        raise InputError(f"{path}: a member {name!r}, a bundle holds {', '.join(MEMBERS)} alone; {_REMEDY}")


def _check_entry(info: zipfile.ZipInfo, path: Path) -> None:
    name, kind = info.filename, stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG) or info.external_attr & 0x10 or info.is_dir():
        raise InputError(f"{path}: {name} is a link, folder or other special file; do not trust this file")
    if info.flag_bits & _ENCRYPTED:
        raise InputError(f"{path}: {name} is encrypted; {_REMEDY}")
    if info.compress_type not in _METHODS:
        raise InputError(
            f"{path}: {name} is compressed by method {info.compress_type}, expected {' or '.join(_METHODS.values())}; "
            "pack it again so"
        )
    most = info.compress_size * (_HIGHEST_RATIO if info.compress_type == zipfile.ZIP_DEFLATED else 1)
    if info.file_size > min(MEMBERS[name], most):
        raise InputError(
            f"{path}: {name} claims {info.file_size} bytes, which {info.compress_size} stored bytes cannot hold or a "
            f"bundle may not (at most {MEMBERS[name]}); do not trust this file"
        )


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> bytes:
    """The bytes of a member, no more than it claims; its CRC is checked where it ends."""
    with archive.open(info) as stream:
        content = stream.read(info.file_size + 1)
    if len(content) != info.file_size:
        raise InputError(f"{path}: {info.filename} has not the {info.file_size} bytes that it claims; {_REMEDY}")
    return content


def _model(content: bytes, path: Path) -> dict[str, Any]:
    try:
        about = json.loads(content.decode("utf-8"), parse_constant=_refuse)
        json.dumps(about, ensure_ascii=False).encode("utf-8")  # half a character could not be written or shown
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: {MODEL} is not valid JSON ({error}); {_REMEDY}") from None
    if not isinstance(about, dict) or about.get("format") != "inpaint_ssl bundle":
        raise InputError(f"{path}: {MODEL} is not that of a bundle; {_REMEDY}")
    if about.get("format_version") != FORMAT_VERSION:
        raise InputError(
            f"{path} is of bundle format {about.get('format_version')!r}, this version reads {FORMAT_VERSION}; use the "
            "version that wrote it, or write it again"
        )
    return about


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


def _stated(about: dict[str, Any], infos: Mapping[str, zipfile.ZipInfo], path: Path) -> dict[str, str]:
    """SHA-256 of every member but model.json, as it states them; sizes must be those of the directory."""
    listed = about.get("members")
    names = [name for name in MEMBERS if name != MODEL]
    if not isinstance(listed, dict) or sorted(listed) != sorted(names):
        raise InputError(f"{path}: {MODEL} does not list the members of the bundle; {_REMEDY}")
    for name in names:
        one = listed[name]
        if (
            not isinstance(one, dict)
            or not isinstance(one.get("sha256"), str)
            or one.get("size") != infos[name].file_size
        ):
            raise InputError(f"{path}: {name} is not of the size that {MODEL} states; {_REMEDY}")
    return {name: listed[name]["sha256"] for name in names}
