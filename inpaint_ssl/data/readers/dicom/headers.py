"""DICOM headers: opened without trust, and their values as numbers and texts."""

import math
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from inpaint_ssl.data.readers.quiet import quiet

# Everything that is ever looked at; the rest of a header is passed over.
_KEYWORDS = (
    "SpecificCharacterSet", "ImageType", "SOPClassUID", "AccessionNumber", "Modality", "SeriesDescription",
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "OtherPatientIDs", "PatientAge",
    "SliceThickness", "KVP", "RepetitionTime", "EchoTime", "EchoNumbers", "MagneticFieldStrength",
    "SpacingBetweenSlices", "TriggerTime", "GantryDetectorTilt", "FlipAngle", "DiffusionBValue", "StudyInstanceUID",
    "SeriesInstanceUID", "SeriesNumber", "AcquisitionNumber", "ImagePositionPatient", "ImageOrientationPatient",
    "FrameOfReferenceUID", "TemporalPositionIdentifier", "SamplesPerPixel", "PhotometricInterpretation",
    "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns", "PixelSpacing", "BitsAllocated", "BitsStored",
    "HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleIntercept",
    "RescaleSlope", "ModalityLUTSequence", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    "ExtendedOffsetTable", "ExtendedOffsetTableLengths", "PixelData",
)  # fmt: skip
# GE's private tags of a qDESS series: spoiler gradient area, its duration in microseconds, and whose block they are in.
SPOILER_AREA, SPOILER_DURATION, _PRIVATE_CREATOR = 0x001910B6, 0x001910B7, 0x00190010
_TAGS: list[Any] = [*_KEYWORDS, SPOILER_AREA, SPOILER_DURATION, _PRIVATE_CREATOR]
_LONGEST_SHOWN = 200  # characters of a value in messages
_LARGE_ELEMENT = 1 << 16  # bytes; larger ones are read when they are asked for
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_LARGEST_BYTES = 2**36  # of one object's pixels
_LARGEST_INFLATED = 2**30  # of a file whose whole data set is deflated
_LARGEST_PACKING = 2000  # image codes need some bytes even for an empty slice
_PLAIN_SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)


class Damage(Exception):
    """Why a file cannot be used, in words that follow a file name; the caller knows how the file may be named."""


@contextmanager
def damage_told() -> Iterator[None]:
    """Whatever pydicom and its plugins raise on a damaged file becomes `Damage`."""
    try:
        with quiet("pydicom"):
            yield
    except Damage:
        raise
    except Exception as error:
        said = error.strerror if isinstance(error, OSError) else error  # of an OSError str() would show the path
        reason = " ".join(str(said).split())[:300] or type(error).__name__
        raise Damage(f"cannot be read, it is damaged or cut short ({reason}); copy it again or remove it") from error


def read_header(stream: BinaryIO, with_pixels: bool = False) -> Dataset | None:
    """The header of an open file, or None when it is no DICOM file. Raises Damage.

    with_pixels: the element PixelData is listed too, its value left in the file (`Dataset.get_item`, keep_deferred).
    """
    with damage_told():
        head = stream.read(1024)
        if not (head[128:132] == b"DICM" or _starts_without_preamble(head)):
            if head[:128] == bytes(128) or _named_like_dicom(str(stream.name)):
                raise Damage("is no DICOM file: the mark 'DICM' is missing; copy it again or remove it")
            return None
        if _DEFLATED in head:
            _check_inflated(stream, head)
        stream.seek(0)
        options = {"defer_size": _LARGE_ELEMENT} if with_pixels and _DEFLATED not in head else {}
        header: Dataset = pydicom.dcmread(
            stream, stop_before_pixels=not with_pixels, force=True, specific_tags=_TAGS, **options
        )
        return header


def _starts_without_preamble(head: bytes) -> bool:
    """Some old archives leave the preamble out: the file starts with its first element."""
    return head[:4] == b"\2\0\0\0" or (head[:2] == b"\x08\0" and head[3:4] == b"\0" and len(head) > 132)


def _named_like_dicom(name: str) -> bool:
    return name.lower().endswith((".dcm", ".dicom", ".ima"))


def _check_inflated(stream: BinaryIO, head: bytes) -> None:
    """pydicom unpacks a deflated data set at one go, so its size is counted first."""
    stream.seek(144 + int.from_bytes(head[140:144], "little"))  # behind the group of file meta information
    unpacker, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    while size <= _LARGEST_INFLATED and (packed := stream.read(1 << 16)):
        size += len(unpacker.decompress(packed))
    if size > _LARGEST_INFLATED:
        raise Damage(f"unpacks to more than {_LARGEST_INFLATED} bytes; convert it to an uncompressed transfer syntax")


def text(holder: Dataset | None, keyword: str) -> str:
    """The value as one text, "" when it is missing or damaged; several values are joined by a backslash."""
    try:
        value = None if holder is None else holder.get(keyword)
    except Exception:
        return ""
    if value is None:
        return ""
    several = isinstance(value, Sequence) and not isinstance(value, str | bytes)
    return "\\".join(map(str, value)).strip() if several else str(value).strip()


def shown_text(holder: Dataset | None, keyword: str) -> str:
    """As `text`, but "" for what may not be shown: an element of damaged length takes in those that follow it, and they
    may be the patient's name.
    """
    return may_be_shown(text(holder, keyword))


