"""Pixels of one DICOM file, frame by frame, as values of the scan."""

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from inpaint_ssl.data.readers.dicom.headers import (
    Damage,
    Stored,
    damage_told,
    functional,
    may_be_shown,
    read_header,
    stored,
)
from inpaint_ssl.data.readers.dicom.values import AIR_HU, Rescale, fits, padding_range, rescale_of

# One decoder for each syntax: a second one that makes something of what the first refuses would hide damage.
_JPEG_2000 = (JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K)
_PLUGINS = (
    dict.fromkeys(_JPEG_2000, "pylibjpeg")
    | dict.fromkeys((JPEGLSLossless, JPEGLSNearLossless), "pyjpegls")
    | dict.fromkeys((JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1), "gdcm")
    | {RLELossless: "pydicom"}
)
_LOSSY = (JPEG2000, HTJ2K, JPEGLSNearLossless, JPEGBaseline8Bit, JPEGExtended12Bit)
_FRAME_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # SOF of JPEG and JPEG-LS
_START_OF_SCAN = b"\xda"
_JPEG_SEGMENTS = {*_FRAME_MARKERS, 0xC4, 0xDA, 0xDB, 0xDD, *range(0xE0, 0xF0), 0xFE} - {0xF7}


@dataclass(frozen=True)
class Slice:
    """values (rows, columns) of one frame; is_padding: bool of the same shape, or None where nothing is padding."""

    index: int
    values: np.ndarray
    is_padding: np.ndarray | None


def check_syntax(syntax: UID) -> None:
    """Raise Damage naming a transfer syntax that cannot be read."""
    is_known = syntax in _PLUGINS or not syntax.is_encapsulated if syntax.is_transfer_syntax else False
    if not is_known:
        name = may_be_shown(syntax.name) or "of a damaged name"
        raise Damage(
            f"has the transfer syntax {name}{'' if syntax.name == syntax else f' ({syntax})'}, which cannot be read; "
            "convert it to Explicit VR Little Endian"
        )
    if syntax in _PLUGINS and _PLUGINS[syntax] not in get_decoder(syntax).available_plugins:
        raise Damage(
            f"has the transfer syntax {syntax.name}, for which {_PLUGINS[syntax]} is not installed; install it"
        )


def read_slices(path: str, modality: str, dtype: np.dtype) -> Iterator[Slice]:
    """All frames of a file in their order, rescaled to `dtype`. Raises Damage.

    modality "CT": padding becomes air; otherwise padding is marked. MONOCHROME1 is turned round except in CT, whose
    values are HU however they are to be displayed.
    """
    with open(path, "rb") as stream:
        header = read_header(stream, with_pixels=True)
        if header is None:
            raise Damage("is no DICOM file any more; copy it again or remove it")
        with damage_told():
            kept = stored(header, os.fstat(stream.fileno()).st_size)
            check_syntax(kept.syntax)
            padding = padding_range(header, kept)
        for index, pixels in enumerate(_frames(stream, header, kept)):
            with damage_told():
                rescale = rescale_of(header, functional(header, index, "PixelValueTransformationSequence"))
                if not fits(rescale, kept.value_range, dtype):
                    raise Damage("has another rescaling than when the data set was opened; open it again")
            yield _slice(index, pixels, kept, rescale, padding, modality, dtype)


def _slice(
    index: int,
    pixels: np.ndarray,
    kept: Stored,
    rescale: Rescale,
    padding: tuple[int, int] | None,
    modality: str,
    dtype: np.dtype,
) -> Slice:
    low, high = kept.value_range
    if kept.syntax in _LOSSY:  # they may overshoot
        pixels = pixels.clip(low, high)
    if pixels.min() < low or pixels.max() > high:
        raise Damage(
            f"has stored values from {pixels.min()} to {pixels.max()}, but its header says {low} to {high} (BitsStored "
            f"{kept.bits_stored}); export it again"
        )
    is_padding = None if padding is None else (pixels >= padding[0]) & (pixels <= padding[1])
    if kept.photometric == "MONOCHROME1" and modality != "CT":
        pixels = low + high - pixels
    values = rescale.apply(pixels, dtype)
    if is_padding is None or not is_padding.any():
        return Slice(index, values, None)
    if modality == "CT":
        values[is_padding] = AIR_HU
        return Slice(index, values, None)
    return Slice(index, values, is_padding)


