"""The tables of SKM-TEA: annotations/v1.0.0/{train,val,test}.json (geometry, official split) and all_metadata.csv."""

import csv
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from inpaint_ssl.errors import InputError, Problems
from inpaint_ssl.files import read_json

ANNOTATIONS = Path("annotations") / "v1.0.0"
METADATA = "all_metadata.csv"
SPLITS = {"train": "train", "val": "validation", "test": "test"}
# Where the index of an array axis grows: (axis of RAS, sign). "LR" runs from the patient's left to the right.
DIRECTIONS = {"LR": (0, 1), "RL": (0, -1), "PA": (1, 1), "AP": (1, -1), "IS": (2, 1), "SI": (2, -1)}

_NUMBERS = {
    "repetitiontime": "tr_ms",
    "echotime1": "te_ms",
    "flipangle": "flip_angle_deg",
    "spoilergradientarea": "spoiler_area",
    "spoilergradienttime": "spoiler_duration_us",
    "magneticfieldstrength": "field_strength_t",
}
_AGES = ("patientage", "age")
_YEARS = {"y": 1.0, "m": 1.0 / 12.0, "w": 7.0 / 365.25, "d": 1.0 / 365.25}  # DICOM writes ages as 045Y, 018M
SEXES = {"f": "F", "female": "F", "m": "M", "male": "M", "o": "O", "other": "O"}
_WORDS = {
    "patientsex": ("sex", SEXES),
    "sex": ("sex", SEXES),
    "gender": ("sex", SEXES),
    "medialdirection": ("medial_direction", {"l": "L", "r": "R"}),
}
_NEEDED = ("MedialDirection", "SpoilerGradientArea", "SpoilerGradientTime", "RepetitionTime", "EchoTime1", "FlipAngle")
MISSING = ("", "na", "n/a", "nan", "none", "null", "unknown")


@dataclass(frozen=True)
class ListedScan:
    """What a JSON file says of one scan. spacing_mm and orientation ("SI", ...) follow the array axes of its file."""

    scan_id: str
    subject_id: str
    split: str
    file_name: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    orientation: tuple[str, str, str]
    source: str

    def affine(self) -> np.ndarray:
        """4 x 4, from array index to RAS mm; the centre of the volume is the origin, as no file states a position."""
        affine = np.zeros((4, 4))
        for axis, (direction, spacing) in enumerate(zip(self.orientation, self.spacing_mm, strict=True)):
            row, sign = DIRECTIONS[direction]
            affine[row, axis] = sign * spacing
        affine[:3, 3] = -affine[:3, :3] @ ((np.array(self.shape) - 1) / 2.0)
        affine[3, 3] = 1.0
        return affine


def read_annotations(folder: Path, problems: Problems) -> tuple[list[ListedScan], list[str]]:
    """Every scan of the JSON files by scan id, and notes; InputError when there is no such file.

    Scans that are listed wrongly or twice, and subjects in two splits, go to `problems` and are left out.
    """
    files = {name: folder / ANNOTATIONS / f"{name}.json" for name in SPLITS}
    missing = [path for path in files.values() if not path.is_file()]
    if len(missing) == len(files):
        raise InputError(
            f"no file {files['train']}; restore the annotations of SKM-TEA, which hold its split", "listing"
        )
    notes = [f"{ANNOTATIONS / path.name} is missing, so its scans are not used" for path in missing]
    records: dict[str, ListedScan] = {}
    splits: dict[str, str] = {}
    for name, path in files.items():
        for item in _images(path) if path not in missing else ():
            try:
                record = _record(item, SPLITS[name], path)
                if record.scan_id in records:
                    raise InputError(f"{path}: scan {record.scan_id} is listed twice; keep one entry", "listing")
                other = splits.setdefault(record.subject_id, record.split)
                if other != record.split:
                    raise InputError(
                        f"{path}: subject {record.subject_id} (scan {record.scan_id}) is under {record.split!r} and"
                        f" {other!r}; keep all scans of a subject in one split",
                        "listing",
                    )
            except InputError as error:
                problems.add(error)
                continue
            records[record.scan_id] = record
    return [records[scan_id] for scan_id in sorted(records)], notes


def _images(path: Path) -> list[Any]:
    content = read_json(path, "annotations of SKM-TEA")
    images = content.get("images") if isinstance(content, Mapping) else None
    if not isinstance(images, list):
        raise InputError(f"{path}: key 'images' is no list of scans; restore the file", "listing")
    return images