def may_be_shown(value: str) -> str:
    """The value, "" when it holds more than one element may."""
    return value if value.isprintable() and len(value) <= _LONGEST_SHOWN else ""


def number(holder: Dataset | None, keyword: str | int) -> float | None:
    """The (first) value as a number, None when it is missing, damaged or not finite."""
    try:
        element: Any = None if holder is None else holder.get(keyword)
        value = element.value if isinstance(keyword, int) and element is not None else element
    except Exception:
        return None
    if isinstance(value, bytes):
        return _number_in(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = value[0] if len(value) else None
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def numbers(holder: Dataset | None, keyword: str, count: int) -> tuple[float, ...] | None:
    """`count` finite values, or None."""
    try:
        values = tuple(float(value) for value in holder.get(keyword)) if holder is not None else ()
    except Exception:
        return None
    return values if len(values) == count and all(map(math.isfinite, values)) else None


def _number_in(content: bytes) -> float | None:
    """A number in bytes of unknown type (a private tag stored as UN): as text, else as little-endian binary."""
    plain = content.strip(b" \0").partition(b"\\")[0]
    if re.fullmatch(rb"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", plain):
        return float(plain)
    for code in {2: ("<h",), 4: ("<f", "<i"), 8: ("<d",)}.get(len(content), ()):
        (value,) = struct.unpack(code, content)
        if value == 0 or 1e-6 < abs(value) < 1e12:  # whole numbers taken for floats are next to nothing
            return float(value)
    return None


def private_number(header: Dataset, tag: int) -> float | None:
    """A number in GE's private block (0019,10xx); None where the block is that of another maker."""
    creator = header.get(_PRIVATE_CREATOR)
    owner = "" if creator is None else str(creator.value)
    if tag not in header or (owner and not owner.upper().startswith("GEMS")):
        return None
    # pydicom takes bytes of unknown type for the text that GE's dictionary announces, so they are looked at first.
    content = header.get_item(tag).value
    found = number(header, tag)
    return _number_in(content) if found is None and isinstance(content, bytes) else found


def functional(header: Dataset, frame: int, sequence: str) -> Dataset | None:
    """The item of a functional group that holds for one frame of a multi-frame object: its own, else the shared one."""
    per_frame, shared = (header.get(f"{which}FunctionalGroupsSequence") for which in ("PerFrame", "Shared"))
    for holder in (per_frame[frame] if per_frame else None, shared[0] if shared else None):
        items = None if holder is None else holder.get(sequence)
        if items:
            item: Dataset = items[0]
            return item
    return None


@dataclass(frozen=True, slots=True)
class Stored:
    """How the pixels of one file are stored; frames is 1 unless the object is multi-frame."""

    syntax: UID
    rows: int
    columns: int
    frames: int
    samples: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool

    @property
    def is_raw(self) -> bool:
        """Whether the pixels lie as they are in the data set, which may itself be deflated."""
        return self.syntax in _PLAIN_SYNTAXES or self.syntax == _DEFLATED.decode()

    @property
    def value_range(self) -> tuple[int, int]:
        """The smallest and the largest value that can be stored."""
        half = 1 << (self.bits_stored - 1)
        return (-half, half - 1) if self.signed else (0, 2 * half - 1)

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame once it is unpacked."""
        return self.rows * self.columns * self.samples * self.bits_allocated // 8


def stored(header: Dataset, file_bytes: int) -> Stored:
    """How pixels are stored. Raises Damage for senseless numbers and for more pixels than the file can hold."""
    values: dict[str, int] = {}
    for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored"):
        value = number(header, keyword)
        if value is None or value < 1:
            raise Damage(
                f"cannot be read, it is damaged or cut short (no usable {keyword} in its header); copy it again or "
                "remove it"
            )
        values[keyword] = int(value)
    bits = values["BitsStored"]
    high_bit = number(header, "HighBit")
    found = Stored(
        transfer_syntax(header),
        values["Rows"],
        values["Columns"],
        int(number(header, "NumberOfFrames") or 1),
        int(number(header, "SamplesPerPixel") or 1),
        shown_text(header, "PhotometricInterpretation"),
        values["BitsAllocated"],
        bits,
        bits - 1 if high_bit is None else int(high_bit),
        number(header, "PixelRepresentation") == 1,
    )
    if found.bits_allocated not in (8, 16, 32) or not bits <= found.high_bit + 1 <= found.bits_allocated:
        raise Damage(
            f"cannot be read: {bits} bits stored up to bit {found.high_bit} of {found.bits_allocated} allocated, "
            "expected 8, 16 or 32 allocated and no more stored; convert it"
        )
    needed = found.frame_bytes * found.frames
    unpacked = 1 if found.syntax in _PLAIN_SYNTAXES else _LARGEST_PACKING
    if found.frames < 1 or needed > min(file_bytes * unpacked, _LARGEST_BYTES):
        raise Damage(
            f"cannot be read, it is damaged or cut short (its header asks for {needed} bytes of pixels, the file has "
            f"{file_bytes} bytes); copy it again or remove it"
        )
    return found


def transfer_syntax(header: Dataset) -> UID:
    """The transfer syntax; of a file that does not say, the one that its elements are written in."""
    said = getattr(header, "file_meta", {}).get("TransferSyntaxUID")
    if said:
        return UID(said)
    implicit, little = header.original_encoding
    return ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian
