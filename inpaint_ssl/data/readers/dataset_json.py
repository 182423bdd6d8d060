"""Data sets with a dataset.json: the layouts of the Medical Segmentation Decathlon and of nnU-Net v2."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inpaint_ssl.data.labels import LabelRules, parse_label_map
from inpaint_ssl.data.readers.layouts import (
    ENDINGS,
    Layout,
    arranged,
    is_file,
    nifti_files,
    relative_to,
    scan_entry,
    without_ending,
)
from inpaint_ssl.data.readers.settings import ReaderSettings
from inpaint_ssl.data.scan import ScanEntry
from inpaint_ssl.errors import InputError, Problems, one_line
from inpaint_ssl.files import read_json

UNLABELLED_FOLDERS = ("imagesUl", "imagesTs")


def json_format(folder: Path) -> str:
    """ "msd" or "nnunet", from the keys of dataset.json."""
    description = _read(folder)
    if "channel_names" in description:
        return "nnunet"
    if "training" in description:
        return "msd"
    if "modality" in description and "file_ending" in description:
        return "nnunet"
    raise InputError(
        f"{folder / 'dataset.json'} has the keys {', '.join(description) or '(none)'}; expected 'modality' and"
        " 'training' (MSD) or 'channel_names' (nnU-Net v2); complete it"
    )


def list_msd(folder: Path, settings: ReaderSettings, problems: Problems, use_labels: bool = True) -> Layout:
    """Medical Segmentation Decathlon: pairs under "training", one file with all channels per scan, "test" images.

    With use_labels=False every scan is unlabelled, and label files need not be there.
    """
    about = _described(folder, ("modality",), settings.label_map)
    path, training = about.path, about.values.get("training")
    if not isinstance(training, list):
        raise InputError(f"{path}: key 'training' is no list of {{'image': file, 'label': file}}; complete it")
    entries, listed = [], set()
    for item in training:
        if not (isinstance(item, Mapping) and all(isinstance(item.get(key), str) for key in ("image", "label"))):
            problems.add(
                _listing(f"{path}: an entry of 'training' is {item!r}; expected {{'image': file, 'label': file}}")
            )
            continue
        image, label = folder / item["image"], folder / item["label"]
        if not is_file(image):
            problems.add(_missing(image, f"image listed under 'training' in {path}"))
            continue
        listed.add(image.resolve())
        if use_labels and not is_file(label):
            problems.add(_missing(label, f"label of image {image}"))
        else:
            entries.append(scan_entry(without_ending(image.name), [image], label if use_labels else None))
    unlisted = [file for file in nifti_files(folder / "imagesTr") if file.resolve() not in listed]
    notes = [f"{relative_to(str(file), folder)} is not listed in dataset.json and not used" for file in unlisted]
    unlabelled = {}
    tests = about.values.get("test") or []
    for item in tests if isinstance(tests, list) else []:
        name = item.get("image") if isinstance(item, Mapping) else item
        if not isinstance(name, str):
            problems.add(_listing(f"{path}: an entry of 'test' is {item!r}; expected the name of an image"))
        elif is_file(folder / name):
            unlabelled[(folder / name).resolve()] = folder / name
        else:
            notes.append(f"{name} is listed under 'test' in dataset.json but missing")
    for part in UNLABELLED_FOLDERS:
        unlabelled.update((file.resolve(), file) for file in nifti_files(folder / part))
    entries += [scan_entry(without_ending(file.name), [file]) for file in unlabelled.values()]
    return _layout(folder, about, entries, notes, settings, problems)


def list_nnunet(folder: Path, settings: ReaderSettings, problems: Problems, use_labels: bool = True) -> Layout:
    """nnU-Net v2 raw: imagesTr/<case>_<4 digits of channel><file_ending>, labelsTr/<case><file_ending>.

    With use_labels=False every scan is unlabelled, and label files need not be there.
    """
    about = _described(folder, ("channel_names", "modality"), settings.label_map)
    ending, n_channels = _file_ending(folder, about.values), len(about.channels)
    entries = []
    for case, images in _cases(folder / "imagesTr", ending, n_channels, problems).items():
        label = folder / "labelsTr" / f"{case}{ending}"
        if use_labels and not is_file(label):
            problems.add(_missing(label, f"label of image {images[0]}"))
        else:
            entries.append(scan_entry(case, images, label if use_labels else None))
    known = {file.name.rpartition("_")[0] for file in nifti_files(folder / "imagesTr", (ending,))}
    for label in nifti_files(folder / "labelsTr", (ending,)) if use_labels else []:
        if label.name.removesuffix(ending) not in known:
            images_folder = folder / "imagesTr"
            problems.add(_listing(f"label {label} has no image in {images_folder}; add the image or remove the label"))
    for part in UNLABELLED_FOLDERS:
        cases = _cases(folder / part, ending, n_channels, problems)
        entries += [scan_entry(case, images) for case, images in cases.items()]
    files = [file for part in ("imagesTr", *UNLABELLED_FOLDERS) for file in nifti_files(folder / part)]
    others = [relative_to(str(file), folder) for file in files if not file.name.endswith(ending)]
    notes = [f"{file} does not end in {ending} as the other images do, and is not used" for file in others]
    return _layout(folder, about, entries, notes, settings, problems)


def _layout(
    folder: Path,
    about: "_Description",
    entries: list[ScanEntry],
    notes: list[str],
    settings: ReaderSettings,
    problems: Problems,
) -> Layout:
    found = arranged(entries, settings, problems)
    if not found:
        usable = "no scan can be used" if problems.found else "no scans"
        raise InputError(
            f"{usable} in {folder}; expected images in imagesTr and labels in labelsTr; give another folder"
        )
    labelled, said = sum(entry.has_label for entry in found), about.values.get("numTraining")
    if labelled and isinstance(said, int) and said != labelled:
        notes.append(f"dataset.json says numTraining {said}, the folder holds {labelled} labelled scans")
    name = about.values.get("name")
    name = name if isinstance(name, str) and name.strip() else folder.resolve().name
    return Layout(folder, one_line(name), about.channels, about.labels, about.rules, found, tuple(notes))


def _listing(message: str) -> InputError:
    return InputError(message, "listing")


def _missing(path: Path, what: str) -> InputError:
    return _listing(f"missing file: {path} ({what}); add the file or remove the scan from the data set")


@dataclass(frozen=True)
class _Description:
    """dataset.json: its path and values, and what they say of channels and labels."""

    path: Path
    values: Mapping[str, Any]
    channels: tuple[str, ...]
    labels: Mapping[str, int | tuple[int, ...]]
    rules: LabelRules


def _described(folder: Path, channel_keys: tuple[str, ...], label_map: tuple[str, ...]) -> _Description:
    path, values = folder / "dataset.json", _read(folder)
    labels, rules = _labels(path, values, parse_label_map(label_map))
    return _Description(path, values, _channel_names(path, values, channel_keys), labels, rules)


def _read(folder: Path) -> dict[str, Any]:
    path = folder / "dataset.json"
    description = read_json(path, "description of a data set in the MSD or nnU-Net v2 layout")
    if not isinstance(description, dict):
        raise InputError(f"{path} is no JSON object with keys such as 'labels'; mend or replace it")
    return description


def _channel_names(path: Path, description: Mapping[str, Any], keys: tuple[str, ...]) -> tuple[str, ...]:
    channels = next((description[key] for key in keys if key in description), None)
    if isinstance(channels, Mapping) and channels and set(channels) == {str(i) for i in range(len(channels))}:
        return tuple(one_line(str(channels[str(i)])) for i in range(len(channels)))
    raise InputError(f"{path}: key '{keys[0]}' is {channels!r}; expected the name of every channel like {{'0': 'MRI'}}")


def _labels(
    path: Path, description: Mapping[str, Any], label_map: Mapping[int, int]
) -> tuple[dict[str, int | tuple[int, ...]], LabelRules]:
    """Labels without background and "ignore", and what label files may hold."""
    given = description.get("labels")
    if not isinstance(given, Mapping) or not given:
        raise InputError(
            f"{path}: key 'labels' is missing or empty; expected {{'1': name}} (MSD) or {{name: 1}} (nnU-Net)"
        )
    by_name: dict[str, tuple[int, ...]] = {}
    for key, value in given.items():
        name, region = (value, key) if isinstance(value, str) and not _is_whole(value) else (key, value)
        values = list(region) if isinstance(region, list) else [region]
        name = one_line(name)
        if name in by_name:
            raise InputError(f"{path}: two entries of 'labels' are named {name!r}; give each its own name")
        if not values or not all(_is_whole(v) and 0 <= int(v) <= 255 for v in values):
            raise InputError(f"{path}: label {name!r} has the value {region!r}; expected whole numbers from 0 to 255")
        by_name[name] = tuple(sorted({int(v) for v in values}))
    declared = frozenset({0}.union(*by_name.values()))
    ignored = by_name.pop("ignore", (-1,))
    regions = {name: values for name, values in by_name.items() if values != (0,) and name.lower() != "background"}
    if not regions:
        raise InputError(f"{path}: key 'labels' declares nothing but background; declare the structures to segment")
    if any(0 in values for values in regions.values()):
        raise InputError(f"{path}: a region in 'labels' contains 0, which is background; leave it out")
    labels = {name: values[0] if len(values) == 1 else values for name, values in regions.items()}
    return labels, LabelRules(declared, ignored[0], label_map)


def _is_whole(value: object) -> bool:
    if isinstance(value, str):
        return value.strip().isdecimal()
    return isinstance(value, int) and not isinstance(value, bool)


def _file_ending(folder: Path, description: Mapping[str, Any]) -> str:
    ending = description.get("file_ending")
    if ending is None:
        files = nifti_files(folder / "imagesTr")
        return next((e for e in ENDINGS if files and files[0].name.endswith(e)), ENDINGS[0])
    ending = f".{str(ending).lstrip('.')}"
    if ending not in ENDINGS:
        raise InputError(
            f"{folder / 'dataset.json'}: file_ending is {ending!r}; convert the scans to '.nii.gz' or '.nii'"
        )
    return ending


def _cases(folder: Path, ending: str, n_channels: int, problems: Problems) -> dict[str, list[Path]]:
    """Files of each case in the order of channels, without the cases of which a file is missing or too many."""
    cases: dict[str, dict[int, Path]] = {}
    spoilt = set()
    files = nifti_files(folder, (ending,))
    for file in files:
        case, _, digits = file.name.removesuffix(ending).rpartition("_")
        if not case or len(digits) != 4 or not digits.isdecimal():
            problems.add(
                _listing(f"{file}: expected a name like case_0000{ending} (nnU-Net v2: channel as 4 digits); rename it")
            )
        elif int(digits) >= n_channels:
            problems.add(
                _listing(f"{file}: dataset.json names {n_channels} channels, from 0; complete 'channel_names'")
            )
            spoilt.add(case)
        else:
            cases.setdefault(case, {})[int(digits)] = file
    for case, channels in cases.items():
        for channel in sorted(set(range(n_channels)) - set(channels)):
            missing = folder / f"{case}_{channel:04d}{ending}"
            problems.add(
                _listing(f"missing file: {missing} (channel {channel} of scan {case}); add it or remove the scan")
            )
            spoilt.add(case)
    others = nifti_files(folder)
    if others and not files:
        raise InputError(f"{others[0]} does not end in {ending}; correct 'file_ending' in dataset.json or the names")
    return {
        case: [channels[channel] for channel in range(n_channels)]
        for case, channels in cases.items()
        if case not in spoilt
    }
