"""Masks as DICOM segmentation objects (SEG) that go back to the archive beside the images they were made from.

BINARY segments, one a class: every viewer that reads SEG reads them, while LABELMAP is of 2024 and read by few.
"""

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
from highdicom.color import CIELabColor
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from nibabel import orientations
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.valuerep import DA, TM

import inpaint_ssl
from inpaint_ssl.colours import colour_of
from inpaint_ssl.data.geometry import ras_orientation
from inpaint_ssl.data.readers.dicom.headers import Damage, damage_told, number, text
from inpaint_ssl.data.readers.dicom.series import identity_of
from inpaint_ssl.data.readers.quiet import quiet
from inpaint_ssl.data.scan import Scan
from inpaint_ssl.errors import InputError
from inpaint_ssl.files import write_atomic
from inpaint_ssl.predict.segment_codes import segment_code
from inpaint_ssl.trained.record import ModelRecord

_UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
_ONE_IN_A_SERIES = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PatientID")
_MAY_BE_MADE_UP = ("StudyInstanceUID", "SeriesInstanceUID")
_PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
_OF_SLICES: list[Any] = [*_UIDS, *_PLACE, "PatientID", "SpecificCharacterSet", "Rows", "Columns", "NumberOfFrames"]
_OF_PATIENT = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
_GROUPS = "PerFrameFunctionalGroupsSequence"  # what an enhanced multi-frame object has
_PARSED = {"PatientBirthDate": DA, "StudyDate": DA, "StudyTime": TM}
_SEXES = ("M", "F", "O")
_UTF_8 = "ISO_IR 192"
_LONGEST_TEXT = 64  # of a value of type LO: characters by the standard, bytes as some readers count
_FIRST_SERIES, _LARGEST_NUMBER = 9000, 2**31 - 1
_MAKER = "inpaint_ssl"


def write_dicom_seg(
    path: Path, labels: np.ndarray, scan: Scan, sources: Sequence[tuple[str, int]], record: ModelRecord
) -> list[str]:
    """Write a label map as one SEG object, whose frames lie exactly where the images of the series lie.

    labels: uint8 (X, Y, Z) of class index + 1 on the scan's RAS grid. sources: (file, frame in it) of every slice, as
    `DicomDataset.source_images` gives them, of single images or of one multi-frame object. Slices without a class have
    no frame; of a mask without any there is one empty frame a class, since an object must have frames. Its UIDs are new
    at every call. Returns warnings about the object, in words.

    The object goes back to the patient's folder in the archive, so it carries name, id and date of birth as the images
    do, whatever is hidden elsewhere.

    Raises InputError, after which there is no file, for labels of another shape, a class that the record does not name,
    and images that a SEG cannot refer to: without UIDs, place or frame of reference, of several series or frame files.
    """
    slices = _slices(labels, scan)
    if len(sources) != len(slices):
        raise _refused(scan, f"got {len(sources)} images for {len(slices)} slices")
    if slices.max(initial=0) > len(record.classes.names):
        raise _refused(scan, f"got a class {slices.max()} of {len(record.classes.names)}")
    with quiet("highdicom"), quiet("pydicom"):
        images = _headers(scan, sources)
        made_up = _fill_uids(images)
        _check(scan, images)
        try:
            _mend(images, scan)
            made = _made(*_frames(slices, images, [frame for _, frame in sources]), record)
            write_atomic(Path(path), lambda stream: made.save_as(stream, enforce_file_format=True))
        except (ValueError, TypeError, AttributeError, KeyError, IndexError, NotImplementedError) as error:
            reason = " ".join(str(error).split())[:300]
            if _names_patient(reason, images[0]):
                reason = type(error).__name__
            raise _refused(scan, f"its images cannot be referred to ({reason})") from error
    if not made_up:
        return []
    return [
        f"the images have no {' and '.join(made_up)} (removed with the identity?): those of the DICOM segmentation are "
        "made up, and an archive will not file it beside them"
    ]


def _refused(scan: Scan, why: str) -> InputError:
    return InputError(
        f"no DICOM segmentation of {scan.entry.scan_id}: {why}; the NIfTI mask does not need it, export the series "
        "again to have both"
    )


