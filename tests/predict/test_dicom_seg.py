"""DICOM segmentations, read again by pydicom and by highdicom: every voxel where the images of the series have it."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from dicom_sets import ENHANCED_MR, MR, UID_ROOT, enhanced, item, open_at, positions, save, volume, write_series
from example_prediction import model_record

from inpaint_ssl.data import Scan
from inpaint_ssl.data.readers.dicom.reader import DicomDataset
from inpaint_ssl.errors import InputError
from inpaint_ssl.predict import dicom_seg

FRAME = f"{UID_ROOT}.77"
TILTED = (0.96, 0.28, 0.0, -0.28 * 0.8, 0.96 * 0.8, 0.6)  # oblique; exact unit vectors
Voxels = set[tuple[int, int, int, int]]


def read_only(reader: DicomDataset) -> tuple[Scan, list[tuple[str, int]]]:
    (entry,) = reader.entries
    return reader.read(entry), reader.source_images(entry)


def some_labels(scan: Scan, classes: int = 3, seed: int = 0) -> np.ndarray:
    """Distinct in every direction, and none in one slice of every axis."""
    labels = np.random.default_rng(seed).integers(0, classes + 1, scan.image.shape[:3]).astype(np.uint8)
    labels[1] = labels[:, 1] = labels[:, :, 1] = 0
    return labels


def voxels_of(labels: np.ndarray) -> Voxels:
    """(class, x, y, z) of every labelled voxel."""
    return {(int(labels[tuple(index)]), *map(int, index)) for index in np.argwhere(labels)}


def voxels_of_file(path: Path, affine: np.ndarray) -> Voxels:
    """The same, from the frames of the file alone, by the equation of the standard (PS3.3, C.7.6.2.1.1)."""
    seg = pydicom.dcmread(path)
    shared = seg.SharedFunctionalGroupsSequence[0]
    between_rows, between_columns = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    pixels = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    found = set()
    for frame, groups in zip(pixels, seg.PerFrameFunctionalGroupsSequence, strict=True):
        holder = groups if "SegmentIdentificationSequence" in groups else shared
        number = int(holder.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        rows, columns = np.nonzero(frame)
        lps = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        lps = lps + columns[:, None] * between_columns * cosines[:3] + rows[:, None] * between_rows * cosines[3:]
        index = np.linalg.solve(affine[:3, :3], (lps * (-1, -1, 1) - affine[:3, 3]).T).T
        assert np.abs(index - np.rint(index)).max(initial=0) < 0.05  # of a voxel: positions in files are rounded
        found |= {(number, *map(int, voxel)) for voxel in np.rint(index)}
    return found


def written(folder: Path, scan: Scan, sources: Sequence[tuple[str, int]], labels: np.ndarray) -> Path:
    path = folder / "masks" / "scan.dcm"
    assert dicom_seg.write_dicom_seg(path, labels, scan, sources, model_record()) == []
    return path


def check_against_sources(path: Path, scan: Scan, labels: np.ndarray, sources: Sequence[tuple[str, int]]) -> None:
    """Read by highdicom, image by image: the mask of a file is that of its place in the volume."""
    seg = highdicom.seg.segread(path)
    headers = [pydicom.dcmread(file, stop_before_pixels=True) for file, _ in sources]
    stacks = seg.get_pixels_by_source_instance(
        [h.SOPInstanceUID or h.file_meta.MediaStorageSOPInstanceUID for h in headers],
        assert_missing_frames_are_empty=True,
        combine_segments=True,
    )
    assert stacks.shape == (len(headers), headers[0].Rows, headers[0].Columns)
    to_voxel = np.linalg.inv(scan.affine)
    for header, mask in zip(headers, stacks, strict=True):
        x, y, z = map(float, header.ImagePositionPatient)
        first = np.rint(to_voxel @ [-x, -y, z, 1.0]).astype(int)[:3]
        cosines = np.array(header.ImageOrientationPatient, float).reshape(2, 3) * (-1, -1, 1)
        spacing = np.array(header.PixelSpacing, float)[::-1]
        along = np.rint((to_voxel[:3, :3] @ (cosines * spacing[:, None]).T).T).astype(int)
        rows, columns = np.mgrid[: header.Rows, : header.Columns]
        index = first + columns[..., None] * along[0] + rows[..., None] * along[1]
        np.testing.assert_array_equal(mask, labels[tuple(np.moveaxis(index, -1, 0))])


@pytest.mark.parametrize("order", ["rising", "reversed instance numbers", "shuffled"])
def test_every_voxel_lies_where_the_images_have_it(tmp_path: Path, order: str) -> None:
    places = positions(4)
    paths = write_series(tmp_path / "a", volume(0), places=places, FrameOfReferenceUID=FRAME)
    if order != "rising":
        for k, path in enumerate(paths):
            ds = pydicom.dcmread(path)
            ds.InstanceNumber = len(paths) - k
            ds.save_as(path)
    if order == "shuffled":
        for path, k in zip(paths, (2, 0, 3, 1), strict=True):
            path.rename(path.with_name(f"z{k}.dcm"))
    scan, sources = read_only(open_at(tmp_path / "a"))
    path = written(tmp_path, scan, sources, labels := some_labels(scan))
    assert voxels_of_file(path, scan.affine) == voxels_of(labels)
    check_against_sources(path, scan, labels, sources)
    seg = pydicom.dcmread(path)
    frames = {tuple(f.PlanePositionSequence[0].ImagePositionPatient) for f in seg.PerFrameFunctionalGroupsSequence}
    assert frames == {tuple(place) for k, place in enumerate(places.tolist()) if k != 1}  # exactly, the empty one not


@pytest.mark.parametrize("kind", ["oblique", "sagittal", "downwards", "multi-frame", "two echoes"])
def test_other_series(tmp_path: Path, kind: str) -> None:
    options: dict[str, Any] = {"kind": MR, "FrameOfReferenceUID": FRAME}
    single = {
        "oblique": {"orientation": TILTED},
        "sagittal": {"orientation": (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)},
        "downwards": {"places": positions(4)[::-1]},
    }
    if kind in single:
        write_series(tmp_path / "a", volume(1), **single[kind], **options)
    elif kind == "two echoes":
        for echo in (1, 2):
            own = {"EchoNumbers": echo, "EchoTime": 5.0 * echo}
            paths = write_series(tmp_path / "b", volume(echo), name=f"echo{echo}_{{}}.dcm", **own, **options)
            for k, path in enumerate(paths):
                ds = pydicom.dcmread(path)
                ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{UID_ROOT}.3.{echo}.{k}"
                (tmp_path / "a").mkdir(exist_ok=True)
                ds.save_as(tmp_path / "a" / path.name)
    else:
        places = positions(4)[[2, 0, 3, 1]]
        save(enhanced(volume(1), ENHANCED_MR, places, FrameOfReferenceUID=FRAME), tmp_path / "a" / "all.dcm")
    scan, sources = read_only(open_at(tmp_path / "a", modality="mri"))
    labels = some_labels(scan, seed=3)
    path = written(tmp_path, scan, sources, labels)
    assert voxels_of_file(path, scan.affine) == voxels_of(labels)
    if kind == "two echoes":
        referenced = {
            str(source.ReferencedSOPInstanceUID)
            for groups in pydicom.dcmread(path).PerFrameFunctionalGroupsSequence
            for source in groups.DerivationImageSequence[0].SourceImageSequence
        }
        assert referenced == {f"{UID_ROOT}.3.1.{k}" for k in (0, 2, 3)}


def test_frames_that_share_nothing(tmp_path: Path) -> None:
    ds = enhanced(volume(1), ENHANCED_MR, positions(4), FrameOfReferenceUID=FRAME)
    (shared,) = ds.SharedFunctionalGroupsSequence
    for groups in ds.PerFrameFunctionalGroupsSequence:
        groups.PixelMeasuresSequence = shared.PixelMeasuresSequence
        groups.PlaneOrientationSequence = shared.PlaneOrientationSequence
    ds.SharedFunctionalGroupsSequence = [item()]
    save(ds, tmp_path / "a" / "all.dcm")
    scan, sources = read_only(open_at(tmp_path / "a", modality="mri"))
    path = written(tmp_path, scan, sources, labels := some_labels(scan))
    assert voxels_of_file(path, scan.affine) == voxels_of(labels)


def test_frames_of_two_echoes_in_one_file(tmp_path: Path) -> None:
    places = np.concatenate([positions(4), positions(4)])
    ds = enhanced(volume(4, shape=(8, 6, 5)), ENHANCED_MR, places, FrameOfReferenceUID=FRAME)
    for k, groups in enumerate(ds.PerFrameFunctionalGroupsSequence):
        groups.MREchoSequence = [item(EffectiveEchoTime=5.0 + 10 * (k < 4))]  # the first echo is in the last frames
    save(ds, tmp_path / "a" / "all.dcm")
    scan, sources = read_only(open_at(tmp_path / "a", modality="mri"))
    assert [frame for _, frame in sources] == [4, 5, 6, 7]
    path = written(tmp_path, scan, sources, labels := some_labels(scan))
    assert voxels_of_file(path, scan.affine) == voxels_of(labels)
    for groups in pydicom.dcmread(path).PerFrameFunctionalGroupsSequence:
        (source,) = groups.DerivationImageSequence[0].SourceImageSequence
        of_source = ds.PerFrameFunctionalGroupsSequence[source.ReferencedFrameNumber - 1]
        assert source.ReferencedFrameNumber > 4 and groups.PlanePositionSequence == of_source.PlanePositionSequence


def test_a_reason_with_the_name_of_the_patient_is_kept_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path / "a", volume(0), FrameOfReferenceUID=FRAME)
    scan, sources = read_only(open_at(tmp_path / "a"))
    for said, shown in (("odd planes", "(odd planes)"), ("odd name MILLER", "(ValueError)")):

        def fail(*_: Any, said: str = said, **__: Any) -> None:
            raise ValueError(said)

        monkeypatch.setattr(dicom_seg, "Segmentation", fail)
        with pytest.raises(InputError) as caught:
            written(tmp_path, scan, sources, some_labels(scan))
        assert shown in str(caught.value) and "MILLER" not in str(caught.value)


def test_slices_in_several_files_of_frames(tmp_path: Path) -> None:
    for k in (0, 2):
        ds = enhanced(volume(k)[:2], ENHANCED_MR, positions(4)[k : k + 2], FrameOfReferenceUID=FRAME)
        save(ds, tmp_path / "a" / f"{k}.dcm")
    scan, sources = read_only(open_at(tmp_path / "a", modality="mri"))
    with pytest.raises(InputError, match="lie in 2 multi-frame files, expected one"):
        written(tmp_path, scan, sources, some_labels(scan))


@pytest.mark.filterwarnings("ignore:Invalid value for VR DA")
def test_what_the_object_says(tmp_path: Path) -> None:
    tags = {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Änne", "SliceThickness": None}
    tags["SpacingBetweenSlices"] = 9.0  # not the distance of the positions
    write_series(tmp_path / "a", volume(0), FrameOfReferenceUID=FRAME, StudyDate="soon", PatientSex="X", **tags)
    scan, sources = read_only(open_at(tmp_path / "a"))
    names = ("right_parotid", "Leber\\ü" + 80 * "x", "visceral_fat")
    path = tmp_path / "scan.dcm"
    dicom_seg.write_dicom_seg(path, some_labels(scan), scan, sources, model_record(*names))
    seg, source = (pydicom.dcmread(file) for file in (path, sources[0][0]))
    assert (seg.Modality, seg.SegmentationType, str(seg.PatientName)) == ("SEG", "BINARY", "Müller^Änne")
    for keyword in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID", "PatientBirthDate"):
        assert seg[keyword].value == source[keyword].value
    assert seg.SeriesInstanceUID != source.SeriesInstanceUID and (seg.StudyDate, seg.PatientSex) == ("", "")
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert [float(measures.SliceThickness), float(measures.SpacingBetweenSlices)] == [2.5, 2.5]
    first, second, third = seg.SegmentSequence
    assert first.SegmentLabel == "right_parotid" and first.SegmentAlgorithmType == "AUTOMATIC"
    kind = first.SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodeValue, kind.CodingSchemeDesignator) == ("45289007", "SCT")
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Right"
    assert second.SegmentLabel.startswith("Leber_ü") and second.SegmentLabel.endswith("xxx...")
    assert third.SegmentedPropertyCategoryCodeSequence[0].CodeMeaning == "Tissue"
    # The first colour, #e69f00, by hand: CIELab 70.61, 16.48, 74.68 in DICOM's 16 bits (PS3.3 C.10.7.1.1).
    expected = [70.608 * 65535 / 100, (16.479 + 128) * 65535 / 255, (74.681 + 128) * 65535 / 255]
    np.testing.assert_allclose(first.RecommendedDisplayCIELabValue, expected, atol=2)
    assert list(highdicom.seg.segread(path).segment_numbers) == [1, 2, 3]


def test_a_mask_without_anything_has_one_empty_frame_a_class(tmp_path: Path) -> None:
    write_series(tmp_path / "a", volume(0), FrameOfReferenceUID=FRAME)
    save(enhanced(volume(1), ENHANCED_MR, positions(4), FrameOfReferenceUID=FRAME), tmp_path / "b" / "all.dcm")
    for folder, modality in (("a", "ct"), ("b", "mri")):
        scan, sources = read_only(open_at(tmp_path / folder, modality=modality))
        path = written(tmp_path, scan, sources, np.zeros(scan.image.shape[:3], np.uint8))
        seg = highdicom.seg.segread(path)
        assert seg.NumberOfFrames == seg.number_of_segments == 3 and not pydicom.dcmread(path).pixel_array.any()


def test_what_cannot_be_written(tmp_path: Path) -> None:
    def refused(complaint: str, *, labels: np.ndarray | None = None, **tags: Any) -> None:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        write_series(folder / "a", volume(0), **({"FrameOfReferenceUID": FRAME} | tags))
        scan, sources = read_only(open_at(folder / "a"))
        with pytest.raises(InputError, match=complaint) as caught:
            written(folder, scan, sources, some_labels(scan) if labels is None else labels)
        assert "Miller" not in str(caught.value) and "QX-4711" not in str(caught.value)
        assert not (folder / "masks").exists() or not list((folder / "masks").iterdir())

    refused("4 of its 4 files have no FrameOfReferenceUID", FrameOfReferenceUID=None)
    refused("shape .5, 6, 3. in RAS", labels=np.zeros((5, 6, 3), np.uint8))
    refused("expected uint8", labels=np.zeros((5, 6, 4), np.int32))
    refused("class 4 of 3", labels=np.full((5, 6, 4), 4, np.uint8))


def test_files_that_changed_since_they_were_read(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "a", volume(0), FrameOfReferenceUID=FRAME)
    scan, sources = read_only(open_at(tmp_path / "a"))
    labels = some_labels(scan)
    for keyword, value, complaint in (
        ("StudyInstanceUID", "", "1 of its 4 files have no StudyInstanceUID"),
        ("SOPInstanceUID", f"{UID_ROOT}.2.2", "several of its files have one SOPInstanceUID"),
        ("SeriesInstanceUID", f"{UID_ROOT}.5", "several values of SeriesInstanceUID"),
        ("ImagePositionPatient", None, "no ImagePositionPatient"),
    ):
        before = paths[0].read_bytes()
        ds = pydicom.dcmread(paths[0])
        setattr(ds, keyword, value)
        ds.save_as(paths[0], enforce_file_format=False)
        with pytest.raises(InputError, match=complaint):
            written(tmp_path, scan, sources, labels)
        paths[0].write_bytes(before)
    with pytest.raises(InputError, match="3 images for 4 slices"):
        written(tmp_path, scan, sources[:3], labels)
    paths[0].unlink()
    with pytest.raises(InputError, match="one of its files cannot be read"):
        written(tmp_path, scan, sources, labels)


@pytest.mark.parametrize("name", ["ct_abdomen", "ct_abdomen_jpeg2000", "mr_brain"])
def test_real_series(real_data: Path, tmp_path: Path, name: str) -> None:
    modality = "mri" if name == "mr_brain" else "ct"
    copies = sorted(file for file in (real_data / "dicom" / name).iterdir() if file.is_file())
    (tmp_path / "a").mkdir()
    for k, file in enumerate(copies):
        shutil.copy(file, tmp_path / "a" / f"{(7 * k) % len(copies):03d}.dcm")  # shuffled
    scan, sources = read_only(open_at(tmp_path / "a", modality=modality))
    labels = np.zeros(scan.image.shape[:3], np.uint8)
    x, y, z = (n // 2 for n in labels.shape)
    labels[x - 5 : x + 9, y - 3 : y + 17, max(z - 2, 0) : z + 1] = 1
    labels[x + 9 : x + 12, y : y + 2, z] = 3
    path = tmp_path / "scan.dcm"
    warnings = dicom_seg.write_dicom_seg(path, labels, scan, sources, model_record())
    anonymised = "StudyInstanceUID and SeriesInstanceUID"  # what the CT lost
    assert [anonymised in warning for warning in warnings] == ([] if modality == "mri" else [True])
    assert voxels_of_file(path, scan.affine) == voxels_of(labels)
    check_against_sources(path, scan, labels, sources)
    seg, source = pydicom.dcmread(path), pydicom.dcmread(sources[0][0], stop_before_pixels=True)
    shared = seg.SharedFunctionalGroupsSequence[0]
    assert shared.PlaneOrientationSequence[0].ImageOrientationPatient == source.ImageOrientationPatient
    assert shared.PixelMeasuresSequence[0].PixelSpacing == source.PixelSpacing
    assert seg.FrameOfReferenceUID == source.FrameOfReferenceUID
