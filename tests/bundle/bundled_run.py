"""The folder of a run, as a study writes it, of a small network with random weights."""

import json
import zipfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from configs import base
from inpaint_ssl.bundle.archive import MODEL, fingerprints, write_archive
from inpaint_ssl.checkpoint import crc32, save_weights
from inpaint_ssl.config import to_json
from inpaint_ssl.evaluate import SCAN_COLUMNS, SLICE_COLUMNS
from inpaint_ssl.files import write_csv_atomic, write_json_atomic
from inpaint_ssl.trained.run import TrainedModel

CONSPICUOUS = ("conspicuous_scan", "conspicuous_subject", "conspicuous_folder")


def config_of(model: TrainedModel) -> ConfigDict:
    record, config = model.record, base.get_config()
    config.study.name = record.study
    config.study["from"] = ("runs/conspicuous_folder",)
    config.data.root = "data/conspicuous_folder"
    config.data.unlabelled_roots = ("msd:data/conspicuous_folder",)
    config.data.prepared = config.data.id_salt_file = config.split.file = "data/conspicuous_folder"
    config.data.subject_pattern = "(conspicuous_subject)"
    config.engine.compilation_cache = config.transfer.pretrained_study = "data/conspicuous_folder"
    config.slurm.setup = ("source data/conspicuous_folder",)
    config.slurm.partition = config.distributed.coordinator = "conspicuous_folder"
    config.model.filters, config.model.groups = record.filters, record.groups
    config.evaluate.threshold = record.threshold
    config.clinical = ConfigDict(dict(record.clinical))
    return config


def manifest_of(model: TrainedModel) -> dict:
    record = model.record
    phase = "finetune" if record.task == "segmentation" else "pretrain"
    names = ("compute_dtype", "dataset", "data_sha256", "splits_sha256", "config_sha256", "versions")
    about = record.to_dict()
    cell = {name: about[name] for name in ("arm", "label_fraction", "seed", "subset_draw")}
    return {
        **{name: about[name] for name in (*names, "preprocessing", "input_channels", "scan_channels", "classes")},
        "trained_on": about["trained_on"],
        "cell": {**cell, "phase": phase},
        "training_scans": ["conspicuous_scan_0"],
        "training_subjects": ["conspicuous_subject_0"],
    }


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
    folder.mkdir(parents=True)
    write_json_atomic(folder / "config.json", to_json(config_of(model)))
    write_json_atomic(folder / "manifest.json", manifest_of(model))
    save_weights(folder / "best", model.params)
    write_json_atomic(folder / "result.json", {"best_crc32": crc32(jax.tree.map(np.asarray, model.params))})
    if rows is not None:
        segments = model.record.task == "segmentation"
        columns = SCAN_COLUMNS if segments else SLICE_COLUMNS
        write_csv_atomic(folder / ("per_scan.csv" if segments else "per_slice.csv"), columns, rows)
        write_json_atomic(folder / "evaluation.json", {})
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
