"""Values of DICOM series against pydicom used directly and against what was written."""

from pathlib import Path
from typing import Any

import gdcm
import nibabel as nib
import numpy as np
import pydicom
import pytest
from dicom_sets import (
    CT,
    ENHANCED_CT,
    ENHANCED_MR,
    MR,
    as_read,
    enhanced,
    image,
    item,
    open_at,
    positions,
    save,
    transcoded,
    volume,
    write_series,
)
from nifti_sets import message
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from inpaint_ssl.data.readers.dicom.reader import DicomDataset
from inpaint_ssl.data.scan import Scan

ORGANS = (1, 5, 6, 7, 8, 20, 32, 33, 52, 63, 64, 69, 70, 79, 86, 87, *range(97, 104), *range(109, 116), 117)


@pytest.fixture
def real_dicom(real_data: Path) -> Path:
    return real_data / "dicom"


def read_only(dataset: DicomDataset) -> Scan:
    """The one scan of a data set, after a check that its type was foretold."""
    (entry,) = dataset.entries
    scan = dataset.read(entry)
    assert scan.image.dtype == dataset.stored_dtype(entry)
    assert scan.image.flags.c_contiguous
    return scan


def by_pydicom(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Rescaled values (X, Y, Z) of a head-first axial series in RAS, and its slices' positions, by height."""
    slices = [pydicom.dcmread(path) for path in folder.iterdir() if not path.name.startswith("LICENSE")]
    slices.sort(key=lambda ds: float(ds.ImagePositionPatient[2]))
    values = [ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept) for ds in slices]
    places = np.array([ds.ImagePositionPatient for ds in slices], float)
    return as_read(np.stack(values))[..., 0], places


def test_the_real_ct_reads_as_pydicom_does_and_its_labels_overlap(real_dicom: Path, tmp_path: Path) -> None:
    labels = tuple(f"organ{value}={value}" for value in ORGANS if value != 5)
    dataset = open_at(real_dicom, id_salt_file=str(tmp_path / "salt"), labels=("liver=5", *labels))
    assert [entry.has_label for entry in dataset.entries].count(True) == 1
    scans = {entry.has_label: dataset.read(entry) for entry in dataset.entries}
    expected, places = by_pydicom(real_dicom / "ct_abdomen")
    for scan in scans.values():  # plain and JPEG 2000
        assert scan.image.dtype == np.int16
        assert np.array_equal(scan.image[..., 0], expected)
        assert scan.spacing_mm == pytest.approx((0.9765625, 0.9765625, 2.0))
        assert scan.original_orientation == "LPS"
        lps = scan.original_affine @ [0, 0, 0, 1] * [-1, -1, 1, 1]
        assert lps[:3] == pytest.approx(places[0])
    label = scans[True].label
    assert label is not None
    stored = nib.load(real_dicom / "ct_abdomen_labels.nii.gz")
    assert np.array_equal(label, np.asarray(nib.as_closest_canonical(stored).dataobj))
    hounsfield = scans[True].image[..., 0]
    assert hounsfield[label == 5].mean() == pytest.approx(90, abs=3)  # liver
    assert hounsfield[label == 0].mean() < -300  # air around the patient
    # The files' own rows, as the notes on the data give them.
    rows = np.asarray(stored.dataobj)[:, :, 0].T[::-1]
    lowest = min(map(pydicom.dcmread, (real_dicom / "ct_abdomen").iterdir()), key=lambda ds: ds.SliceLocation)
    liver = (lowest.pixel_array - 1024.0)[rows == 5]
    assert liver.mean() == pytest.approx(hounsfield[..., 0][label[..., 0] == 5].mean())


