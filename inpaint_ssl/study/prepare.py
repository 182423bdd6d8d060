"""From the configuration to checked data: what is wrong with the input is found here, before any training."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ml_collections import ConfigDict
from rich.console import Console

from inpaint_ssl.corruption import PatchSpec
from inpaint_ssl.data import (
    ClassMap,
    PreparedStore,
    Preprocessing,
    ReaderSettings,
    ScanInfo,
    ScanReader,
    SliceSource,
    Splits,
    SplitSettings,
    class_map,
    drop_leaks,
    load_or_make_splits,
    open_dataset,
    prepare_store,
    prepared_folder,
)
from inpaint_ssl.errors import InputError
from inpaint_ssl.files import read_json, sha256_of
from inpaint_ssl.measure import Measures
from inpaint_ssl.qdess import QdessSequence
from inpaint_ssl.study.designs import cells_of
from inpaint_ssl.study.pretrained import check_pretraining, check_unchanged


@dataclass(frozen=True)
class StudyData:
    """Scans, splits and classes of a study.

    learning: the slices that either phase trains on, which are one set on the device; pretraining and training: the
    parts of it. scans: every scan that the study uses. channel_names: of the networks' input; scan_channels: of a scan
    as it is read.
    """

    dataset_name: str
    measures: Measures
    channel_names: tuple[str, ...]
    scan_channels: tuple[str, ...]
    preprocessing: Preprocessing
    splits: Splits
    learning: SliceSource
    pretraining: SliceSource
    training: SliceSource
    validation: SliceSource
    test: SliceSource
    scans: tuple[ScanInfo, ...]
    sha256: str
    notes: tuple[str, ...]

    @property
    def classes(self) -> ClassMap:
        """What is segmented."""
        return self.measures.classes

    def pretraining_of(self, own: ConfigDict) -> SliceSource:
        """The slices that a run with the settings `own` is pretrained on."""
        extent = own.split.pretraining_extent
        everyone = (*self.splits.train, *self.splits.unlabelled)
        subjects = self.splits.pretraining_subsets[extent] if extent else everyone
        return self.learning.subset(subjects, labelled_only=not own.data.use_unlabelled)

    def labelled(self, fraction: float, draw: int | None = None) -> SliceSource:
        """The slices of a label subset, of another draw than the study's where `draw` says so; 1 is the training set,
        whether or not the study has it among its fractions.
        """
        return self.training.subset(self.splits.labelled(fraction, draw))


def patch_spec(config: ConfigDict) -> PatchSpec:
    """The patches that config.corruption asks for."""
    return PatchSpec(config.corruption.patch_size, config.corruption.sampling, config.corruption.area_fraction)


def prepare(config: ConfigDict, workdir: Path, console: Console, stop: Callable[[], str] = str) -> StudyData:
    """Prepare and check everything; writes nothing to `workdir`.

    Raises InputError naming file or setting, and signals.Stopped when stop() names a signal while scans are read.
    """
    data = config.data
    for own in [config, *(cell.config(config) for cell in cells_of(config) if cell.phase == "pretrain")]:
        patch_spec(own).check(data.image_size, own.corruption.task)
    preprocessing = Preprocessing.from_config(data.to_dict())
    dataset = open_dataset(ReaderSettings.from_config(data.to_dict()))
    classes = class_map(data.classes, dataset.labels)
    notes: list[str] = []
    _tell(dataset.notes, notes, console)
    if (classes.membership().sum(axis=1) > 1).any():
        overlap = "classes overlap: a pixel is predicted as one class only, so their Dice cannot reach 1 where they do"
        _tell([overlap], notes, console)
    measures = Measures.from_config(config.clinical.to_dict(), classes, data.modality, len(dataset.channel_names))
    settings = SplitSettings.from_config(config.split.to_dict(), data.use_unlabelled)
    splits = load_or_make_splits(workdir / "splits.json", dataset.entries, settings)
    folder = prepared_folder(data.prepared, workdir)
    store = prepare_store(dataset, data.slice_axis, folder, console, data.prepare_processes, stop)
    records = {record.scan_id: record for record in store.records}
    voxels = {scan_id: record.image_sha256 for scan_id, record in records.items()}
    splits, leaks = drop_leaks(splits, voxels, dataset.entries)
    _tell(leaks, notes, console)
    source = _source(store, splits, preprocessing)
    used = [records[scan.scan_id] for scan in source.scans]
    sha256 = sha256_of([[one.scan_id, one.image_sha256, one.label_sha256] for one in used])
    _check_same_scans(workdir, sha256)
    extents = splits.pretraining_subsets if config.study.kind in ("unlabelled_extent", "arms") else {}
    pretrained_on = {*splits.pretraining, *(subject for subjects in extents.values() for subject in subjects)}
    parts = {"training": splits.train, "validation": splits.validation}
    channel_names = _channel_names(dataset, preprocessing)
    check_unchanged(config, workdir)  # also of a plan
    held_out = [scan for scan in source.scans if scan.subject_id in {*splits.validation, *splits.test}]
    found = check_pretraining(config, preprocessing, channel_names, dataset.name, classes.names, held_out)
    _tell(found, notes, console)
    test = source.subset(splits.test, labelled_only=True)
    measures, untold = _with_known_t2(measures, test, dataset.channel_names)
    _tell(untold, notes, console)
    return StudyData(
        dataset_name=dataset.name,
        measures=measures,
        channel_names=channel_names,
        scan_channels=tuple(dataset.channel_names),
        preprocessing=preprocessing,
        splits=splits,
        learning=source.subset({*splits.train, *pretrained_on}, labelled_only=not data.use_unlabelled),
        pretraining=source.subset(splits.pretraining, labelled_only=not data.use_unlabelled),
        **{name: source.subset(subjects, labelled_only=True) for name, subjects in parts.items()},
        test=test,
        scans=tuple(source.scans),
        sha256=sha256,
        notes=tuple(notes),
    )


def _tell(lines: Iterable[str], notes: list[str], console: Console) -> None:
    """Print notes and keep them."""
    for line in lines:
        notes.append(line)
        console.print(f"note: {line}", highlight=False, soft_wrap=True, markup=False)


def _with_known_t2(measures: Measures, test: SliceSource, channel_names: Sequence[str]) -> tuple[Measures, list[str]]:
    """Without T2 where no test scan has its sequence; what to say of scans that could have T2 and do not."""
    if measures.t2 is None:
        return measures, []
    without: dict[str, str] = {}
    for scan in test.scans:
        try:
            QdessSequence.from_acquisition(scan.acquisition)
        except InputError as error:
            without[scan.scan_id] = str(error)
    if not without:
        return measures, []
    lines = []
    if len(without) < len(test.scans) or any("echo" in name.lower() for name in channel_names):
        first = next(iter(without))
        lines.append(
            f"mean T2 is not measured of {first} ({len(without)} of {len(test.scans)} test scans): {without[first]}; a "
            "study that is evaluated already measures it after its finetune/*/evaluation.json are deleted"
        )
    return (measures if len(without) < len(test.scans) else replace(measures, t2=None)), lines


def _source(store: PreparedStore, splits: Splits, preprocessing: Preprocessing) -> SliceSource:
    """Scans in the order train, unlabelled, validation, test."""
    order = {
        subject: number
        for number, subject in enumerate((*splits.train, *splits.unlabelled, *splits.validation, *splits.test))
    }
    used = [record for record in store.records if record.subject_id in order]
    used.sort(key=lambda record: (order[record.subject_id], record.scan_id))
    return store.source(preprocessing, [record.scan_id for record in used])


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


def _channel_names(dataset: ScanReader, preprocessing: Preprocessing) -> tuple[str, ...]:
    if preprocessing.modality == "ct":
        return tuple(f"window {width:g}/{level:g} HU" for width, level in preprocessing.hu_windows)
    return dataset.channel_names if preprocessing.channels == "all" else ("root_sum_of_squares",)
