"""A trained network as it lies in the folder of a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from inpaint_ssl.checkpoint import best_weights
from inpaint_ssl.config.resolve import as_tuple
from inpaint_ssl.data import ClassMap, Preprocessing
from inpaint_ssl.errors import InputError
from inpaint_ssl.files import read_json
from inpaint_ssl.trained.networks import parameter_shapes
from inpaint_ssl.trained.record import ModelRecord, TrainedOn
from inpaint_ssl.types import Params

_SHOWN = 4  # runs of a study that a message lists
_FILES = ("config.json", "manifest.json", "result.json", "best")


@dataclass(frozen=True)
class TrainedModel:
    """record: what it is; params: its weights, float32; origin: the folder or file, as it was named."""

    record: ModelRecord
    params: Params
    origin: str


def load_run(folder: Path) -> TrainedModel:
    """The best weights of one run of a study and all that travels with them.

    folder: of the run, such as <study>/finetune/<name>. Raises InputError for another folder, an unfinished run,
    damaged weights, and a run of a version that did not write what is needed.
    """
    folder = Path(folder)
    _check_is_run(folder)
    record = record_of_run(folder)
    params = best_weights(folder, parameter_shapes(record))
    return TrainedModel(record, jax.tree.map(jnp.asarray, params), str(folder))


def _check_is_run(folder: Path) -> None:
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise InputError(f"{folder} {what}; expected the folder of a run, such as <study>/finetune/<name>")
    missing = [name for name in _FILES if not (folder / name).exists()]
    if not missing:
        return
    runs = sorted(path.parent.relative_to(folder).as_posix() for path in folder.glob("*/*/result.json"))
    if runs:
        shown = ", ".join(runs[:_SHOWN]) + (f" and {len(runs) - _SHOWN} more" if len(runs) > _SHOWN else "")
        raise InputError(f"{folder} is a study; give the folder of one of its runs: {shown}")
    if (folder / "config.json").exists() and "result.json" in missing:
        raise InputError(f"{folder}: this run is not finished, {missing[0]} is missing; finish its training first")
    raise InputError(
        f"{folder} is no folder of a run, {missing[0]} is missing; expected one such as <study>/finetune/<name>"
    )


def record_of_run(folder: Path) -> ModelRecord:
    """What travels with the weights of a run, from its config.json and manifest.json; InputError where that lacks."""
    path = folder / "manifest.json"
    manifest, config = read_json(path, "manifest of a run"), read_json(folder / "config.json", "settings of a run")
    try:
        return _record(manifest, config)
    except KeyError as error:
        raise InputError(
            f"{path}: {error} is missing: the run was trained by an earlier version, or is damaged; train it again"
        ) from None


def _record(manifest: dict[str, Any], config: dict[str, Any]) -> ModelRecord:
    cell = manifest["cell"]
    segments = cell["phase"] == "finetune"
    classes = manifest["classes"] if segments else {}
    model = config["model"]
    return ModelRecord(
        task="segmentation" if segments else "inpainting",
        filters=tuple(model["filters"]),
        groups=model["groups"],
        outputs=len(classes) if segments else len(manifest["input_channels"]),
        compute_dtype=manifest["compute_dtype"],
        preprocessing=Preprocessing.from_dict(manifest["preprocessing"]),
        input_channels=tuple(manifest["input_channels"]),
        scan_channels=tuple(manifest["scan_channels"]),
        classes=ClassMap(tuple(classes), tuple(tuple(members) for members in classes.values())),
        threshold=config["evaluate"]["threshold"],
        clinical={name: as_tuple(value) for name, value in config["clinical"].items()},
        trained_on=TrainedOn.from_dict(manifest["trained_on"]),
        study=config["study"]["name"],
        dataset=manifest["dataset"],
        arm=cell["arm"],
        label_fraction=cell["label_fraction"],
        seed=cell["seed"],
        subset_draw=cell["subset_draw"],
        data_sha256=manifest["data_sha256"],
        splits_sha256=manifest["splits_sha256"],
        config_sha256=manifest["config_sha256"],
        versions=manifest["versions"],
    )
