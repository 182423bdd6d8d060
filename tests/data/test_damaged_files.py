"""Files that are cut short or damaged: one line that names the file, and no memory taken for senseless sizes."""

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from nifti_sets import make_msd, message, random_image, read_scan, save

from inpaint_ssl.data.readers.nifti import read_nifti
from inpaint_ssl.errors import InputError


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


def test_no_flipped_bit_gives_a_traceback(tmp_path: Path) -> None:
    path = save(tmp_path / "x.nii.gz", random_image(0))
    content = gzip.decompress(path.read_bytes())
    rng = np.random.default_rng(0)
    for position in rng.integers(0, 352, 150):
        damaged = bytearray(content)
        damaged[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(gzip.compress(bytes(damaged), 1))
        try:
            read_nifti(str(path))
        except InputError as error:
            assert str(path) in str(error)
