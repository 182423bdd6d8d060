"""T2 from two qDESS echoes, and the mean T2 of a tissue (paper, section 2.7); NumPy only, float64.

A voxel has no valid T2 (NaN) where an echo is not finite or negative, echo 1 is 0, or T2 lies outside closed bounds;
with fat suppression where echo 1 <= 0.15 of its maximum; with fluid suppression where echo 1 - 1.2 * echo 2 <= 0.1 of
its maximum. Both maxima are over the finite voxels of the whole scan (the rules of DOSMA). Echo 2 of 0 gives 0 ms.

Two conventions of published tools, which differ in T1 and in what becomes of voxels without a T2:
  skm_tea        left out of a mean, as are those of 0 ms; T1 is 1000 ms in menisci and 1200 ms elsewhere
  original_code  counted as 0 ms; T1 is 1200 ms everywhere
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inpaint_ssl.errors import InputError
from inpaint_ssl.qdess import T1_CARTILAGE_MS, QdessSequence, t2_ms_from_ratio

Array = np.ndarray

T1_MENISCUS_MS = 1000.0  # of SKM-TEA's own evaluator
FAT_SHARE, FLUID_WEIGHT, FLUID_SHARE = 0.15, 1.2, 0.1
INVALID: Mapping[str, str] = {"skm_tea": "excluded", "original_code": "counted as 0"}
_VOXELS = 1 << 15  # handled at once: what a core's cache holds


@dataclass(frozen=True)
class T2Settings:
    """How T2 is measured; the keys of config.clinical, explained in configs/base.py. t1_ms: of classes, by name.

    Raises InputError for an unknown convention, bounds out of order and a T1 that is no positive number.
    """

    convention: str = "skm_tea"
    bounds_ms: tuple[float, float] = (0.0, 100.0)
    suppress_fat: bool = True
    suppress_fluid: bool = True
    t1_ms: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.convention not in INVALID:
            raise InputError(f"clinical.t2_convention: got {self.convention!r}, expected one of {', '.join(INVALID)}")
        if not self.bounds_ms[0] < self.bounds_ms[1]:
            raise InputError(f"clinical.t2_bounds_ms: got {self.bounds_ms}, expected two times, the smaller one first")
        for name, t1_ms in self.t1_ms.items():
            if not 0.0 < t1_ms < math.inf:
                raise InputError(f"clinical.t1_ms: got {t1_ms} for {name!r}, expected milliseconds above 0")

    @classmethod
    def from_config(cls, clinical: Mapping[str, Any], class_names: Sequence[str]) -> "T2Settings":
        """From config.clinical, with a T1 for every class; InputError for an entry of t1_ms that fits no class."""
        chosen = _parse_t1(clinical["t1_ms"], class_names)
        low, high = clinical["t2_bounds_ms"]
        settings = cls(
            convention=clinical["t2_convention"],
            bounds_ms=(float(low), float(high)),
            suppress_fat=bool(clinical["t2_suppress_fat"]),
            suppress_fluid=bool(clinical["t2_suppress_fluid"]),
            t1_ms=chosen,
        )
        return cls(**{**vars(settings), "t1_ms": {name: settings.t1_of(name) for name in class_names}})

    @property
    def invalid(self) -> str:
        """What becomes of voxels without a valid T2 in a mean: "excluded" or "counted as 0"."""
        return INVALID[self.convention]

    def t1_of(self, class_name: str) -> float:
        """T1 in ms of a class: the one that was set, else the convention's."""
        if class_name in self.t1_ms:
            return float(self.t1_ms[class_name])
        meniscus = self.convention == "skm_tea" and "menisc" in class_name.lower()
        return T1_MENISCUS_MS if meniscus else T1_CARTILAGE_MS

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, as study.json has it under "clinical"."""
        changed = {"bounds_ms": list(self.bounds_ms), "t1_ms": dict(self.t1_ms), "invalid": self.invalid}
        return {**vars(self), **changed}


def _parse_t1(entries: Sequence[str], class_names: Sequence[str]) -> dict[str, float]:
    chosen: dict[str, float] = {}
    for entry in entries:
        name, found, number = (part.strip() for part in entry.rpartition("="))
        try:
            t1_ms = float(number)
        except ValueError:
            t1_ms = math.nan
        if not found or not 0.0 < t1_ms < math.inf:
            raise InputError(f"clinical.t1_ms: got {entry!r}, expected class=milliseconds such as 'meniscus=1000'")
        if name not in class_names:
            raise InputError(f"clinical.t1_ms: no class {name!r} (of {entry!r}); use one of: {', '.join(class_names)}")
        if name in chosen:
            raise InputError(f"clinical.t1_ms: got {name!r} twice, expected each class once; remove one")
        chosen[name] = t1_ms
    return chosen


class MeanT2(NamedTuple):
    """Mean T2 in ms of the `voxels` of a mask, of which `invalid` have no valid T2 or one of 0 ms."""

    mean_ms: float
    voxels: int
    invalid: int


class QdessT2Map:
    """T2 of one scan: what is suppressed is decided from the whole scan at once, T2 only where it is asked for.

    echo1, echo2: magnitudes, integers or floats of one shape, which may be empty. Raises InputError for other input.
    """

    def __init__(self, echo1: ArrayLike, echo2: ArrayLike, sequence: QdessSequence, settings: T2Settings) -> None:
        self._echoes = _checked(echo1), _checked(echo2)
        self.sequence, self.settings = sequence, settings
        first, second = self._echoes
        if first.shape != second.shape:
            raise InputError(
                f"echoes of shape {first.shape} and {second.shape}: expected equal shapes; give both echoes of one scan"
            )
        self._limits = _suppression_limits(first, second, settings)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the echoes."""
        return self._echoes[0].shape

    def view(self, change: Callable[[Array], Array]) -> "QdessT2Map":
        """The map of what `change` makes of each echo, such as one displayed slice; suppressed as in the whole scan."""
        other = object.__new__(QdessT2Map)
        other.sequence, other.settings, other._limits = self.sequence, self.settings, self._limits
        other._echoes = change(self._echoes[0]), change(self._echoes[1])
        return other

    def values_ms(self, mask: Array, t1_ms: float) -> NDArray[np.float64]:
        """T2 (n,) of the n voxels of a boolean mask in the order of image[mask]; NaN where invalid."""
        mask = np.asarray(mask)
        if mask.dtype != np.bool_ or mask.shape != self.shape:
            raise InputError(f"mask: got {mask.dtype} of shape {mask.shape}, expected bool of shape {self.shape}")
        return self._t2_ms(self._echoes[0][mask], self._echoes[1][mask], t1_ms)

    def mean_ms(self, mask: Array, t1_ms: float) -> MeanT2:
        """Mean T2 of a boolean mask in the settings' convention; NaN for an empty mask.

        When no voxel has a T2 above 0 ms, NaN (skm_tea) or 0 (original_code); `invalid` then equals `voxels`.
        """
        t2_ms = self.values_ms(mask, t1_ms)
        above = t2_ms[t2_ms > 0.0]  # false for NaN
        counted = len(above) if self.settings.invalid == "excluded" else len(t2_ms)
        mean = float(above.sum() / counted) if counted else math.nan
        return MeanT2(mean, len(t2_ms), len(t2_ms) - len(above))

    def labelled_ms(
        self, masks: Iterable[tuple[str, Array]], outside_t1_ms: float | None = None
    ) -> NDArray[np.float64]:
        """T2 of the echoes' shape inside boolean masks, given with their class names, each with its class's T1.

        NaN where invalid and, without outside_t1_ms, outside the masks; of masks that overlap the later one counts.
        """
        if outside_t1_ms is None:
            filled = np.full_like(self._echoes[0], np.nan, np.float64)
        else:
            filled = self.whole_ms(outside_t1_ms)
        for name, mask in masks:
            filled[mask] = self.values_ms(mask, self.settings.t1_of(name))
        return filled

    def whole_ms(self, t1_ms: ArrayLike = T1_CARTILAGE_MS) -> NDArray[np.float64]:
        """T2 of every voxel; NaN where invalid. t1_ms: one time, or an array that broadcasts to the echoes' shape."""
        first, second = self._echoes
        result = np.empty_like(first, np.float64)  # in the echoes' order of axes
        t1 = np.asarray(t1_ms, np.float64)
        if t1.ndim:
            try:
                t1 = np.broadcast_to(t1, self.shape)
            except ValueError:
                raise InputError(f"t1_ms of shape {t1.shape}: expected one time, or shape {self.shape}") from None
        for place in _places(first):
            result[place] = self._t2_ms(first[place], second[place], t1[place] if t1.ndim else t1)
        return result

    def _t2_ms(self, echo1: Array, echo2: Array, t1_ms: ArrayLike) -> NDArray[np.float64]:
        (low, high), (fat_limit, fluid_limit) = self.settings.bounds_ms, self._limits
        with np.errstate(all="ignore"):
            s1, s2 = echo1.astype(np.float64), echo2.astype(np.float64)
            ratio = s2 / s1
            t2_ms = t2_ms_from_ratio(ratio, self.sequence, t1_ms)
            # An infinite ratio would pass as -0 ms; a negative one has no logarithm.
            valid = (s1 > 0.0) & (s1 < np.inf) & (ratio < np.inf) & (t2_ms >= low) & (t2_ms <= high)
            if self.settings.suppress_fat:
                valid &= s1 > fat_limit
            if self.settings.suppress_fluid:
                valid &= s1 - FLUID_WEIGHT * s2 > fluid_limit
        t2_ms[~valid] = np.nan
        return t2_ms


