"""Label files in NIfTI that belong to DICOM series, by their names."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inpaint_ssl.data.readers.dicom.files import Series
from inpaint_ssl.data.readers.layouts import ENDINGS, is_file, without_ending
from inpaint_ssl.data.readers.nifti import read_nifti
from inpaint_ssl.errors import InputError, one_line

_SUFFIXES = ("_labels", "_label", "_seg", "_mask")
_VALUES_NAMED = 40


@dataclass(frozen=True)
class Labels:
    """of_series: label file of each series (by key) that has one; ambiguous: for a series key, why its label cannot be
    told; unused: label files by their names or folder that no series takes; others: NIfTI files of other names.
    """

    of_series: dict[tuple[str, ...], str]
    ambiguous: dict[tuple[str, ...], list[str]]
    unused: list[str]
    others: list[str]


def match_labels(
    root: Path, series: Sequence[Series], nifti: Iterable[str], folders: Iterable[str], beside_root: bool
) -> Labels:
    """Which label file belongs to which series; `folders` are all that hold DICOM files, of skipped series too.

    A series in the folder `<name>` takes `<name>_labels`, `_label`, `_seg` or `_mask` (.nii or .nii.gz) beside that
    folder, or `<root>/labels/<name>`. A series of one file may be named by its file too, beside which the label then
    lies; so must it when several series share a folder. The label of a series right in the root lies in the root, or
    beside it with `beside_root`.
    """
    per_folder = Counter(one.folder for one in series)
    of_series: dict[tuple[str, ...], str] = {}
    ambiguous: dict[tuple[str, ...], list[str]] = {}
    candidates_of = {one.key: _candidates(root, one, per_folder[one.folder], beside_root) for one in series}
    shared = Counter(path for paths in candidates_of.values() for path in paths)
    for key, paths in candidates_of.items():
        if len(paths) == 1 and shared[paths[0]] == 1:
            of_series[key] = paths[0]
        elif paths:
            ambiguous[key] = paths
    seen = set(shared).union(*(_named(root, _places_of_folder(root, Path(folder), True)) for folder in folders))
    unused: list[str] = []
    others: list[str] = []
    for path in nifti:
        if path not in seen:
            in_labels = Path(path).parent == root / "labels"
            (unused if in_labels or without_ending(path).endswith(_SUFFIXES) else others).append(path)
    return Labels(of_series, ambiguous, unused, others)


def _candidates(root: Path, series: Series, series_in_folder: int, beside_root: bool) -> list[str]:
    """Label files that a series may be meant by."""
    folder = Path(series.folder)
    paths = series.paths
    places: list[tuple[Path, str]] = []
    if len(paths) == 1:
        file = Path(paths[0])
        # An ending only where it is one: names of files are often UIDs.
        stem = file.stem if file.suffix.lower() in {".dcm", ".dicom", ".ima"} else file.name
        places.append((folder, stem))
    if series_in_folder == 1 or len(paths) > 1:
        places += _places_of_folder(root, folder, beside_root)
    return [path for path in dict.fromkeys(_named(root, places)) if is_file(Path(path))]


def _places_of_folder(root: Path, folder: Path, beside_root: bool) -> list[tuple[Path, str]]:
    """Where labels of a folder's series lie, and how their names begin."""
    name = folder.resolve().name
    if folder != root:
        return [(folder.parent, name)]
    return [(folder, name), *([(folder.parent, name)] if beside_root else [])]


def _named(root: Path, places: Iterable[tuple[Path, str]]) -> list[str]:
    """Every path that a label file may have."""
    stems = [place / f"{name}{suffix}" for place, name in places for suffix in _SUFFIXES]
    stems += [root / "labels" / name for _, name in places]
    return [f"{stem}{ending}" for stem in stems for ending in ENDINGS]


def undeclared_error(path: str, shown: str) -> InputError:
    """What to write into data.labels: the values of a label file, to be named by the user."""
    try:
        data = read_nifti(path).data
    except InputError as error:
        return InputError(str(error).replace(one_line(path), shown), error.kind)
    values = [int(value) for value in np.unique(np.rint(data[np.isfinite(data)])) if value]
    example = ", ".join(f"'name{value}={value}'" for value in values[:2])
    several = f" and {len(values) - _VALUES_NAMED} more" if len(values) > _VALUES_NAMED else ""
    return InputError(
        f"data.labels is empty, but there are label files; {shown} holds the values "
        f"{', '.join(map(str, values[:_VALUES_NAMED]))}{several}: name them by data.labels=({example}, ...), and leave "
        "values out with data.label_map",
        "labels",
    )
