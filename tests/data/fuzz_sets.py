"""What is damaged: a small data set of each format, most of real files, and how it is opened and read."""

import gzip
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gdcm
import h5py
import nibabel as nib
import numpy as np
from dicom_sets import ENHANCED_CT, enhanced, positions, transcoded, volume, write_series
from dicom_sets import save as save_dicom
from fuzz_bytes import CSV, JSON, Mutation
from fuzz_dicom import DICOM, dicom_deflated_bomb, dicom_huge
from fuzz_hdf5 import HDF5, hdf5_bomb
from fuzz_nifti import NIFTI, nifti_bomb
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, JPEGLSLossless, RLELossless
from rich.console import Console
from scipy.ndimage import affine_transform

from inpaint_ssl.data import (
    PreparedStore,
    Preprocessing,
    ReaderSettings,
    ScanReader,
    SplitSettings,
    load_or_make_splits,
    make_splits,
    open_dataset,
    prepare_store,
    read_splits,
    write_splits,
)
from inpaint_ssl.data.phantom.skm_tea import write_skm_tea
from inpaint_ssl.errors import Problems

FOREIGN = "foreign"  # folder of files of every format, to lie under the names of others
QUIET = Console(quiet=True)
Special = Callable[[random.Random, Path], None]


@dataclass(frozen=True)
class Kind:
    """A format. build: (folder, real data) writes the set to folder/set; targets: glob patterns of files to damage;
    own, special: mutations of its own; settings: of the reader. use: None reads scans, else what is done instead.
    """

    build: Callable[[Path, Path], None]
    targets: tuple[str, ...]
    own: tuple[Mutation, ...]
    settings: dict[str, object] = field(default_factory=dict)
    special: tuple[Special, ...] = ()
    use: Callable[[Path, random.Random], object] | None = None


def reader_of(root: Path, kind: Kind, problems: Problems, **more: object) -> ScanReader:
    given = {"root": str(root), "id_salt_file": str(root.parent / "salt")} | kind.settings | more
    return open_dataset(ReaderSettings(**given), problems)  # type: ignore[arg-type]


# NIfTI


def msd(folder: Path, data: Path, packed: bool = True, count: int = 3) -> None:
    """Real hippocampus scans in the layout of the Decathlon."""
    root, source = folder / "set", data / "hippocampus"
    description = json.loads((source / "dataset.json").read_text())
    description["training"] = description["training"][:count]
    description["test"], description["numTraining"] = [], count
    for item in description["training"]:
        for key in ("image", "label"):
            item[key] = _copy(source / item[key], root / item[key], packed).relative_to(root).as_posix()
    (root / "dataset.json").write_text(json.dumps(description))


def nnunet(folder: Path, data: Path, packed: bool = True) -> None:
    """Real CT scans in the layout of nnU-Net, one of them unlabelled."""
    root, source = folder / "set", data / "headneck_ct"
    for path in sorted((source / "imagesTr").iterdir())[:2]:
        _copy(path, root / "imagesTr" / path.name, packed)
        label = path.name.replace("_0000", "")
        _copy(source / "labelsTr" / label, root / "labelsTr" / label, packed)
    _copy(path := sorted((source / "imagesUl").iterdir())[0], root / "imagesUl" / path.name, packed)
    description = json.loads((source / "dataset.json").read_text())
    description |= {"numTraining": 2, "file_ending": ".nii.gz" if packed else ".nii"}
    (root / "dataset.json").write_text(json.dumps(description))


def nifti_folder(folder: Path, data: Path) -> None:
    """Real hippocampus scans in images/ and labels/, one file of them not packed."""
    for number, path in enumerate(sorted((data / "hippocampus" / "imagesTr").glob("[!.]*.nii.gz"))[:2]):
        _copy(path, folder / "set" / "images" / path.name, number > 0)
        _copy(data / "hippocampus" / "labelsTr" / path.name, folder / "set" / "labels" / path.name, number > 0)


