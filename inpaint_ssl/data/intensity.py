"""Intensities: HU windows and z-scores, with statistics in float64 taken before any padding."""

from collections.abc import Sequence

import numpy as np

AIR_HU = -1024.0


def root_sum_of_squares(image: np.ndarray) -> np.ndarray:
    """Combine the channels of (..., C) into one: (..., 1) float32. A single channel stays as it is."""
    if image.shape[-1] == 1:
        return image
    return np.sqrt(np.square(image, dtype=np.float64).sum(axis=-1, keepdims=True)).astype(np.float32)


def z_score_volume(image: np.ndarray) -> np.ndarray:
    """Z-score of (..., C), each channel over the whole volume (population standard deviation): float32.

    Paper, section 2.2 (MRI). Raises ValueError for a channel of one value.
    """
    result = np.empty(image.shape, np.float32)
    for channel in range(image.shape[-1]):
        values = image[..., channel].astype(np.float64)
        if not values.min() < values.max():
            raise ValueError(f"channel {channel} has the same value everywhere")
        result[..., channel] = (values - values.mean()) / values.std()
    return result


def window_z_score(
    slices: np.ndarray, windows: Sequence[tuple[float, float]], outside: float = AIR_HU
) -> tuple[np.ndarray, np.ndarray]:
    """HU slices (S, h, w) as windowed channels, z-scored per slice and channel (CT; paper, section 2.2).

    windows: (width, level) in HU; values are clipped to [level - width/2, level + width/2]. Returns float32 (S, h, w,
    windows) and (S, windows), the value that `outside` HU takes in each. A slice constant in a window becomes zeros.
    """
    result = np.empty((*slices.shape, len(windows)), np.float32)
    padding = np.empty((len(slices), len(windows)), np.float32)
    for channel, (width, level) in enumerate(windows):
        low, high = level - width / 2, level + width / 2
        for index, hu in enumerate(slices):
            values = np.clip(hu.astype(np.float64), low, high)
            mean, deviation = values.mean(), values.std()
            scale = 1 / deviation if values.min() < values.max() else 0.0
            result[index, ..., channel] = (values - mean) * scale
            padding[index, channel] = (min(max(outside, low), high) - mean) * scale
    return result, padding
