"""A folder of NIfTI files: images/ and labels/ of the same names, or labels beside their images."""

import contextlib
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from inpaint_ssl.data.labels import LabelRules, declared_values, parse_label_map, parse_labels
from inpaint_ssl.data.readers.layouts import (
    ENDINGS,
    Layout,
    arranged,
    files_beneath,
    is_file,
    relative_to,
    scan_entry,
    without_ending,
)
from inpaint_ssl.data.readers.nifti import nifti_header, read_nifti
from inpaint_ssl.data.readers.settings import ReaderSettings
from inpaint_ssl.data.scan import ScanEntry
from inpaint_ssl.errors import InputError, Problems

LABEL_ENDINGS = ("_labels", "_label", "_seg", "_mask")
_CHANNEL = re.compile(r"(.+)_([0-9]{4})")
_FOLDER_OF_LABELS = re.compile(r"(label|seg|mask)", re.IGNORECASE)
_VALUES_SHOWN = 20
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def list_folder(folder: Path, settings: ReaderSettings, problems: Problems, use_labels: bool = True) -> Layout:
    """All NIfTI files of `folder`, which may have folders inside.

    With a folder images/, everything beneath it is an image and labels/<same name> its label, with or without one of
    LABEL_ENDINGS; without it, <name><one of LABEL_ENDINGS> beside <name> is the label. Files named <case>_0000, _0001,
    ... are the channels of one scan when all images are named so. The scan id is the path inside the folder with "_"
    for "/". With use_labels=False label files are passed over. Raises InputError for labels without data.labels.
    """
    separate = (folder / "images").is_dir()
    images = _named_files(folder / "images" if separate else folder, problems)
    if separate:
        labels = _named_files(folder / "labels", problems) if (folder / "labels").is_dir() else {}
        for name in [name for name in images if _base(name) and {_base(name), f"{_base(name)}_0000"} & set(images)]:
            path = images.pop(name)
            problems.add(_listing(f"{path} lies among the images but is named as a label; move it to {folder}/labels"))
    else:
        _refuse_folders_of_labels(folder, images)
        labels = {name: images.pop(name) for name in list(images) if name.endswith(LABEL_ENDINGS)}
    if not images:
        raise InputError(f"no NIfTI image (.nii.gz, .nii) in {folder}; give another folder")
    scans, n_files = _scans(images, labels)
    label_of = _labels_of(scans, labels, problems) if use_labels else {}
    declared = parse_labels(settings.labels) if use_labels else {}
    if label_of and not declared:
        raise InputError(_undeclared(list(label_of.values()), folder, parse_label_map(settings.label_map)))
    entries = []
    for name, channels in scans.items():
        missing = sorted(set(range(n_files)) - set(channels))
        if missing:
            some = next(iter(channels.values()))
            problems.add(
                _listing(f"{some}: scan {name} lacks channel {missing[0]:04d}; add the file or remove the scan")
            )
        else:
            paths = [channels[number] for number in range(n_files)]
            entries.append(scan_entry(name.replace("/", "_"), paths, label_of.get(name)))
    found = arranged(entries, settings, problems)
    if not found:
        raise InputError(f"no scan can be used in {folder}; correct its files or give another folder")
    rules = LabelRules(declared_values(declared), mapping=parse_label_map(settings.label_map), where="data.labels")
    notes = ("data.labels declares labels, but no scan has a label file",) if declared and not label_of else ()
    return Layout(folder, folder.resolve().name, _channel_names(found), declared, rules, found, notes)


def is_named_as_label(path: Path) -> bool:
    """Whether a path inside the folder is named as a label or lies in a folder of labels."""
    return bool(_base(without_ending(path.name))) or any(map(_FOLDER_OF_LABELS.match, path.parts[:-1]))


def _listing(message: str) -> InputError:
    return InputError(message, "listing")


def _named_files(folder: Path, problems: Problems) -> dict[str, Path]:
    """Path inside `folder` without ending -> file."""
    found: dict[str, Path] = {}
    for path in files_beneath(folder):
        if not path.name.endswith(ENDINGS):
            continue
        name = without_ending(relative_to(str(path), folder))
        if not is_file(path):
            problems.add(_listing(f"{path} is no file, perhaps a link to nowhere; restore or remove it"))
        elif found.setdefault(name, path) != path:
            problems.add(_listing(f"{found[name]} and {path} have the same name; rename or remove one of them"))
    return found