def _frames(stream: io.BufferedIOBase, header: Dataset, kept: Stored) -> Iterator[np.ndarray]:
    """Stored values (rows, columns) as int64, one frame after another."""
    with damage_told():
        source, length = _pixel_data(stream, header)
        expected = kept.frame_bytes * kept.frames
        is_raw = kept.is_raw
        if is_raw and length not in (expected, expected + expected % 2):
            raise Damage(
                f"cannot be read, it is damaged or cut short (PixelData has {length} bytes, its header asks for "
                f"{expected}); copy it again or remove it"
            )
        options = as_pixel_options(header, number_of_frames=kept.frames, pixel_keyword="PixelData")
        options["pixel_vr"] = header.get_item("PixelData", keep_deferred=True).VR
        start = source.tell()
        if not is_raw:
            _check_codes(source, kept, options.get("extended_offsets"))
            source.seek(start)
            options["decoding_plugin"] = _PLUGINS[kept.syntax]
            if options["decoding_plugin"] == "gdcm" and kept.bits_allocated == 8:
                options["bits_stored"] = 8  # or gdcm would end the process; see _slice for what values may be
        if is_raw or kept.syntax == RLELossless:
            options["correct_unused_bits"] = False  # see _without_unused_bits
        decoded = iter(get_decoder(kept.syntax).iter_array(source, raw=True, **options))
    for _ in range(kept.frames):
        with damage_told():
            pixels = next(decoded, (None, None))[0]
            if pixels is None or pixels.shape != (kept.rows, kept.columns):
                raise Damage(
                    f"cannot be read, it is damaged or cut short (it holds fewer than {kept.frames} images of "
                    f"{kept.rows} x {kept.columns} pixels); copy it again or remove it"
                )
            whole = is_raw or kept.syntax == RLELossless
            values = _without_unused_bits(pixels, kept) if whole else pixels.astype(np.int64)
        yield values


def _pixel_data(stream: io.BufferedIOBase, header: Dataset) -> tuple[Any, int]:
    """A file that stands at the start of the pixels, and their length in bytes."""
    element: Any = header.get_item("PixelData", keep_deferred=True)
    if element is None:
        raise Damage("cannot be read, it is damaged or cut short (it holds no PixelData); copy it again or remove it")
    if element.value is not None:
        return io.BytesIO(element.value), len(element.value)
    stream.seek(element.value_tell)
    end = stream.seek(0, io.SEEK_END)
    stream.seek(element.value_tell)
    return stream, min(element.length, end - element.value_tell)


def _without_unused_bits(pixels: np.ndarray, kept: Stored) -> np.ndarray:
    """Bits above HighBit and below the stored ones, once used for overlays, say nothing of the value."""
    values = pixels.astype(np.int64) >> (kept.high_bit + 1 - kept.bits_stored)
    sign = 1 << (kept.bits_stored - 1)
    values &= 2 * sign - 1
    return (values ^ sign) - sign if kept.signed else values


def _check_codes(source: io.BufferedIOBase, kept: Stored, offsets: tuple[bytes, bytes] | None) -> None:
    """Compare the size inside every compressed frame with the header, before a decoder takes memory for it."""
    count = 0
    for code in generate_frames(source, number_of_frames=kept.frames, extended_offsets=offsets):
        if _PLUGINS.get(kept.syntax) == "gdcm":
            _check_jpeg(code, kept)
        size = _coded_size(bytes(code[:65536]), kept.syntax)
        if size is not None and size != (kept.rows, kept.columns):
            raise Damage(
                f"cannot be read: its header says {kept.rows} x {kept.columns} pixels, the compressed image is "
                f"{size[0]} x {size[1]}; export it again"
            )
        count += 1
    if count < kept.frames:
        raise Damage(
            f"cannot be read, it is damaged or cut short ({count} of {kept.frames} compressed images are there); copy "
            "it again or remove it"
        )


def _coded_size(code: bytes, syntax: UID) -> tuple[int, int] | None:
    """(rows, columns) that a compressed image says of itself; None for RLE, which says nothing."""
    if syntax == RLELossless:
        return None
    if syntax in _JPEG_2000:
        start = code.find(b"\xff\x4f\xff\x51")
        right, bottom, left, top = (
            int.from_bytes(code[start + 8 + 4 * part : start + 12 + 4 * part], "big") for part in range(4)
        )
        return (bottom - top, right - left) if start >= 0 else (0, 0)
    position = 2
    while position + 9 <= len(code) and code[position] == 0xFF:
        if code[position + 1] in _FRAME_MARKERS:
            rows, columns = (int.from_bytes(code[position + k : position + k + 2], "big") for k in (5, 7))
            return rows, columns
        position += 2 + int.from_bytes(code[position + 2 : position + 4], "big")
    return (0, 0)


def _check_jpeg(code: bytes, kept: Stored) -> None:
    """Raise Damage unless the segments before the first scan follow each other without a gap and fit the header.

    Where libjpeg would warn of them, gdcm ends the process.
    """
    position, has_frame = 2, False
    while code[position : position + 1] == b"\xff":
        marker, length = code[position + 1 : position + 2], int.from_bytes(code[position + 2 : position + 4], "big")
        content = code[position + 4 : position + 2 + length]
        if marker == b"\xff":  # filling
            position += 1
            continue
        if not marker or marker[0] not in _JPEG_SEGMENTS or len(content) != length - 2:
            break
        if marker == b"\xe0" and content[:5] == b"JFIF\0" and content[5:6] != b"\1":
            break
        if marker[0] in _FRAME_MARKERS:
            bits, n_values = content[:1], content[5:6]
            if has_frame or len(content) != 9 or not 2 <= bits[0] <= kept.bits_allocated <= 16 or n_values != b"\1":
                break
            has_frame = True
        if marker == _START_OF_SCAN and has_frame:
            return
        position += 2 + length
    raise Damage("cannot be read, its JPEG header is damaged or cut short; copy it again or remove it")
