"""Readers: every format as a ScanReader."""

from collections.abc import Mapping
from typing import Any

from inpaint_ssl.data.readers.combined import CombinedDataset, check_roots, parse_root
from inpaint_ssl.data.readers.dataset_json import list_msd, list_nnunet
from inpaint_ssl.data.readers.folder import list_folder
from inpaint_ssl.data.readers.layouts import dataset_folder
from inpaint_ssl.data.readers.nifti import NiftiDataset
from inpaint_ssl.data.readers.participants import read_participants
from inpaint_ssl.data.readers.settings import ReaderSettings
from inpaint_ssl.data.scan import ScanReader
from inpaint_ssl.errors import InputError, Problems

__all__ = ["FORMATS", "CombinedDataset", "NiftiDataset", "ReaderSettings", "open_dataset", "open_images"]

FORMATS = ("auto", "msd", "nnunet", "nifti", "skm_tea", "dicom", "phantom")
_NIFTI_LISTERS = {"msd": list_msd, "nnunet": list_nnunet, "nifti": list_folder}


def open_dataset(settings: ReaderSettings, problems: Problems | None = None) -> ScanReader:
    """List the scans of config.data; nothing of an image but headers is read here.

    Raises InputError naming the folder or file when the data set cannot be listed; with `problems` that collect, what
    is wrong with single scans is kept there and these are left out.
    """
    problems = problems or Problems()
    if settings.format == "phantom":
        main = _generated(settings.phantom)
    else:
        main = _open_folder(settings.root, settings.format, settings, problems)
    if not settings.unlabelled_roots:
        return main
    roots = [parse_root(text, [name for name in FORMATS if name != "phantom"]) for text in settings.unlabelled_roots]
    check_roots("" if settings.format == "phantom" else settings.root, [folder for _, folder in roots])
    further = [(folder, _open_folder(folder, name, settings, problems, use_labels=False)) for name, folder in roots]
    return CombinedDataset(main, further)


def open_images(name: str, settings: ReaderSettings, problems: Problems) -> ScanReader:
    """The scans of the folder settings.root in format `name`, one of FORMATS that is a folder; labels are passed over.

    Raises InputError as open_dataset does. Entries of a format that has its labels inside its images still name them.
    """
    return _open_folder(settings.root, name, settings, problems, use_labels=False)


def _generated(phantom: Mapping[str, Any]) -> ScanReader:
    from inpaint_ssl.data.phantom import AbdomenPhantom, PhantomDataset

    options = dict(phantom)
    if options.pop("anatomy", "knee") == "knee":
        return PhantomDataset(**options)
    options.pop("slices", None)  # an abdomen has one
    return AbdomenPhantom(**options)


def _open_folder(
    root: str, name: str, settings: ReaderSettings, problems: Problems, use_labels: bool = True
) -> ScanReader:
    folder = dataset_folder(root, "data.root" if use_labels else "data.unlabelled_roots")
    if name == "auto":
        from inpaint_ssl.data.readers.detect import detect_format

        name = detect_format(folder)
    if name == "skm_tea":
        from inpaint_ssl.data.readers.skm_tea import open_skm_tea

        return open_skm_tea(folder, settings, problems)
    if name == "dicom":
        from inpaint_ssl.data.readers.dicom.reader import open_dicom

        return open_dicom(folder, settings, problems, use_labels)
    if name not in _NIFTI_LISTERS:
        raise InputError(f"data.format is {name!r}, expected one of {', '.join(map(repr, FORMATS))}")
    if use_labels and settings.labels and name != "nifti":
        declared = folder / "dataset.json"
        raise InputError(f"data.labels is {settings.labels}, but {declared} declares the labels; leave data.labels out")
    layout = _NIFTI_LISTERS[name](folder, settings, problems, use_labels)
    return NiftiDataset(layout, settings, read_participants(folder, layout.entries, problems))
