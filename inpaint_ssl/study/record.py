"""What a study writes about itself: manifest.json, study.json, and the rows of all its cells in one file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from inpaint_ssl.config import SELECTING, evaluated_with, fingerprint, flatten
from inpaint_ssl.evaluate import SCAN_COLUMNS, SLICE_COLUMNS
from inpaint_ssl.files import write_csv_atomic, write_json_atomic
from inpaint_ssl.study.cells import Cell
from inpaint_ssl.study.demographics import demographics
from inpaint_ssl.study.designs import GRIDS, about_study, arms_of, first_run, is_reported
from inpaint_ssl.study.phases import compute_dtype
from inpaint_ssl.study.prepare import StudyData
from inpaint_ssl.study.selecting import SELECTED
from inpaint_ssl.versions import versions

METHOD_SECTIONS = ("corruption", "model", "pretrain", "finetune")
METHOD_KEYS = (
    "data.image_size",
    "split.label_fractions",
    "transfer.parts",
    "transfer.adapt_input",
    "evaluate.threshold",
    "evaluate.flips",
    "clinical.intramuscular_fat",
)
# Where the default is our choice and not the paper's: the setting, that choice, and what the report says of it.
OWN_CHOICES = (
    (
        "corruption.masks",
        "fresh",
        "Every image gets a fresh mask at every step; the paper draws from 100 masks made beforehand and their turns.",
    ),
    (
        "corruption.validation",
        "fixed",
        "Validation corrupts with the same masks each time, so that early stopping sees no noise.",
    ),
)
T2_CONVENTION = (
    "T2 as SKM-TEA's evaluator has it: voxels without a valid T2 are left out, T1 of menisci is 1000 ms; the paper's "
    "code counts them as 0 ms and takes 1200 ms everywhere."
)
OF_THE_TRANSFER_GRID = {  # section 6.2.1; elsewhere the defaults are the paper's
    "corruption.task": "context_prediction",
    "corruption.patch_size": 16,
    "split.label_fractions": (0.05,),
}
LABEL_SUBSETS = "Label subsets are drawn by our own seeds; the paper's lists are not public."


def departures(config: ConfigDict, base: ConfigDict) -> list[str]:
    """Where method settings differ from the paper's, which are the defaults of configs/base.py, and our own choices."""
    kind, values, found = config.study.kind, flatten(config), []
    defaults = {**flatten(base), **(OF_THE_TRANSFER_GRID if kind == "transfer_grid" else {})}
    not_compared = {"corruption.bank_seed", *(name for name, _, _ in OWN_CHOICES)}
    if kind in GRIDS:  # each run has its own
        not_compared |= {"corruption.task", "corruption.patch_size", "corruption.sampling"}
    if config.corruption.masks == "fresh":
        not_compared |= {name for name in values if name.startswith("corruption.bank_")}
    for name, value in values.items():
        is_method = name.split(".")[0] in METHOD_SECTIONS or name in METHOD_KEYS
        if is_method and name not in not_compared and value != defaults[name]:
            found.append(f"{name} is {value} (paper: {defaults[name]}).")
    chosen = [text for name, choice, text in OWN_CHOICES if values[name] == choice]
    selected = [SELECTED] if kind in SELECTING and config.study.select_on == "validation" else []
    return [*found, *chosen, *selected, LABEL_SUBSETS]


def _of_t2(data: StudyData) -> list[str]:
    t2 = data.measures.t2
    return [T2_CONVENTION] if t2 is not None and t2.convention == "skm_tea" else []


def make_manifest(config: ConfigDict, data: StudyData) -> dict[str, Any]:
    """What must travel with the weights: versions, device, hashes, seeds, preprocessing and the map of labels."""
    return {
        "format_version": 1,
        "config_sha256": fingerprint(config),
        "data_sha256": data.sha256,
        "splits_sha256": data.splits.sha256,
        "versions": versions(),
        "compute_dtype": str(compute_dtype(config.model.dtype)),
        "device": f"{jax.devices()[0].device_kind} ({jax.default_backend()}, {jax.device_count()} device(s))",
        "seeds": list(config.seeds),
        "split_seed": config.split.split_seed,
        "subset_draw": config.split.subset_draw,
        "dataset": data.dataset_name,
        "preprocessing": data.preprocessing.to_dict(),
        "input_channels": list(data.channel_names),
        "scan_channels": list(data.scan_channels),
        "classes": {
            name: list(members) for name, members in zip(data.classes.names, data.classes.members, strict=True)
        },
    }


