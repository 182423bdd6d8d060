"""Generated knees in two qDESS echoes with known tissue and T2 (in place of scans, section 2.1.1).

Signal of a tissue: S1 = gain * shading * proton density * `qdess.echo1_signal`, S2 = S1 * `qdess.echo_ratio`. The ratio
takes T1 = 1200 ms for every tissue, so that the analytic T2 formula with that T1 returns the known T2 from noise-free
voxels that hold one tissue; voxels on a border in the sagittal plane mix the signals of both sides. Noise is Rician.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from inpaint_ssl.data.phantom.anatomy import Knee, Tissue, draw_knee, structures
from inpaint_ssl.data.phantom.generated import GeneratedDataset, centred_scan
from inpaint_ssl.data.phantom.shapes import Array, covered, wave_field
from inpaint_ssl.data.scan import Scan, ScanEntry
from inpaint_ssl.qdess import QdessSequence, echo1_signal, echo_ratio

SEQUENCE = QdessSequence(tr_ms=25.0, te_ms=8.0, flip_angle_deg=30.0, spoiler_area=3132.0, spoiler_duration_us=1560.0)
FIELD_OF_VIEW_MM = (104.0, 160.0, 160.0)  # along X, Y, Z, whatever the number of voxels
CHUNK_VOXELS = 1 << 19  # slices are rendered in groups of about this many voxels, to bound memory

# tissue: proton density, its texture (relative), T1 ms, lowest and highest mean T2 ms of a subject
TISSUES: Mapping[Tissue, tuple[float, float, float, float, float]] = {
    Tissue.PATELLAR_CARTILAGE: (0.78, 0.05, 1200.0, 30.0, 45.0),
    Tissue.FEMORAL_CARTILAGE: (0.78, 0.05, 1200.0, 30.0, 45.0),
    Tissue.TIBIAL_CARTILAGE: (0.75, 0.05, 1200.0, 30.0, 45.0),
    Tissue.MENISCUS: (0.50, 0.10, 1000.0, 12.0, 18.0),
    Tissue.BONE_MARROW: (0.80, 0.14, 365.0, 50.0, 70.0),
    Tissue.CORTICAL_BONE: (0.12, 0.00, 1000.0, 6.0, 9.0),
    Tissue.SUBCUTANEOUS_FAT: (0.95, 0.10, 365.0, 50.0, 70.0),
    Tissue.DEEP_FAT: (0.85, 0.12, 365.0, 50.0, 70.0),
    Tissue.HOFFA_FAT: (0.80, 0.14, 365.0, 50.0, 70.0),
    Tissue.MUSCLE: (0.72, 0.12, 1400.0, 29.0, 36.0),
    Tissue.FLUID: (0.85, 0.00, 4000.0, 250.0, 500.0),
    Tissue.LIGAMENT: (0.35, 0.10, 900.0, 9.0, 14.0),
    Tissue.BLOOD: (0.45, 0.05, 1700.0, 90.0, 140.0),
}
FATS = (Tissue.BONE_MARROW, Tissue.SUBCUTANEOUS_FAT, Tissue.DEEP_FAT, Tissue.HOFFA_FAT)
T2_VARIATION = 0.12  # largest relative deviation of T2 from the tissue's mean inside one subject


@dataclass(frozen=True)
class PhantomTruth:
    """What one generated scan is made of; arrays (X, Y, Z) in RAS.

    tissue: uint8 `Tissue` index at the voxel centre; t2_ms: float32 T2 of that tissue there (0 in air); pure: bool, the
    voxel holds one tissue only, so that its noise-free signal gives exactly t2_ms; shading: float32 coil sensitivity;
    lateral: bool (X, 1, 1), the slice lies lateral of the knee's middle; medial_direction: "L" or "R" of the patient,
    towards which the knee's medial side lies ("L" for a right knee).
    """

    tissue: Array
    t2_ms: Array
    pure: Array
    shading: Array
    lateral: Array
    medial_direction: str


class PhantomDataset(GeneratedDataset):
    """Generated knees as a `ScanReader`: subjects phantom_0000, phantom_0001, ...; the unlabelled ones come last.

    subjects, unlabelled_subjects: how many; size: voxels (superior-inferior, anterior-posterior) of a sagittal slice;
    slices: sagittal slices; snr: mean noise-free echo-1 signal of femoral cartilage over the standard deviation of the
    noise in each of the two quadrature channels, inf for none. A subject depends on (seed, its number) alone and shows
    the same anatomy at every size; all four classes are present from 32 x 32 voxels and 8 slices on. Raises InputError
    for values out of range.
    """

    name = "knee_phantom"
    channel_names: tuple[str, ...] = ("echo1", "echo2")
    labels: Mapping[str, int] = {
        "patellar_cartilage": int(Tissue.PATELLAR_CARTILAGE),
        "femoral_cartilage": int(Tissue.FEMORAL_CARTILAGE),
        "tibial_cartilage": int(Tissue.TIBIAL_CARTILAGE),
        "meniscus": int(Tissue.MENISCUS),
    }

    def __init__(
        self,
        *,
        subjects: int,
        unlabelled_subjects: int,
        size: tuple[int, int] = (96, 96),
        slices: int = 24,
        seed: int = 0,
        snr: float = 20.0,
    ) -> None:
        super().__init__(
            "phantom",
            subjects=subjects,
            unlabelled_subjects=unlabelled_subjects,
            size=size,
            seed=seed,
            snr=snr,
            counts={"slices": (slices, 1)},
        )
        self._shape = (int(slices), self._size[1], self._size[0])
        self.spacing_mm = tuple(fov / n for fov, n in zip(FIELD_OF_VIEW_MM, self._shape, strict=True))

    def settings(self) -> Mapping[str, Any]:
        """Everything that a generated scan depends on."""
        return {"reader": "phantom", "version": 2, "size": self._size, "slices": self._shape[0], "seed": self._seed,
                "snr": self._snr}  # fmt: skip

    def stored_dtype(self, entry: ScanEntry) -> np.dtype:
        """Whole numbers, which need not fit 16 bits; without noise the exact signal."""
        return np.dtype(np.int32 if math.isfinite(self._snr) else np.float32)

    def read(self, entry: ScanEntry) -> Scan:
        """Generate one scan."""
        return self.read_with_truth(entry)[0]

    def truth(self, entry: ScanEntry) -> PhantomTruth:
        """Tissue, T2, purity, shading and side of every voxel of the scan that `read` gives for this entry."""
        return self._render(entry)[2]

    def read_with_truth(self, entry: ScanEntry) -> tuple[Scan, PhantomTruth]:
        """What `read` and `truth` give, generated once."""
        rng, signal, truth = self._render(entry)
        if math.isfinite(self._snr):
            sigma = float(signal[..., 0][truth.tissue == Tissue.FEMORAL_CARTILAGE].mean()) / self._snr
            noise = rng.standard_normal((*signal.shape, 2), dtype=np.float32) * np.float32(sigma)
            # Whole numbers, as a scanner stores them: the last bits of a float differ between processors.
            signal = np.rint(np.hypot(signal + noise[..., 0], noise[..., 1])).astype(np.int32)
        label = np.where(truth.tissue <= Tissue.MENISCUS, truth.tissue, 0).astype(np.uint8) if entry.has_label else None
        sx, sy, sz = self.spacing_mm
        acquisition = {**SEQUENCE.as_acquisition(), "medial_direction": truth.medial_direction, **self._person(entry)}
        return centred_scan(entry, signal, label, (sx, sy, sz), acquisition), truth

    def _render(self, entry: ScanEntry) -> tuple[np.random.Generator, Array, PhantomTruth]:
        """Noise-free image (X, Y, Z, 2), its truth, and the generator that goes on to draw the noise."""
        rng = self._generator(entry)
        knee = draw_knee(rng)
        right = bool(rng.integers(2))
        grid = zip(self._shape, self.spacing_mm, strict=True)
        x_mm, y_mm, z_mm = ((np.arange(n) - (n - 1) / 2.0) * step for n, step in grid)
        points = (x_mm, y_mm, z_mm)
        contrast = _draw_contrast(rng)
        warp_a = 2.5 * wave_field(rng, points, (28.0, 70.0), 6)
        warp_s = 2.5 * wave_field(rng, points, (28.0, 70.0), 6)
        smooth = np.clip(1.6 * wave_field(rng, points, (20.0, 60.0), 8), -1.0, 1.0)
        texture = np.clip(1.6 * wave_field(rng, points, (4.0, 14.0), 16), -1.0, 1.0)
        shading = np.exp(contrast.shading * wave_field(rng, points, (180.0, 400.0), 4))
        signal = np.zeros((*self._shape, 2), np.float32)
        tissue, t2_ms = np.zeros(self._shape, np.uint8), np.zeros(self._shape, np.float32)
        pure, lateral = np.ones(self._shape, np.bool_), np.empty((self._shape[0], 1, 1), np.bool_)
        step = max(1, CHUNK_VOXELS // (self._shape[1] * self._shape[2]))
        for first in range(0, self._shape[0], step):
            part = slice(first, first + step)
            x, a, s = _knee_coordinates(knee, right, (x_mm[part], y_mm, z_mm))
            lateral[part] = x > 0.0
            a, s = a + warp_a[part], s + warp_s[part]
            pixel = max(self.spacing_mm[1:]) / knee.scale
            known = (tissue[part], t2_ms[part], pure[part])
            _paint(knee, contrast, (x, a, s), pixel, smooth[part], texture[part], signal[part], known)
        signal *= (contrast.gain * shading)[..., None]
        return rng, signal, PhantomTruth(tissue, t2_ms, pure, shading, lateral, "L" if right else "R")


@dataclass(frozen=True)
class _Contrast:
    """Random contrast of one subject: density, texture, T1 and T2 by tissue; scanner gain; strength of shading."""

    tissues: Mapping[Tissue, tuple[float, float, float, float]]
    gain: float
    shading: float


def _draw_contrast(rng: np.random.Generator) -> _Contrast:
    # Fat is suppressed to a different degree in every subject, which moves bone and fat across the level of cartilage.
    fat_signal = rng.uniform(0.12, 0.42)
    tissues = {}
    for tissue, (density, texture, t1, low, high) in TISSUES.items():
        density *= rng.uniform(0.85, 1.15) * (fat_signal if tissue in FATS else 1.0)
        tissues[tissue] = (density, texture, t1 * rng.uniform(0.9, 1.1), rng.uniform(low, high))
    return _Contrast(tissues, gain=1e4 * 2.0 ** rng.uniform(-1.5, 1.5), shading=rng.uniform(0.3, 0.8))


def _knee_coordinates(knee: Knee, right: bool, points: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
    """Position in the knee of every grid point: x (X, 1, 1), a and s (X, Y, Z), float32 mm."""
    x, y, z = ((axis - move).astype(np.float32) / knee.scale for axis, move in zip(points, knee.shift, strict=True))
    x = (x if right else -x)[:, None, None]
    y, z = y[None, :, None], z[None, None, :]
    a = y * math.cos(knee.tilt) + z * math.sin(knee.tilt) + x * knee.turn
    return x, a, -y * math.sin(knee.tilt) + z * math.cos(knee.tilt)


def _paint(
    knee: Knee,
    contrast: _Contrast,
    coordinates: tuple[Array, Array, Array],
    pixel: float,
    smooth: Array,
    texture: Array,
    signal: Array,
    known: tuple[Array, Array, Array],
) -> None:
    """Paint all structures into one group of slices; a border is one pixel wide and mixes the signals of both sides.

    known: tissue, T2 and purity, written as signal is.
    """
    smooth, texture, signal = smooth.reshape(-1), texture.reshape(-1), signal.reshape(-1, 2)
    tissue_map, t2_map, pure = (array.reshape(-1) for array in known)
    for tissue, distance in structures(knee, *coordinates):
        density, variation, t1, mean_t2 = contrast.tissues[tissue]
        where, alpha = covered(distance, pixel)
        t2 = mean_t2 * (1.0 + T2_VARIATION * smooth[where])
        echo1 = density * (1.0 + variation * texture[where]) * echo1_signal(t2, t1, SEQUENCE)
        keep = 1.0 - alpha
        signal[where, 0] = keep * signal[where, 0] + alpha * echo1
        signal[where, 1] = keep * signal[where, 1] + alpha * echo1 * echo_ratio(t2, SEQUENCE)
        pure[where] = alpha >= 1.0
        inside = alpha > 0.5
        tissue_map[where[inside]] = tissue
        t2_map[where[inside]] = t2[inside]
