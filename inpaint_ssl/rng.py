"""Seeds to keys: a random number is a function of (seed, stream name, step, example id), not of device or history."""

import functools
import zlib

import jax
import numpy as np
from jaxtyping import Array, UInt32


def stream_key(seed: int, stream: str) -> jax.Array:
    """The key of a named stream, for example stream_key(0, "pretrain/corruption"). `seed` in 0 .. 2**32 - 1."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(stream.encode()))


def example_keys(key: jax.Array, step: jax.Array | int, example_ids: UInt32[Array | np.ndarray, "n"]) -> jax.Array:
    """(N,) keys, one per example: the same on one device or many, in any batch, and after a resume."""
    step_key = jax.random.fold_in(key, step)
    return jax.vmap(lambda example: jax.random.fold_in(step_key, example))(jax.numpy.asarray(example_ids))


@functools.lru_cache(maxsize=64)  # asked for at every step, and by every thread that assembles batches
def example_order(seed: int, stream: str, epoch: int, count: int) -> np.ndarray:
    """(count,) int64 permutation in which an epoch visits its examples: a function of (seed, stream, epoch)."""
    generator = np.random.default_rng([seed, zlib.crc32(stream.encode()), epoch])
    order = generator.permutation(count)
    order.flags.writeable = False
    return order
