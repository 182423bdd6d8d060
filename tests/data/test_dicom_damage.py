"""Damaged DICOM files: one line that names the file, and no memory taken for senseless sizes."""

import struct
from collections.abc import Callable
from pathlib import Path

import gdcm
import numpy as np
import pydicom
import pytest
from dicom_sets import ENHANCED_CT, enhanced, open_at, positions, save, transcoded, volume, write_series
from nifti_sets import message
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from inpaint_ssl.data.readers.dicom import headers as dicom_headers

SYNTAXES = (ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless, JPEGLSLossless, JPEG2000Lossless)
NAME = "image003.dcm"


def make(root: Path, syntax: UID = ExplicitVRLittleEndian) -> Path:
    """A series of four files, the path of one of them."""
    write_series(root, volume(0, shape=(4, 40, 36)), syntax=syntax)
    return root / NAME


def read_all(root: Path) -> None:
    for _ in open_at(root):
        pass


def with_tag(path: Path, **tags: object) -> bytes:
    ds = pydicom.dcmread(path)
    for keyword, value in tags.items():
        setattr(ds, keyword, value)
    ds.save_as(path)
    return path.read_bytes()


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name[:12])
@pytest.mark.parametrize("share", [0.98, 0.6, 0.2, 0.0])
def test_a_file_that_is_cut_short_is_named(tmp_path: Path, syntax: UID, share: float) -> None:
    path = make(tmp_path / "set", syntax)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    text = message(read_all, tmp_path / "set")
    assert NAME in text
    assert "damaged or cut short" in text or "the mark 'DICM' is missing" in text


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.read_bytes().replace(b"DICM", b"DICN", 1), "is no DICOM file: the mark 'DICM' is missing"),
        (lambda path: b"not an image" * 100, "is no DICOM file"),
        (lambda path: with_tag(path, Rows=65535, Columns=65535), "its header asks for 8589672450 bytes of pixels"),
        (lambda path: with_tag(path, Rows=0), "no usable Rows"),
        (lambda path: with_tag(path, NumberOfFrames=2_000_000_000), "its header asks for 5760000000000 bytes"),
        (lambda path: with_tag(path, NumberOfFrames=-3), "damaged"),
        (lambda path: with_tag(path, BitsAllocated=64), "64 allocated, expected 8, 16 or 32"),
        (lambda path: with_tag(path, BitsStored=17), "17 bits stored"),
        (lambda path: with_tag(path, HighBit=3), "stored up to bit 3"),
        (lambda path: with_tag(path, RescaleSlope=0), "RescaleSlope 0"),
        (lambda path: with_tag(path, SamplesPerPixel=3), "its header asks for 8640 bytes"),
        (lambda path: with_tag(path, PhotometricInterpretation="PALETTE COLOR"), "PALETTE COLOR"),
    ],
)
def test_senseless_headers_are_named(tmp_path: Path, damage: Callable[[Path], bytes], words: str) -> None:
    path = make(tmp_path / "set")
    path.write_bytes(damage(path))
    text = message(read_all, tmp_path / "set")
    assert text.startswith(NAME)
    assert words in text


def test_pixels_that_the_header_does_not_ask_for_are_named(tmp_path: Path) -> None:
    path = write_series(tmp_path / "set", volume(0)[:1])[0]
    with_tag(path, Rows=3)
    assert "PixelData has 60 bytes, its header asks for 30" in message(read_all, tmp_path / "set")


@pytest.mark.parametrize("syntax", SYNTAXES[1:], ids=lambda syntax: syntax.name[:12])
def test_a_compressed_file_that_asks_for_too_much_is_refused(tmp_path: Path, syntax: UID) -> None:
    path = make(tmp_path / "set", syntax)
    with_tag(path, Rows=65535, Columns=65535)
    assert "asks for 8589672450 bytes of pixels" in message(read_all, tmp_path / "set")