def qdess_t2_ms(
    echo1: ArrayLike,
    echo2: ArrayLike,
    *,
    tr_ms: float,
    te_ms: float,
    flip_angle_deg: float,
    spoiler_area: float,
    spoiler_duration_us: float,
    t1_ms: ArrayLike = T1_CARTILAGE_MS,
    diffusivity_m2_per_s: float = 1.25e-9,
    bounds_ms: tuple[float, float] = (0.0, 100.0),
    suppress_fat: bool = False,
    suppress_fluid: bool = False,
) -> NDArray[np.float64]:
    """T2 map in ms of the shape of two qDESS echoes, float64, NaN where a voxel has no valid T2 (see the module).

    echo1, echo2: magnitudes of one whole scan, integers or floats. tr_ms ... spoiler_duration_us as in QdessSequence;
    t1_ms: one time, or an array that broadcasts to the echoes' shape. bounds_ms: closed; infinite ends set no bound.
    Suppression is off, as in DOSMA, and on in T2Settings, as in both conventions; it can take menisci with the fat.
    Raises InputError (a ValueError) for a sequence or T1 without a T2, and for echoes of other types or unequal shapes.
    """
    sequence = QdessSequence(tr_ms, te_ms, flip_angle_deg, spoiler_area, spoiler_duration_us, diffusivity_m2_per_s)
    settings = T2Settings(bounds_ms=bounds_ms, suppress_fat=suppress_fat, suppress_fluid=suppress_fluid)
    return QdessT2Map(echo1, echo2, sequence, settings).whole_ms(t1_ms)


