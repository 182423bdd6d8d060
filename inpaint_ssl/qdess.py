"""Signal equations of quantitative double-echo steady state (qDESS), the paper's knee sequence (section 2.1.1).

The T2 estimate is the analytic one of Sveinsson et al. 2017, which the paper uses for its mean T2 values (section 2.7):

    dk = gamma G T_g        E = exp(-TR/T1 - TR dk^2 D)        k = sin^2(a/2) (1 + E) / (1 - cos(a) E)
    c  = (TR - T_g/3) dk^2 D        T2 = -2 (TR - TE) / (ln(|S2/S1| / k) + c)

Everything is float64. T2 values are returned as the formula gives them; which of them are valid is decided elsewhere.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inpaint_ssl.errors import InputError

GAMMA_RAD_PER_GAUSS_S = 2.0 * np.pi * 4258.0  # gyromagnetic ratio of the proton
T1_CARTILAGE_MS = 1200.0  # the paper's T1, for cartilage and meniscus


@dataclass(frozen=True)
class QdessSequence:
    """Settings of one qDESS acquisition.

    tr_ms: repetition time; te_ms: echo time of echo 1; flip_angle_deg; spoiler_area and spoiler_duration_us: GE private
    tags 0019,10B6 and 0019,10B7 (duration in microseconds); diffusivity_m2_per_s: apparent diffusivity of the tissue.
    Raises InputError (a ValueError) for a flip angle whose half has no sine, a missing spoiler and times out of order.
    """

    tr_ms: float
    te_ms: float
    flip_angle_deg: float
    spoiler_area: float
    spoiler_duration_us: float
    diffusivity_m2_per_s: float = 1.25e-9

    def __post_init__(self) -> None:
        if not (0.0 <= self.te_ms < self.tr_ms < np.inf and self.tr_ms >= 1.0):
            raise InputError(
                f"te_ms {self.te_ms} and tr_ms {self.tr_ms}: expected 0 <= te_ms < tr_ms and a tr_ms of 1 or "
                "more; check the units (ms)"
            )
        if not abs(np.sin(np.deg2rad(self.flip_angle_deg) / 2.0)) > 1e-6:
            raise InputError(
                f"flip_angle_deg {self.flip_angle_deg}: sin(a/2) is 0, T2 is undefined; give the angle in degrees"
            )
        for key in ("spoiler_area", "spoiler_duration_us"):
            if not 0.0 < getattr(self, key) < np.inf:
                raise InputError(
                    f"{key} {getattr(self, key)}: expected a positive number; give the spoiler gradient of the scan"
                )
        if not 0.0 <= self.diffusivity_m2_per_s < 1e-6:
            raise InputError(
                f"diffusivity_m2_per_s {self.diffusivity_m2_per_s}: expected m^2/s in [0, 1e-6), for example 1.25e-9"
            )

    @classmethod
    def from_acquisition(cls, acquisition: Mapping[str, float | str]) -> "QdessSequence":
        """Take the settings from `Scan.acquisition`, ignoring other keys; InputError names a key that is missing."""
        names = [field.name for field in fields(cls)]
        given = {name: acquisition[name] for name in names if name in acquisition}
        text = [name for name, value in given.items() if isinstance(value, str)]
        if text:
            raise InputError(f"acquisition: {text[0]} is {given[text[0]]!r}, expected a number; correct the metadata")
        known = {name: float(value) for name, value in given.items()}
        missing = [name for name in names if name not in known and name != "diffusivity_m2_per_s"]
        if missing:
            raise InputError(
                f"acquisition lacks {', '.join(missing)}: needed for T2 from qDESS; add it to the scan's metadata"
            )
        return cls(**known)

    def as_acquisition(self) -> dict[str, float]:
        """The settings as a mapping for `Scan.acquisition`."""
        return asdict(self)


def dephasing_rad_per_m(spoiler_area: float, spoiler_duration_us: float) -> float:
    """Dephasing dk that the spoiler gradient leaves, in rad/m."""
    gauss_per_m = spoiler_area / spoiler_duration_us * 100.0
    return GAMMA_RAD_PER_GAUSS_S * gauss_per_m * spoiler_duration_us * 1e-6


def _k_and_c(sequence: QdessSequence, t1_ms: ArrayLike) -> tuple[NDArray[np.float64], float]:
    """k (shape of t1_ms) and c of the analytic estimate."""
    t1 = np.asarray(t1_ms, np.float64)
    if not np.all(t1 > 0.0):
        raise InputError(f"t1_ms {np.min(t1)}: expected positive times; for cartilage give {T1_CARTILAGE_MS:.0f}")
    tr_s, spoiler_s = sequence.tr_ms * 1e-3, sequence.spoiler_duration_us * 1e-6
    dk = dephasing_rad_per_m(sequence.spoiler_area, sequence.spoiler_duration_us)
    dk2_d = dk**2 * sequence.diffusivity_m2_per_s
    angle = np.deg2rad(sequence.flip_angle_deg)
    e = np.exp(-sequence.tr_ms / t1 - tr_s * dk2_d)
    k = np.sin(angle / 2.0) ** 2 * (1.0 + e) / (1.0 - np.cos(angle) * e)
    return np.asarray(k), (tr_s - spoiler_s / 3.0) * dk2_d


def echo_ratio(t2_ms: ArrayLike, sequence: QdessSequence, t1_ms: ArrayLike = T1_CARTILAGE_MS) -> NDArray[np.float64]:
    """|S2/S1| of a tissue: the inverse of `t2_ms_from_ratio`. T2 (any shape) must be positive, else InputError."""
    t2 = np.asarray(t2_ms, np.float64)
    if not np.all(t2 > 0.0):
        raise InputError(f"t2_ms {np.min(t2)}: expected positive times")
    k, c = _k_and_c(sequence, t1_ms)
    return np.asarray(k * np.exp(-2.0 * (sequence.tr_ms - sequence.te_ms) / t2 - c))


def t2_ms_from_ratio(
    ratio: ArrayLike, sequence: QdessSequence, t1_ms: ArrayLike = T1_CARTILAGE_MS
) -> NDArray[np.float64]:
    """T2 in ms from |S2/S1| (any shape), with no limits applied.

    A ratio of 0 gives 0 ms, a negative one or NaN gives NaN, one too large for any T2 a negative or infinite value.
    """
    k, c = _k_and_c(sequence, t1_ms)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_ratio = np.log(np.asarray(ratio, np.float64) / k)
        return np.asarray(-2.0 * (sequence.tr_ms - sequence.te_ms) / (log_ratio + c))


def echo1_signal(t2_ms: ArrayLike, t1_ms: ArrayLike, sequence: QdessSequence) -> NDArray[np.float64]:
    """Echo-1 (FISP) signal for unit proton density: Gyngell 1988, Haenicke and Vogel 2003, without diffusion.

    S1 = tan(a/2) (1 - (E1 - cos a) (1 - E2^2) / sqrt(p^2 - q^2)) exp(-TE/T2), p = 1 - E1 cos a - E2^2 (E1 - cos a),
    q = E2 (1 - E1) (1 + cos a), E1 = exp(-TR/T1), E2 = exp(-TR/T2).
    """
    t2 = np.asarray(t2_ms, np.float64)
    e1 = np.exp(-sequence.tr_ms / np.asarray(t1_ms, np.float64))
    e2 = np.exp(-sequence.tr_ms / t2)
    angle = np.deg2rad(sequence.flip_angle_deg)
    cos = np.cos(angle)
    p = 1.0 - e1 * cos - e2**2 * (e1 - cos)
    q = e2 * (1.0 - e1) * (1.0 + cos)
    dephased = (1.0 - e2**2) / np.sqrt(p**2 - q**2)
    return np.asarray(np.tan(angle / 2.0) * (1.0 - (e1 - cos) * dephased) * np.exp(-sequence.te_ms / t2))