def _slices(labels: np.ndarray, scan: Scan) -> np.ndarray:
    """The label map as (slices, rows, columns) of the series."""
    orientation = ras_orientation(np.asarray(scan.original_affine, np.float64))
    back = orientations.ornt_transform(orientations.axcodes2ornt("RAS"), orientation)
    stored = orientations.apply_orientation(labels, back) if labels.ndim == 3 else labels
    if stored.shape != tuple(scan.original_shape) or labels.dtype != np.uint8:
        raise _refused(
            scan,
            f"got labels {labels.dtype} of shape {labels.shape} in RAS, which is {stored.shape} in the order of the "
            f"files, expected uint8 and {tuple(scan.original_shape)}",
        )
    return stored.T


def _names_patient(words: str, image: Dataset) -> bool:
    letters = "".join(letter for letter in unicodedata.normalize("NFKD", words).casefold() if letter.isalnum())
    return any(term in letters for term in identity_of(image))


def _headers(scan: Scan, sources: Sequence[tuple[str, int]]) -> list[Dataset]:
    """Of every slice its file's header, or the one header of the multi-frame object that holds them all.

    The first is whole but for private elements, the others have what tells where they lie and how they are called.
    """
    paths = list(dict.fromkeys(path for path, _ in sources))
    images: list[Dataset] = []
    for path in paths:
        try:
            with damage_told():
                only = _OF_SLICES if images else None
                image = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=only)
                for tag in [tag for tag in image if tag.tag.is_private] if not images else ():
                    del image[tag.tag]
        except Damage as damage:
            raise _refused(scan, f"one of its files {damage}") from None
        images.append(image)
    return images


def _fill_uids(images: Sequence[Dataset]) -> list[str]:
    """UIDs that stand in the head of the file alone, and new ones where anonymisation left none; returns what is new.

    The new ones are the same for the same series, so that its segmentations stay together.
    """
    for image in images:
        for keyword in ("SOPClassUID", "SOPInstanceUID"):
            if not text(image, keyword):
                setattr(image, keyword, text(image.file_meta, f"MediaStorage{keyword}"))
    made_up = [keyword for keyword in _MAY_BE_MADE_UP if not any(text(image, keyword) for image in images)]
    for keyword in made_up:
        uid = pydicom.uid.generate_uid(entropy_srcs=[keyword, text(images[0], "SOPInstanceUID")])
        for image in images:
            setattr(image, keyword, uid)
    return made_up


def _check(scan: Scan, images: Sequence[Dataset]) -> None:
    """What DICOM wants of images that others refer to, and what the reader of images can do without."""
    is_multi_frame = _GROUPS in images[0]
    if is_multi_frame and len(images) > 1:
        raise _refused(scan, f"its slices lie in {len(images)} multi-frame files, expected one")
    for keyword in (*_UIDS, *(() if is_multi_frame else _PLACE)):
        if bare := sum(not text(image, keyword) for image in images):
            raise _refused(scan, f"{bare} of its {len(images)} files have no {keyword}")
    for keyword in _ONE_IN_A_SERIES:
        if len({text(image, keyword) for image in images}) > 1:
            raise _refused(scan, f"its files have several values of {keyword}")
    if len({text(image, "SOPInstanceUID") for image in images}) < len(images):
        raise _refused(scan, "several of its files have one SOPInstanceUID")


