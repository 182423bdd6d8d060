"""Whether two slices show the same image: small descriptions for comparing all with all, and a look at full resolution.

Anatomy makes slices of different people alike in the large, so only what is fine counts. A slice is clipped to the
intensities of its scan's foreground, brought to GRID x GRID pixels, and described by KEPT x KEPT coefficients of its
cosine transform, damped where they are coarse; correlation of such descriptions survives another scale or offset of the
intensities, moderate noise, gamma and JPEG. A shift by a pixel is a linear map of the coefficients.
"""

import functools

import numpy as np
from scipy import ndimage
from scipy.fft import dct

GRID, KEPT = 64, 32
_COARSE = 3.0  # grid pixels: standard deviation of the Gaussian whose part of a slice is left out
_FINE_PX = 1.5  # pixels: the same at full resolution
_MARGIN = 2  # pixels of shift that are tried at full resolution


def area_matrix(n: int, size: int) -> np.ndarray:
    """(size, n): pixels become means over equal parts of a line of n pixels."""
    edges = np.linspace(0, n, size + 1)
    low, high, pixel = edges[:-1, None], edges[1:, None], np.arange(n)[None]
    overlap = np.clip(np.minimum(pixel + 1, high) - np.maximum(pixel, low), 0, None)
    return (overlap / overlap.sum(axis=1, keepdims=True)).astype(np.float32)


def resize(slices: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(..., rows, columns) as float32 (..., *size), by areas."""
    rows, columns = slices.shape[-2:]
    return area_matrix(rows, size[0]) @ slices.astype(np.float32) @ area_matrix(columns, size[1]).T


def foreground_window(image: np.ndarray) -> tuple[float, float]:
    """The range of intensities of a scan that is not background: (low, high), low < high unless it is constant.

    Foreground is above the mean, taken after the rarest values at both ends are clipped.
    """
    values = np.asarray(image, np.float32).ravel()
    values = values[:: max(1, values.size // 400_000)]
    values = np.clip(values, *np.percentile(values, (0.5, 99.5)))
    foreground = values[values > values.mean(dtype=np.float64)]
    if not foreground.size:
        return float(values.min()), float(values.max())
    low, high = np.percentile(foreground, (0.5, 99.5))
    return float(low), float(high)


@functools.cache
def _cosines() -> np.ndarray:
    return dct(np.eye(GRID), axis=0, norm="ortho")[:KEPT].astype(np.float32)


@functools.cache
def _fineness() -> np.ndarray:
    """(KEPT, KEPT) share of each coefficient that is left after the coarse part is taken away."""
    frequency = np.square(np.pi * np.arange(KEPT) / GRID)
    return (1 - np.exp(-(frequency[:, None] + frequency[None]) * _COARSE**2 / 2)).astype(np.float32)


def coefficients(slices: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """(S, rows, columns) of one scan as float16 (S, KEPT, KEPT)."""
    low, high = window
    clipped = (np.clip(slices.astype(np.float32), low, high) - low) / max(high - low, 1e-30)
    return (_cosines() @ resize(clipped, (GRID, GRID)) @ _cosines().T).astype(np.float16)


def descriptors(coefs: np.ndarray, kept: int) -> np.ndarray:
    """Coefficients (S, KEPT, KEPT) as unit vectors float32 (S, kept * kept), whose products are correlations."""
    fine = (coefs[:, :kept, :kept].astype(np.float32) * _fineness()[:kept, :kept]).reshape(len(coefs), kept * kept)
    return fine / np.maximum(np.linalg.norm(fine, axis=1, keepdims=True), 1e-9)


@functools.lru_cache(maxsize=1024)
def shift_matrix(pixels: int, n: int) -> np.ndarray:
    """(KEPT, KEPT): what moving a slice of n pixels along an axis by some of them does to its coefficients there."""
    position = np.clip(np.arange(GRID) - pixels * GRID / n, 0, GRID - 1)
    below = np.minimum(position.astype(int), GRID - 2)
    move = np.zeros((GRID, GRID), np.float32)
    move[np.arange(GRID), below] += 1 - (position - below)
    move[np.arange(GRID), below + 1] += position - below
    full = dct(np.eye(GRID), axis=0, norm="ortho").astype(np.float32)
    return full[:KEPT] @ move @ full[:KEPT].T


def shifted(coefs: np.ndarray, rows: int, columns: int, size: tuple[int, int]) -> np.ndarray:
    """Coefficients (S, KEPT, KEPT) of slices of `size` pixels after a shift by some rows and columns."""
    moved = shift_matrix(rows, size[0]) @ coefs.astype(np.float32) @ shift_matrix(columns, size[1]).T
    return np.asarray(moved, np.float32)


def full_correlation(
    first: np.ndarray, second: np.ndarray, windows: tuple[tuple[float, float], tuple[float, float]]
) -> float:
    """Correlation of the fine structure of two slices at the smaller one's resolution, best of shifts by 0 to 2 pixels.

    windows: foreground_window of each slice's scan.
    """
    rows, columns = (min(a, b) for a, b in zip(first.shape, second.shape, strict=True))
    fine = []
    for image, (low, high) in zip((first, second), windows, strict=True):
        clipped = (np.clip(image.astype(np.float32), low, high) - low) / max(high - low, 1e-30)
        small = clipped if clipped.shape == (rows, columns) else resize(clipped, (rows, columns))
        fine.append(small - ndimage.gaussian_filter(small, _FINE_PX))
    m = _MARGIN
    inner = fine[0][m : rows - m, m : columns - m]
    if min(inner.shape) < 2:
        return 0.0
    moves = [(y, x) for y in range(2 * m + 1) for x in range(2 * m + 1)]
    return max(_correlation(inner, fine[1][y : y + inner.shape[0], x : x + inner.shape[1]]) for y, x in moves)


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    a, b = first - first.mean(), second - second.mean()
    return float((a * b).sum() / max(float(np.sqrt(np.square(a).sum() * np.square(b).sum())), 1e-12))
