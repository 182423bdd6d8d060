"""What one DICOM header says of a series: whether it is used, whose it is, and where each of its frames lies."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydicom.dataset import Dataset
from pydicom.uid import UID

from inpaint_ssl.data.readers.dicom.headers import (
    SPOILER_AREA,
    SPOILER_DURATION,
    Damage,
    Stored,
    functional,
    number,
    numbers,
    private_number,
    shown_text,
    stored,
    text,
)
from inpaint_ssl.data.readers.dicom.ids import identity_terms
from inpaint_ssl.data.readers.dicom.values import padding_range, rescale_of
from inpaint_ssl.data.readers.grid import LARGEST_MM, SMALLEST_MM

_CLASS = "1.2.840.10008.5.1.4.1.1."
# Image, Enhanced and Legacy Converted Enhanced storage.
_MODALITY_OF_CLASS = {_CLASS + part: "CT" for part in ("2", "2.1", "2.2")} | {
    _CLASS + part: "MR" for part in ("4", "4.1", "4.4")
}
_MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
MODALITY_OF_SETTING = {"mri": "MR", "ct": "CT"}
_IDENTITY = ("PatientID", "PatientName", "PatientBirthDate", "OtherPatientIDs", "AccessionNumber")
# Names of what may tell images of one place apart, in the order in which they are named to the user.
_DISTINCTIONS = {
    "b-value": "DiffusionBValue",
    "temporal position": "TemporalPositionIdentifier",
    "trigger time": "TriggerTime",
    "image type": "ImageType",
    "acquisition number": "AcquisitionNumber",
}
_ACQUISITION = {
    "tr_ms": ("RepetitionTime", "MRTimingAndRelatedParametersSequence"),
    "flip_angle_deg": ("FlipAngle", "MRTimingAndRelatedParametersSequence"),
    "field_strength_t": ("MagneticFieldStrength", ""),
    "kvp": ("KVP", "CTXRayDetailsSequence"),
    "slice_thickness_mm": ("SliceThickness", "PixelMeasuresSequence"),
}
_YEARS_OF_UNIT = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


@dataclass(frozen=True, slots=True)
class Frame:
    """One image of a series: frame `index` of a file, in DICOM's coordinates (LPS, mm).

    position: of the first pixel's centre. orientation: direction in which columns count up, then rows. pixel_spacing:
    between rows, between columns. distinctions: what may tell it from other frames of the same place.
    """

    path: str
    index: int
    rows: int
    columns: int
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    pixel_spacing: tuple[float, ...] | None
    echo_number: float | None
    echo_time_ms: float | None
    distinctions: tuple[tuple[str, str], ...]
    value_range: tuple[float, float]
    has_whole_values: bool


@dataclass(frozen=True)
class About:
    """What files of one series share. patient: as `patient_of` says; terms: what must not be shown of it. thickness_mm:
    of a slice, where there is one only.
    """

    modality: str
    patient: tuple[str, ...]
    terms: frozenset[str]
    study_uid: str
    number: str
    description: str
    tilt_deg: float
    thickness_mm: float
    photometric: str
    has_padding: bool
    acquisition: Mapping[str, float | str] = field(default_factory=dict)


def reason_to_skip(header: Dataset, wanted: str) -> str | None:
    """Why an object is none of the data set's images of modality `wanted` ("CT" or "MR"); None: it is one.

    "" stands for what needs no word: the directory of a medium.
    """
    kind = text(header, "SOPClassUID") or text(getattr(header, "file_meta", None), "MediaStorageSOPClassUID")
    if kind == _MEDIA_DIRECTORY:
        return ""
    said = shown_text(header, "Modality")
    modality = _MODALITY_OF_CLASS.get(kind)
    if modality is None:
        name = UID(kind).name
        if name != kind:
            return name
        if said not in MODALITY_OF_SETTING.values():
            return f"object of modality {said or 'unknown'}"
        modality = said
    types = text(header, "ImageType").upper().split("\\")
    if any("LOCALIZER" in part or "SCOUT" in part for part in types):
        return "localizer"
    if any("SCREEN" in part or part.endswith(" PROT") for part in types):
        return "patient protocol or picture of a screen"
    return None if modality == wanted else f"{modality} series, not wanted with data.modality={_setting_of(wanted)!r}"


def _setting_of(modality: str) -> str:
    return next(setting for setting, value in MODALITY_OF_SETTING.items() if value == modality)


def identity_of(header: Dataset) -> frozenset[str]:
    """What of a patient must not be shown, as `ShownPaths` looks for it."""
    return identity_terms(tuple(text(header, keyword) for keyword in _IDENTITY))


def patient_of(header: Dataset) -> tuple[str, ...]:
    """(id, issuer of the id), else (name, date of birth), () when neither is given."""
    for keyword, further in (("PatientID", "IssuerOfPatientID"), ("PatientName", "PatientBirthDate")):
        if value := text(header, keyword):
            return value, text(header, further)
    return ()


def about(header: Dataset, modality: str, kept: Stored) -> About:
    """What a header says of its series."""
    measures = functional(header, 0, "PixelMeasuresSequence")
    thickness = (
        number(holder, keyword)
        for holder in (header, measures)
        for keyword in ("SpacingBetweenSlices", "SliceThickness")
    )
    return About(
        modality,
        patient_of(header),
        identity_of(header),
        text(header, "StudyInstanceUID"),
        shown_text(header, "SeriesNumber"),
        shown_text(header, "SeriesDescription"),
        number(header, "GantryDetectorTilt") or 0.0,
        next((abs(mm) for mm in thickness if mm and SMALLEST_MM <= abs(mm) <= LARGEST_MM), 1.0),
        kept.photometric,
        padding_range(header, kept) is not None,
        _acquisition(header),
    )


def _acquisition(header: Dataset) -> dict[str, float | str]:
    found: dict[str, float | str | None] = {}
    for key, (keyword, sequence) in _ACQUISITION.items():
        value = number(header, keyword)
        if value is None and sequence:
            value = number(functional(header, 0, sequence), keyword)
        found[key] = value
    found["spoiler_area"] = private_number(header, SPOILER_AREA)
    found["spoiler_duration_us"] = private_number(header, SPOILER_DURATION)
    found["age_years"] = _age_years(text(header, "PatientAge"))
    sex = text(header, "PatientSex").upper()
    found["sex"] = sex if sex in {"F", "M", "O"} else None
    return {key: value for key, value in found.items() if value is not None}


def _age_years(age: str) -> float | None:
    """ "028Y", "018M", "003W" or "010D" in years."""
    unit = _YEARS_OF_UNIT.get(age[-1:].upper())
    return int(age[:-1]) * unit if unit and age[:-1].isdecimal() else None


def frames_of(header: Dataset, path: str, file_bytes: int) -> tuple[Stored, list[Frame]]:
    """How the pixels of a file are stored, and its frames. Raises Damage."""
    kept = stored(header, file_bytes)
    if kept.samples != 1 or kept.photometric not in {"MONOCHROME1", "MONOCHROME2"}:
        raise Damage(
            f"has {kept.samples} values per pixel ({kept.photometric or 'no photometric interpretation'}), expected "
            "one (MONOCHROME1 or MONOCHROME2); remove it or export the grey values"
        )
    per_frame = header.get("PerFrameFunctionalGroupsSequence")
    if per_frame is None and kept.frames == 1:
        distinctions = tuple((name, shown_text(header, keyword)) for name, keyword in _DISTINCTIONS.items())
        rescale = rescale_of(header, None)
        return kept, [
            Frame(
                path,
                0,
                kept.rows,
                kept.columns,
                numbers(header, "ImagePositionPatient", 3),
                numbers(header, "ImageOrientationPatient", 6),
                numbers(header, "PixelSpacing", 2),
                number(header, "EchoNumbers"),
                number(header, "EchoTime"),
                distinctions,
                rescale.range_of(kept.value_range),
                rescale.is_whole,
            )
        ]
    if per_frame is None or len(per_frame) != kept.frames:
        n_groups = 0 if per_frame is None else len(per_frame)
        raise Damage(
            f"has {kept.frames} frames but says of {n_groups} where they lie (per-frame functional groups); export it "
            "as single images"
        )
    return kept, [_frame(header, path, kept, index) for index in range(kept.frames)]


def _frame(header: Dataset, path: str, kept: Stored, index: int) -> Frame:
    """One frame of an enhanced multi-frame object."""
    content = functional(header, index, "FrameContentSequence")
    kind = functional(header, index, "MRImageFrameTypeSequence") or functional(
        header, index, "CTImageFrameTypeSequence"
    )
    distinctions = (
        ("b-value", shown_text(functional(header, index, "MRDiffusionSequence"), "DiffusionBValue")),
        ("temporal position", shown_text(content, "TemporalPositionIndex")),
        ("image type", f"{shown_text(kind, 'FrameType')} {shown_text(kind, 'ComplexImageComponent')}".strip()),
        ("stack", shown_text(content, "StackID")),
    )
    rescale = rescale_of(header, functional(header, index, "PixelValueTransformationSequence"))
    return Frame(
        path,
        index,
        kept.rows,
        kept.columns,
        numbers(functional(header, index, "PlanePositionSequence"), "ImagePositionPatient", 3),
        numbers(functional(header, index, "PlaneOrientationSequence"), "ImageOrientationPatient", 6),
        numbers(functional(header, index, "PixelMeasuresSequence"), "PixelSpacing", 2),
        None,
        number(functional(header, index, "MREchoSequence"), "EffectiveEchoTime"),
        distinctions,
        rescale.range_of(kept.value_range),
        rescale.is_whole,
    )
