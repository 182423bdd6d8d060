"""SKM-TEA files that are damaged, lead elsewhere or claim too much: one line that names the file, and no memory."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from nifti_sets import message
from skm_tea_sets import SHAPE, arrays, edit, make_release, opened, read_first, replace, write_file

from inpaint_ssl.errors import InputError


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return make_release(tmp_path / "v1-release")


def refused(release: Path, path: Path) -> str:
    """The message about `path`, which comes when the folder is listed, or else when the scan is read."""
    with pytest.raises(InputError) as caught:
        read_first(release)
    assert caught.value.kind == "unreadable"
    text = message(read_first, release)
    assert str(path) in text
    return text


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:30],
        lambda content: content[: len(content) // 2],
        lambda content: content[:-40],
        lambda content: b"not HDF5" * 100,
        lambda content: b"\x88" + content[1:],
        lambda content: content[:8] + b"\xff" * 40 + content[48:],
        lambda content: content[:64] + bytes(900) + content[964:],
    ],
)
def test_damage(release: Path, damage: Callable[[bytes], bytes]) -> None:
    path = release / "image_files" / "MTR_001.h5"
    path.write_bytes(damage(path.read_bytes()))
    assert "copy it again" in refused(release, path)


def test_a_folder_in_place_of_a_file_is_as_a_missing_one(release: Path) -> None:
    (release / "image_files" / "MTR_001.h5").unlink()
    (release / "image_files" / "MTR_001.h5").mkdir()
    assert "1 of 4 listed scans" in opened(release).notes[0]


def test_a_file_that_goes_missing(release: Path) -> None:
    dataset = opened(release)
    (release / "image_files" / "MTR_001.h5").unlink()
    assert "no such file" in message(dataset.read, dataset.entries[0])
    edit(release, lambda file: replace(file, "seg", None), "MTR_002")
    assert "'seg' is gone" in message(dataset.read, dataset.entries[1])


def other_file(release: Path) -> Path:
    return write_file(release.parent / "elsewhere.h5", arrays(9))


def external_link(file: h5py.File, other: Path) -> None:
    del file["echo2"]
    file["echo2"] = h5py.ExternalLink(str(other), "echo2")


def soft_link(file: h5py.File, other: Path) -> None:
    file.move("echo2", "moved")
    file["echo2"] = h5py.SoftLink("/moved")


def virtual(file: h5py.File, other: Path) -> None:
    del file["echo2"]
    layout = h5py.VirtualLayout(SHAPE, np.float32)
    layout[:] = h5py.VirtualSource(str(other), "echo2", shape=SHAPE)
    file.create_virtual_dataset("echo2", layout)


def external_storage(file: h5py.File, other: Path) -> None:
    del file["echo2"]
    file.create_dataset("echo2", SHAPE, np.float32, external=[(str(other), 0, h5py.h5f.UNLIMITED)])


def group_link(file: h5py.File, other: Path) -> None:
    file["stats"] = h5py.ExternalLink(str(other), "/")


@pytest.mark.parametrize("change", [external_link, soft_link, virtual, external_storage, group_link])
def test_nothing_outside_the_file_is_read(release: Path, change: Callable[[h5py.File, Path], None]) -> None:
    other = other_file(release)
    path = edit(release, lambda file: change(file, other))
    text = refused(release, path)
    assert "another place" in text or "other files" in text


def put(value: Any, **how: Any) -> Callable[[h5py.File], None]:
    return lambda file: replace(file, "echo2", value, **how)


def as_group(file: h5py.File) -> None:
    del file["echo2"]
    file.create_group("echo2")


def as_type(file: h5py.File) -> None:
    del file["echo2"]
    file["echo2"] = np.dtype("f8")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (put(None), "no 'echo2'"),
        (as_group, "no array"),
        (as_type, "no array"),
        (put(h5py.Empty("f4")), "no array"),
        (put(1.0), "0 axes"),
        (put(np.ones(SHAPE[:2], np.float32)), "2 axes"),
        (put(np.ones((*SHAPE, 1), np.float32)), "4 axes"),
        (put(np.ones((0, 5, 4), np.float32)), "shape"),
        (put(np.ones(SHAPE, np.complex64)), "complex64"),
        (put(np.ones(SHAPE, bool)), "bool"),
        (put(np.full(SHAPE, b"abc")), "S3"),
        (put(np.full(SHAPE, "text", object), dtype=h5py.string_dtype()), "object"),
        (put(np.zeros(SHAPE, [("a", "f4"), ("b", "i2")])), "expected numbers"),
    ],
)
def test_no_array_of_numbers(release: Path, change: Callable[[h5py.File], None], word: str) -> None:
    path = edit(release, change)
    assert word in refused(release, path)


def test_references_are_not_followed(release: Path) -> None:
    def references(file: h5py.File) -> None:
        target = file["echo1"].ref
        replace(file, "echo2", np.array([target] * 120, h5py.ref_dtype).reshape(SHAPE), dtype=h5py.ref_dtype)

    assert "object" in refused(release, edit(release, references))


def test_nothing_was_written(release: Path) -> None:
    """A dataset that was only declared reads as zeros in h5py."""
    for how in ({}, {"chunks": SHAPE, "compression": "gzip"}):

        def declare(file: h5py.File, how: dict[str, Any] = how) -> None:
            del file["echo2"]
            file.create_dataset("echo2", SHAPE, np.float32, **how)

        assert "0 are stored" in refused(release, edit(release, declare))


def test_a_part_was_not_written(release: Path) -> None:
    def half(file: h5py.File) -> None:
        del file["echo2"]
        echo = file.create_dataset("echo2", SHAPE, np.float32, chunks=(2, 5, 4), compression="gzip")
        echo[:4] = arrays(1)["echo2"][:4]

    assert "2 of its 3 parts" in refused(release, edit(release, half))


@pytest.mark.parametrize("packed", [False, True])
def test_huge_claims_take_no_memory(release: Path, packed: bool) -> None:
    """The shape in the header of the dataset is overwritten, as damage or malice would."""
    marked = (251, 239, 241)  # sizes that occur nowhere else in the file
    echo = np.zeros(marked, np.float32)
    echo[0, 0] = np.arange(241)
    how = {"chunks": marked, "compression": "gzip"} if packed else {}
    path = edit(release, put(echo, **how))
    content = path.read_bytes()
    before = b"".join(n.to_bytes(8, "little") for n in marked)
    assert content.count(before) >= 1
    huge = b"".join((n * 1024).to_bytes(8, "little") for n in marked)
    path.write_bytes(content.replace(before, huge))
    tracemalloc.start()
    refused(release, path)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()
