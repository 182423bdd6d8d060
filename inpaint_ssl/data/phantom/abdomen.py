"""Generated CT slices of the abdomen at L3 with known tissue and HU (in place of scans, section 2.1.2).

HU of a pixel: that of its tissue, mixed on borders, plus shading as beam hardening leaves it, plus noise, rounded and
clipped at -1024 as a scanner does.
"""

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import fft

from inpaint_ssl.data.phantom.abdomen_anatomy import Abdomen, draw_abdomen
from inpaint_ssl.data.phantom.abdomen_anatomy import AbdomenTissue as Tissue
from inpaint_ssl.data.phantom.abdomen_structures import Structure, body, structures, table
from inpaint_ssl.data.phantom.generated import GeneratedDataset, centred_scan
from inpaint_ssl.data.phantom.shapes import Array, covered, wave_field
from inpaint_ssl.data.scan import Scan, ScanEntry

SLICE_MM = 5.0
LOWEST_HU = -1024
CONTRAST_HU = 150.0  # muscle over subcutaneous fat; over the noise it is `snr`
AVERAGE_WIDTH_MM = 265.0  # geometric mean of the axes of a body whose noise is the stated one

# tissue: lowest and highest mean HU of a subject, the same in the venous phase, texture in HU. Muscle and visceral fat
# follow the subject (_draw_hu).
TISSUES: Mapping[Tissue, tuple[float, float, float, float, float]] = {
    Tissue.MUSCLE: (30.0, 65.0, 30.0, 65.0, 7.0),
    Tissue.SUBCUTANEOUS_FAT: (-115.0, -85.0, -115.0, -85.0, 6.0),
    Tissue.VISCERAL_FAT: (-105.0, -80.0, -105.0, -80.0, 7.0),
    Tissue.INTRAMUSCULAR_FAT: (-95.0, -70.0, -95.0, -70.0, 7.0),
    Tissue.SKIN: (10.0, 50.0, 10.0, 50.0, 0.0),
    Tissue.FASCIA: (0.0, 40.0, 0.0, 40.0, 0.0),
    Tissue.CORTICAL_BONE: (500.0, 900.0, 500.0, 900.0, 60.0),
    Tissue.TRABECULAR_BONE: (120.0, 250.0, 120.0, 250.0, 45.0),
    Tissue.SPINAL_CANAL: (15.0, 30.0, 15.0, 30.0, 5.0),
    Tissue.KIDNEY: (25.0, 35.0, 150.0, 200.0, 8.0),
    Tissue.LIVER: (50.0, 65.0, 90.0, 120.0, 5.0),
    Tissue.BOWEL_WALL: (30.0, 45.0, 60.0, 95.0, 6.0),
    Tissue.BOWEL_CONTENT: (5.0, 40.0, 5.0, 40.0, 14.0),
    Tissue.ORAL_CONTRAST: (180.0, 380.0, 180.0, 380.0, 30.0),
    Tissue.STOOL: (-20.0, 50.0, -20.0, 50.0, 90.0),
    Tissue.GAS: (-950.0, -850.0, -950.0, -850.0, 0.0),
    Tissue.BLOOD: (38.0, 48.0, 130.0, 200.0, 0.0),
    Tissue.CALCIFICATION: (400.0, 900.0, 400.0, 900.0, 0.0),
    Tissue.EPIDURAL_FAT: (-105.0, -80.0, -105.0, -80.0, 0.0),
    Tissue.TABLE: (-150.0, 50.0, -150.0, 50.0, 0.0),
}


@dataclass(frozen=True)
class AbdomenTruth:
    """What one generated slice is made of; arrays (X, Y, 1) in RAS.

    tissue: uint8 `AbdomenTissue` index at the pixel's centre; hu: float32 HU without shading and noise; pure: bool, the
    pixel holds one tissue only; shading_hu, noise_hu: float32, what is added to hu, and the standard deviation of the
    noise. mean_hu: of each tissue as drawn, around which its texture varies; not what a mask measures, as borders mix
    neighbours. label_hu: what a perfect mask of each of the four classes measures without noise, the mean of
    hu + shading_hu over its pixels. area_mm2: of each tissue that is there, counted in pixels. spacing_mm along X, Y
    and Z; field_of_view_mm along X and Y.
    """

    tissue: Array
    hu: Array
    pure: Array
    shading_hu: Array
    noise_hu: Array
    mean_hu: Mapping[Tissue, float]
    label_hu: Mapping[Tissue, float]
    area_mm2: Mapping[Tissue, float]
    spacing_mm: tuple[float, float, float]
    field_of_view_mm: tuple[float, float]