def _copy(source: Path, target: Path, packed: bool) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    if packed:
        shutil.copyfile(source, target)
        return target
    target = target.with_name(target.name.removesuffix(".gz"))
    target.write_bytes(gzip.decompress(source.read_bytes()))
    return target


# DICOM

LABELS = tuple(f"label_{value}={value}" for value in range(1, 118))
CT_SETTINGS: dict[str, object] = {"format": "dicom", "modality": "ct", "labels": LABELS}
MR_SETTINGS: dict[str, object] = {"format": "dicom", "modality": "mri"}


def grid_of(folder: Path) -> tuple[np.ndarray, tuple[int, ...]]:
    """Affine and shape (columns, rows, slices) of the only series of the set."""
    reader = open_dataset(ReaderSettings("dicom", str(folder / "set"), "ct", id_salt_file=str(folder / "salt")))
    scan = reader.read(reader.entries[0])
    return scan.original_affine, scan.original_shape


def real_series(name: str, pattern: str, count: int = 3) -> Callable[[Path, Path], None]:
    """`count` neighbouring slices of a real series, of CT with its label file."""

    def build(folder: Path, data: Path) -> None:
        target = folder / "set" / name
        target.mkdir(parents=True)
        for path in sorted((data / "dicom" / name).glob(pattern))[:count]:
            shutil.copyfile(path, target / path.name)
        if name.startswith("ct"):
            whole: Any = nib.load(data / "dicom" / "ct_abdomen_labels.nii.gz")
            affine, shape = grid_of(folder)
            to_whole = np.linalg.inv(whole.affine) @ affine
            values = affine_transform(np.asarray(whole.dataobj), to_whole, output_shape=shape, order=0)
            nib.save(nib.Nifti1Image(values, affine), folder / "set" / f"{name}_label.nii.gz")

    return build


def written_series(syntax: object, bits: int = 16) -> Callable[[Path, Path], None]:
    """A series of random numbers in one of the syntaxes of which there is no real one."""

    def build(folder: Path, data: Path) -> None:
        pixels = volume(0, shape=(3, 40, 36), high=256 if bits == 8 else 4096)
        if isinstance(syntax, int):
            tags = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7} if bits == 8 else {}
            for path in write_series(folder / "set" / "series", pixels, **tags):
                transcoded(path, syntax)
        else:
            write_series(folder / "set" / "series", pixels, syntax=syntax)  # type: ignore[arg-type]
        affine, shape = grid_of(folder)
        label = np.random.default_rng(0).integers(0, 3, shape).astype(np.uint8)
        nib.save(nib.Nifti1Image(label, affine), folder / "set" / "series_label.nii.gz")

    return build


def multi_frame(folder: Path, data: Path) -> None:
    """One enhanced object of several frames, and another that is compressed."""
    plain = enhanced(volume(0), ENHANCED_CT, positions(4), SOPInstanceUID="1.2.3.4")
    save_dicom(plain, folder / "set" / "a" / "multi.dcm")
    packed = enhanced(
        volume(1), ENHANCED_CT, positions(4), SOPInstanceUID="1.2.3.5", SeriesInstanceUID="1.2.5", PatientID="B-2"
    )
    save_dicom(packed, folder / "set" / "b" / "multi.dcm", RLELossless)


# SKM-TEA


def skm_tea(folder: Path, data: Path) -> None:
    """Generated knees under the names of real scans, with the real annotation files, whose sizes are made to fit."""
    root = folder / "set"
    write_skm_tea(root, 3, size=(24, 24), slices=4)
    for name in ("train", "val", "test"):
        table = root / "annotations" / "v1.0.0" / f"{name}.json"
        (own,) = json.loads(table.read_text())["images"]
        real = json.loads((data / "skm_tea_annotations" / f"{name}.json").read_text())
        first = real["images"][0]
        first |= {"matrix_shape": own["matrix_shape"], "voxel_spacing": own["voxel_spacing"]}
        (root / "image_files" / own["file_name"]).rename(root / "image_files" / f"{name}.h5")
        csv = root / "all_metadata.csv"
        csv.write_text(csv.read_text().replace(own["scan_id"], f"new-{first['scan_id']}"))
        real["annotations"] = real["annotations"][:3]
        table.write_text(json.dumps(real))
    for name in ("train", "val", "test"):
        real = json.loads((root / "annotations" / "v1.0.0" / f"{name}.json").read_text())
        (root / "image_files" / f"{name}.h5").rename(root / "image_files" / real["images"][0]["file_name"])
    csv.write_text(csv.read_text().replace("new-", ""))


