"""The network of a bundle as StableHLO, from raw slices to the map of labels, for programs without this package."""

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from inpaint_ssl.data import Preprocessing
from inpaint_ssl.errors import InputError
from inpaint_ssl.normalise import root_sum_of_squares, window_z_score, z_score
from inpaint_ssl.postprocess import IntramuscularFatRule
from inpaint_ssl.trained.networks import label_map_on_device, network
from inpaint_ssl.trained.record import ModelRecord
from inpaint_ssl.trained.run import TrainedModel

PLATFORMS = ("cpu", "cuda")
_ALLOWED_CALLS = {"shape_assertion"}  # checks of the batch's size; all else that a program can call is foreign code


@dataclass(frozen=True)
class Array:
    """One argument or the result: a shape, whose batch is "b", and a dtype; meaning in words."""

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    meaning: str


@dataclass(frozen=True)
class Signature:
    """What the program takes and gives."""

    inputs: tuple[Array, ...]
    output: Array

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        inputs, output = (
            [{**vars(one), "shape": list(one.shape)} for one in of] for of in (self.inputs, [self.output])
        )
        return {"platforms": list(PLATFORMS), "batch": "b", "inputs": inputs, "output": output[0]}


def signature(record: ModelRecord) -> Signature:
    """Of the program of this model; see export_network."""
    size = record.preprocessing.image_size
    if record.preprocessing.modality == "ct":
        about = "HU of each slice, NaN in the margin where a slice is smaller than the image"
        inputs = [Array("slices", ("b", *size, 1), "float32", about)]
    else:
        channels, out = len(record.scan_channels), len(record.input_channels)
        of = "the root sum of squares of the channels" if out < channels else "each channel"
        about = f"stored intensities; in the margin the smallest value of {of} in the scan"
        inputs = [Array("slices", ("b", *size, channels), "float32", about)]
        for name, what in (("mean", "mean"), ("standard_deviation", "population standard deviation")):
            inputs.append(Array(name, ("b", out), "float32", f"{what} of {of} over the whole scan"))
    if record.task == "segmentation":
        output = Array("labels", ("b", *size), "uint8", "value of the class of each pixel, 0 for none")
    else:
        about = "the restored image, normalised as the input of the network is"
        output = Array("restored", ("b", *size, record.outputs), "float32", about)
    return Signature(tuple(inputs), output)


def _normalise(how: Preprocessing) -> Callable[..., jax.Array]:
    """(slices, and of MRI mean and standard deviation) -> network input (b, H, W, C), as inpaint_ssl.normalise."""

    def ct(slices: jax.Array) -> jax.Array:
        return jax.vmap(lambda hu: window_z_score(hu, ~jnp.isnan(hu), how.hu_windows))(slices[..., 0])

    def mri(slices: jax.Array, mean: jax.Array, std: jax.Array) -> jax.Array:
        def one(image: jax.Array, mean: jax.Array, std: jax.Array) -> jax.Array:
            if how.channels == "root_sum_of_squares":
                image = root_sum_of_squares(image)
            whole = jnp.rint(mean)  # as Preprocessing.statistics splits it
            statistics = jnp.stack([whole, mean - whole, 1 / std, jnp.zeros_like(mean)])
            return z_score(image, jnp.ones(image.shape[:2], bool), statistics)

        return jax.vmap(one)(slices, mean, std)

    return ct if how.modality == "ct" else mri


def slices_program(model: TrainedModel) -> Callable[..., jax.Array]:
    """The function that is exported: arguments and result as in `signature`, weights as constants, in float32."""
    record = model.record
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), model.params)
    apply, normalise = network(record, jnp.float32).apply, _normalise(record.preprocessing)
    values = np.array([0, *record.values], np.uint8)
    rule = IntramuscularFatRule.from_config(record.clinical, record.classes.names, record.preprocessing.modality)

    def program(*inputs: jax.Array) -> jax.Array:
        outputs = jnp.asarray(apply({"params": jax.tree.map(jnp.asarray, params)}, normalise(*inputs)))
        if record.task != "segmentation":
            return outputs
        labels = label_map_on_device(jax.nn.sigmoid(outputs), record.threshold)
        if rule is not None:
            labels = _with_fat(rule, labels, inputs[0][..., 0])
        return jnp.asarray(values)[labels]

    return program


def _with_fat(rule: IntramuscularFatRule, labels: jax.Array, hu: jax.Array) -> jax.Array:
    """The rule, on the device."""
    below = hu <= rule.highest_hu if rule.with_highest else hu < rule.highest_hu
    is_fat = (labels == rule.muscle) & below & (hu >= rule.lowest_hu)
    return jnp.where(is_fat, jnp.uint8(rule.fat), labels)


@contextlib.contextmanager
def _without_places() -> Iterator[None]:
    """Programs made inside do not say in which files and lines their operations were written."""
    name = "jax_traceback_in_locations_limit"
    before = getattr(jax.config, name)
    jax.config.update(name, 0)
    try:
        yield
    finally:
        jax.config.update(name, before)


def export_network(model: TrainedModel) -> bytes:
    """The program of `signature` as jax.export serialises it, for PLATFORMS and batches of any size from 1 on.

    CT is scored over what is not NaN, so that a slice smaller than the image gives what the network was trained to
    give; a margin of -1024 HU would count as air of the slice. Products keep float32 on every platform. The bytes hold
    no path, and are equal for equal weights and versions of jax.
    """
    (batch,) = export.symbolic_shape("b")
    arguments = [
        jax.ShapeDtypeStruct(tuple(batch if n == "b" else n for n in one.shape), jnp.dtype(one.dtype))
        for one in signature(model.record).inputs
    ]
    with _without_places(), jax.default_matmul_precision("highest"):
        exported = export.export(jax.jit(slices_program(model)), platforms=PLATFORMS)(*arguments)
    return bytes(exported.serialize())


def load_network(content: bytes, record: ModelRecord, where: str) -> export.Exported:
    """The program of a bundle; `jax.jit(found.call)(*inputs)` runs it.

    Raises InputError naming `where` for bytes that jax.export cannot read, for a program of other arguments than
    `signature` states, and for one that calls anything outside of itself.
    """
    try:
        found = export.deserialize(bytearray(content))
        types = [(tuple(map(str, one.shape)), str(one.dtype)) for one in (*found.in_avals, *found.out_avals)]
        calls = _calls(found)
    except Exception as error:  # flatbuffers and MLIR raise of all kinds
        reason = str(error).strip().partition("\n")[0][:200] or type(error).__name__
        raise InputError(
            f"{where} cannot be read by this version of jax ({reason}); use the versions that model.json states"
        ) from None
    of = signature(record)
    expected = [(tuple(map(str, one.shape)), one.dtype) for one in (*of.inputs, of.output)]
    if types != expected:
        raise InputError(f"{where} takes and gives {types}, expected {expected}; get the bundle again")
    if foreign := sorted(calls - _ALLOWED_CALLS):
        raise InputError(f"{where} calls {', '.join(foreign)}, which no bundle does; do not trust this file")
    return found


def _calls(found: export.Exported) -> set[str]:
    """The targets of all custom calls; "?" for one that is not written as usual."""
    return {match or "?" for match in re.findall(r"custom_call(?: @([\w.$-]+)\()?", found.mlir_module())}
