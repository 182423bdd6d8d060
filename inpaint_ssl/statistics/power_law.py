"""error = scale * n^-exponent + floor, fitted to many sets of points at once. No jax here."""

from dataclasses import dataclass

import numpy as np

_STEP = 0.05
_FREE = np.arange(-40, 81) * _STEP  # exponents tried first; a curve without a floor may also rise
_FALLING = np.arange(1, 81) * _STEP - 0.03
_SHRINK = (5**0.5 - 1) / 2
_ITERATIONS = 45  # the bracket ends 4e-11 wide


@dataclass(frozen=True)
class PowerLaws:
    """One curve per set of points, arrays (sets,): error = scale * n^-exponent + floor; scale or floor can be 0."""

    scale: np.ndarray
    exponent: np.ndarray
    floor: np.ndarray

    def error(self, n: np.ndarray) -> np.ndarray:
        """Errors (sets, numbers) of every curve at every number of labelled subjects in `n` (numbers,)."""
        logs = np.log(np.asarray(n, dtype=np.float64))
        return self.scale[:, None] * np.exp(-self.exponent[:, None] * logs) + self.floor[:, None]

    def mean_exponent(self, first: float, last: float) -> np.ndarray:
        """Slope (sets,) on log-log axes between two numbers of labels: the exponent itself where the floor is 0."""
        ends = np.log(self.error(np.array([first, last])))
        return (ends[:, 0] - ends[:, 1]) / np.log(last / first)

    def labels(self, error: np.ndarray) -> np.ndarray:
        """Number of labels (sets,) with which every curve comes down to its `error` (sets,).

        A curve that never does gives infinity; one that does not fall and lies below gives 0.
        """
        falls = (self.scale > 0) & (self.exponent > 0)
        with np.errstate(all="ignore"):
            n = (self.scale / (error - self.floor)) ** (1 / self.exponent)
            level = self.error(np.ones(1))[:, 0]
        reached = np.where(falls, error > self.floor, error >= level)
        return np.where(reached, np.where(falls, n, 0.0), np.inf)


def _linear_part(
    logs: np.ndarray, errors: np.ndarray, exponent: np.ndarray, with_floor: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Best scale and floor, neither negative, for given exponents, and the sum of squared relative deviations."""
    z, u = np.exp(-exponent[:, None] * logs) / errors, 1 / errors
    one = np.ones(logs.size)  # products with it are faster than sums along a short axis
    zz, z1 = np.einsum("sp,sp->s", z, z), z @ one
    scale, floor = z1 / zz, np.zeros(len(errors))
    if with_floor:
        uu, u1, zu = np.einsum("sp,sp->s", u, u), u @ one, np.einsum("sp,sp->s", z, u)
        both = zz * uu - zu * zu
        a, c = (z1 * uu - u1 * zu) / both, (u1 * zz - z1 * zu) / both
        # the optimum has both, or lies on a border: no floor, or nothing but the floor
        flat = (a <= 0) | ((c < 0) & (u1 * u1 / uu > z1 * z1 / zz))
        inside = (a > 0) & (c >= 0)
        scale = np.where(inside, a, np.where(flat, 0.0, scale))
        floor = np.where(inside, c, np.where(flat, u1 / uu, 0.0))
    deviations = 1 - scale[:, None] * z - floor[:, None] * u
    return scale, floor, np.einsum("sp,sp->s", deviations, deviations)


def fit_power_laws(n: np.ndarray, errors: np.ndarray, with_floor: bool) -> tuple[PowerLaws, np.ndarray]:
    """Least squares of the relative deviations, (error - curve) / error, and their sums of squares (sets,).

    n (points,): numbers of labelled subjects; errors (sets, points), positive. Relative, because errors and their
    spread shrink together as labels are added. For a given exponent scale and floor follow by linear least squares; the
    exponent is searched on a grid and refined by golden section, all sets at once. Exponents end at 4; with a floor
    (never negative) curves do not rise.
    """
    centre = float(np.mean(np.log(n)))
    logs, sets = np.log(n) - centre, len(errors)
    grid = _FALLING if with_floor else _FREE
    sums = [_linear_part(logs, errors, np.full(sets, b), with_floor)[2] for b in grid]
    best = grid[np.argmin(sums, axis=0)]
    low, high = np.maximum(best - _STEP, grid[0]), np.minimum(best + _STEP, grid[-1])
    for _ in range(_ITERATIONS):
        left, right = high - _SHRINK * (high - low), low + _SHRINK * (high - low)
        smaller = _linear_part(logs, errors, left, with_floor)[2] <= _linear_part(logs, errors, right, with_floor)[2]
        low, high = np.where(smaller, low, left), np.where(smaller, right, high)
    exponent = (low + high) / 2
    scale, floor, sum_of_squares = _linear_part(logs, errors, exponent, with_floor)
    return PowerLaws(scale * np.exp(exponent * centre), exponent, floor), sum_of_squares