class AbdomenPhantom(GeneratedDataset):
    """Generated abdomens as a `ScanReader`: subjects abdomen_0000, ... of one axial slice; unlabelled ones come last.

    subjects, unlabelled_subjects: how many, by default more without labels, as in the paper; size: (rows, columns) of a
    slice, whose square pixels are the subject's field of view over the shorter side; snr: 150 HU (muscle over fat) over
    the standard deviation of the noise in the middle of an average body, inf for none. A subject depends on (seed, its
    number) alone and shows the same anatomy at every size; all four classes are present from 64 x 64 pixels on. Raises
    InputError for values out of range.
    """

    name = "abdomen_phantom"
    channel_names: tuple[str, ...] = ("CT",)
    labels: Mapping[str, int] = {
        "muscle": int(Tissue.MUSCLE),
        "subcutaneous_fat": int(Tissue.SUBCUTANEOUS_FAT),
        "visceral_fat": int(Tissue.VISCERAL_FAT),
        "intramuscular_fat": int(Tissue.INTRAMUSCULAR_FAT),
    }

    def __init__(
        self,
        *,
        subjects: int = 40,
        unlabelled_subjects: int = 350,
        size: tuple[int, int] = (96, 96),
        seed: int = 0,
        snr: float = 20.0,
    ) -> None:
        super().__init__(
            "abdomen",
            subjects=subjects,
            unlabelled_subjects=unlabelled_subjects,
            size=size,
            seed=seed,
            snr=snr,
            counts={},
        )

    def settings(self) -> Mapping[str, Any]:
        """Everything that a generated slice depends on."""
        return {"reader": "abdomen_phantom", "version": 3, "size": self._size, "seed": self._seed, "snr": self._snr}

    def stored_dtype(self, entry: ScanEntry) -> np.dtype:
        """Whole HU, as a scanner stores them."""
        return np.dtype(np.int16)

    def read(self, entry: ScanEntry) -> Scan:
        """Generate one slice."""
        return self.read_with_truth(entry)[0]

    def truth(self, entry: ScanEntry) -> AbdomenTruth:
        """Tissue, HU, purity, shading and noise of the slice that `read` gives for this entry."""
        return self._render(entry)[1]

    def read_with_truth(self, entry: ScanEntry) -> tuple[Scan, AbdomenTruth]:
        """What `read` and `truth` give, generated once."""
        rng, truth = self._render(entry)
        hu = truth.hu + truth.shading_hu
        if math.isfinite(self._snr):
            hu = hu + truth.noise_hu * _noise(rng, hu.shape[:2])[..., None]
        image = np.maximum(np.rint(hu), LOWEST_HU).astype(np.int16)
        label = np.where(truth.tissue <= Tissue.INTRAMUSCULAR_FAT, truth.tissue, 0).astype(np.uint8)
        shown = label if entry.has_label else None
        return centred_scan(entry, image[..., None], shown, truth.spacing_mm, self._person(entry)), truth

    def _render(self, entry: ScanEntry) -> tuple[np.random.Generator, AbdomenTruth]:
        """The truth of a slice, and the generator that goes on to draw the noise."""
        rng = self._generator(entry)
        abdomen = draw_abdomen(rng)
        means = _draw_hu(rng, abdomen)
        cupping, bands = rng.uniform(2.0, 8.0), rng.uniform(3.0, 14.0)
        rows, columns = self._size
        pixel = abdomen.field_of_view / min(self._size)
        x_mm, y_mm = ((np.arange(n) - (n - 1) / 2.0) * pixel for n in (columns, rows))
        points = (x_mm, y_mm, np.zeros(1))
        flat_x, flat_y, x, y = _coordinates(abdomen, x_mm, y_mm)
        x += 3.0 * wave_field(rng, points, (60.0, 160.0), 6)[..., 0]
        y += 3.0 * wave_field(rng, points, (60.0, 160.0), 6)[..., 0]
        streaks = 1.9 * wave_field(rng, (x_mm, 0.6 * y_mm, points[2]), (16.0, 40.0), 20)[..., 0]
        texture = np.clip(1.6 * wave_field(rng, points, (3.0, 12.0), 16)[..., 0], -1.0, 1.0)
        painted = itertools.chain(table(abdomen, flat_x, flat_y), structures(abdomen, x, y, streaks))
        tissue, hu, pure = _paint(painted, means, pixel / abdomen.scale, texture)
        depth = np.maximum(-body(abdomen, x, y), 0.0) * abdomen.scale
        width = _width_mm(abdomen)
        inner = 1.0 - np.exp(-depth / (0.2 * width))
        shading = -cupping * width / AVERAGE_WIDTH_MM * inner - bands * _bands(abdomen, x, y)
        noise = CONTRAST_HU / self._snr * (width / AVERAGE_WIDTH_MM) ** 2 * (0.65 + 0.35 * inner)
        shading = np.where(depth > 0.0, shading, 0.0).astype(np.float32)
        counts = np.bincount(tissue.ravel(), minlength=len(Tissue))
        sums = np.bincount(tissue.ravel(), (hu + shading).ravel(), minlength=len(Tissue))
        return rng, AbdomenTruth(
            tissue[..., None],
            hu[..., None],
            pure[..., None],
            shading[..., None],
            noise.astype(np.float32)[..., None],
            means,
            {Tissue(label): float(sums[label] / counts[label]) for label in self.labels.values() if counts[label]},
            {tissue: float(counts[tissue] * pixel * pixel) for tissue in Tissue if counts[tissue]},
            (pixel, pixel, SLICE_MM),
            (pixel * columns, pixel * rows),
        )


