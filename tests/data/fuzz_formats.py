"""Seeded damage that knows a format: senseless numbers in headers that are otherwise whole, and files that unpack to GB."""

import gzip
import io
import json
import os
import random
import struct
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
import pydicom
from fuzz_bytes import Mutation, flipped, overwritten
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

NUMBERS = (0, 1, -1, 2, 3, 4, 5, 7, 8, 16, 64, 127, 128, 255, 256, 512, 1024, 1536, 2304, 32767, 32768, 65535, -32768, 2**31 - 1,
           -(2**31), 2**40, 2**63 - 1, -(2**63))  # fmt: skip
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-45, 1e-30, 1e-6, 1e6, 1e30, 3e38, np.nan, np.inf, -np.inf, 352.0, 348.0, 2.0**31, 1e9)
FIELDS = (
    "sizeof_hdr", "dim", "dim", "dim", "pixdim", "pixdim", "datatype", "datatype", "bitpix", "vox_offset", "scl_slope", "scl_inter",
    "qform_code", "sform_code", "srow_x", "srow_y", "srow_z", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "magic",
    "intent_code", "xyzt_units", "dim_info", "slice_end", "intent_p1",
)  # fmt: skip
BOMB_BYTES = 2**33
_MEMBER = 2**27


# NIfTI


def repacked(content: bytes, change: Any) -> bytes:
    """`change` applied to what a file holds once it is unpacked."""
    if content[:2] != b"\x1f\x8b":
        return bytes(change(content))
    return gzip.compress(change(gzip.decompress(content)), 1)


def nifti_field(rng: random.Random, content: bytes) -> bytes:
    def change(whole: bytes) -> bytes:
        header = np.frombuffer(bytearray(whole[:348]), Nifti1Header.template_dtype)
        for _ in range(rng.choice((1, 1, 2, 3))):
            _set_field(rng, header, rng.choice(FIELDS))
        return header.tobytes() + whole[348:]

    return repacked(content, change)


def _set_field(rng: random.Random, header: np.ndarray, name: str) -> None:
    field = header[name].reshape(-1)
    if field.dtype.kind == "S":
        header[name] = rng.choice((b"", b"ni1", b"n+2", b"xxx"))
        return
    places = [rng.randrange(field.size)] if rng.random() < 0.7 else range(field.size)
    for at in places:
        with np.errstate(over="ignore"):
            if field.dtype.kind == "f":
                value = np.array(rng.choice(FLOATS)).astype(field.dtype)
            else:
                value = np.array(rng.choice(NUMBERS), np.int64).astype(field.dtype)
        field[at] = value


def nifti_byte(rng: random.Random, content: bytes) -> bytes:
    return repacked(content, lambda whole: rng.choice((flipped, overwritten))(rng, whole[:352]) + whole[352:])


def nifti_cut(rng: random.Random, content: bytes) -> bytes:
    """Cut or lengthened before it was packed, so that the packed file is whole."""
    return repacked(content, lambda whole: (whole + bytes(5000))[: rng.choice((rng.randrange(len(whole)), len(whole) + 5000))])


def nifti_other_bytes(rng: random.Random, content: bytes) -> bytes:
    """The header of the other byte order, over the same voxels."""

    def change(whole: bytes) -> bytes:
        header = np.frombuffer(bytearray(whole[:348]), Nifti1Header.template_dtype)
        return header.byteswap().tobytes() + whole[348:]

    return repacked(content, change)


def nifti_2(rng: random.Random, content: bytes) -> bytes:
    """NIfTI-2, whose sizes have 64 bits; seldom with an intent and extension of CIFTI-2, which nibabel takes for XML."""

    def change(whole: bytes) -> bytes:
        image = nib.Nifti1Image.from_bytes(whole)
        content = nib.Nifti2Image(np.asarray(image.dataobj), image.affine).to_bytes()
        header = np.frombuffer(bytearray(content[:540]), Nifti2Header.template_dtype)
        extension = b""
        if rng.random() < 0.3:
            header["intent_code"] = rng.choice((3000, 3001, 3006, 3099))
            text = rng.choice((b"<CIFTI", b"<?xml version='1.0'?><CIFTI Version='2'><Matrix/></CIFTI>", BILLION_LAUGHS))
            extension = struct.pack("<4Bii", 1, 0, 0, 0, 8 + len(text), 32) + text
        for _ in range(rng.choice((0, 1, 1, 2))):
            _set_field(rng, header, rng.choice([name for name in FIELDS if name in header.dtype.names]))
        return header.tobytes() + (extension or content[540:544]) + content[544:]

    return repacked(content, change)


