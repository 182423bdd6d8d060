"""Seeded damage to DICOM files: senseless elements in files that are otherwise whole, and images that unpack to GB."""

import io
import random
import struct
import zlib
from pathlib import Path

import pydicom
from fuzz_bytes import Mutation, flipped, overwritten
from fuzz_nifti import BOMB_BYTES, NUMBERS
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

KEYWORDS = (
    "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PixelSpacing", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept",
    "PixelPaddingValue", "PixelPaddingRangeLimit", "EchoNumbers", "EchoTime", "SOPClassUID",
    "PhotometricInterpretation",
    "SeriesInstanceUID", "SeriesNumber", "PatientAge", "PatientID", "PatientName", "SpecificCharacterSet", "Modality",
    "ImageType",
    "PlanarConfiguration", "SliceThickness", "SpacingBetweenSlices", "GantryDetectorTilt", "RepetitionTime",
    "FlipAngle",
    "ModalityLUTSequence", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "ExtendedOffsetTable",
    "AcquisitionNumber", "StudyInstanceUID", "FrameOfReferenceUID", "OtherPatientIDs", "TransferSyntaxUID",
)  # fmt: skip
TEXTS = (
    b"", b" ", b"0", b"1", b"-1", b"nan", b"NaN\\NaN\\NaN", b"inf", b"-inf\\0\\0", b"1e308", b"1e308\\1e308\\1e308",
    b"1e-300\\1e-300",
    b"0\\0\\0", b"0\\0\\0\\0\\0\\0", b"1\\0\\0\\0\\1\\0", b"1\\0\\0\\1\\0\\0", b"1,5\\2,5", b"2147483648",
    b"99999999999999999999", b"9" * 4000,
    b"1.5", b"\\\\\\\\", b"\xff\xfe", b"\x1b$B", b"ISO 2022 IR 87", b"ISO_IR 192\\ISO 2022 IR 149", b"RGB",
    b"PALETTE COLOR",
    b"MONOCHROME1", b"LOCALIZER", b"000Y", b"-12Y", b"999999999999Y", b"a\nb", b"a\0b", b"../../x",
    b"1.2.840.10008.1.2.1", b"1.2",
    b"\xd9\xa1\xd9\xa2", b"0x10", b"1_0", b"1e", b"+", b"1000000", b"1e7\\1e7", b"1e30\\1e30\\1e30", b"x" * 70_000,
)  # fmt: skip
SYNTAXES = tuple(uid.encode() for uid in (
    "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.8.1",
))  # fmt: skip


def dicom_element(rng: random.Random, content: bytes) -> bytes:
    """One to three elements with other bytes, anywhere in nested sequences, in a file that is otherwise whole."""
    try:
        header = pydicom.dcmread(io.BytesIO(content), force=True)
        for _ in range(rng.choice((1, 1, 2, 3))):
            _set_element(rng, header, rng.choice(KEYWORDS))
        written = io.BytesIO()
        header.save_as(written)
        return written.getvalue()
    except Exception:  # not every value can be written
        return overwritten(rng, content)


def _set_element(rng: random.Random, header: pydicom.FileDataset, keyword: str) -> None:
    tag = Tag(keyword)
    holder: Dataset = header.file_meta if tag.group == 2 else rng.choice(_holders(header, keyword))
    if rng.random() < 0.15:
        holder.pop(tag, None)
        return
    vr = pydicom.datadict.dictionary_VR(tag).partition(" ")[0]
    if vr in ("US", "SS"):
        value = b"".join(struct.pack("<H", rng.choice(NUMBERS) & 0xFFFF) for _ in range(rng.choice((1, 1, 1, 0, 2))))
        value += b"\1" * (rng.random() < 0.05)
    elif vr == "SQ":
        value = rng.choice((b"", b"\xfe\xff\x00\xe0\x00\x00\x00\x00", b"\xfe\xff\x00\xe0\xff\xff\xff\xff" * 5000))
    elif keyword == "TransferSyntaxUID":
        value = rng.choice((*SYNTAXES, *SYNTAXES, *TEXTS))
    else:
        value = rng.choice(TEXTS)
    value += b" " * (len(value) % 2 and vr not in ("US", "SS", "SQ"))
    if rng.random() < 0.1:
        vr = rng.choice(("UN", "OB", "LO", "FD", "US", "AT"))
    holder[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)


def _holders(header: Dataset, keyword: str) -> list[Dataset]:
    """The data set itself, and every item of nested sequences that has the element."""
    nested = [item for element in header if element.VR == "SQ" for item in element.value or ()]
    inside = [holder for item in nested for holder in _holders(item, keyword) if keyword in holder]
    return [header, *inside]


def dicom_code(rng: random.Random, content: bytes) -> bytes:
    """Damage at the start of PixelData, where compressed images have their headers."""
    at = max(0, content.rfind(b"\xe0\x7f\x10\x00"))
    length = rng.choice((16, 64, 200, 1000))
    return content[:at] + rng.choice((flipped, overwritten))(rng, content[at : at + length]) + content[at + length :]


def dicom_nested(rng: random.Random, content: bytes) -> bytes:
    """Sequences in sequences, a thousand deep, before the pixels."""
    at = max(140, content.find(b"\x08\x00\x60\x00"))
    depth, vr = rng.choice((50, 2000, 50_000)), rng.choice((b"SQ\0\0\xff\xff\xff\xff", b"\xff\xff\xff\xff"))
    return content[:at] + (b"\x08\x00\x40\x11" + vr + b"\xfe\xff\x00\xe0\xff\xff\xff\xff") * depth + content[at:]


def dicom_no_preamble(rng: random.Random, content: bytes) -> bytes:
    return content[132:] if rng.random() < 0.5 else content[content.find(b"\x08\x00") :]


def dicom_huge(rng: random.Random, path: Path) -> None:
    """A size of 8 GB that header and compressed image agree on, in a file padded so that it might be true."""
    content = path.read_bytes()
    header = pydicom.dcmread(io.BytesIO(content), force=True)
    old, new = (int(header.Rows), int(header.Columns)), (2**16 - 1, 2**16 - 1)
    for code in (">II", ">HH"):  # of JPEG 2000 (width first), of JPEG and JPEG-LS (height first)
        before, after = (size[::-1] if code == ">II" else size for size in (old, new))
        content = content.replace(struct.pack(code, *before), struct.pack(code, *after))
    for tag, value in ((b"\x28\0\x10\0US\2\0", new[0]), (b"\x28\0\x11\0US\2\0", new[1])):
        at = content.find(tag) + len(tag)
        content = content[:at] + struct.pack("<H", value) + content[at + 2 :]
    path.write_bytes(content + bytes(BOMB_BYTES // 1500))


def dicom_deflated_bomb(rng: random.Random, path: Path) -> None:
    """A deflated data set that unpacks to 8 GB."""
    content = path.read_bytes()
    start = 144 + int.from_bytes(content[140:144], "little")
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    inner = (
        zlib.decompress(content[start:], -zlib.MAX_WBITS)
        if b"1.2.840.10008.1.2.1.99" in content[:start]
        else content[start:]
    )
    packed = packer.compress(inner) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(2**24)) + packer.flush(zlib.Z_FULL_FLUSH)  # zeros after zeros are packed alike
    path.write_bytes(content[:start] + packed + block * (BOMB_BYTES // 2**24))


DICOM: tuple[Mutation, ...] = (*(dicom_element,) * 6, *(dicom_code,) * 3, dicom_nested, dicom_no_preamble)
