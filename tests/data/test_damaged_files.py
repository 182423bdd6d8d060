"""Files that are cut short or damaged: one line that names the file, and no memory taken for senseless sizes."""

import gzip
import os
import resource
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import psutil
import pytest
from nifti_sets import make_msd, message, random_image, read_scan, save

from inpaint_ssl.data.readers.nifti import read_nifti


@pytest.fixture
def msd(tmp_path: Path) -> Path:
    return make_msd(tmp_path)


def header_bytes(path: Path, **fields: Any) -> bytes:
    """The file with other header fields."""
    content = gzip.decompress(path.read_bytes())
    header = nib.Nifti1Header(content[:348], check=False)
    for key, value in fields.items():
        header[key] = value
    return gzip.compress(header.binaryblock + content[348:])


def cut_in_the_middle(path: Path) -> bytes:
    return path.read_bytes()[: path.stat().st_size // 2]


@pytest.mark.parametrize(
    "damage",
    [
        cut_in_the_middle,
        lambda path: path.read_bytes()[:-4],  # only the checksum is cut
        lambda path: path.read_bytes()[:30],
        lambda path: b"",
        lambda path: b"not an image" * 100,
        lambda path: gzip.decompress(path.read_bytes()),  # not compressed, though the name says so
        lambda path: gzip.compress(b"short"),
        lambda path: gzip.compress(b"\0" * 1000),
        lambda path: path.read_bytes()[:200] + bytes(20) + path.read_bytes()[220:],
        lambda path: header_bytes(path, magic=b"xxx"),
        lambda path: header_bytes(path, dim=[4, 32767, 32767, 32767, 2, 1, 1, 1]),
        lambda path: header_bytes(path, dim=[4, 5, 4, 4, 2, 1, 1, 1]),
        lambda path: header_bytes(path, dim=[4, -5, 4, 3, 2, 1, 1, 1]),
        lambda path: header_bytes(path, dim=[4, 0, 4, 3, 2, 1, 1, 1]),
        lambda path: header_bytes(path, dim=[2, 5, 4, 1, 1, 1, 1, 1]),
        lambda path: header_bytes(path, dim=[5, 5, 4, 3, 2, 2, 1, 1]),
        lambda path: header_bytes(path, datatype=32, bitpix=64),  # complex
        lambda path: header_bytes(path, datatype=128, bitpix=24),  # colour
        lambda path: header_bytes(path, datatype=9999),
        lambda path: header_bytes(path, srow_x=[0, 0, 0, 0]),
        lambda path: header_bytes(path, srow_x=[np.nan, 0, 0, 0]),
        lambda path: header_bytes(path, scl_slope=1.0, scl_inter=np.inf),
    ],
)
def test_damaged_files_are_named(msd: Path, damage: Any) -> None:
    path = msd / "imagesTr" / "knee_001.nii.gz"
    path.write_bytes(damage(path))
    text = message(read_scan, msd)
    assert str(path) in text
    assert "cannot be read, it is damaged or cut short" in text


def test_a_header_that_asks_for_too_much_is_refused_before_memory_is_taken(msd: Path) -> None:
    path = msd / "imagesTr" / "knee_001.nii.gz"
    path.write_bytes(header_bytes(path, dim=[4, 1000, 1000, 1000, 2, 1, 1, 1]))
    assert "the header asks for 8000000352 bytes" in message(read_scan, msd)


def test_the_checksum_of_a_large_file_is_compared(tmp_path: Path) -> None:
    path = save(tmp_path / "x.nii.gz", random_image(0, (64, 64, 32)))
    assert read_nifti(str(path)).data.shape == (64, 64, 32, 1)
    content = bytearray(path.read_bytes())
    content[-5] ^= 1  # of the CRC-32; all voxels are there
    path.write_bytes(bytes(content))
    assert f"{path} cannot be read" in message(read_nifti, str(path))


def test_a_cut_uncompressed_file_is_named(tmp_path: Path) -> None:
    path = save(tmp_path / "x.nii", random_image(0))
    path.write_bytes(path.read_bytes()[:-1])
    assert f"{path} cannot be read" in message(read_nifti, str(path))
    path.unlink()
    assert f"no such file: {path}" in message(read_nifti, str(path))


def test_what_unpacks_to_gigabytes_takes_no_memory(msd: Path) -> None:
    """8 GB of zeros in 8 MB: behind the voxels, as voxels, and as an extension of the header."""
    path = msd / "imagesTr" / "knee_001.nii.gz"
    whole, zeros = path.read_bytes(), gzip.compress(bytes(2**27), 9) * 64
    as_voxels = header_bytes(path, dim=[3, 2048, 2048, 1024, 1, 1, 1, 1], datatype=4, bitpix=16)
    extension = struct.pack("<4Bii", 1, 0, 0, 0, 2**31 - 352, 4)
    start = gzip.decompress(header_bytes(path, vox_offset=2**31))[:348]
    limit = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + 2**31, limit[1]))
    try:
        for content, words in (
            (whole + zeros, "the file goes on after that"),
            (as_voxels + zeros, "of memory to read"),
            (gzip.compress(start + extension) + zeros, "voxels begin at byte 2.14748e+09"),
        ):
            path.write_bytes(content)
            tracemalloc.start()
            assert words in message(read_scan, msd)
            assert tracemalloc.get_traced_memory()[1] < 2**24
            tracemalloc.stop()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limit)


def test_a_sparse_file_takes_no_memory(tmp_path: Path) -> None:
    path = save(tmp_path / "x.nii", random_image(0))
    header = nib.Nifti1Header(path.read_bytes()[:348], check=False)
    header["dim"], header["datatype"], header["bitpix"] = [3, 2**15 - 1, 2**15 - 1, 20, 1, 1, 1, 1], 16, 32
    path.write_bytes(header.binaryblock + bytes(4))
    os.truncate(path, 352 + 4 * 20 * (2**15 - 1) ** 2)  # 86 GB
    assert f"{path} cannot be read" in message(read_nifti, str(path))


def test_odd_extensions_and_what_nibabel_mends_are_not_spoken_of(tmp_path: Path, caplog: Any, capfd: Any) -> None:
    path = save(tmp_path / "x.nii", random_image(0))
    content = path.read_bytes()
    header = nib.Nifti1Header(content[:348], check=False)
    header["vox_offset"], header["pixdim"][1] = 368, -1.5
    path.write_bytes(header.binaryblock + struct.pack("<4Bii", 1, 0, 0, 0, 15, 6) + bytes(8) + content[352:])
    assert np.array_equal(read_nifti(str(path)).data[..., 0], random_image(0))
    assert caplog.records == [] and capfd.readouterr() == ("", "")