def _refuse_folders_of_labels(folder: Path, names: Iterable[str]) -> None:
    for top in sorted({name.partition("/")[0] for name in names if "/" in name}):
        if _FOLDER_OF_LABELS.match(top):
            raise InputError(
                f"{folder / top} looks like a folder of labels, but there is no folder {folder / 'images'}; name the "
                "two folders images and labels, or put each label beside its image as <image>_label.nii.gz"
            )


def _base(name: str) -> str:
    """The name without one of LABEL_ENDINGS; "" when it has none."""
    return next((name.removesuffix(ending) for ending in LABEL_ENDINGS if name.endswith(ending)), "")


def _owner(label: str, images: Collection[str]) -> str | None:
    """The image that a label of this name belongs to."""
    return next((name for name in (label, _base(label)) if name in images), None)


def _scans(images: Mapping[str, Path], labels: Mapping[str, Path]) -> tuple[dict[str, dict[int, Path]], int]:
    """Name of each scan -> its files by number of channel, and how many there should be."""
    single = {name: {0: path} for name, path in images.items()}, 1
    matches = {name: _CHANNEL.fullmatch(name) for name in images}
    if not all(matches.values()) or any(_owner(label, images) for label in labels):
        return single
    cases: dict[str, dict[int, Path]] = {}
    for name, match in matches.items():
        assert match is not None
        cases.setdefault(match[1], {})[int(match[2])] = images[name]
    # Numbers of subjects or visits look alike, but do not begin at 0000 for each name.
    if 2 * sum(0 in channels for channels in cases.values()) <= len(cases):
        return single
    if len(cases) == 1 and len(images) > 1 and not any(_owner(label, cases) for label in labels):
        paths = list(images.values())
        raise InputError(
            f"{paths[0]} to {paths[-1].name}: these may be {len(paths)} scans or the channels of one; rename scans so "
            "that they do not end in _ and four digits, or give two scans with channels"
        )
    return cases, 1 + max(number for channels in cases.values() for number in channels)


def _labels_of(scans: Collection[str], labels: Mapping[str, Path], problems: Problems) -> dict[str, Path]:
    """Name of each labelled scan -> its label file."""
    found: dict[str, Path] = {}
    for label, path in labels.items():
        owner = _owner(label, scans)
        if owner is None:
            problems.add(_listing(f"label {path} has no image of its name; add the image or remove the label"))
        elif found.setdefault(owner, path) != path:
            problems.add(_listing(f"{path} and {found[owner]} are both labels of scan {owner}; remove one of them"))
    return found


def _channel_names(entries: tuple[ScanEntry, ...]) -> tuple[str, ...]:
    """ "channel 0" and so on, from the headers of the first scan that can be read."""
    n_channels = _first_readable(entries, lambda entry: sum(map(nifti_channels, entry.image_paths)))
    return tuple(f"channel {number}" for number in range(n_channels))


def _undeclared(labels: list[Path], folder: Path, label_map: Mapping[int, int]) -> str:
    path, stored = _first_readable(labels, lambda path: (path, np.unique(read_nifti(str(path)).data)))
    present = sorted({label_map.get(value, value) for value in stored.tolist()})
    shown = ", ".join(f"{value:g}" for value in present[:_VALUES_SHOWN]) + (", ..." * (len(present) > _VALUES_SHOWN))
    values = [int(value) for value in present if value in range(1, 256)][:_VALUES_SHOWN]
    example = ", ".join(f"'label_{value}={value}'" for value in values or [1])
    return (
        f"{folder} has {len(labels)} label files, but data.labels is empty; {path} holds the values {shown}; name "
        f"them, for example data.labels=({example},)"
    )


def _first_readable(items: Sequence[_Item], read: Callable[[_Item], _Result]) -> _Result:
    """read(item) of the first item that it does not refuse; the refusal of the last when it refuses all."""
    for item in items[:-1]:
        with contextlib.suppress(InputError):
            return read(item)
    return read(items[-1])


def nifti_channels(path: str) -> int:
    """How many values a voxel has, from the header; InputError as for read_nifti."""
    return math.prod(nifti_header(path).get_data_shape()[3:])
