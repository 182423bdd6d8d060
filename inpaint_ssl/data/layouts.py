"""What a data set folder holds in the layouts of the Medical Segmentation Decathlon and of nnU-Net v2.

Listing looks at names only, so that a missing file is reported before any scan is read.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inpaint_ssl.data.scan import ScanEntry
from inpaint_ssl.errors import InputError
from inpaint_ssl.files import read_json

ENDINGS = (".nii.gz", ".nii")
UNLABELLED_FOLDERS = ("imagesUl", "imagesTs")


@dataclass(frozen=True)
class Layout:
    """The content of a data set folder.

    labels: name -> value, or values of a region. declared: every value that a label file may hold. ignore: the value of
    nnU-Net's "ignore" label, or -1. notes: harmless differences between dataset.json and the files.
    """

    name: str
    channel_names: tuple[str, ...]
    labels: Mapping[str, int | tuple[int, ...]]
    declared: frozenset[int]
    ignore: int
    entries: tuple[ScanEntry, ...]
    notes: tuple[str, ...]


def dataset_folder(root: str) -> Path:
    """The folder as a path; InputError when it is no folder that holds dataset.json."""
    if not root:
        raise InputError("data.root is empty, expected the folder with dataset.json; give --config.data.root=<folder>")
    folder = Path(root).expanduser()
    if not folder.exists():
        raise InputError(f"data.root: no such folder: {folder}; give the folder that holds dataset.json")
    if not folder.is_dir():
        raise InputError(f"data.root: {folder} is a file, expected the folder that holds dataset.json")
    if not (folder / "dataset.json").is_file():
        found = "other files" if any(folder.iterdir()) else "an empty folder"
        raise InputError(f"no dataset.json in {folder} ({found}); give the folder of an MSD or nnU-Net v2 data set")
    return folder


def detect_format(folder: Path) -> str:
    """ "msd" or "nnunet", from the keys of dataset.json."""
    description = _description(folder)
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


def list_msd(folder: Path) -> Layout:
    """Medical Segmentation Decathlon: pairs under "training", one file with all channels per scan, "test" images."""
    path, description = folder / "dataset.json", _description(folder)
    channels = _channel_names(path, description, ("modality",))
    labels, declared, ignore = _labels(path, description)
    training = description.get("training")
    if not isinstance(training, list):
        raise InputError(f"{path}: key 'training' is no list of {{'image': file, 'label': file}}; complete it")
    entries = []
    for item in training:
        if not (isinstance(item, Mapping) and all(isinstance(item.get(key), str) for key in ("image", "label"))):
            raise InputError(f"{path}: an entry of 'training' is {item!r}; expected {{'image': file, 'label': file}}")
        image, label = folder / item["image"], folder / item["label"]
        _require(image, f"image listed under 'training' in {path}")
        _require(label, f"label of image {image}")
        entries.append(_entry(_scan_id(image), [image], label))
    listed = {Path(entry.image_paths[0]).resolve() for entry in entries}
    unlisted = [file for file in _files(folder / "imagesTr") if file.resolve() not in listed]
    notes = [f"{file} is not listed in dataset.json and not used" for file in unlisted]
    unlabelled = {}
    tests = description.get("test") or []
    for item in tests if isinstance(tests, list) else []:
        name = item.get("image") if isinstance(item, Mapping) else item
        if not isinstance(name, str):
            raise InputError(f"{path}: an entry of 'test' is {item!r}; expected the name of an image")
        if (folder / name).is_file():
            unlabelled[(folder / name).resolve()] = folder / name
        else:
            notes.append(f"{folder / name} is listed under 'test' in dataset.json but missing")
    for part in UNLABELLED_FOLDERS:
        unlabelled.update((file.resolve(), file) for file in _files(folder / part))
    entries += [_entry(_scan_id(file), [file]) for file in unlabelled.values()]
    return _layout(folder, description, channels, (labels, declared, ignore), entries, notes)


def list_nnunet(folder: Path) -> Layout:
    """nnU-Net v2 raw: imagesTr/<case>_<4 digits of channel><file_ending>, labelsTr/<case><file_ending>."""
    path, description = folder / "dataset.json", _description(folder)
    channels = _channel_names(path, description, ("channel_names", "modality"))
    labels, declared, ignore = _labels(path, description)
    ending = _file_ending(folder, description)
    entries = []
    for case, images in _cases(folder / "imagesTr", ending, len(channels)).items():
        label = folder / "labelsTr" / f"{case}{ending}"
        _require(label, f"label of image {images[0]}")
        entries.append(_entry(case, images, label))
    known = {entry.label_path for entry in entries}
    orphans = [file for file in _files(folder / "labelsTr", (ending,)) if str(file) not in known]
    if orphans:
        raise InputError(f"label {orphans[0]} has no image in {folder / 'imagesTr'}; add the image or remove the label")
    for part in UNLABELLED_FOLDERS:
        entries += [_entry(case, images) for case, images in _cases(folder / part, ending, len(channels)).items()]
    return _layout(folder, description, channels, (labels, declared, ignore), entries, [])


def _layout(
    folder: Path,
    description: Mapping[str, Any],
    channels: tuple[str, ...],
    labels: tuple[Mapping[str, int | tuple[int, ...]], frozenset[int], int],
    entries: list[ScanEntry],
    notes: list[str],
) -> Layout:
    if not entries:
        raise InputError(
            f"no scans in {folder}; expected images in imagesTr and labels in labelsTr; give another folder"
        )
    seen: dict[str, ScanEntry] = {}
    for entry in entries:
        other = seen.setdefault(entry.scan_id, entry)
        if other is not entry:
            raise InputError(
                f"{entry.image_paths[0]} and {other.image_paths[0]} are both named {entry.scan_id};"
                " rename or remove one of them"
            )
    labelled = sum(entry.has_label for entry in entries)
    said = description.get("numTraining")
    if isinstance(said, int) and said != labelled:
        notes.append(f"dataset.json says numTraining {said}, the folder holds {labelled} labelled scans")
    name = description.get("name")
    name = name if isinstance(name, str) and name.strip() else folder.resolve().name
    return Layout(name, channels, *labels, tuple(sorted(entries, key=lambda entry: entry.scan_id)), tuple(notes))


def _entry(scan_id: str, images: Iterable[Path], label: Path | None = None) -> ScanEntry:
    # Neither layout knows subjects: every scan is its own.
    paths = tuple(str(image) for image in images)
    return ScanEntry(scan_id, scan_id, label is not None, paths, "" if label is None else str(label))


def _description(folder: Path) -> dict[str, Any]:
    path = folder / "dataset.json"
    description = read_json(path, "description of a data set in the MSD or nnU-Net v2 layout")
    if not isinstance(description, dict):
        raise InputError(f"{path} is no JSON object with keys such as 'labels'; mend or replace it")
    return description


def _channel_names(path: Path, description: Mapping[str, Any], keys: tuple[str, ...]) -> tuple[str, ...]:
    channels = next((description[key] for key in keys if key in description), None)
    if isinstance(channels, Mapping) and channels and set(channels) == {str(i) for i in range(len(channels))}:
        return tuple(str(channels[str(i)]) for i in range(len(channels)))
    raise InputError(f"{path}: key '{keys[0]}' is {channels!r}; expected the name of every channel like {{'0': 'MRI'}}")


def _labels(path: Path, description: Mapping[str, Any]) -> tuple[dict[str, int | tuple[int, ...]], frozenset[int], int]:
    """Labels without background and "ignore", every declared value, and the value of "ignore" or -1."""
    given = description.get("labels")
    if not isinstance(given, Mapping) or not given:
        raise InputError(
            f"{path}: key 'labels' is missing or empty; expected {{'1': name}} (MSD) or {{name: 1}} (nnU-Net)"
        )
    by_name: dict[str, tuple[int, ...]] = {}
    for key, value in given.items():
        name, region = (value, key) if isinstance(value, str) and not _is_whole(value) else (key, value)
        values = list(region) if isinstance(region, list) else [region]
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
    return labels, declared, ignored[0]


def _is_whole(value: object) -> bool:
    if isinstance(value, str):
        return value.strip().isdecimal()
    return isinstance(value, int) and not isinstance(value, bool)


def _file_ending(folder: Path, description: Mapping[str, Any]) -> str:
    ending = description.get("file_ending")
    if ending is None:
        files = _files(folder / "imagesTr")
        return next((e for e in ENDINGS if files and files[0].name.endswith(e)), ENDINGS[0])
    ending = f".{str(ending).lstrip('.')}"
    if ending not in ENDINGS:
        raise InputError(
            f"{folder / 'dataset.json'}: file_ending is {ending!r}; convert the scans to '.nii.gz' or '.nii'"
        )
    return ending


def _cases(folder: Path, ending: str, n_channels: int) -> dict[str, list[Path]]:
    """Files of each case in the order of channels; InputError when a channel is missing or a name does not fit."""
    cases: dict[str, dict[int, Path]] = {}
    for file in _files(folder, (ending,)):
        case, _, digits = file.name.removesuffix(ending).rpartition("_")
        if not case or len(digits) != 4 or not digits.isdecimal():
            raise InputError(
                f"{file}: expected a name like case_0000{ending} (nnU-Net v2: channel as 4 digits); rename it"
            )
        if int(digits) >= n_channels:
            raise InputError(f"{file}: dataset.json names {n_channels} channels, from 0; complete 'channel_names'")
        cases.setdefault(case, {})[int(digits)] = file
    for case, files in cases.items():
        for channel in range(n_channels):
            if channel not in files:
                missing = folder / f"{case}_{channel:04d}{ending}"
                raise InputError(
                    f"missing file: {missing} (channel {channel} of scan {case}); add it or remove the scan"
                )
    others = _files(folder)
    if others and not cases:
        raise InputError(f"{others[0]} does not end in {ending}; correct 'file_ending' in dataset.json or the names")
    return {case: [files[channel] for channel in range(n_channels)] for case, files in cases.items()}


def _files(folder: Path, endings: tuple[str, ...] = ENDINGS) -> list[Path]:
    """NIfTI files of a folder by name, without hidden files (such as the ._ files of archives made on macOS)."""
    if not folder.is_dir():
        return []
    return sorted(
        f for f in folder.iterdir() if f.name.endswith(endings) and not f.name.startswith(".") and f.is_file()
    )


def _scan_id(image: Path) -> str:
    return next((image.name.removesuffix(e) for e in ENDINGS if image.name.endswith(e)), image.stem)


def _require(path: Path, what: str) -> None:
    if not path.is_file():
        raise InputError(f"missing file: {path} ({what}); add the file or remove the scan from the data set")