def _checked(echo: ArrayLike) -> Array:
    array = np.asarray(echo)
    if array.dtype.kind not in "iuf":
        raise InputError(f"echo of type {array.dtype}: expected magnitudes as integers or floats")
    return array


def _suppression_limits(echo1: Array, echo2: Array, settings: T2Settings) -> tuple[float, float]:
    """What echo 1, and echo 1 - 1.2 * echo 2, must exceed; -inf where that is not asked for."""
    highest = np.full(2, -np.inf)
    if settings.suppress_fat or settings.suppress_fluid:
        for place in _places(echo1):
            s1, s2 = echo1[place].astype(np.float64), echo2[place].astype(np.float64)
            with np.errstate(all="ignore"):
                found = s1, s1 - FLUID_WEIGHT * s2
            highest = np.maximum(highest, [_finite_max(np.asarray(values)) for values in found])
    return (
        FAT_SHARE * highest[0] if settings.suppress_fat else -math.inf,
        FLUID_SHARE * highest[1] if settings.suppress_fluid else -math.inf,
    )


def _finite_max(values: Array) -> float:
    largest = float(values.max(initial=-np.inf))
    return largest if math.isfinite(largest) else float(values[np.isfinite(values)].max(initial=-np.inf))


def _places(array: Array) -> Iterator[tuple[Any, ...]]:
    """Indices of parts of about _VOXELS voxels, which lie together in memory."""
    axes = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
    return _split(array.shape, axes, [slice(None)] * array.ndim)


def _split(shape: tuple[int, ...], axes: list[int], place: list[Any]) -> Iterator[tuple[Any, ...]]:
    """Parts of an array, cut along `axes` in turn until they are small."""
    rest = math.prod(shape[axis] for axis in axes[1:])
    if not axes or rest * shape[axes[0]] <= _VOXELS:
        yield (*place, ...)  # so that a part of no axes is an array too
        return
    step = max(1, _VOXELS // max(rest, 1))
    for start in range(0, shape[axes[0]], step):
        place[axes[0]] = slice(start, start + step)
        yield from _split(shape, axes[1:], place) if rest > _VOXELS else [(*place, ...)]