def test_the_real_mr_reads_as_pydicom_does(real_dicom: Path, tmp_path: Path) -> None:
    dataset = open_at(real_dicom / "mr_brain", modality="mri", id_salt_file=str(tmp_path / "salt"))
    scan = read_only(dataset)
    expected, places = by_pydicom(real_dicom / "mr_brain")
    assert np.array_equal(scan.image[..., 0], expected)
    assert scan.spacing_mm[:2] == pytest.approx((0.859375, 0.859375))
    assert scan.spacing_mm[2] == pytest.approx(np.linalg.norm(places[-1] - places[0]) / 19, abs=0.01)  # 7 mm
    assert scan.acquisition == {
        "tr_ms": 2300, "te_ms": 22, "flip_angle_deg": 90, "field_strength_t": 1.5, "slice_thickness_mm": 5,
        "age_years": 28, "sex": "F",
    }  # fmt: skip
    middle = (scan.original_affine @ [0, 0, 10, 1])[:3] * [-1, -1, 1]
    assert middle == pytest.approx(places[10], abs=0.1)  # positions are rounded to 0.1 mm


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEGLSLossless,
        JPEG2000Lossless,
        JPEGLosslessSV1,
    ],
    ids=lambda syntax: syntax.name[:20],
)
def test_every_transfer_syntax_gives_the_values_written(tmp_path: Path, syntax: UID, signed: bool) -> None:
    pixels = volume(0, -2048 if signed else 0, 2048 if signed else 4096, (2, 40, 36))
    first = ExplicitVRLittleEndian if syntax == JPEGLosslessSV1 else syntax
    paths = write_series(tmp_path / "set", pixels, syntax=first, PixelRepresentation=int(signed))
    if syntax == JPEGLosslessSV1:
        for path in paths:
            transcoded(path, gdcm.TransferSyntax.JPEGLosslessProcess14_1)
    assert {pydicom.dcmread(path).file_meta.TransferSyntaxUID for path in paths} == {syntax}
    scan = read_only(open_at(tmp_path / "set"))
    assert np.array_equal(scan.image, as_read(pixels - 1024))
    assert scan.image.dtype == np.int16


@pytest.mark.parametrize(("syntax", "options"), [(JPEG2000, {"j2k_cr": [8]}), (JPEGLSNearLossless, {"jls_error": 9})])
def test_lossy_compression(tmp_path: Path, syntax: UID, options: dict[str, Any]) -> None:
    smooth = (1000 + 500 * np.sin(np.arange(64) / 9)[:, None] * np.cos(np.arange(48) / 7)).astype(int)
    path = write_series(tmp_path / "set", smooth[None])[0]
    ds = pydicom.dcmread(path)
    ds.compress(syntax, generate_instance_uid=False, **options)
    ds.save_as(path)
    scan = read_only(open_at(tmp_path / "set"))
    assert 0 < np.abs(scan.image - as_read(smooth[None] - 1024)).max() < 20
    ds.BitsStored, ds.HighBit = 10, 9  # as if the values had overshot
    ds.save_as(path)
    expected = np.minimum(scan.image, 1023 - 1024)
    assert np.array_equal(read_only(open_at(tmp_path / "set")).image, expected)


def test_a_syntax_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = write_series(tmp_path / "set", volume(0)[:1])[0]
    ds = pydicom.dcmread(path)
    ds.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.100")
    ds["PixelData"].VR = "OB"
    ds.PixelData = pydicom.encaps.encapsulate([ds.PixelData])
    ds.save_as(path)
    text = message(open_at, tmp_path / "set")
    assert "image001.dcm has the transfer syntax MPEG2 Main Profile / Main Level" in text
    ds.file_meta.TransferSyntaxUID = UID("1.2.3.4")
    ds.save_as(path)
    assert "transfer syntax 1.2.3.4, which cannot be read" in message(open_at, tmp_path / "set")


