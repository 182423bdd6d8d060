"""Maps and masks written back on the grid of the file: in the place where nibabel finds them, whatever the axes."""

import gzip
import itertools
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nifti_sets import save

from inpaint_ssl.data import ReaderSettings, Scan, ScanEntry, describe, nifti_output, open_dataset
from inpaint_ssl.data.nifti_output import write_nifti, write_share
from inpaint_ssl.errors import InputError

CODES = ["".join(c) for order in itertools.permutations(("RL", "AP", "SI")) for c in itertools.product(*order)]
SPACING_MM = {"R": 0.5, "A": 0.8, "S": 1.7}
OPPOSITE = dict(zip("LPI", "RAS", strict=True))
DIRECTION = dict(zip("RAS", np.eye(3), strict=True)) | dict(zip("LPI", -np.eye(3), strict=True))
SHAPE = {"R": 3, "A": 4, "S": 5}


def turned(degrees: float) -> np.ndarray:
    """About the axis (1, 1, 1)."""
    axis, angle = np.ones(3) / np.sqrt(3.0), np.deg2rad(degrees)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.cos(angle) * np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * np.outer(axis, axis)


def affine_of(codes: str, degrees: float = 0.0) -> np.ndarray:
    """Written down from the meaning of the letters, without nibabel."""
    columns = [DIRECTION[code] * SPACING_MM[OPPOSITE.get(code, code)] for code in codes]
    affine = np.eye(4)
    affine[:3, :3] = turned(degrees) @ np.column_stack(columns)
    affine[:3, 3] = [-20.0, 35.0, 7.5]
    return affine


def scan_read_from(path: Path) -> Scan:
    reader = open_dataset(ReaderSettings(format="nifti", root=str(path.parent.parent), labels=("thing=1",)))
    return reader.read(reader.entries[0])


def stored_scan(folder: Path, codes: str, degrees: float) -> tuple[np.ndarray, Path]:
    """A file of distinct numbers, and the file's content."""
    shape = tuple(SHAPE[OPPOSITE.get(code, code)] for code in codes)
    image = np.arange(60, dtype=np.int16).reshape(shape)
    path = save(folder / "images" / "scan.nii.gz", image, affine_of(codes, degrees))
    save(folder / "labels" / "scan.nii.gz", (image == 17).astype(np.uint8), affine_of(codes, degrees))
    return image, path


@pytest.mark.parametrize("codes", CODES)
def test_a_voxel_comes_back_to_its_place_in_the_world(tmp_path: Path, codes: str) -> None:
    assert len(set(CODES)) == 48
    for degrees in (0.0, 12.0):
        image, path = stored_scan(tmp_path / str(degrees), codes, degrees)
        scan = scan_read_from(path)
        assert scan.original_orientation == codes and scan.image.shape[:3] == (3, 4, 5)
        for number in (0, 17, 59):
            write_nifti(tmp_path / "mask.nii.gz", scan.image[..., 0] == number, scan)
            written = nib.load(tmp_path / "mask.nii.gz")
            content = np.asarray(written.dataobj)
            assert content.shape == image.shape and content.dtype == np.uint8
            assert [tuple(v) for v in np.argwhere(content)] == [tuple(np.argwhere(image == number)[0])]
            where = written.affine @ [*np.argwhere(content)[0], 1.0]
            in_ras = scan.affine @ [*np.argwhere(scan.image[..., 0] == number)[0], 1.0]
            expected = affine_of(codes, degrees) @ [*np.argwhere(image == number)[0], 1.0]
            np.testing.assert_allclose(where, expected, atol=1e-5)
            np.testing.assert_allclose(in_ras, expected, atol=1e-5)
        np.testing.assert_allclose(written.affine, nib.load(path).affine, atol=1e-6)
        # Both forms of the header say the same, since viewers differ in which they read.
        np.testing.assert_allclose(written.get_qform(coded=True)[0], written.affine, atol=1e-4)
        assert written.get_sform(coded=True)[1] == written.get_qform(coded=True)[1] == 1
        assert written.header.get_xyzt_units()[0] == "mm"


def scan_with(affine: np.ndarray, shape: tuple[int, int, int], ras_shape: tuple[int, int, int]) -> Scan:
    image = np.zeros((*ras_shape, 1), np.float32)
    return Scan(ScanEntry("a", "a", False), image, None, (1.0, 1.0, 1.0), np.eye(4), affine, "", shape)


def test_maps_keep_what_is_missing_and_the_name_decides_on_compression(tmp_path: Path) -> None:
    scan = scan_with(affine_of("PIR"), (4, 5, 3), (3, 4, 5))
    t2_ms = np.random.default_rng(0).uniform(0.0, 100.0, (3, 4, 5))
    t2_ms[1, 2, 3] = np.nan
    for name in ("map.nii", "map.nii.gz"):
        write_nifti(tmp_path / name, t2_ms, scan)
        content = np.asarray(nib.load(tmp_path / name).dataobj)
        assert content.dtype == np.float32
        # P: the first axis runs from front to back, I: the second from top to bottom, R: the third to the right.
        np.testing.assert_array_equal(content, t2_ms.transpose(1, 2, 0)[::-1, ::-1].astype(np.float32))
    assert (tmp_path / "map.nii").read_bytes()[344:348] == b"n+1\0"
    once = (tmp_path / "map.nii.gz").read_bytes()
    write_nifti(tmp_path / "map.nii.gz", np.asfortranarray(t2_ms), scan)
    assert (tmp_path / "map.nii.gz").read_bytes() == once and once[:2] == b"\x1f\x8b"
    assert once[4:8] == bytes(4)  # no time, which would make other bytes a second later
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map.nii", "map.nii.gz"]