# Splits and the prepared store


def with_splits(folder: Path, data: Path) -> None:
    """A data set with a split file by hand and splits.json as it is written by a study."""
    msd(folder, data, count=5)
    reader = open_dataset(ReaderSettings(root=str(folder / "set")))
    splits = make_splits(reader.entries, SplitSettings())
    write_splits(folder / "set" / "splits.json", splits)
    parts = {"train": splits.train, "validation": splits.validation, "test": splits.test, "unlabelled": ()}
    (folder / "set" / "split.json").write_text(json.dumps(parts))


def use_splits(root: Path, rng: random.Random) -> object:
    entries = open_dataset(ReaderSettings(root=str(root))).entries
    read_splits(root / "splits.json")
    load_or_make_splits(root / "splits.json", entries, SplitSettings())
    splits = make_splits(entries, SplitSettings(file=str(root / "split.json")))
    assert json.dumps(splits.content(), allow_nan=False)
    assert len({*splits.train, *splits.validation, *splits.test}) <= len(entries)
    return splits.sha256


def with_store(folder: Path, data: Path) -> None:
    """A prepared data set, its settings folder under set/."""
    msd(folder / "source", data)
    reader = open_dataset(ReaderSettings(root=str(folder / "source" / "set")))
    store = prepare_store(reader, "sagittal", folder / "prepared", QUIET, processes=1)
    shutil.move(store.folder.parent, folder / "set")


def use_store(root: Path, rng: random.Random) -> object:
    store = PreparedStore.open(root / "1.0.0")
    how = Preprocessing("mri", "sagittal", (64, 64), "all", (), rng.choice(((), (1.0, 1.0))))
    source = store.source(how, [record.scan_id for record in store.records])
    store.summary()
    loaded = source.load()
    volumes = [source.volumes(scan).label for scan in source.scans]
    assert np.isfinite(loaded.images).all() and np.isfinite(loaded.statistics).all()
    assert loaded.images.dtype == source.image_dtype and loaded.images.shape == (len(source), *source.image_shape)
    assert all(volume.dtype == np.uint8 for volume in volumes)
    return [scan.scan_id for scan in source.scans]


def with_checked(folder: Path, data: Path) -> None:
    """A folder of prepared data sets that remembers the times of files it has compared."""
    msd(folder / "source", data)
    reader = open_dataset(ReaderSettings(root=str(folder / "source" / "set")))
    prepare_store(reader, "sagittal", folder / "set", QUIET, processes=1)
    for path in (folder / "source").rglob("*.nii.gz"):
        path.touch()
    prepare_store(reader, "sagittal", folder / "set", QUIET, processes=1)


def use_checked(root: Path, rng: random.Random) -> object:
    reader = open_dataset(ReaderSettings(root=str(root.parent / "source" / "set")))
    store = prepare_store(reader, "sagittal", root, QUIET, processes=1)
    assert store.folder.name == "1.0.0", "prepared anew"
    return store.name


