"""Weights as safetensors: names, shapes and numbers, and nothing that could run when it is read."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import numpy as safetensors

from inpaint_ssl.errors import InputError
from inpaint_ssl.trained.networks import parameter_shapes
from inpaint_ssl.trained.record import ModelRecord
from inpaint_ssl.types import Params

_LONGEST_HEADER = 2**20  # bytes: a network of twelve levels takes 20,000; every entry of one takes far more memory


def named(params: Any) -> dict[str, Any]:
    """The leaves of a tree of dictionaries by their place, such as "encoder/level_0/conv_0/kernel"."""
    return {"/".join(key.key for key in place): leaf for place, leaf in jax.tree.leaves_with_path(params)}


def to_safetensors(params: Params) -> bytes:
    """The weights as float32; equal weights give equal bytes. Raises InputError for a number that is not finite."""
    tensors = {name: np.ascontiguousarray(leaf, np.float32) for name, leaf in named(params).items()}
    _check_finite(tensors, "the weights of the run")
    return safetensors.save(tensors)


def from_safetensors(content: bytes, record: ModelRecord, where: str) -> Params:
    """The weights of the network that `record` describes, a tree of float32 arrays on the device.

    Raises InputError naming `where` for bytes that are no safetensors, for tensors of other names, shapes or types than
    that network has, and for numbers that are not finite.
    """
    header = int.from_bytes(content[:8], "little")
    if header > _LONGEST_HEADER:
        raise InputError(f"{where} holds no safetensors of a network: its header has {header} bytes; get it again")
    try:
        tensors = safetensors.load(content)
    except Exception as error:  # the library has an error of its own, and NumPy's come through it
        raise InputError(f"{where} holds no safetensors that can be read ({error}); get the file again") from None
    shapes = parameter_shapes(record)
    wanted = {name: (tuple(leaf.shape), np.dtype(np.float32)) for name, leaf in named(shapes).items()}
    found = {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise InputError(
                f"{where}: tensor {name} is {_shown(found.get(name))}, the network of model.json has "
                f"{_shown(wanted.get(name))}; the file was put together wrongly, get it again"
            )
    _check_finite(tensors, where)
    leaves = [jnp.asarray(tensors[name]) for name in named(shapes)]
    return jax.tree.unflatten(jax.tree.structure(shapes), leaves)


def _shown(tensor: tuple[tuple[int, ...], np.dtype] | None) -> str:
    return "no such tensor" if tensor is None else f"{tensor[1]} {tensor[0]}"


def _check_finite(tensors: Mapping[str, np.ndarray], where: str) -> None:
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise InputError(f"{where}: tensor {name} holds numbers that are not finite; train or get the model again")