@pytest.mark.parametrize(
    ("tags", "dtype"),
    [
        ({}, np.int16),
        ({"RescaleSlope": 2, "RescaleIntercept": -1024}, np.int16),
        ({"RescaleSlope": 16, "RescaleIntercept": 0}, np.int32),
        ({"RescaleSlope": -1, "RescaleIntercept": 5}, np.int16),
        ({"RescaleSlope": "0.25", "RescaleIntercept": "-7.5"}, np.float32),
        ({"BitsStored": 16, "HighBit": 15}, np.int32),
        ({"BitsStored": 16, "HighBit": 15, "RescaleIntercept": -32768}, np.int16),
        ({"RescaleSlope": None, "RescaleIntercept": None}, np.int16),
        ({"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}, np.float32),
        ({"BitsAllocated": 32, "BitsStored": 31, "HighBit": 30}, np.int32),
    ],
)
def test_rescaling_and_the_type_foretold(tmp_path: Path, tags: dict[str, Any], dtype: Any) -> None:
    pixels = volume(1)
    write_series(tmp_path / "set", pixels, **tags)
    scan = read_only(open_at(tmp_path / "set"))
    ds = pydicom.dcmread(tmp_path / "set" / "image001.dcm")
    slope, intercept = float(ds.get("RescaleSlope", 1)), float(ds.get("RescaleIntercept", 0))
    assert scan.image.dtype == dtype
    assert np.array_equal(scan.image, as_read((slope * pixels + intercept).astype(np.float32)))


def test_every_file_has_its_own_rescaling(tmp_path: Path) -> None:
    pixels, slopes = volume(2), [1.0, 0.5, 2.0, 1.5]
    for k, (one, slope) in enumerate(zip(pixels, slopes, strict=True)):
        write_series(tmp_path / "set", one[None], MR, places=positions(4)[k : k + 1], name=f"{k}", RescaleSlope=slope)
    scan = read_only(open_at(tmp_path / "set", modality="mri"))
    assert scan.image.dtype == np.float32
    assert np.array_equal(scan.image, as_read(pixels * np.array(slopes)[:, None, None]))


def test_bits_that_are_not_stored_say_nothing(tmp_path: Path) -> None:
    """Overlays in the upper bits, values in the middle ones, signed and unsigned."""
    pixels = volume(3, -512, 512)
    noise = np.random.default_rng(0).integers(0, 2**16, pixels.shape)
    kept = ((1 << 10) - 1) << 3
    packed = (noise & ~kept) | ((pixels & 1023) << 3)
    write_series(tmp_path / "set", packed, BitsStored=10, HighBit=12, PixelRepresentation=1)
    assert np.array_equal(read_only(open_at(tmp_path / "set")).image, as_read(pixels - 1024))


def test_eight_bits(tmp_path: Path) -> None:
    pixels = volume(3, 0, 256)
    write_series(tmp_path / "set", pixels, MR, BitsAllocated=8, BitsStored=8, HighBit=7)
    assert np.array_equal(read_only(open_at(tmp_path / "set", modality="mri")).image, as_read(pixels))


def test_a_modality_table(tmp_path: Path) -> None:
    pixels = volume(4, 0, 300)
    table = np.random.default_rng(0).integers(0, 4000, 200)
    lut = item(LUTDescriptor=[200, 50, 16], LUTData=table.astype("<u2").tobytes())
    lut["LUTDescriptor"].VR, lut["LUTData"].VR = "US", "OW"
    write_series(tmp_path / "set", pixels, MR, ModalityLUTSequence=[lut])
    scan = read_only(open_at(tmp_path / "set", modality="mri"))
    assert scan.image.dtype == np.int16
    assert np.array_equal(scan.image, as_read(table[np.clip(pixels - 50, 0, 199)]))


def test_monochrome1(tmp_path: Path) -> None:
    pixels = volume(5)
    write_series(tmp_path / "mr", pixels, MR, PhotometricInterpretation="MONOCHROME1", RescaleIntercept=3)
    dataset = open_at(tmp_path / "mr", modality="mri")
    assert np.array_equal(read_only(dataset).image, as_read(4095 - pixels + 3))
    assert any("MONOCHROME1 MR series were turned round" in note for note in dataset.notes)
    write_series(tmp_path / "ct", pixels, PhotometricInterpretation="MONOCHROME1")
    dataset = open_at(tmp_path / "ct")
    assert np.array_equal(read_only(dataset).image, as_read(pixels - 1024))
    assert any("concerns display alone" in note for note in dataset.notes)


@pytest.mark.parametrize("value", [-2000, 63536])  # the second is the first as an unsigned number
@pytest.mark.parametrize("limit", [None, -1900])
def test_padding_of_ct_becomes_air(tmp_path: Path, value: int, limit: int | None) -> None:
    pixels = volume(6, -1000, 3000)
    pixels[:, 0, :2] = -2000
    pixels[:, 1, :2] = -1950
    tags = {"BitsStored": 16, "HighBit": 15, "PixelRepresentation": 1, "RescaleIntercept": 0}
    write_series(tmp_path / "set", pixels, **tags)
    for path in (tmp_path / "set").iterdir():
        ds = pydicom.dcmread(path)
        ds.add_new("PixelPaddingValue", "SS" if value < 0 else "US", value)
        if limit is not None:
            ds.add_new("PixelPaddingRangeLimit", "SS", limit)
        ds.save_as(path)
    dataset = open_at(tmp_path / "set")
    padding = (pixels == -2000) if limit is None else pixels < -1000
    assert np.array_equal(read_only(dataset).image, as_read(np.where(padding, -1024, pixels)))
    assert any("padding value, which became air" in note for note in dataset.notes)


def test_padding_of_mr_becomes_the_smallest_value(tmp_path: Path) -> None:
    pixels = volume(7, 10, 3000)
    pixels[1:3, 0] = 4000
    write_series(tmp_path / "set", pixels, MR)
    for path in (tmp_path / "set").iterdir():
        ds = pydicom.dcmread(path)
        ds.add_new("PixelPaddingValue", "US", 4000)
        ds.save_as(path)
    lowest = pixels[pixels < 4000].min()
    scan = read_only(open_at(tmp_path / "set", modality="mri"))
    assert np.array_equal(scan.image, as_read(np.where(pixels == 4000, lowest, pixels)))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless])