def _mend(images: Sequence[Dataset], scan: Scan) -> None:
    """Headers as highdicom takes them, where the reader of images found those of the files good enough."""
    first = images[0]
    for keyword in _OF_PATIENT:
        value = text(first, keyword)
        if keyword not in first or (keyword == "PatientSex" and value not in _SEXES):
            setattr(first, keyword, "")
        elif keyword in _PARSED:
            try:
                _PARSED[keyword](value)
            except ValueError:
                setattr(first, keyword, "")
    # Thickness and distance of slices are often wrong or missing; positions of all slices give the distance.
    distance = float(np.linalg.norm(np.asarray(scan.original_affine)[:3, 2]))
    if _GROUPS in first:
        shared, frame = first.SharedFunctionalGroupsSequence[0], first.PerFrameFunctionalGroupsSequence[0]
        for keyword in ("PixelMeasuresSequence", "PlaneOrientationSequence"):
            if keyword not in shared:
                setattr(shared, keyword, getattr(frame, keyword))
        measures = shared.PixelMeasuresSequence[0]
    else:
        measures = first
        for image in images[1:]:  # equal but for rounding
            image.ImageOrientationPatient = first.ImageOrientationPatient
    if not number(measures, "SliceThickness"):
        measures.SliceThickness = pydicom.valuerep.DSfloat(distance, auto_format=True)
    measures.SpacingBetweenSlices = pydicom.valuerep.DSfloat(distance, auto_format=True)


def _frames(
    slices: np.ndarray, images: list[Dataset], frames: Sequence[int]
) -> tuple[np.ndarray, list[Dataset], Sequence[int]]:
    """The slices that get frames, their images, and, of a multi-frame object, the frame in it of each of them.

    Of such an object the frames that are no slice (another echo lies in the same place) are taken out of the header.
    """
    if not slices.any():
        slices, images, frames = slices[:1], images[:1], frames[:1]
    if _GROUPS not in images[0]:
        return slices, images, ()
    places = images[0].PerFrameFunctionalGroupsSequence
    images[0].PerFrameFunctionalGroupsSequence = [places[frame] for frame in frames]
    images[0].NumberOfFrames = len(frames)
    return slices, images, frames


def _made(slices: np.ndarray, images: Sequence[Dataset], frames: Sequence[int], record: ModelRecord) -> Segmentation:
    """The object; the rest as `_frames` gives it."""
    number_of_images = number(images[0], "SeriesNumber") or 0
    series_number = _FIRST_SERIES + int(number_of_images)
    made = Segmentation(
        source_images=images,
        pixel_array=np.ascontiguousarray(slices),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_segment(index, name) for index, name in enumerate(record.classes.names)],
        series_instance_uid=highdicom.UID(),
        series_number=series_number if 0 < series_number <= _LARGEST_NUMBER else _FIRST_SERIES,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer=_MAKER,
        manufacturer_model_name=_said(record.study or _MAKER),
        software_versions=inpaint_ssl.__version__,
        device_serial_number=record.config_sha256[:16] or "unknown",
        content_label="SEGMENTATION",
        content_description=_said(f"Made by a network, not checked: {record.study}"),
        series_description=_said(f"Segmentation by {_MAKER}"),
        specific_character_set=_UTF_8,
    )
    if frames:
        sources = (
            source
            for groups in made.PerFrameFunctionalGroupsSequence
            for source in groups.DerivationImageSequence[0].SourceImageSequence
        )
        for source in {id(source): source for source in sources}.values():  # segments share them
            source.ReferencedFrameNumber = frames[int(source.ReferencedFrameNumber) - 1] + 1
    return made


def _segment(index: int, name: str) -> SegmentDescription:
    code = segment_code(name)
    colour = colour_of(index).lstrip("#")
    segment = SegmentDescription(
        segment_number=index + 1,
        segment_label=_said(name),
        segmented_property_category=code.category,
        segmented_property_type=code.kind,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=_MAKER, version=inpaint_ssl.__version__, family=codes.cid7162.ArtificialIntelligence
        ),
        tracking_uid=highdicom.UID(),
        tracking_id=_said(name),
        display_color=CIELabColor.from_rgb(*(int(colour[start : start + 2], 16) for start in (0, 2, 4))),
    )
    if code.side is not None:
        kind = segment.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [highdicom.sr.CodedConcept.from_code(code.side)]
    return segment


def _said(words: str) -> str:
    """Words as a value of type LO: no backslash or control character, and no longer than it may be."""
    kept = "".join(letter if letter.isprintable() and letter != "\\" else "_" for letter in words)
    if len(kept.encode()) <= _LONGEST_TEXT:
        return kept
    return kept.encode()[: _LONGEST_TEXT - 3].decode(errors="ignore") + "..."