def in_file_order(volume: np.ndarray) -> np.ndarray:
    """What a file of axes PIR holds of an RAS volume, by hand."""
    return volume.transpose(1, 2, 0)[::-1, ::-1]


@pytest.mark.parametrize("slab_bytes", [1, 200, 2**24])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_slabs_make_the_file_that_nibabel_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slab_bytes: int, name: str
) -> None:
    monkeypatch.setattr(nifti_output, "_SLAB_BYTES", slab_bytes)
    scan = scan_with(affine_of("PIR", 9.0), (40, 50, 30), (30, 40, 50))
    rng = np.random.default_rng(3)
    for volume in (rng.normal(size=(30, 40, 50)), rng.integers(0, 2, (30, 40, 50)) > 0):
        write_nifti(tmp_path / name, volume, scan)
        image = nib.Nifti1Image(in_file_order(volume).astype(np.uint8 if volume.dtype == bool else np.float32), None)
        image.header.set_xyzt_units("mm")
        image.set_sform(scan.original_affine, 1)
        image.set_qform(scan.original_affine, 1)
        content = (tmp_path / name).read_bytes()
        assert (gzip.decompress(content) if name.endswith("gz") else content) == image.to_bytes()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_shares_come_back_to_a_65535th(tmp_path: Path, dtype: type) -> None:
    scan = scan_with(affine_of("PIR"), (4, 5, 3), (3, 4, 5))
    shares = np.random.default_rng(0).uniform(size=(3, 4, 5, 2)).astype(dtype)
    shares[0, 0, 0, 1], shares[0, 0, 1, 1] = 0.0, 1.0
    kept = np.memmap(tmp_path / "kept", dtype, "w+", shape=shares.shape)
    kept[:] = shares
    write_share(tmp_path / "a.nii.gz", kept[..., 1], scan)
    image = nib.load(tmp_path / "a.nii.gz")
    assert image.get_data_dtype() == np.uint16 and image.dataobj.slope == pytest.approx(1 / 65535)
    read = image.get_fdata()
    np.testing.assert_allclose(read, in_file_order(shares[..., 1].astype(float)), rtol=0, atol=0.51 / 65535)
    stored = np.asarray(image.dataobj.get_unscaled())
    assert (stored.min(), stored.max()) == (0, 65535)
    np.testing.assert_allclose(image.affine, affine_of("PIR"), atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.001, 1.001])
def test_what_is_no_share(tmp_path: Path, value: float) -> None:
    scan = scan_with(affine_of("RAS"), (3, 4, 5), (3, 4, 5))
    volume = np.zeros((3, 4, 5), np.float32)
    volume[2, 3, 4] = value
    with pytest.raises(InputError, match="expected shares from 0 to 1"):
        write_share(tmp_path / "a.nii.gz", volume, scan)
    with pytest.raises(InputError, match="got uint8 voxels"):
        write_share(tmp_path / "a.nii.gz", np.zeros((3, 4, 5), np.uint8), scan)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("codes", ["RAS", "SPL"])
def test_a_volume_is_never_copied_whole(tmp_path: Path, codes: str) -> None:
    """512 x 512 x 1000 must fit beside the scan: here 80 MiB of float32 and masks in slabs of 16 MiB."""
    shape = (256, 320, 256)
    scan = scan_with(affine_of(codes), shape[:: 1 if codes == "RAS" else -1], shape)
    mask, share = np.zeros(shape, np.uint8), np.zeros((*shape, 2), np.float16)
    for write, volume in ((write_nifti, mask), (write_share, share[..., 1]), (write_nifti, share[..., 0])):
        tracemalloc.start()
        write(tmp_path / "a.nii.gz", volume, scan)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 4.5 * nifti_output._SLAB_BYTES, f"{peak / 2**20:.0f} MiB"


def test_a_record_serves_as_well_as_the_scan(tmp_path: Path) -> None:
    _, path = stored_scan(tmp_path, "ILP", 5.0)
    scan = scan_read_from(path)
    labels = np.random.default_rng(1).integers(0, 256, (3, 4, 5))
    for name, source in (("scan.nii", scan), ("record.nii", describe(scan))):
        write_nifti(tmp_path / name, labels, source)
    assert (tmp_path / "scan.nii").read_bytes() == (tmp_path / "record.nii").read_bytes()


def test_sheared_axes_are_told_by_the_sform_alone(tmp_path: Path) -> None:
    affine = affine_of("RAS")
    affine[0, 2] += 0.4
    write_nifti(tmp_path / "a.nii", np.zeros((3, 4, 5)), scan_with(affine, (3, 4, 5), (3, 4, 5)))
    written = nib.load(tmp_path / "a.nii")
    np.testing.assert_allclose(written.affine, affine, atol=1e-6)
    assert written.get_qform(coded=True)[1] == 0


@pytest.mark.parametrize(
    ("volume", "name", "complaint"),
    [
        (np.zeros((4, 5, 3)), "a.nii", "got a volume of shape .4, 5, 3. in RAS.*expected .4, 5, 3."),
        (np.zeros((3, 4, 5, 1)), "a.nii", "shape"),
        (np.full((3, 4, 5), 256), "a.nii", "from 0 to 255"),
        (np.full((3, 4, 5), -1), "a.nii", "from 0 to 255"),
        (np.zeros((3, 4, 5), complex), "a.nii", "complex128"),
        (np.zeros((3, 4, 5)), "a.mgz", "ends in .nii"),
    ],
)
def test_what_cannot_be_written(tmp_path: Path, volume: np.ndarray, name: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        write_nifti(tmp_path / name, volume, scan_with(affine_of("PIR"), (4, 5, 3), (3, 4, 5)))
    assert not list(tmp_path.iterdir())