def test_an_enhanced_ct(tmp_path: Path, syntax: UID) -> None:
    """Frames out of order, each with its own rescaling."""
    pixels = volume(8, 0, 2000, (4, 40, 36))
    order = [2, 0, 3, 1]
    ds = enhanced(pixels[order], ENHANCED_CT, positions(4)[order])
    for k, frame in zip(order, ds.PerFrameFunctionalGroupsSequence, strict=True):
        frame.PixelValueTransformationSequence = [item(RescaleSlope=k + 1, RescaleIntercept=-10 * k)]
    save(ds, tmp_path / "set" / "multi", syntax)
    dataset = open_at(tmp_path / "set")
    scan = read_only(dataset)
    k = np.arange(4)[:, None, None]
    assert scan.image.dtype == np.int16
    assert np.array_equal(scan.image, as_read(pixels * (k + 1) - 10 * k))
    assert scan.spacing_mm == pytest.approx((0.5, 0.75, 2.5))
    assert dataset.entries[0].image_paths == (str(tmp_path / "set" / "multi"),)


def test_an_enhanced_mr_with_two_echoes(tmp_path: Path) -> None:
    pixels = volume(9, shape=(8, 6, 5))
    ds = enhanced(pixels, ENHANCED_MR, np.concatenate([positions(4)] * 2), MagneticFieldStrength=3)
    for k, frame in enumerate(ds.PerFrameFunctionalGroupsSequence):
        frame.MREchoSequence = [item(EffectiveEchoTime=6.0 if k < 4 else 34.0)]
    ds.SharedFunctionalGroupsSequence[0].MRTimingAndRelatedParametersSequence = [
        item(RepetitionTime=20.0, FlipAngle=20.0)
    ]
    save(ds, tmp_path / "set" / "multi.dcm")
    dataset = open_at(tmp_path / "set", modality="mri")
    scan = read_only(dataset)
    assert dataset.channel_names == ("echo1", "echo2")
    assert np.array_equal(scan.image, np.concatenate([as_read(pixels[:4]), as_read(pixels[4:])], axis=3))
    assert scan.acquisition == {
        "tr_ms": 20, "te_ms": 6, "flip_angle_deg": 20, "field_strength_t": 3, "slice_thickness_mm": 9
    }  # fmt: skip


def test_a_large_enhanced_object(tmp_path: Path) -> None:
    """Its functional groups are too long to be kept beside the pixels, and are read again."""
    pixels = np.random.default_rng(0).integers(0, 4096, (600, 4, 3))
    save(enhanced(pixels, ENHANCED_MR, positions(600)), tmp_path / "set" / "multi.dcm")
    assert np.array_equal(read_only(open_at(tmp_path / "set", modality="mri")).image, as_read(pixels))


def test_colour_is_refused_by_name(tmp_path: Path) -> None:
    pixels = np.zeros((6, 5 * 3), int)
    ds = image(pixels, CT, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0, Columns=5)
    save(ds, tmp_path / "set" / "colour.dcm")
    assert "colour.dcm has 3 values per pixel (RGB)" in message(open_at, tmp_path / "set")


def test_stored_values_beyond_the_header_are_refused(tmp_path: Path) -> None:
    """A compressed image has its own number of bits, which then is not that of the header."""
    path = write_series(tmp_path / "set", volume(0, shape=(1, 40, 36)), syntax=JPEGLSLossless)[0]
    ds = pydicom.dcmread(path)
    ds.BitsStored, ds.HighBit = 10, 9
    ds.save_as(path)
    dataset = open_at(tmp_path / "set")
    assert "its header says 0 to 1023 (BitsStored 10)" in message(dataset.read, dataset.entries[0])
