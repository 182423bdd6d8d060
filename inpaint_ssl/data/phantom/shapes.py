"""What generated anatomies are made of: implicit functions (negative inside, about mm), painting and fields."""

import numpy as np

Array = np.ndarray


def smoothstep(low: float, high: float, value: Array) -> Array:
    """0 at `low`, 1 at `high` (which may be the smaller one), smooth between."""
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def smooth_min(p: Array, q: Array, radius: float) -> Array:
    """Union of two shapes whose seam is rounded."""
    h = np.maximum(radius - np.abs(p - q), 0.0)
    return np.minimum(p, q) - h * h / (4.0 * radius)


def smooth_max(p: Array, q: Array, radius: float) -> Array:
    """Intersection of two shapes whose edge is rounded."""
    return -smooth_min(-p, -q, radius)


def ellipse(a: Array, s: Array, half_a: float, half_s: float, cut: Array | float = 1.0) -> Array:
    """First-order distance to an ellipse that is scaled by `cut` (its section at one x)."""
    q = np.hypot(a / half_a, s / half_s)
    return q * (q - cut) / (np.hypot(a / half_a**2, s / half_s**2) + 1e-3)


def rounded_box(u: Array, v: Array, scale: Array) -> Array:
    """Scaled distance to the superellipse u^4 + v^4 = 1."""
    u2, v2 = u * u, v * v
    return (np.sqrt(np.sqrt(u2 * u2 + v2 * v2)) - 1.0) * scale


def dome(x: Array, centre: float, half_width: float) -> Array:
    """Relative size of a rounded body's section at x: 1 at its centre, 0 at its ends, negative beyond."""
    v = 1.0 - ((x - centre) / half_width) ** 2
    return np.sign(v) * np.sqrt(np.abs(v))


def tube(a: Array, s: Array, start: tuple[float, float], end: tuple[float, float], radius: Array | float) -> Array:
    """Distance to the segment start-end, given as (a, s), minus the radius."""
    da, ds = end[0] - start[0], end[1] - start[1]
    t = np.clip(((a - start[0]) * da + (s - start[1]) * ds) / (da * da + ds * ds), 0.0, 1.0)
    return np.hypot(a - start[0] - t * da, s - start[1] - t * ds) - radius


def covered(distance: Array, pixel: float) -> tuple[Array, Array]:
    """Flat indices of the pixels that a structure reaches, and its share of each; its border is one pixel wide."""
    flat = distance.reshape(-1)
    where = np.flatnonzero(flat < 0.5 * pixel)
    return where, np.minimum(0.5 - flat[where] / pixel, 1.0)


def wave_field(
    rng: np.random.Generator, points: tuple[Array, Array, Array], wavelengths_mm: tuple[float, float], n_waves: int
) -> Array:
    """Smooth random field in [-1, 1] on the grid of `points`: plane waves of random direction and phase."""
    length = rng.uniform(*wavelengths_mm, n_waves)
    direction = rng.standard_normal((3, n_waves))
    wave = 2.0 * np.pi * direction / (np.linalg.norm(direction, axis=0) * length)
    phase = rng.uniform(0.0, 2.0 * np.pi, n_waves)
    shifts = (phase, 0.0, 0.0)
    x, y, z = (np.exp(1j * (u[:, None] * k + d)) for u, k, d in zip(points, wave, shifts, strict=True))
    xy = x[:, None, :] * y[None, :, :] / n_waves
    # Real part of the product; einsum, not matmul, so that the result does not depend on the number of BLAS threads.
    left = np.concatenate([xy.real, -xy.imag], axis=-1, dtype=np.float32)
    right = np.concatenate([z.real, z.imag], axis=-1, dtype=np.float32)
    return np.einsum("xyk,zk->xyz", left, right)