def _record(item: Any, split: str, path: Path) -> ListedScan:
    if not isinstance(item, Mapping) or not _is_name(item.get("scan_id")):
        raise InputError(f"{path}: an entry of 'images' has no name as 'scan_id'; restore the file", "listing")
    scan_id = item["scan_id"]

    def fault(key: str, expected: str, kind: str = "listing") -> InputError:
        return InputError(
            f"{path}: scan {scan_id}: {key!r} is {item.get(key)!r}, expected {expected}; correct it", kind
        )

    subject, file_name = item.get("subject_id"), item.get("file_name", f"{scan_id}.h5")
    if isinstance(subject, bool) or not (isinstance(subject, int) or _is_name(subject)):
        raise fault("subject_id", "a number or a name")
    if not _is_name(file_name):
        raise fault("file_name", "the name of a file in image_files")
    shape, spacing, orientation = (_three(item.get(key)) for key in ("matrix_shape", "voxel_spacing", "orientation"))
    if not shape or not all(isinstance(n, int) and n > 0 for n in shape):
        raise fault("matrix_shape", "three whole numbers above 0", "geometry")
    if not spacing or not all(isinstance(mm, int | float) and 1e-3 < mm < 1e3 for mm in spacing):
        raise fault("voxel_spacing", "three numbers of mm, above 0.001 and below 1000", "geometry")
    if len({DIRECTIONS[text][0] for text in orientation if text in DIRECTIONS}) != 3:
        raise fault("orientation", "one each of SI or IS, AP or PA, LR or RL", "geometry")
    x, y, z = (float(mm) for mm in spacing)
    i, j, k = orientation
    return ListedScan(scan_id, str(subject), split, file_name, tuple(shape), (x, y, z), (i, j, k), str(path))


def _is_name(value: Any) -> bool:
    """Whether a text can be part of a file name; ids name files of results."""
    return isinstance(value, str) and value not in ("", ".", "..") and not re.search(r"[/\\\x00-\x1f]", value)


def _three(value: Any) -> list[Any]:
    """A list of three numbers or texts, else an empty one."""
    fits = isinstance(value, list) and len(value) == 3 and not any(isinstance(v, bool | list | dict) for v in value)
    return value if fits else []


@dataclass(frozen=True)
class Metadata:
    """all_metadata.csv: the rows of every scan as (line, values by lower-case column)."""

    path: Path
    rows: Mapping[str, list[tuple[int, dict[str, str]]]] = field(default_factory=dict)

    def has(self, scan_id: str) -> bool:
        """Whether the scan has a row."""
        return _row_key(scan_id) in self.rows

    def acquisition(self, scan_id: str) -> dict[str, float | str]:
        """`Scan.acquisition` of a scan, empty without a row.

        Empty cells and words such as "nan" are left out. Raises InputError (kind "listing") naming file, line and
        column of a value that is no number above 0 or no known word, and the lines of a scan that has several rows.
        """
        rows = self.rows.get(_row_key(scan_id), [])
        if len(rows) > 1:
            lines = ", ".join(str(line) for line, _ in rows)
            raise InputError(f"{self.path}: lines {lines} are all of scan {scan_id}; keep one", "listing")
        found: dict[str, float | str] = {}
        for line, row in rows:
            for column, text in row.items():
                where = f"{self.path}, line {line} (scan {scan_id}), column {column}"
                if text.lower() in MISSING:
                    continue
                if column in _NUMBERS:
                    found[_NUMBERS[column]] = _positive(text, 1.0, text, where)
                elif column in _AGES:
                    unit = text[-1].lower()
                    number = text[:-1] if unit in _YEARS else text
                    found["age_years"] = _positive(number, _YEARS.get(unit, 1.0), text, where)
                elif column in _WORDS:
                    key, words = _WORDS[column]
                    if text.lower() not in words:
                        expected = ", ".join(sorted(set(words.values())))
                        raise InputError(f"{where}: got {text!r}, expected one of {expected}; correct it", "listing")
                    found[key] = words[text.lower()]
        return found


def read_metadata(path: Path, scan_ids: Iterable[str]) -> tuple[Metadata, list[str]]:
    """all_metadata.csv, and notes on what of `scan_ids` it lacks; without the file no scan has a row.

    Raises InputError (kind "listing") when the file is no table with the column MTR_ID.
    """
    if not path.is_file():
        return Metadata(path), [f"{path.name} is missing, so TR, TE and the other settings of the scans are unknown"]
    rows: dict[str, list[tuple[int, dict[str, str]]]] = {}
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            table = csv.DictReader(stream)
            columns = {(name or "").strip().lower() for name in table.fieldnames or ()}
            if "mtr_id" not in columns:
                raise InputError(f"{path} has no column MTR_ID, so its rows belong to no scan; restore it", "listing")
            for row in table:
                texts = {name.strip().lower(): value.strip() for name, value in row.items() if name and value}
                rows.setdefault(_row_key(texts.get("mtr_id", "")), []).append((table.line_num, texts))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{path} cannot be read ({error}); restore it, or remove it to go without", "listing"
        ) from None
    notes = []
    lacking = [name for name in _NEEDED if name.lower() not in columns]
    if lacking:
        notes.append(f"{path.name} has no column {', '.join(lacking)}, so these settings of the scans are unknown")
    metadata = Metadata(path, rows)
    without = [scan_id for scan_id in scan_ids if not metadata.has(scan_id)]
    if without:
        notes.append(
            f"{path.name} has no row for {len(without)} scans (the first is {without[0]}); their settings are unknown"
        )
    return metadata, notes


def _row_key(text: str) -> str:
    """ "MTR_001", "001", "1" and "1.0" are the same scan."""
    number = re.fullmatch(r"(?:MTR_)?0*(\d+)(?:\.0*)?", text.strip())
    return number[1] if number else text.strip()


def _positive(number: str, scale: float, text: str, where: str) -> float:
    try:
        value = float(number) * scale
    except ValueError:
        value = math.nan
    if not 0.0 < value < math.inf:
        raise InputError(f"{where}: got {text!r}, expected a number above 0; correct it or empty the cell", "listing")
    return value
