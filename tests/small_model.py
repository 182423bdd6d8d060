"""Small networks with random weights and all that travels with them."""

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from configs import base
from inpaint_ssl.checkpoint import crc32, save_weights
from inpaint_ssl.config import to_json
from inpaint_ssl.data import ClassMap, Preprocessing, ScanInfo
from inpaint_ssl.data.geometry import place
from inpaint_ssl.data.intensity import channel_statistics
from inpaint_ssl.files import write_json_atomic
from inpaint_ssl.trained.networks import network, parameter_shapes
from inpaint_ssl.trained.record import ModelRecord, TrainedOn
from inpaint_ssl.trained.run import TrainedModel


def preprocessing(**changes: Any) -> Preprocessing:
    given = {
        "modality": "mri",
        "slice_axis": "axial",
        "image_size": (16, 16),
        "channels": "all",
        "hu_windows": ((400.0, 50.0), (1800.0, 40.0)),
    }
    return Preprocessing(**{**given, **changes})


def record(how: Preprocessing | None = None, channels: int = 1, **changes: Any) -> ModelRecord:
    """Of two classes, "bright" and "dim", with label values 1 and 4."""
    how = how or preprocessing()
    rng = np.random.default_rng(0)
    scans = []
    for number in range(5):
        image = rng.normal(100, 20, (16, 16, 8, channels)).astype(np.float32)
        shape = image.shape[:3]
        where = place(shape, how.slice_axis, how.image_size)
        about = ({}, channel_statistics(image), f"{number:064x}")
        scans.append(ScanInfo(f"scan_{number}", f"subject_{number}", True, 8, 0, (1.0, 1.0, 2.0), where, *about))
    inputs = how.channels_out(channels)
    given: dict[str, Any] = {
        "task": "segmentation",
        "filters": (4, 8),
        "groups": 2,
        "outputs": 2,
        "compute_dtype": "float32",
        "preprocessing": how,
        "input_channels": tuple(f"input {i}" for i in range(inputs)),
        "scan_channels": tuple(f"channel {i}" for i in range(channels)),
        "classes": ClassMap(("bright", "dim"), ((1,), (4,))),
        "threshold": 0.5,
        "clinical": base.get_config().clinical.to_dict(),
        "trained_on": TrainedOn.of(scans, how.modality),
        "study": "a study",
        "dataset": "a data set",
        "arm": "pretrained",
        "label_fraction": 0.25,
        "seed": 3,
        "subset_draw": 0,
        "data_sha256": "0" * 64,
        "splits_sha256": "1" * 64,
        "config_sha256": "2" * 64,
        "versions": {"jax": jax.__version__},
    }
    return ModelRecord(**{**given, **changes})


@functools.cache
def _weights(shapes: tuple, seed: int) -> list[jax.Array]:
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.normal(0, 0.5, shape), jnp.float32) for shape in shapes]


def model(about: ModelRecord | None = None, seed: int = 0) -> TrainedModel:
    """With weights from a normal distribution, so that a good part of a scan is segmented."""
    about = about or record()
    leaves, tree = jax.tree.flatten(parameter_shapes(about))
    weights = _weights(tuple(tuple(leaf.shape) for leaf in leaves), seed)
    params = jax.tree.unflatten(tree, weights)
    last = params["post_processing"]
    params = {**params, "post_processing": {**last, "bias": last["bias"] - 1.0}}
    return TrainedModel(about, params, f"model {seed}")


def probabilities(one: TrainedModel, images: np.ndarray) -> np.ndarray:
    """Of normalised images (N, H, W, C), by the network alone."""
    return np.asarray(jax.nn.sigmoid(network(one.record).apply({"params": one.params}, jnp.asarray(images))))


def config_of(one: TrainedModel) -> ConfigDict:
    """Settings of a study with which the record of this model is made again."""
    about, config = one.record, base.get_config()
    config.study.name = about.study
    config.model.filters, config.model.groups = about.filters, about.groups
    config.evaluate.threshold = about.threshold
    config.clinical = ConfigDict(dict(about.clinical))
    return config


def write_run(folder: Path, one: TrainedModel, config: ConfigDict | None = None, **in_manifest: Any) -> Path:
    """The model as the folder of a run, in the form in which a study leaves it; config: config_of(one) by default."""
    values = one.record.to_dict()
    named = (
        *("compute_dtype", "preprocessing", "input_channels", "scan_channels", "classes", "trained_on", "dataset"),
        *("data_sha256", "splits_sha256", "config_sha256", "versions"),
    )
    cell = {name: values[name] for name in ("arm", "label_fraction", "seed", "subset_draw")}
    phase = "finetune" if one.record.task == "segmentation" else "pretrain"
    folder.mkdir(parents=True)
    save_weights(folder / "best", one.params)
    write_json_atomic(folder / "config.json", to_json(config or config_of(one)))
    manifest = {**{name: values[name] for name in named}, "cell": {**cell, "phase": phase}, **in_manifest}
    write_json_atomic(folder / "manifest.json", manifest)
    write_json_atomic(folder / "result.json", {"best_crc32": crc32(jax.tree.map(np.asarray, one.params))})
    return folder
