"""NIfTI images to segment: a file, or all images of a folder, for a model of known channels; no labels."""

import contextlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from inpaint_ssl.data.labels import LabelRules
from inpaint_ssl.data.readers.dataset_json import json_format
from inpaint_ssl.data.readers.folder import is_named_as_label, nifti_channels
from inpaint_ssl.data.readers.layouts import (
    ENDINGS,
    Layout,
    arranged,
    is_file,
    relative_to,
    scan_entry,
    without_ending,
)
from inpaint_ssl.data.readers.settings import ReaderSettings
from inpaint_ssl.data.scan import ScanEntry
from inpaint_ssl.errors import InputError, Problems

_FOLDERS = ("imagesTr", "imagesTs", "imagesUl", "images")
_CHANNEL = re.compile(r"(.+)_([0-9]{4})", re.DOTALL)


def one_image(path: Path, channels: Sequence[str]) -> Layout:
    """A NIfTI file as a scan. <case>_0000 is joined by <case>_0001, ... beside it where `channels` has several names
    and the file one channel. Raises InputError when the header cannot be read.
    """
    name, ending = without_ending(path.name), path.name[len(without_ending(path.name)) :]
    files = [path]
    if name.endswith("_0000") and len(channels) > 1 and nifti_channels(str(path)) == 1:
        case = name.removesuffix("_0000")
        others = [path.with_name(f"{case}_{number:04d}{ending}") for number in range(1, len(channels))]
        if all(map(is_file, others)):
            name, files = case, [path, *others]
    return _layout(path.parent, channels, [scan_entry(name, files)], ())


def list_images(root: Path, files: Sequence[Path], channels: Sequence[str], problems: Problems) -> Layout:
    """The scans among `files`, everything beneath `root`; none is fine.

    Where there are folders imagesTr, imagesTs, imagesUl or images (data sets in the layouts of the Decathlon and of
    nnU-Net), all beneath them is an image and nothing else is; otherwise all but what is named as a label or lies in a
    folder of labels. The scan id is the path inside the folder with "_" for "/". <case>_0000, <case>_0001, ... are the
    channels of one scan where dataset.json says so or the names leave no other reading. What is wrong with single scans
    goes to `problems`.
    """
    images = [path for path in files if path.name.endswith(ENDINGS)]
    folders = [root / name for name in _FOLDERS if (root / name).is_dir()]
    chosen = [path for path in images if not is_named_as_label(path.relative_to(root))]
    if folders:
        chosen = [path for path in chosen if any(path.is_relative_to(folder) for folder in folders)]
    notes = _passed_over(images, chosen, root)
    layout = _declared_format(root)
    entries = []
    for folder in folders or [root]:
        named: dict[str, Path] = {}
        for path in chosen:
            if path.is_relative_to(folder):
                name = without_ending(relative_to(str(path), folder))
                if not is_file(path):
                    problems.add(_listing(f"{path} is no file, perhaps a link to nowhere; restore or remove it"))
                elif named.setdefault(name, path) != path:
                    problems.add(_listing(f"{named[name]} and {path} have the same name; rename or remove one of them"))
        for name, numbered in _cases(named, len(channels), layout).items():
            missing = sorted(set(range(max(numbered) + 1)) - set(numbered))
            if missing:
                some = next(iter(numbered.values()))
                problems.add(
                    _listing(f"{some}: scan {name} lacks channel {missing[0]:04d}; add the file or remove the scan")
                )
            else:
                entries.append(scan_entry(name.replace("/", "_"), [numbered[number] for number in sorted(numbered)]))
    return _layout(root, channels, arranged(entries, ReaderSettings(), problems), notes)


def _cases(named: Mapping[str, Path], n_channels: int, layout: str) -> dict[str, dict[int, Path]]:
    """Scan -> its files by number of channel."""
    single = {name: {0: path} for name, path in named.items()}
    matches = {name: _CHANNEL.fullmatch(name) for name in named}
    cases: dict[str, dict[int, Path]] = {}
    for name, match in matches.items():
        if match is not None:
            cases.setdefault(match[1], {})[int(match[2])] = named[name]
    if layout == "msd" or not all(matches.values()):
        return single
    first = sum(0 in numbered for numbered in cases.values())
    complete = sum(set(numbered) == set(range(n_channels)) for numbered in cases.values())
    # Numbers of subjects or visits look alike, but do not begin at 0000 for each name; of a single name the files are
    # its channels only if the model takes as many.
    if layout == "nnunet" or 2 * complete > len(cases) or (len(cases) > 1 and 2 * first > len(cases)):
        return cases
    return single


def _declared_format(root: Path) -> str:
    """ "msd" or "nnunet", "" where no dataset.json says so."""
    if (root / "dataset.json").is_file():
        with contextlib.suppress(InputError):
            return json_format(root)
    return ""


def _passed_over(images: Sequence[Path], chosen: Sequence[Path], root: Path) -> tuple[str, ...]:
    taken = set(chosen)
    others = [relative_to(str(path), root) for path in images if path not in taken]
    if not others:
        return ()
    many = len(others) > 1
    verb = "are named as labels or lie" if many else "is named as a label or lies"
    return (f"{len(others)} NIfTI file{'s' * many} {verb} outside the folders of images, and not used: {others[0]}",)


def _layout(root: Path, channels: Sequence[str], entries: Sequence[ScanEntry], notes: Sequence[str]) -> Layout:
    return Layout(
        root, root.resolve().name, tuple(channels), {}, LabelRules(frozenset({0})), tuple(entries), tuple(notes)
    )


def _listing(message: str) -> InputError:
    return InputError(message, "listing")