KINDS: dict[str, Kind] = {
    "msd": Kind(msd, ("*/*.nii.gz",), NIFTI, special=(nifti_bomb,)),
    "msd_json": Kind(msd, ("dataset.json",), JSON),
    "msd_nii": Kind(lambda folder, data: msd(folder, data, packed=False), ("*/*.nii",), NIFTI, special=(nifti_bomb,)),
    "nnunet": Kind(nnunet, ("*/*.nii.gz",), NIFTI, {"modality": "ct"}, (nifti_bomb,)),
    "nnunet_json": Kind(nnunet, ("dataset.json",), JSON, {"modality": "ct"}),
    "nnunet_nii": Kind(
        lambda folder, data: nnunet(folder, data, packed=False), ("*/*.nii",), NIFTI, {"modality": "ct"}, (nifti_bomb,)
    ),
    "nifti": Kind(nifti_folder, ("*/*.nii*",), NIFTI, {"format": "nifti", "labels": ("a=1", "b=2")}, (nifti_bomb,)),
    "dicom": Kind(real_series("ct_abdomen", "*.dcm"), ("*/*.dcm",), DICOM, CT_SETTINGS, (dicom_deflated_bomb,)),
    "dicom_jpeg2000": Kind(real_series("ct_abdomen_jpeg2000", "CT*", 2), ("*/CT*",), DICOM, CT_SETTINGS, (dicom_huge,)),
    "dicom_mr": Kind(real_series("mr_brain", "*.dcm", 4), ("*/*.dcm",), DICOM, MR_SETTINGS),
    "dicom_rle": Kind(written_series(RLELossless), ("*/*.dcm",), DICOM, CT_SETTINGS, (dicom_huge,)),
    "dicom_jpeg_ls": Kind(written_series(JPEGLSLossless), ("*/*.dcm",), DICOM, CT_SETTINGS, (dicom_huge,)),
    "dicom_jpeg": Kind(
        written_series(gdcm.TransferSyntax.JPEGLosslessProcess14_1), ("*/*.dcm",), DICOM, CT_SETTINGS, (dicom_huge,)
    ),
    "dicom_jpeg_8_bit": Kind(
        written_series(gdcm.TransferSyntax.JPEGBaselineProcess1, 8), ("*/*.dcm",), DICOM, CT_SETTINGS, (dicom_huge,)
    ),
    "dicom_deflated": Kind(
        written_series(DeflatedExplicitVRLittleEndian), ("*/*.dcm",), DICOM, CT_SETTINGS, (dicom_deflated_bomb,)
    ),
    "dicom_multi_frame": Kind(multi_frame, ("*/*.dcm",), DICOM, CT_SETTINGS),
    "dicom_label": Kind(written_series(ExplicitVRLittleEndian), ("*.nii.gz",), NIFTI, CT_SETTINGS, (nifti_bomb,)),
    "skm_tea": Kind(skm_tea, ("image_files/*.h5",), HDF5, {"format": "skm_tea"}, (hdf5_bomb,)),
    "skm_tea_json": Kind(skm_tea, ("annotations/*/*.json",), JSON, {"format": "skm_tea"}),
    "skm_tea_csv": Kind(skm_tea, ("all_metadata.csv",), CSV, {"format": "skm_tea"}),
    "splits": Kind(with_splits, ("split*.json",), JSON, use=use_splits),
    "store_json": Kind(with_store, ("1.0.0/*.json",), JSON, use=use_store),
    "store_checked": Kind(with_checked, ("*/*/checked.json",), JSON, use=use_checked),
    "store_shard": Kind(with_store, ("1.0.0/*.array_record-*",), (), use=use_store),
}


def build_foreign(folder: Path, data: Path) -> None:
    folder.mkdir()
    dicom = sorted((data / "dicom" / "mr_brain").glob("*.dcm"))[0]
    label = sorted((data / "hippocampus" / "labelsTr").glob("[!.]*.nii.gz"))[0]
    for path in (dicom, label, data / "hippocampus" / "dataset.json", data / "skm_tea_annotations" / "val.json"):
        shutil.copyfile(path, folder / path.name)
    (folder / "label.nii").write_bytes(gzip.decompress(label.read_bytes()))
    with h5py.File(folder / "file.h5", "w") as file:
        file["echo1"] = np.arange(120.0)
