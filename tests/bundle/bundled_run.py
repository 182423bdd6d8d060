"""Runs with conspicuous ids, places and rows, and their bundles."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import small_model
from ml_collections import ConfigDict

from inpaint_ssl.bundle import write_bundle
from inpaint_ssl.bundle.archive import MODEL, fingerprints, write_archive
from inpaint_ssl.data import ClassMap
from inpaint_ssl.evaluate import SCAN_COLUMNS, SLICE_COLUMNS
from inpaint_ssl.files import write_csv_atomic, write_json_atomic
from inpaint_ssl.trained.run import TrainedModel

CONSPICUOUS = ("conspicuous_scan", "conspicuous_subject", "conspicuous_folder")


def config_of(model: TrainedModel) -> ConfigDict:
    """With conspicuous words wherever a setting can hold a path or a name of a machine."""
    config = small_model.config_of(model)
    config.study["from"] = ("runs/conspicuous_folder",)
    config.data.root = "data/conspicuous_folder"
    config.data.unlabelled_roots = ("msd:data/conspicuous_folder",)
    config.data.prepared = config.data.id_salt_file = config.split.file = "data/conspicuous_folder"
    config.data.subject_pattern = "(conspicuous_subject)"
    config.engine.compilation_cache = config.transfer.pretrained_study = "data/conspicuous_folder"
    config.slurm.setup = ("source data/conspicuous_folder",)
    config.slurm.partition = config.distributed.coordinator = "conspicuous_folder"
    return config


def dice_rows(model: TrainedModel, dice: np.ndarray, split: str = "test") -> list[dict]:
    """dice: (scans, classes); every two scans are one subject's."""
    record = model.record
    shared = {"study": record.study, "dataset": record.dataset, "arm": record.arm, "split": split}
    shared |= {"label_fraction": record.label_fraction, "subset_draw": record.subset_draw, "seed": record.seed}
    rows = []
    for scan, of_scan in enumerate(dice):
        who = {"subject": f"conspicuous_subject_{scan // 2}", "scan": f"conspicuous_scan_{scan}"}
        for name, value in zip(record.classes.names, of_scan, strict=True):
            measured = {"metric": "dice", "unit": "ratio", "prediction": "", "truth": "", "value": repr(float(value))}
            rows.append({**shared, **who, "class": name, **measured, "flag": ""})
            rows.append({**shared, **who, "class": name, **measured, "metric": "voe", "value": "0.25", "flag": ""})
    return rows


def norm_rows(model: TrainedModel, norms: np.ndarray) -> list[dict]:
    """norms: (scans, slices, channels)."""
    record = model.record
    shared = {"study": record.study, "dataset": record.dataset, "arm": "pretrained", "split": "test"}
    shared |= {"label_fraction": "", "subset_draw": 0, "seed": record.seed, "flag": "", "prediction": "", "truth": ""}
    rows = []
    for scan, place, channel in np.ndindex(norms.shape):
        who = {"subject": f"conspicuous_subject_{scan}", "scan": f"conspicuous_scan_{scan}", "slice": place}
        measured = {"metric": "inpainting_l2_norm", "unit": "normalised intensity"}
        measured["value"] = repr(float(norms[scan, place, channel]))
        rows.append({**shared, **who, "class": record.input_channels[channel], **measured})
    return rows


def write_run(folder: Path, model: TrainedModel, rows: list[dict] | None = None) -> Path:
    """rows: of per_scan.csv, or of per_slice.csv for a pretraining; None for a run that was not evaluated."""
    ids = {"training_scans": ["conspicuous_scan_0"], "training_subjects": ["conspicuous_subject_0"]}
    small_model.write_run(folder, model, config_of(model), **ids)
    if rows is not None:
        segments = model.record.task == "segmentation"
        columns = SCAN_COLUMNS if segments else SLICE_COLUMNS
        write_csv_atomic(folder / ("per_scan.csv" if segments else "per_slice.csv"), columns, rows)
        write_json_atomic(folder / "evaluation.json", {})
    return folder


def model_of(task: str, seed: int = 0) -> TrainedModel:
    """Of "mri", "ct" or "inpainting"."""
    if task == "mri":
        return small_model.model(seed=seed)
    if task == "ct":
        return small_model.model(small_model.record(small_model.preprocessing(modality="ct")), seed + 1)
    changes = {"task": "inpainting", "outputs": 1, "classes": ClassMap((), ()), "arm": "", "label_fraction": 0.0}
    return small_model.model(small_model.record(**changes), seed)


def written(folder: Path) -> Path:
    """`folder`, now with runs and bundles (.zip) of a segmentation of MRI and CT, and of a pretraining."""
    for task in ("mri", "ct", "inpainting"):
        model, rng = model_of(task), np.random.default_rng(0)
        rows = (
            norm_rows(model, rng.gamma(3, 2, (6, 4, 1)))
            if task == "inpainting"
            else dice_rows(model, rng.beta(4, 2, (8, 2)))
        )
        write_run(folder / task, model, rows)
        write_bundle(folder / task, folder / f"{task}.zip")
    return folder


def repacked(path: Path, folder: Path, change: Any = None, **members: bytes) -> Path:
    """The bundle with other members, and model.json changed, so that all hashes are right."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content |= {name.replace("_", "."): value for name, value in members.items()}
    about = json.loads(content[MODEL])
    about["members"] = fingerprints(content)
    if change is not None:
        change(about)
    content[MODEL] = json.dumps(about).encode()
    (folder / "other.zip").write_bytes(write_archive(content))
    return folder / "other.zip"
