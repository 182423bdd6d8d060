"""The zip of a bundle: equal bytes, and whatever is damaged or hostile is refused by name."""

import hashlib
import io
import json
import stat
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from inpaint_ssl.bundle.archive import MEMBERS, MODEL, fingerprints, read_archive, write_archive
from inpaint_ssl.errors import InputError

OTHERS = [name for name in MEMBERS if name != MODEL]


def contents(**changes: bytes) -> dict[str, bytes]:
    """Members of a bundle whose arrays are random bytes; changes: README=..., applied before they are hashed."""
    rng = np.random.default_rng(0)
    members = {name: f"{name} of a bundle\n".encode() * 20 for name in OTHERS}
    members |= {name: rng.bytes(1500) for name in ("weights.safetensors", "network.stablehlo")}
    members |= changes
    about = {"format": "inpaint_ssl bundle", "format_version": 1, "members": fingerprints(members)}
    return {**members, MODEL: json.dumps(about).encode()}


def packed(members: dict[str, bytes], change: Callable[[zipfile.ZipInfo], None] = lambda info: None) -> bytes:
    """As any zip program would write it."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            change(info)
            archive.writestr(info, content)
    return stream.getvalue()


def refusal(tmp_path: Path, content: bytes) -> str:
    path = tmp_path / "model.zip"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_archive(path)
    assert str(path) in str(caught.value) and [one.name for one in tmp_path.iterdir()] == ["model.zip"]
    return str(caught.value)


def patched(content: bytes, name: str, place: int, layout: str, value: int) -> bytes:
    """The entry of `name` in the central directory with another number `place` bytes after its signature."""
    encoded, at = name.encode(), 0
    while True:
        at = content.index(b"PK\1\2", at)
        if content[at + 46 : at + 46 + len(encoded)] == encoded:
            break
        at += 4
    changed = bytearray(content)
    struct.pack_into(layout, changed, at + place, value)
    return bytes(changed)


def test_what_is_written_is_read() -> None:
    members = contents()
    assert write_archive(members) == write_archive(dict(reversed(members.items())))
    with zipfile.ZipFile(io.BytesIO(write_archive(members))) as archive:
        infos = archive.infolist()
        assert [info.filename for info in infos] == list(MEMBERS) and archive.testzip() is None
        assert {info.date_time for info in infos} == {(1980, 1, 1, 0, 0, 0)}
        assert {(info.extra, info.comment, info.create_system) for info in infos} == {(b"", b"", 3)}
    with pytest.raises(ValueError, match="members"):
        write_archive({**members, "more": b""})


@pytest.mark.parametrize("write", [write_archive, packed])
def test_members_come_back(tmp_path: Path, write: Callable) -> None:
    members = contents()
    (tmp_path / "model.zip").write_bytes(write(members))
    about, found = read_archive(tmp_path / "model.zip")
    assert found == {name: members[name] for name in OTHERS}
    assert about["members"]["README.md"]["sha256"] == hashlib.sha256(members["README.md"]).hexdigest()


@pytest.mark.parametrize(
    "name",
    [
        "../README.md",
        "/etc/passwd",
        "..\\evil",
        "a/b",
        "C:evil",
        "..",
        "folder/",
        "README.md\0.txt",
        "more",
        "readme.md",
    ],
)
def test_other_names_are_refused(tmp_path: Path, name: str) -> None:
    content = write_archive(contents())
    stream = io.BytesIO(content)
    with zipfile.ZipFile(stream, "a") as archive:
        info = zipfile.ZipInfo("x" * len(name))
        archive.writestr(info, b"evil")
    forged = stream.getvalue().replace(b"x" * len(name), name.encode())  # ZipInfo would tidy the name
    places = any(part in name for part in ("/", "\\", ":", "\0")) or name == ".."
    assert ("names a place outside" if places else "alone") in refusal(tmp_path, forged)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_is_refused(tmp_path: Path) -> None:
    stream = io.BytesIO(write_archive(contents()))
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr("README.md", b"another")
    assert "README.md is there twice" in refusal(tmp_path, stream.getvalue())


@pytest.mark.parametrize("name", MEMBERS)
def test_a_missing_member_is_named(tmp_path: Path, name: str) -> None:
    members = contents()
    del members[name]
    assert f"{name} is missing" in refusal(tmp_path, packed(members))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFDIR, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_special_files_are_refused(tmp_path: Path, kind: int) -> None:
    def change(info: zipfile.ZipInfo) -> None:
        if info.filename == "README.md":
            info.create_system, info.external_attr = 3, (kind | 0o777) << 16

    assert "README.md is a link, folder or other special file" in refusal(tmp_path, packed(contents(), change))


def test_encrypted_members_are_refused(tmp_path: Path) -> None:
    content = patched(write_archive(contents()), "config.json", 8, "<H", 1)
    assert "config.json is encrypted" in refusal(tmp_path, content)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, 99])
def test_other_compressions_are_refused(tmp_path: Path, method: int) -> None:
    content = patched(write_archive(contents()), "config.json", 10, "<H", method)
    assert f"compressed by method {method}" in refusal(tmp_path, content)


def test_a_bomb_is_refused_before_it_is_read(tmp_path: Path) -> None:
    content = packed(contents(**{"config.json": bytes(10_000_000)}))
    assert len(content) < 20_000
    assert "config.json claims 10000000 bytes" in refusal(tmp_path, content)
    nested = packed({**contents(), MODEL: b"[" + b"[]," * 6_000_000 + b"1]"})
    assert "model.json claims 18000003 bytes" in refusal(tmp_path, nested)
    claimed = patched(write_archive(contents()), "weights.safetensors", 24, "<I", 2**31)
    assert "claims 2147483648 bytes, which 1500 stored bytes cannot hold" in refusal(tmp_path, claimed)
    deflated = packed(contents())
    with zipfile.ZipFile(io.BytesIO(deflated)) as archive:
        claim = archive.getinfo("weights.safetensors").compress_size * 1032 + 1
    assert "cannot hold" in refusal(tmp_path, patched(deflated, "weights.safetensors", 24, "<I", claim))


def test_a_header_that_claims_too_little_costs_no_memory(tmp_path: Path) -> None:
    content = packed(contents(**{"weights.safetensors": bytes(20_000_000)}))
    lying = patched(content, "weights.safetensors", 24, "<I", 1000)
    path = tmp_path / "model.zip"
    path.write_bytes(lying)
    tracemalloc.start()
    with pytest.raises(InputError, match=r"model\.zip"):
        read_archive(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_members_that_overlap_are_refused(tmp_path: Path) -> None:
    content = write_archive(contents())
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        info = archive.getinfo("network.stablehlo")
    assert "overlap" in refusal(tmp_path, patched(content, "network.stablehlo", 42, "<I", info.header_offset - 700))
    assert "other bytes come before" in refusal(tmp_path, b"#!/bin/sh\n" + content)


def test_no_zip_at_all(tmp_path: Path) -> None:
    assert "is no zip" in refusal(tmp_path, b"")
    assert "is no zip" in refusal(tmp_path, b"\x80\x04K\x01.")  # a pickle
    with pytest.raises(InputError, match="no such file; expected a bundle"):
        read_archive(tmp_path / "none.zip")
    with pytest.raises(InputError, match="no such file"):
        read_archive(tmp_path)


@pytest.mark.parametrize(
    ("about", "complaint"),
    [
        (b"{", "not valid JSON"),
        (b"\xff", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"9" * 5000, "not valid JSON"),
        (b'"\\ud800"', "not valid JSON"),
        (b'{"format": NaN}', "not valid JSON"),
        (b"[1]", "not that of a bundle"),
        (b'{"format": "inpaint_ssl bundle", "format_version": 2}', "bundle format 2, this version reads 1"),
        (b'{"format": "inpaint_ssl bundle", "format_version": 1}', "does not list the members"),
    ],
)
def test_another_model_json(tmp_path: Path, about: bytes, complaint: str) -> None:
    assert complaint in refusal(tmp_path, packed({**contents(), MODEL: about}))


def test_a_member_that_was_replaced(tmp_path: Path) -> None:
    members = contents()
    members["README.md"] = b"Not" + members["README.md"][3:]
    assert "README.md is not what was written (its SHA-256 differs)" in refusal(tmp_path, packed(members))
    members["README.md"] += b"more"
    assert "README.md is not of the size" in refusal(tmp_path, packed(members))


@pytest.mark.parametrize("seed", range(2))
def test_damage_is_refused_or_changes_nothing(tmp_path: Path, seed: int) -> None:
    """Bits flipped, bytes cut off, put in, left out or overwritten: no other exception, and no other content."""
    whole, members = write_archive(contents()), contents()
    rng, path, refused = np.random.default_rng(seed), tmp_path / "model.zip", 0
    directory = whole.index(b"PK\1\2")
    for case in range(150):
        damaged, at = bytearray(whole), int(rng.integers(len(whole)))
        if case % 2:  # the part that says what is where
            at = int(rng.integers(directory, len(whole)))
        kind = rng.integers(5)
        if kind == 0:
            damaged[at] ^= 1 << rng.integers(8)
        elif kind == 1:
            del damaged[at:]
        elif kind == 2:
            del damaged[at : at + rng.integers(1, 20)]
        elif kind == 3:
            damaged[at:at] = rng.bytes(int(rng.integers(1, 20)))
        else:
            damaged[at : at + 4] = rng.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"PK\1\2", b"PK\5\6"])
        path.write_bytes(damaged)
        try:
            assert read_archive(path)[1] == {name: members[name] for name in OTHERS}, (kind, at)
        except InputError as error:
            assert str(path) in str(error)
            refused += 1
    assert refused > 90
