"""What the benchmark of prediction is run on: a network with random weights as the folder of a run, and a scan.

Imports jax.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import nibabel as nib
import numpy as np

from configs import quickstart
from inpaint_ssl.checkpoint import crc32, save_weights
from inpaint_ssl.config import to_json
from inpaint_ssl.data import ClassMap, Preprocessing
from inpaint_ssl.files import write_json_atomic
from inpaint_ssl.trained.networks import network
from inpaint_ssl.trained.record import ModelRecord, TrainedOn
from inpaint_ssl.trained.run import TrainedModel
from inpaint_ssl.versions import versions

CLASSES = 4
_SLAB = 50  # slices of a generated scan that are made at a time
_IN_MANIFEST = (
    *("compute_dtype", "preprocessing", "input_channels", "scan_channels", "classes", "trained_on", "dataset"),
    *("data_sha256", "splits_sha256", "config_sha256", "versions"),
)


def random_model(
    side: int, filters: tuple[int, ...], dtype: str = "float32", groups: int = 16, spread: float = 0.0
) -> TrainedModel:
    """A segmentation network for axial MRI slices of `side` x `side` pixels, four classes, fresh weights.

    spread: standard deviation of the last layer's kernel, with which parts of a scan are segmented; 0 leaves it.
    """
    how = Preprocessing("mri", "axial", (side, side), "all", ())
    values = tuple(range(1, CLASSES + 1))
    record = ModelRecord(
        task="segmentation",
        filters=filters,
        groups=groups,
        outputs=CLASSES,
        compute_dtype=dtype,
        preprocessing=how,
        input_channels=("MRI",),
        scan_channels=("MRI",),
        classes=ClassMap(tuple(f"class_{value}" for value in values), tuple((value,) for value in values)),
        threshold=0.5,
        clinical=quickstart.get_config().clinical.to_dict(),
        trained_on=TrainedOn(1, 1, {}, ()),
        study="benchmark",
        dataset="noise",
        arm="from_scratch",
        label_fraction=1.0,
        seed=0,
        subset_draw=0,
        data_sha256="0" * 64,
        splits_sha256="0" * 64,
        config_sha256="0" * 64,
        versions=versions(),
    )
    image = jnp.zeros((1, side, side, 1), jnp.float32)
    params = jax.jit(network(record, jnp.float32).init)(jax.random.key(0), image)["params"]
    if spread:
        kernel = params["post_processing"]["kernel"]
        wide = jnp.asarray(np.random.default_rng(0).normal(0, spread, kernel.shape), kernel.dtype)
        params = {**params, "post_processing": {**params["post_processing"], "kernel": wide}}
    return TrainedModel(record, params, "random weights")


def write_run(folder: Path, model: TrainedModel) -> Path:
    """`folder`, which must not exist, as a study leaves that of a fine-tuned run."""
    record, config = model.record, quickstart.get_config()
    config.study.name = record.study
    config.model.filters, config.model.groups = record.filters, record.groups
    config.evaluate.threshold = record.threshold
    values: dict[str, Any] = record.to_dict()
    cell = {name: values[name] for name in ("arm", "label_fraction", "seed", "subset_draw")}
    folder.mkdir(parents=True)
    save_weights(folder / "best", model.params)
    write_json_atomic(folder / "config.json", to_json(config))
    manifest = {name: values[name] for name in _IN_MANIFEST} | {"cell": {**cell, "phase": "finetune"}}
    write_json_atomic(folder / "manifest.json", manifest)
    write_json_atomic(folder / "result.json", {"best_crc32": crc32(jax.tree.map(np.asarray, model.params))})
    return folder


def noise(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """int16 (X, Y, Z, 1): blobs of noise, brighter in the middle."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(400, 100, [-(-n // 8) for n in shape])
    for axis in range(3):
        coarse = coarse.repeat(8, axis)
    return coarse[: shape[0], : shape[1], : shape[2], None].astype(np.int16)


def write_scan(path: Path, shape: tuple[int, int, int]) -> Path:
    """A NIfTI file (.nii) of `noise`, 1 mm, made and written some slices at a time."""
    header = nib.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(np.int16)
    header.set_sform(np.eye(4), code=1)
    header.set_xyzt_units("mm")
    header.set_data_offset(352)
    with open(path, "wb") as file:
        header.write_to(file)
        file.write(bytes(352 - file.tell()))
        for start in range(0, shape[2], _SLAB):
            slab = noise((*shape[:2], min(_SLAB, shape[2] - start)), seed=start)
            file.write(slab.tobytes(order="F"))
    return path
