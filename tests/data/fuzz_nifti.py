"""Seeded damage to NIfTI files: senseless numbers in headers that are otherwise whole, and files that unpack to GB."""

import gzip
import os
import random
import struct
from functools import lru_cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from fuzz_bytes import Mutation, flipped, overwritten
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header

NUMBERS = (0, 1, -1, 2, 3, 4, 5, 7, 8, 16, 64, 127, 128, 255, 256, 512, 1024, 1536, 2304, 32767, 32768, 65535, -32768,
           2**31 - 1, -(2**31), 2**40, 2**63 - 1, -(2**63))  # fmt: skip
FLOATS = (
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    1e-45,
    1e-30,
    1e-6,
    1e6,
    1e30,
    3e38,
    np.nan,
    np.inf,
    -np.inf,
    352.0,
    348.0,
    2.0**31,
    1e9,
)
FIELDS = (
    "sizeof_hdr", "dim", "dim", "dim", "pixdim", "pixdim", "datatype", "datatype", "bitpix", "vox_offset", "scl_slope",
    "scl_inter",
    "qform_code", "sform_code", "srow_x", "srow_y", "srow_z", "quatern_b", "quatern_c", "quatern_d", "qoffset_x",
    "magic",
    "intent_code", "xyzt_units", "dim_info", "slice_end", "intent_p1",
)  # fmt: skip
BOMB_BYTES = 2**33
_MEMBER = 2**27


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
    return repacked(
        content, lambda whole: (whole + bytes(5000))[: rng.choice((rng.randrange(len(whole)), len(whole) + 5000))]
    )


def nifti_other_bytes(rng: random.Random, content: bytes) -> bytes:
    """The header of the other byte order, over the same voxels."""

    def change(whole: bytes) -> bytes:
        header = np.frombuffer(bytearray(whole[:348]), Nifti1Header.template_dtype)
        return header.byteswap().tobytes() + whole[348:]

    return repacked(content, change)


def nifti_2(rng: random.Random, content: bytes) -> bytes:
    """NIfTI-2, whose sizes have 64 bits; at times with intent and extension of CIFTI-2, which is XML."""

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


BILLION_LAUGHS = (
    b"<!DOCTYPE x [<!ENTITY a '0123456789'>"
    + b"".join(b"<!ENTITY %c '%s'>" % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(10))
    + b"]><CIFTI>&k;</CIFTI>"
)


def nifti_extension(rng: random.Random, content: bytes) -> bytes:
    """A header extension of senseless length."""

    def change(whole: bytes) -> bytes:
        header = np.frombuffer(bytearray(whole[:348]), Nifti1Header.template_dtype)
        header["vox_offset"] = rng.choice((352, 368, 1e6, 2e9, 1e20))
        size = rng.choice((0, -1, 7, 8, 16, 24, 2**31 - 1, -(2**31), 2**30))
        text = rng.choice((bytes(16), b"<xml", rng.randbytes(16)))
        return (
            header.tobytes()
            + struct.pack("<4Bii", 1, 0, 0, 0, size, rng.choice((0, 2, 4, 6, 32, 44, -1)))
            + text
            + whole[352:]
        )

    return repacked(content, change)


@lru_cache
def _zeros() -> bytes:
    return gzip.compress(bytes(_MEMBER), 9)


def nifti_bomb(rng: random.Random, path: Path) -> None:
    """A small file that unpacks to 8 GB, behind the voxels, as voxels or as an extension; or a sparse file."""
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


NIFTI: tuple[Mutation, ...] = (
    *(nifti_field,) * 5, nifti_byte, nifti_byte, nifti_cut, nifti_other_bytes, nifti_2, nifti_2, nifti_extension,
)  # fmt: skip