BILLION_LAUGHS = b"<!DOCTYPE x [<!ENTITY a '0123456789'>" + b"".join(
    b"<!ENTITY %c '%s'>" % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(10)
) + b"]><CIFTI>&k;</CIFTI>"


def nifti_extension(rng: random.Random, content: bytes) -> bytes:
    """A header extension of senseless length."""

    def change(whole: bytes) -> bytes:
        header = np.frombuffer(bytearray(whole[:348]), Nifti1Header.template_dtype)
        header["vox_offset"] = rng.choice((352, 368, 1e6, 2e9, 1e20))
        size = rng.choice((0, -1, 7, 8, 16, 24, 2**31 - 1, -(2**31), 2**30))
        text = rng.choice((bytes(16), b"<xml", rng.randbytes(16)))
        return header.tobytes() + struct.pack("<4Bii", 1, 0, 0, 0, size, rng.choice((0, 2, 4, 6, 32, 44, -1))) + text + whole[352:]

    return repacked(content, change)


@lru_cache
def _zeros() -> bytes:
    return gzip.compress(bytes(_MEMBER), 9)


def nifti_bomb(rng: random.Random, path: Path) -> list[Path]:
    """A small file that unpacks to 8 GB: behind the voxels, as voxels, or as an extension; or a sparse file of that size."""
    content = path.read_bytes()
    whole = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    header = np.frombuffer(bytearray(whole[:348]), Nifti1Header.template_dtype)
    how = rng.randrange(3)
    start = whole
    if how:
        header["dim"] = (3, 2048, 2048, 1024, 1, 1, 1, 1) if how == 1 else header["dim"]
        header["datatype"], header["bitpix"] = (4, 16) if how == 1 else (header["datatype"], header["bitpix"])
        header["vox_offset"] = 2**31 if how == 2 else 352
        extension = struct.pack("<4Bii", 1, 0, 0, 0, 2**31 - 352, 4) if how == 2 else bytes(4)
        start = header.tobytes() + extension + (whole[352:] if how == 1 else b"")
    if path.name.endswith(".gz"):
        path.write_bytes(gzip.compress(start, 1) + _zeros() * (BOMB_BYTES // _MEMBER))
    else:
        path.write_bytes(start)
        os.truncate(path, BOMB_BYTES + 352)
    return [path]


NIFTI: tuple[Mutation, ...] = (
    *(nifti_field,) * 5, nifti_byte, nifti_byte, nifti_cut, nifti_other_bytes, nifti_2, nifti_2, nifti_extension,
)  # fmt: skip


# DICOM

KEYWORDS = (
    "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PixelSpacing", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept",
    "PixelPaddingValue", "PixelPaddingRangeLimit", "EchoNumbers", "EchoTime", "SOPClassUID", "PhotometricInterpretation",
    "SeriesInstanceUID", "SeriesNumber", "PatientAge", "PatientID", "PatientName", "SpecificCharacterSet", "Modality", "ImageType",
    "PlanarConfiguration", "SliceThickness", "SpacingBetweenSlices", "GantryDetectorTilt", "RepetitionTime", "FlipAngle",
    "ModalityLUTSequence", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "ExtendedOffsetTable",
    "AcquisitionNumber", "StudyInstanceUID", "FrameOfReferenceUID", "OtherPatientIDs", "TransferSyntaxUID",
)  # fmt: skip
TEXTS = (
    b"", b" ", b"0", b"1", b"-1", b"nan", b"NaN\\NaN\\NaN", b"inf", b"-inf\\0\\0", b"1e308", b"1e308\\1e308\\1e308", b"1e-300\\1e-300",
    b"0\\0\\0", b"0\\0\\0\\0\\0\\0", b"1\\0\\0\\0\\1\\0", b"1\\0\\0\\1\\0\\0", b"1,5\\2,5", b"2147483648", b"99999999999999999999", b"9" * 4000,
    b"1.5", b"\\\\\\\\", b"\xff\xfe", b"\x1b$B", b"ISO 2022 IR 87", b"ISO_IR 192\\ISO 2022 IR 149", b"RGB", b"PALETTE COLOR",
    b"MONOCHROME1", b"LOCALIZER", b"000Y", b"-12Y", b"999999999999Y", b"a\nb", b"a\0b", b"../../x", b"1.2.840.10008.1.2.1", b"1.2",
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


def dicom_huge(rng: random.Random, path: Path) -> list[Path]:
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
    return [path]


def dicom_deflated_bomb(rng: random.Random, path: Path) -> list[Path]:
    """A deflated data set that unpacks to 8 GB."""
    content = path.read_bytes()
    start = 144 + int.from_bytes(content[140:144], "little")
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    inner = zlib.decompress(content[start:], -zlib.MAX_WBITS) if b"1.2.840.10008.1.2.1.99" in content[:start] else content[start:]
    packed = packer.compress(inner) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(2**24)) + packer.flush(zlib.Z_FULL_FLUSH)  # zeros after zeros are packed alike
    path.write_bytes(content[:start] + packed + block * (BOMB_BYTES // 2**24))
    return [path]


DICOM: tuple[Mutation, ...] = (*(dicom_element,) * 6, *(dicom_code,) * 3, dicom_nested, dicom_no_preamble)


# HDF5


def hdf5_changed(rng: random.Random, content: bytes) -> bytes:
    """Other arrays under the names that are read."""
    stream = io.BytesIO(content)
    try:
        with h5py.File(stream, "r+") as file:
            for _ in range(rng.choice((1, 1, 2))):
                _change_array(rng, file)
    except Exception:  # not everything can be stored
        return overwritten(rng, content)
    return stream.getvalue()


def _change_array(rng: random.Random, file: h5py.File) -> None:
    name = rng.choice(("echo1", "echo2", "seg", "stats/echo1/mean", "stats/echo2/mean", "stats", "stats/echo1"))
    old = file[name]
    shape, values = (old.shape, old[()]) if isinstance(old, h5py.Dataset) else ((), 0.0)
    del file[name]
    how = rng.randrange(12)
    if how == 0:
        return
    if how == 1:
        file.create_group(name)
    elif how == 2:
        file[name] = rng.choice((h5py.SoftLink("/echo1"), h5py.SoftLink(f"/{name}"), h5py.ExternalLink("/dev/zero", "x")))
    elif how == 3:
        file.create_dataset(name, data=np.resize(values, rng.choice(((0,), (1,), (3, 4), (*shape, 1), (2, *shape), ()))))
    elif how == 4:
        dtype: Any = rng.choice(("f8", "f2", ">f4", "i8", "u4", "u1", "c8", "S4", bool, [("a", "f4")], ("f4", (2,)), h5py.string_dtype()))
        file.create_dataset(name, shape, dtype)
    elif how == 5:
        value = rng.choice((np.nan, np.inf, -1.0, 1e30, 2.0, 0.5))
        filled = np.array(values, np.float64)
        filled.reshape(-1)[: rng.choice((1, filled.size))] = value
        file.create_dataset(name, data=filled)
    elif how == 6:
        chunks = tuple(max(1, n // rng.choice((1, 2, 3))) for n in shape) or None
        file.create_dataset(name, data=values, chunks=chunks, fletcher32=True, compression=rng.choice(("gzip", "lzf")), shuffle=True)
    elif how == 7:
        huge = tuple(n * rng.choice((1, 1000, 2**20)) for n in shape) or (2**40,)
        file.create_dataset(name, huge, "f4", chunks=tuple(min(n, 2**10) for n in huge), compression="gzip")
    elif how == 8:
        file.create_dataset(name, shape, "f4", external=[("/dev/zero", 0, h5py.h5f.UNLIMITED)])
    elif how == 9:
        file[name] = h5py.Empty("f4")
    elif how == 10:
        file[name] = np.dtype("f4")
    else:
        file.create_dataset(name, data=values, maxshape=(None,) * len(shape) or None, fillvalue=rng.choice((0, np.nan)))


HDF5: tuple[Mutation, ...] = (hdf5_changed,) * 4


def hdf5_bomb(rng: random.Random, path: Path) -> list[Path]:
    """Two echoes of 8 GB each in a file of some MB, and annotations that fit: the same packed chunk again and again."""
    edge, side = 64, 512
    shape = (BOMB_BYTES // 4 // side**2, side, side)
    packed = zlib.compress(bytes(edge * side * side * 4), 9)
    with h5py.File(path, "w") as file:
        for name in ("echo1", "echo2"):
            echo = file.create_dataset(name, shape, "f4", chunks=(edge, side, side), compression="gzip")
            for first in range(0, shape[0], edge):
                echo.id.write_direct_chunk((first, 0, 0), packed)
    changed = [path]
    for table in path.parent.parent.glob("annotations/*/*.json"):
        content = json.loads(table.read_bytes())
        for image in content["images"]:
            if image["file_name"] == path.name:
                image["matrix_shape"] = list(shape)
                changed.append(table)
        table.write_text(json.dumps(content))
    return changed
