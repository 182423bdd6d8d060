"""Where pretrained weights come from: a pretraining of this study, that of an earlier one, or a bundle.

Weights from elsewhere are checked to fit before anything is written, and manifest.json says what they were, so that a
study that goes on never begins another run with others. No jax is imported before weights are read.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

from inpaint_ssl.config import OUTPUT
from inpaint_ssl.data import Preprocessing, ScanInfo
from inpaint_ssl.errors import InputError
from inpaint_ssl.files import file_sha256, read_json, sha256_of
from inpaint_ssl.study.cells import Cell

if TYPE_CHECKING:
    from inpaint_ssl.trained.record import ModelRecord, TrainedOn
    from inpaint_ssl.trained.run import TrainedModel

RECORD = "pretrained_from"  # in manifest.json, as pretrained_from gives it


def given_weights(config: ConfigDict) -> str:
    """The bundle or the folder of the study that pretrained weights are taken from; "" where this study pretrains."""
    return config.transfer.pretrained or config.transfer.pretrained_study


def is_elsewhere(config: ConfigDict, start: Cell) -> bool:
    """True when the run `start`, with whose weights another begins, is none of this study."""
    return start.phase == "pretrain" and bool(given_weights(config))


def start_weights(config: ConfigDict, workdir: Path, start: Cell) -> Any:
    """The parameters that a run begins with: the best ones of the run `start`, which may have been trained elsewhere.

    InputError when weights from elsewhere are missing, damaged, or others than this study began with.
    """
    from inpaint_ssl.checkpoint import best_weights

    if not is_elsewhere(config, start):
        return best_weights(workdir / start.directory)
    check_unchanged(config, workdir)
    if config.transfer.pretrained:
        return _bundled(config).params
    return best_weights(_earlier_folders(config)[start.seed])


def _earlier_folders(config: ConfigDict) -> dict[int, Path]:
    """Seed -> folder of its pretraining in an earlier study: that of the seed or, when there is only one, this one.

    InputError when there is none.
    """
    earlier = config.transfer.pretrained_study
    finished = {path.parent.name: path.parent for path in sorted(Path(earlier).glob("pretrain/seed-*/result.json"))}
    found = {}
    for seed in config.seeds:
        name = Path(Cell("pretrain", seed).directory).name
        if len(finished) != 1 and name not in finished:
            listed = ", ".join(finished) or "none"
            raise InputError(
                f"config.transfer.pretrained_study: {earlier} has the finished pretrainings {listed}; expected {name} "
                "or exactly one; give the folder of a study whose stage pretrain is complete, or other config.seeds"
            )
        found[seed] = finished.get(name) or next(iter(finished.values()))
    return found


def _bundle_sha256(path: str) -> str:
    if Path(path).is_dir():
        raise InputError(
            f"config.transfer.pretrained: {path} is a folder, expected a bundle (one file, which python -m "
            "experiments.bundle makes of a run); the folder of a study goes to config.transfer.pretrained_study"
        )
    try:
        return file_sha256(path)
    except OSError as error:
        raise InputError(
            f"config.transfer.pretrained: {path} cannot be read ({error.strerror}), expected a bundle; a relative path "
            f"is looked for in the folder where the command runs, {Path.cwd()}; give the path of the bundle"
        ) from None


@functools.lru_cache(maxsize=1)
def _load(path: str, sha256: str) -> "TrainedModel":
    """sha256: of the file, so that it is read again when it has changed."""
    from inpaint_ssl.bundle import load_bundle

    del sha256
    try:
        return load_bundle(Path(path)).model
    except InputError as error:
        raise InputError(f"config.transfer.pretrained: {error}") from None


def _bundled(config: ConfigDict) -> "TrainedModel":
    path = config.transfer.pretrained
    return _load(path, _bundle_sha256(path))


def _identity(config: ConfigDict) -> dict[str, str]:
    """What weights from elsewhere are, by content; {} where this study pretrains. InputError when they are missing."""
    path = given_weights(config)
    if not path:
        return {}
    if config.transfer.pretrained:
        return {"kind": "bundle", "name": Path(path).name, "sha256": _bundle_sha256(path)}
    folders = _earlier_folders(config)
    results = {str(seed): read_json(folder / "result.json", "result of a run") for seed, folder in folders.items()}
    checksums = {seed: result.get("best_crc32") for seed, result in results.items()}
    return {"kind": "study", "name": Path(path).resolve().name, "sha256": sha256_of(checksums)}


def pretrained_from(config: ConfigDict) -> dict[str, str]:
    """For manifest.json: where the pretrained weights of a study come from; {} where it pretrains itself.

    "kind" ("bundle" or "study"), "name" of the file or folder without its path, "sha256" (of the bundle, or of the
    checksums of an earlier study's weights), "study", "dataset" and "task" ("inpainting" or "segmentation").
    InputError when they are missing or damaged.
    """
    found = _identity(config)
    if not found:
        return {}
    record = _elsewhere(config)[0].record
    return {**found, "study": record.study, "dataset": record.dataset, "task": record.task}


def check_unchanged(config: ConfigDict, workdir: Path) -> None:
    """InputError when weights from elsewhere are missing, or others than those that the study in `workdir` began with.

    Reads hashes alone and imports no jax.
    """
    now, path = _identity(config), workdir / "manifest.json"
    before = (read_json(path, "manifest of a study").get(RECORD) or {}) if now and path.exists() else {}
    if before and before["sha256"] != now["sha256"]:
        raise InputError(
            f"{given_weights(config)} holds other weights than those {workdir} was started with (SHA-256 "
            f"{now['sha256'][:12]} now, {before['sha256'][:12]} in {path}); restore them or use another --workdir"
        )


@dataclass(frozen=True)
class _Elsewhere:
    """Weights that were trained elsewhere: the file that says so, what travels with them, and subjects by id, which a
    bundle lacks."""

    where: str
    record: "ModelRecord"
    subjects: frozenset[str] = frozenset()


def _elsewhere(config: ConfigDict) -> list[_Elsewhere]:
    if config.transfer.pretrained:
        return [_Elsewhere(config.transfer.pretrained, _bundled(config).record)]
    return [_run_elsewhere(folder) for folder in dict.fromkeys(_earlier_folders(config).values())]


def _run_elsewhere(folder: Path) -> _Elsewhere:
    from inpaint_ssl.trained.run import record_of_run

    path, record = folder / "manifest.json", record_of_run(folder)
    subjects = read_json(path, "manifest of a pretraining").get("training_subjects", ())
    return _Elsewhere(str(path), record, frozenset(subjects))


def trained_on_elsewhere(config: ConfigDict, start: Cell, scan_channels: Sequence[str]) -> "TrainedOn | None":
    """The scans that the weights of `start` were trained on, when that was elsewhere; else None.

    Ranges of channels are left out where theirs are not `scan_channels`, those of our scans.
    """
    if not is_elsewhere(config, start):
        return None
    if config.transfer.pretrained:
        record = _bundled(config).record
    else:
        record = _run_elsewhere(_earlier_folders(config)[start.seed]).record
    if record.scan_channels == tuple(scan_channels):
        return record.trained_on
    ranges = {name: ends for name, ends in record.trained_on.ranges.items() if not name.startswith("channel_")}
    return replace(record.trained_on, ranges=ranges)


def trained_on_both(own: "TrainedOn", scans: Sequence[ScanInfo], before: "TrainedOn") -> "TrainedOn":
    """`own`, which is of `scans`, joined with `before`; a scan that is in both counts once, and so does its subject."""
    hashes, both = set(before.image_sha256), own.joined(before)
    twice = {scan.scan_id: scan.subject_id for scan in scans if scan.image_sha256 in hashes}
    return replace(both, scans=both.scans - len(twice), subjects=both.subjects - len(set(twice.values())))


def check_pretraining(
    config: ConfigDict,
    preprocessing: Preprocessing,
    channel_names: tuple[str, ...],
    dataset_name: str,
    classes: tuple[str, ...],
    held_out: Sequence[ScanInfo],
) -> list[str]:
    """InputError when weights from elsewhere saw other input than ours, or scans that we validate or test on.

    classes: the names of ours. held_out: the scans that we validate or test on. Returns what to tell of the weights.
    """
    notes: list[str] = []
    for one in _elsewhere(config) if given_weights(config) else ():
        notes += _check_input(one, config, {**preprocessing.to_dict(), "input_channels": list(channel_names)})
        _check_network(one, config, classes)
        notes += _check_held_out(one, dataset_name, held_out)
    return list(dict.fromkeys(notes))


def _check_input(one: _Elsewhere, config: ConfigDict, ours: Mapping[str, Any]) -> list[str]:
    """InputError when images were made otherwise; a note on other channels, where they may differ."""
    theirs = {**one.record.preprocessing.to_dict(), "input_channels": list(one.record.input_channels)}
    # The network is convolutional: it may see larger or smaller images, but no other intensities or planes.
    free = {"image_size"}
    if ours["modality"] == theirs["modality"] == "mri":
        free.add("hu_windows")
    if config.transfer.adapt_input != "refuse":
        free |= {"channels", "input_channels"}
    differing = [name for name in ours if theirs[name] != ours[name]]
    for name in differing:
        if name not in free:
            remedy = "fine-tune with the preprocessing that the weights were pretrained with"
            if name in ("channels", "input_channels"):
                remedy += ', or set config.transfer.adapt_input to "mean" or "repeat", with which channels may differ'
            raise InputError(
                f"{one.where}: {name} was {theirs[name]!r} in pretraining and is {ours[name]!r} here; {remedy}"
            )
    if "input_channels" not in differing:
        return []
    before, now = (", ".join(names["input_channels"]) for names in (theirs, ours))
    return [f"the input channels of the pretrained weights were {before}; here they are {now}"]


def _check_network(one: _Elsewhere, config: ConfigDict, classes: tuple[str, ...]) -> None:
    """InputError for another network, and for what the shapes of parameters do not show."""
    record = one.record
    if record.filters != tuple(config.model.filters):
        raise InputError(
            f"{one.where}: the network had the filters {record.filters} in pretraining and has "
            f"{tuple(config.model.filters)} here; use config.model.filters={record.filters}"
        )
    if record.groups != config.model.groups:
        raise InputError(
            f"{one.where}: GroupNorm had {record.groups} groups in pretraining and has {config.model.groups} here; use "
            f"config.model.groups={record.groups}"
        )
    if OUTPUT in config.transfer.parts and (record.task, record.classes.names) != ("segmentation", classes):
        does = f"segments {', '.join(record.classes.names)}" if record.task == "segmentation" else "restores images"
        raise InputError(
            f"{one.where}: config.transfer.parts has {OUTPUT!r}, but that network {does} and ours segments "
            f"{', '.join(classes)}; leave {OUTPUT!r} out"
        )


def _check_held_out(one: _Elsewhere, dataset_name: str, held_out: Sequence[ScanInfo]) -> list[str]:
    """InputError when the weights saw scans, or other scans of subjects, that we validate or test on; else notes."""
    record, seen = one.record, frozenset(one.record.trained_on.image_sha256)
    subjects = sorted({scan.subject_id for scan in held_out} & one.subjects)
    if record.dataset == dataset_name and subjects:
        raise InputError(
            f"{one.where}: {subjects[0]} ({len(subjects)} such subjects) was pretrained on and is in our validation "
            "or test split; use the same split (config.split) as that study"
        )
    scans = sorted(scan.scan_id for scan in held_out if scan.image_sha256 in seen)
    if scans:
        raise InputError(
            f"{one.where}: the weights were trained on {len(scans)} of the {len(held_out)} scans that we validate or "
            f"test on, such as {scans[0]}; use the same split as in that training (config.split)"
        )
    if record.task == "inpainting":
        return []
    return [
        f"the pretrained weights are of a network that was trained on labels ({record.study}, {record.dataset}): gains "
        "are not those of self-supervised pretraining alone"
    ]