def _draw_hu(rng: np.random.Generator, abdomen: Abdomen) -> dict[Tissue, float]:
    """Mean HU of each tissue: fat in the muscle lowers it, visceral fat lies a little above the subcutaneous."""
    means = {Tissue.AIR: -1000.0}
    for tissue, (low, high, low_venous, high_venous, _) in TISSUES.items():
        venous = abdomen.contrast
        means[tissue] = float(rng.uniform(low_venous, high_venous) if venous else rng.uniform(low, high))
    means[Tissue.MUSCLE] = float(np.clip(63.0 - 26.0 * abdomen.infiltration + rng.uniform(-5.0, 5.0), 30.0, 65.0))
    means[Tissue.VISCERAL_FAT] = float(np.clip(means[Tissue.SUBCUTANEOUS_FAT] + rng.uniform(2.0, 10.0), -105.0, -80.0))
    return means


def _coordinates(abdomen: Abdomen, x_mm: Array, y_mm: Array) -> tuple[Array, Array, Array, Array]:
    """Position of every grid point, float32 (X, Y), before and after the subject's turn.

    The middle of the body is that of the image.
    """
    middle = (abdomen.front + abdomen.fat[0] - 104.0 - abdomen.fat[2]) / 2.0
    x = (x_mm - abdomen.shift[0]).astype(np.float32)[:, None] / abdomen.scale
    y = (y_mm - abdomen.shift[1]).astype(np.float32)[None, :] / abdomen.scale
    cos, sin = math.cos(abdomen.turn), math.sin(abdomen.turn)
    return x, y + middle, x * cos + y * sin, -x * sin + y * cos + middle


def _paint(
    painted: Iterable[Structure], means: Mapping[Tissue, float], pixel: float, texture: Array
) -> tuple[Array, Array, Array]:
    """Tissue, HU and purity (X, Y) of all structures; a border is one pixel wide and mixes the HU of both sides."""
    shape = texture.shape
    texture = texture.reshape(-1)
    tissue_map, pure = np.zeros(texture.size, np.uint8), np.ones(texture.size, np.bool_)
    hu = np.full(texture.size, means[Tissue.AIR], np.float32)
    for tissue, distance in painted:
        where, alpha = covered(distance, pixel)
        variation = TISSUES[tissue][4] if tissue in TISSUES else 0.0
        hu[where] += alpha * (means[tissue] + variation * texture[where] - hu[where])
        pure[where] = alpha >= 1.0
        tissue_map[where[alpha > 0.5]] = tissue
    return tissue_map.reshape(shape), hu.reshape(shape), pure.reshape(shape)


def _width_mm(abdomen: Abdomen) -> float:
    """Geometric mean of the axes of the body's outline."""
    depth = abdomen.front + abdomen.fat[0] + 104.0 + abdomen.fat[2]
    return abdomen.scale * math.sqrt(2.0 * (abdomen.half_width + abdomen.fat[1]) * depth)


def _bands(abdomen: Abdomen, x: Array, y: Array) -> Array:
    """Relative depth (0 to about 1) of the dark bands that beam hardening leaves between dense parts."""
    dense = [(0.0, -28.0, 1.0), (-19.0, -61.0, 0.7), (19.0, -61.0, 0.7), (0.0, abdomen.spinous + 6.0, 0.6)]
    filled = sorted(
        (p for p in abdomen.loops if p.content == Tissue.ORAL_CONTRAST), key=lambda p: -p.half[0] * p.half[1]
    )
    dense += [(p.x, p.y, 0.8) for p in filled[:3]]
    bands = np.zeros(x.shape, np.float32)
    for (x0, y0, first), (x1, y1, second) in itertools.combinations(dense, 2):
        dx, dy, length = x1 - x0, y1 - y0, math.hypot(x1 - x0, y1 - y0)
        along = (((x - x0) * dx + (y - y0) * dy) / length**2 - 0.5) / 0.55
        across = ((x - x0) * dy - (y - y0) * dx) / (6.0 * length)
        along *= along
        bands += first * second * min(1.0, 30.0 / length) * np.exp(-across * across - along * along)
    return np.minimum(bands, 1.5) / 1.5


def _noise(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """Noise of unit variance whose power peaks between coarse and fine, as filtered back projection leaves it."""
    power = fft.rfft2(rng.standard_normal(shape, dtype=np.float32))
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :])
    gain = np.sqrt(frequency) * np.exp(-((frequency / 0.34) ** 2))
    full = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])[None, :])
    scale = math.sqrt(float(np.mean(full * np.exp(-2.0 * (full / 0.34) ** 2))))
    return np.asarray(fft.irfft2(power * (gain / scale), shape), np.float32)