def collect_rows(config: ConfigDict, workdir: Path, cells: Sequence[Cell]) -> None:
    """The rows of every cell that is measured as config.clinical now has it, as per_scan.csv and per_slice.csv.

    Of an arm that is trained twice the first run is no arm and has no rows.
    """
    for phase, name, columns in (
        ("finetune", "per_scan.csv", SCAN_COLUMNS),
        ("pretrain", "per_slice.csv", SLICE_COLUMNS),
    ):
        settings = evaluated_with(config, phase)
        of_phase = [cell for cell in cells if cell.phase == phase and is_reported(config, cell)]
        measured = [cell for cell in of_phase if cell.is_evaluated(workdir, settings)]
        rows = [row for cell in measured for row in cell.rows(workdir)]
        if rows or (workdir / name).exists():
            write_csv_atomic(workdir / name, columns, rows)


def _listed(config: ConfigDict, workdir: Path, cell: Cell) -> dict[str, Any]:
    """One cell of study.json: "complete", "trained", "failed" with its error, or "missing"."""
    about = {
        "name": cell.name,
        "directory": cell.directory,
        "phase": cell.phase,
        "arm": cell.arm,
        "label_fraction": cell.label_fraction or None,
        "seed": cell.seed,
        "subset_draw": cell.subset_draw,
    }
    result = cell.result(workdir)
    reported = is_reported(config, cell)
    if result is not None and (not reported or cell.is_evaluated(workdir, evaluated_with(config, cell.phase))):
        return {**about, "status": "complete", **result}
    if (failure := cell.failure(workdir)) is not None:
        return {**about, "status": "failed", "error": failure["error"], **(result or {})}
    return {**about, "status": "missing" if result is None else "trained", **(result or {})}


def _arms(config: ConfigDict, data: StudyData) -> list[dict[str, Any]]:
    """The arms, of pretraining sets of several sizes with how much each of them holds."""
    arms = arms_of(config)
    for arm in arms:
        if "extent" in arm:
            source = data.learning.subset(data.splits.pretraining_subsets[arm["extent"]])
            subjects = {scan.subject_id for scan in source.scans}
            counts = {"subjects": len(subjects), "scans": len(source.scans), "slices": len(source)}
            arm.update({f"pretraining_{what}": count for what, count in counts.items()})
    return arms


def _with_steps(arms: Sequence[dict[str, Any]], cells: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The arms of a transfer grid with the training steps that their runs took, one number a run, mean over seeds."""
    taken: dict[str, list[int]] = {}
    for cell in cells:
        if cell["phase"] == "finetune" and "steps" in cell:
            taken.setdefault(cell["arm"], []).append(cell["steps"])
    steps = {arm: sum(counts) / len(counts) for arm, counts in taken.items()}
    known = []
    for arm in arms:
        names = [first_run(arm), arm["arm"]] if len(arm.get("learning_rates", ())) == 2 else [arm["arm"]]
        of_all = [steps[name] for name in names if name in steps]
        known.append({**arm, "steps": of_all} if "design" in arm and len(of_all) == len(names) else arm)
    return known


def write_study(
    config: ConfigDict,
    base: ConfigDict,
    data: StudyData,
    manifest: dict[str, Any],
    workdir: Path,
    cells: Sequence[Cell],
) -> None:
    """study.json: the contract with statistics and report."""
    listed = [_listed(config, workdir, cell) for cell in cells]
    splits = data.splits
    fractions = sorted({cell.label_fraction for cell in cells if cell.phase == "finetune"})
    study = {
        **about_study(config),
        "arms": _with_steps(_arms(config, data), listed),
        "dataset": data.dataset_name,
        "modality": config.data.modality,
        "classes": list(data.classes.names),
        "label_fractions": fractions,
        "label_counts": {repr(f): len(splits.label_subsets.get(f, splits.train)) for f in fractions},
        "seeds": list(config.seeds),
        "clinical": data.measures.to_dict() | {"intramuscular_fat": config.clinical.intramuscular_fat},
        "splits": {
            "train": len(splits.train),
            "validation": len(splits.validation),
            "test": len(splits.test),
            "unlabelled": len(splits.unlabelled),
            "pretraining_scans": len(data.pretraining.scans),
            "sha256": splits.sha256,
        },
        "departures": [*departures(config, base), *_of_t2(data)],
        "warnings": list(data.notes),
        "versions": manifest["versions"],
        "device": manifest["device"],
        "settings": {name: repr(value) for name, value in flatten(config).items()},
        "cells": listed,
        "demographics": demographics(splits, data.scans),
        "seconds": sum(cell.get("seconds", 0.0) for cell in listed),
    }
    write_json_atomic(workdir / "study.json", study)
