"""The corruptions by plain slicing in NumPy, and images to corrupt, for the tests of this folder."""

import jax.numpy as jnp
import numpy as np


def oracle(image, patches, patch_size, task):
    """Zero or swap the used patches one after another by slicing."""
    out = np.array(image)
    corners = np.asarray(patches.corners)[np.asarray(patches.used)]
    windows = [np.s_[row : row + patch_size, column : column + patch_size] for row, column in corners.tolist()]
    if task == "context_prediction":
        for window in windows:
            out[window] = 0
        return out
    for first, second in zip(windows[::2], windows[1::2], strict=True):
        before = out.copy()
        out[first], out[second] = before[second], before[first]
    return out


def picture(size, channels, dtype, seed=0):
    """An image without zeros whose values, in every channel, tell the pixels apart where the type allows."""
    values = 1 + np.random.default_rng(seed).permuted(np.arange(size[0] * size[1] * channels))
    return jnp.asarray(values.reshape(*size, channels) / 16, dtype)
