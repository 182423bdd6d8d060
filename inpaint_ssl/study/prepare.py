"""From the configuration to checked data: what is wrong with the input is found here, before any training."""

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from rich.console import Console

from inpaint_ssl.corruption import PatchSpec
from inpaint_ssl.data import (
    ArraySliceSource,
    ClassMap,
    Preprocessing,
    ScanDataset,
    Splits,
    build_source,
    class_map,
    load_or_make_splits,
    open_dataset,
)
from inpaint_ssl.errors import InputError
from inpaint_ssl.files import read_json, sha256_of
from inpaint_ssl.progress import StageProgress
from inpaint_ssl.study.pretrained import check_pretraining


@dataclass(frozen=True)
class StudyData:
    """Scans, splits and classes of a study; `pretraining` holds the training scans and, if wanted, unlabelled ones."""

    dataset_name: str
    classes: ClassMap
    channel_names: tuple[str, ...]
    preprocessing: Preprocessing
    patches: PatchSpec
    splits: Splits
    pretraining: ArraySliceSource
    training: ArraySliceSource
    validation: ArraySliceSource
    test: ArraySliceSource
    sha256: str
    notes: tuple[str, ...]


def prepare(config: ConfigDict, workdir: Path, console: Console) -> StudyData:
    """Read and check everything; writes nothing. Raises InputError naming file or setting."""
    data = config.data
    patches = PatchSpec(config.corruption.patch_size, config.corruption.sampling, config.corruption.area_fraction)
    patches.check(data.image_size, config.corruption.task)
    preprocessing = Preprocessing(data.modality, data.slice_axis, data.image_size, data.channels, data.hu_windows)
    dataset = open_dataset(
        format=data.format,
        root=data.root,
        geometry_tolerance_mm=data.geometry_tolerance_mm,
        phantom=data.phantom.to_dict(),
    )
    classes = class_map(data.classes, dataset.labels)
    notes = [*dataset.notes]
    if (classes.membership().sum(axis=1) > 1).any():
        notes.append(
            "classes overlap: a pixel is predicted as one class only, so their Dice cannot reach 1 where they do"
        )
    for note in notes:
        console.print(f"note: {note}", highlight=False, soft_wrap=True, markup=False)
    splits = load_or_make_splits(
        workdir / "splits.json",
        dataset.entries,
        fractions=config.split.fractions,
        split_seed=config.split.split_seed,
        subset_draw=config.split.subset_draw,
        label_fractions=config.split.label_fractions,
        label_counts=config.split.label_counts,
        use_unlabelled=data.use_unlabelled,
        file=config.split.file,
    )
    source = _read(dataset, splits, preprocessing, console)
    sha256 = sha256_of([[scan.scan_id, _checksum(source, number)] for number, scan in enumerate(source.scans)])
    _check_same_scans(workdir, sha256)
    parts = {"training": splits.train, "validation": splits.validation, "test": splits.test}
    channel_names = _channel_names(dataset, preprocessing)
    check_pretraining(config, preprocessing, channel_names, dataset.name, splits)
    return StudyData(
        dataset_name=dataset.name,
        classes=classes,
        channel_names=channel_names,
        preprocessing=preprocessing,
        patches=patches,
        splits=splits,
        pretraining=source.subset((*splits.train, *splits.unlabelled), labelled_only=not data.use_unlabelled),
        **{name: source.subset(subjects, labelled_only=True) for name, subjects in parts.items()},
        sha256=sha256,
        notes=tuple(notes),
    )


def _read(dataset: ScanDataset, splits: Splits, preprocessing: Preprocessing, console: Console) -> ArraySliceSource:
    """Scans in the order train, unlabelled, validation, test, so that the parts are views of one array."""
    order = {
        subject: number
        for number, subject in enumerate((*splits.train, *splits.unlabelled, *splits.validation, *splits.test))
    }
    entries = [entry for entry in dataset.entries if entry.subject_id in order]
    entries.sort(key=lambda entry: (order[entry.subject_id], entry.scan_id))
    done = 0
    with StageProgress("read scans", len(entries), "scan", console=console) as progress:

        def on_scan(scan_id: str) -> None:
            nonlocal done
            done += 1
            progress.update(done, scan_id)

        source = build_source(dataset, entries, preprocessing, on_scan)
        progress.finish(done, f"{len(source)} slices")
    return source


def _checksum(source: ArraySliceSource, number: int) -> int:
    scan = source.scans[number]
    slices = slice(scan.first, scan.first + scan.n_slices)
    images = np.ascontiguousarray(source.images[slices], dtype="<f4")
    return zlib.crc32(source.targets[slices].tobytes(), zlib.crc32(images.data))


def _check_same_scans(workdir: Path, sha256: str) -> None:
    path = workdir / "manifest.json"
    if not path.exists():
        return
    before = read_json(path, "manifest of a study").get("data_sha256")
    if before != sha256:
        raise InputError(
            f"other scans than those {workdir} was started with (SHA-256 {sha256[:12]} now, {str(before)[:12]} in "
            f"{path}); restore the scans or use another --workdir"
        )


def _channel_names(dataset: ScanDataset, preprocessing: Preprocessing) -> tuple[str, ...]:
    if preprocessing.modality == "ct":
        return tuple(f"window {width:g}/{level:g} HU" for width, level in preprocessing.hu_windows)
    return dataset.channel_names if preprocessing.channels == "all" else ("root_sum_of_squares",)