@pytest.mark.parametrize(
    ("syntax", "mark", "at", "packed"),
    [
        (JPEG2000Lossless, b"\xff\x4f\xff\x51", 8, struct.pack(">II", 60000, 60000)),
        (JPEGLSLossless, b"\xff\xf7", 5, struct.pack(">HH", 60000, 60000)),
    ],
)
def test_a_compressed_image_that_asks_for_too_much_is_refused(
    tmp_path: Path, syntax: UID, mark: bytes, at: int, packed: bytes
) -> None:
    path = make(tmp_path / "set", syntax)
    content = bytearray(path.read_bytes())
    start = content.index(mark) + at
    content[start : start + len(packed)] = packed
    path.write_bytes(bytes(content))
    text = message(read_all, tmp_path / "set")
    assert f"{NAME} cannot be read: its header says 40 x 36 pixels, the compressed image is 60000 x 60000" in text


def test_a_deflated_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path / "set", DeflatedExplicitVRLittleEndian)
    monkeypatch.setattr(dicom_headers, "_LARGEST_INFLATED", 1000)
    assert ".dcm unpacks to more than 1000 bytes" in message(read_all, path.parent)


def test_an_enhanced_object_without_places_for_its_frames_is_named(tmp_path: Path) -> None:
    ds = enhanced(volume(0), ENHANCED_CT, positions(4))
    del ds.PerFrameFunctionalGroupsSequence[3]
    save(ds, tmp_path / "set" / "multi.dcm")
    assert "multi.dcm has 4 frames but says of 3 where they lie" in message(open_at, tmp_path / "set")
    del ds.PerFrameFunctionalGroupsSequence
    save(ds, tmp_path / "set" / "multi.dcm")
    assert "says of 0 where they lie" in message(open_at, tmp_path / "set")


def test_a_file_that_went_or_changed_since_it_was_listed_is_named(tmp_path: Path) -> None:
    path = make(tmp_path / "set")
    dataset = open_at(tmp_path / "set")
    content = path.read_bytes()
    path.unlink()
    text = message(dataset.read, dataset.entries[0])
    assert text.startswith(NAME) and "No such file" in text and str(tmp_path) not in text
    path.write_bytes(content)
    with_tag(path, RescaleSlope=0.5)
    assert "has another rescaling than when the data set was opened" in message(dataset.read, dataset.entries[0])
    write_series(tmp_path / "other", volume(0))
    path.write_bytes((tmp_path / "other" / NAME).read_bytes())
    assert "has another size than when the data set was opened" in message(dataset.read, dataset.entries[0])


def test_what_pixels_cannot_be_is_named(tmp_path: Path) -> None:
    write_series(tmp_path / "set", np.full((4, 6, 5), 7))
    dataset = open_at(tmp_path / "set")
    assert "series 3 in .: channel 0 is -1017 everywhere" in message(dataset.read, dataset.entries[0])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"\xff\xc4\x00", b"\xff\xd4\x00"),  # the mark of a table of codes becomes that of a restart
        (b"\xff\xc4\x00", b"\xff\xc4\x40"),  # a table that goes on behind the end
        (b"\xff\xd8\xff", b"\xff\xd8\x00"),
        (b"\xff\xc3\x00\x0b\x10", b"\xff\xc3\x00\x0b\x50"),  # 80 bits a value
        (b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\x00\x0bJFIF\0\2\1\0\0\xff"),  # another version of JFIF
    ],
)
def test_a_damaged_jpeg_header_does_not_end_the_process(tmp_path: Path, before: bytes, after: bytes) -> None:
    path = make(tmp_path / "set")
    transcoded(path, gdcm.TransferSyntax.JPEGLosslessProcess14_1)
    read_all(tmp_path / "set")
    content = path.read_bytes()
    assert before in content
    damaged, more = content.replace(before, after, 1), len(after) - len(before)
    path.write_bytes(damaged[: -8 - more] + damaged[-8:])  # as long as it was; 8 bytes end the list of images
    assert f"{NAME} cannot be read, its JPEG header is damaged" in message(read_all, tmp_path / "set")
