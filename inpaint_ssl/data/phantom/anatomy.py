"""Anatomy of the generated knee: implicit functions (negative inside, about millimetres) of every structure.

Knee coordinates in mm: x towards lateral, a towards anterior, s towards superior; the joint line lies near the origin.
Arrays broadcast: x is (X, 1, 1), a and s are (X, Y, Z). A `Knee` is the same anatomy at any matrix size.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import reduce

import numpy as np

from inpaint_ssl.data.phantom.shapes import Array, dome, ellipse, rounded_box, smooth_max, smooth_min, smoothstep, tube


class Tissue(IntEnum):
    """Index of each tissue in `PhantomTruth.tissue`; the four of the paper come first and are the label values."""

    AIR = 0
    PATELLAR_CARTILAGE = 1
    FEMORAL_CARTILAGE = 2
    TIBIAL_CARTILAGE = 3
    MENISCUS = 4
    BONE_MARROW = 5
    CORTICAL_BONE = 6
    SUBCUTANEOUS_FAT = 7
    DEEP_FAT = 8
    HOFFA_FAT = 9
    MUSCLE = 10
    FLUID = 11
    LIGAMENT = 12
    BLOOD = 13


@dataclass(frozen=True)
class Knee:
    """Random shape of one subject; lengths in mm, angles in radians."""

    scale: float  # of the whole knee
    tilt: float  # rotation in the sagittal plane
    turn: float  # shear of anterior position along x (axial rotation)
    shift: tuple[float, float, float]  # position in the field of view (x, a, s)
    flexion: float
    femoral_thickness: float
    tibial_thickness: float
    patellar_thickness: float
    condyle_radius: tuple[float, float]  # posterior, distal
    condyle_asymmetry: float  # how much smaller the lateral condyle is
    notch: float  # half width of the intercondylar notch
    articular_end: tuple[float, float]  # angles from distal to the anterior and posterior end of femoral cartilage
    tibial_slope: float
    plateau: float  # half the anterior-posterior length of the tibial plateau
    patella: tuple[float, float]  # half axes: anterior-posterior, superior-inferior
    patella_height: float
    patella_tilt: float
    meniscus_inner: float  # free edge of the meniscus as a fraction of its outer radius
    meniscus_height: float
    fluid_gap: float  # thickness of the film on the femoral cartilage
    effusion: float  # half thickness of the suprapatellar pouch
    fat: float  # thickness of the subcutaneous fat
    muscle: float  # factor on the muscles' radii
    lesions: tuple[tuple[float, float, float, float], ...]  # femoral: angle, x, width in mm, depth as a fraction


def draw_knee(rng: np.random.Generator) -> Knee:
    """Draw one subject's shape."""

    def u(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    cartilage = u(0.72, 1.25)  # thin in osteoarthritis: shared by the three cartilages
    lesions = tuple(
        (u(-1.0, 1.4), float(rng.choice((-1.0, 1.0))) * u(15.0, 28.0), u(4.0, 9.0), u(0.4, 0.95))
        for _ in range(int(rng.integers(0, 3)))
    )
    return Knee(
        scale=u(0.88, 1.12),
        tilt=u(-0.14, 0.14),
        turn=u(-0.08, 0.08),
        shift=(u(-4.0, 4.0), u(-7.0, 7.0), u(-8.0, 8.0)),
        flexion=u(0.0, 0.35),
        femoral_thickness=3.3 * cartilage * u(0.9, 1.1),
        tibial_thickness=3.5 * cartilage * u(0.88, 1.12),
        patellar_thickness=4.2 * cartilage * u(0.85, 1.15),
        condyle_radius=(u(17.5, 20.5), u(21.0, 24.5)),
        condyle_asymmetry=u(0.0, 1.2),
        notch=u(7.5, 11.0),
        articular_end=(u(1.85, 2.15), u(-2.15, -1.75)),
        tibial_slope=u(0.04, 0.16),
        plateau=u(23.0, 27.0),
        patella=(u(8.5, 11.0), u(17.5, 23.0)),
        patella_height=u(22.0, 36.0),
        patella_tilt=u(-0.2, 0.12),
        meniscus_inner=u(0.52, 0.7),
        meniscus_height=u(6.0, 10.0),
        fluid_gap=u(-0.5, 0.6),
        effusion=0.8 + 5.0 * u(0.0, 1.0) ** 3,
        fat=u(4.0, 13.0),
        muscle=u(0.85, 1.12),
        lesions=lesions,
    )


def _femur(k: Knee, x: Array, a: Array, s: Array) -> tuple[Array, Array]:
    """Distance to the femur and thickness of its cartilage (negative where there is none)."""
    cos, sin = np.cos(k.flexion), np.sin(k.flexion)
    posterior, distal = k.condyle_radius
    # Lift the femur until the lower of its two circles stands on the tibial cartilage.
    lowest = min(-13.0 * sin - posterior, 8.0 * sin + 3.0 * cos - distal)
    s = s + lowest - k.femoral_thickness - 0.7
    a, s = a * cos + s * sin, -a * sin + s * cos + 21.0
    notch = np.exp(-((x / k.notch) ** 4))
    e = np.clip((np.abs(x) - 24.0) / 15.0, 0.0, 1.0)
    erosion = 18.0 * (1.0 - np.sqrt(1.0 - e * e)) + np.maximum(np.abs(x) - 35.0, 0.0) * 5.0
    erosion = erosion + k.condyle_asymmetry * smoothstep(-5.0, 15.0, x)
    d_posterior = np.hypot(a + 13.0, s - 21.0) - (posterior - 30.0 * notch)
    d_distal = np.hypot(a - 8.0 - 3.0 * notch, s - 24.0 - 8.0 * notch) - (distal - 3.0 * notch)
    flare = smoothstep(66.0, 28.0, s)
    half_a, half_x = 13.5 + 9.0 * flare, 16.0 + 21.0 * flare
    d_shaft = (np.hypot(x / half_x, (a - 5.0) / half_a) - 1.0) * half_a
    d_shaft = smooth_max(d_shaft, 25.0 + notch * (9.0 - 0.5 * a) - s, 6.0)
    bone = smooth_min(smooth_min(d_posterior, d_distal, 18.0) + erosion, d_shaft, 7.0)
    return bone, _femoral_thickness(k, x, a, s, notch)


def _femoral_thickness(k: Knee, x: Array, a: Array, s: Array, notch: Array) -> Array:
    angle = np.arctan2(a, 24.0 - s)  # 0 distal, positive anterior
    front = k.articular_end[0] - 0.75 * smoothstep(16.0, 32.0, np.abs(x))
    back = k.articular_end[1] + 2.55 * notch
    cover = smoothstep(-0.2, 0.2, front - angle) * smoothstep(-0.2, 0.2, angle - back)
    cover = cover * smoothstep(39.0, 35.0, np.abs(x))
    thickness = k.femoral_thickness * (1.0 + 0.12 * np.cos(3.0 * angle) - 0.3 * smoothstep(24.0, 38.0, np.abs(x)))
    for lesion_angle, lesion_x, width, depth in k.lesions:
        reach = ((angle - lesion_angle) * 22.0 / width) ** 2 + ((x - lesion_x) / width) ** 2
        thickness = thickness * (1.0 - depth * np.exp(-reach))
    return thickness * cover - 1.5 * (1.0 - cover)


def _tibia(k: Knee, x: Array, a: Array, s: Array) -> tuple[Array, Array, Array]:
    """Distances to the tibial bone and its cartilage, and height above the cartilage's surface."""
    deep = smoothstep(-6.0, -48.0, s)
    tuberosity = np.exp(-(((s + 37.0) / 9.0) ** 2) - (x / 13.0) ** 2)
    front = (k.plateau - 2.0) - 9.0 * smoothstep(-45.0, -80.0, s) - 2.0 * deep + 5.0 * tuberosity
    back = -k.plateau - 1.0 + 13.0 * deep
    half_a, half_x = (front - back) / 2.0, 39.0 - 19.0 * deep
    d_side = rounded_box(x / half_x, (a - (front + back) / 2.0) / half_a, half_a)
    inner = np.abs(x) - 22.0
    bowl = np.where(x < 0.0, 0.006, -0.003) * a * a + 0.006 * inner * inner - 0.6
    spine = 9.0 * np.exp(-(((np.abs(x) - 4.5) / 3.5) ** 2) - ((a + 2.0) / 9.0) ** 2)
    top = k.tibial_slope * a + bowl * smoothstep(4.0, 12.0, np.abs(x)) + spine - k.tibial_thickness
    bone = smooth_max(d_side, s - top, 5.0)
    cover = np.exp(-((inner / 14.0) ** 6)) * smoothstep(0.0, 7.0, -d_side)
    height = s - top - k.tibial_thickness * (1.25 * cover - 0.25)
    return bone, np.maximum(np.maximum(height, top - 3.0 - s), d_side + 0.5), height


def _meniscus(k: Knee, x: Array, a: Array, height: Array) -> Array:
    """Distance to the C-shaped wedges of both compartments; `height` is measured from the tibial cartilage."""
    rho = np.hypot((np.abs(x) - 21.0) / 18.0, (a + 1.0) / (k.plateau - 0.5))
    ramp = (rho - k.meniscus_inner) / (1.0 - k.meniscus_inner)
    wedge = np.maximum(height - 1.0 - k.meniscus_height * ramp, -1.0 - height)
    ring = np.maximum(-ramp, ramp - 1.0) * (1.0 - k.meniscus_inner) * k.plateau
    return np.maximum(np.maximum(wedge, ring), 10.0 - np.abs(x))


def _patella(k: Knee, x: Array, a: Array, s: Array) -> tuple[Array, Array]:
    """Distances to the patellar bone and its cartilage, whose ridge lies over the trochlear groove."""
    centre_a, centre_s = _patella_centre(k)
    cos, sin = np.cos(k.patella_tilt), np.sin(k.patella_tilt)
    a, s = a - 0.22 * np.abs(x) - centre_a, s - centre_s
    a, s = a * cos + s * sin, -a * sin + s * cos
    half_a, half_s = k.patella
    section = dome(x, 0.0, 22.0)
    bone = ellipse(a, s, half_a, half_s, section)
    facing = -a / (np.hypot(a, s * half_a / half_s) + 1e-3)
    cover = smoothstep(0.3, 0.65, facing) * smoothstep(-0.8, -0.45, s / half_s) * smoothstep(0.25, 0.5, section)
    return bone, bone - k.patellar_thickness * (1.35 * cover - 0.35)


def _patella_centre(k: Knee) -> tuple[float, float]:
    return 29.0 + k.femoral_thickness + k.patellar_thickness + k.patella[0], k.patella_height


def _skin(k: Knee, x: Array, a: Array, s: Array) -> Array:
    """Distance to the outline of the leg."""
    patella_a, patella_s = _patella_centre(k)
    bulge = np.exp(-(((s - patella_s) / 30.0) ** 2))
    front = 34.0 + (patella_a + k.patella[0] - 31.0) * bulge + 0.6 * k.fat + 3.0
    back = -46.0 - 7.0 * np.cos((s - 75.0) / 26.0) - k.fat
    half_a = (front - back) / 2.0
    half_x = 46.0 + 0.7 * k.fat
    return rounded_box(x / half_x, (a - (front + back) / 2.0) / half_a, half_a)


def _muscles(k: Knee, x: Array, a: Array, s: Array) -> Array:
    """Distance to the muscles: hamstrings, gastrocnemius heads, deep calf, vasti, anterior calf."""
    m = k.muscle
    parts = (
        tube(a, s, (-30.0, 95.0), (-46.0, 8.0), 17.0 * m * dome(x, -26.0, 25.0)),
        tube(a, s, (-28.0, 95.0), (-41.0, 14.0), 17.0 * m * dome(x, 28.0, 23.0)),
        tube(a, s, (-35.0, 22.0), (-44.0, -95.0), 15.0 * m * dome(x, -20.0, 24.0)),
        tube(a, s, (-35.0, 20.0), (-44.0, -95.0), 14.0 * m * dome(x, 21.0, 23.0)),
        tube(a, s, (-24.0, -22.0), (-27.0, -95.0), 15.0 * m * dome(x, 4.0, 40.0)),
        tube(a, s, (16.0, 46.0), (22.0, 105.0), 20.0 * m * dome(x, -30.0, 26.0)),
        tube(a, s, (16.0, 54.0), (22.0, 105.0), 20.0 * m * dome(x, 30.0, 26.0)),
        tube(a, s, (18.0, 62.0), (24.0, 105.0), 11.0 * m * dome(x, 0.0, 40.0)),
        tube(a, s, (12.0, -30.0), (6.0, -95.0), 14.0 * m * dome(x, 32.0, 18.0)),
    )
    return reduce(np.minimum, parts)


def _ligaments(k: Knee, x: Array, a: Array, s: Array) -> Array:
    """Distance to quadriceps and patellar tendon and both cruciates."""
    pa, ps = _patella_centre(k)
    half_s = k.patella[1]
    quadriceps = tube(a, s, (pa + 1.0, ps + half_s - 2.0), (pa - 14.0, ps + half_s + 60.0), 3.4)
    patellar = tube(a, s, (pa + 2.0, ps - half_s + 3.0), (k.plateau + 2.0, -40.0), 2.7)
    tendons = np.minimum(np.maximum(quadriceps, np.abs(x) - 19.0), np.maximum(patellar, np.abs(x) - 15.0))
    anterior = tube(a, s, (8.0, 0.0), (-13.0, 27.0), 3.6 * dome(x, 2.5, 6.5))
    posterior = np.minimum(
        tube(a, s, (-25.0, -7.0), (-17.0, 14.0), 4.2 * dome(x, -2.5, 7.0)),
        tube(a, s, (-17.0, 14.0), (0.0, 24.0), 4.2 * dome(x, -2.5, 7.0)),
    )
    return np.minimum(tendons, np.minimum(anterior, posterior))


def structures(k: Knee, x: Array, a: Array, s: Array) -> Iterator[tuple[Tissue, Array]]:
    """Yield (tissue, signed distance) in painting order: a later structure covers an earlier one."""
    pa, ps = _patella_centre(k)
    d_skin = _skin(k, x, a, s)
    d_femur, thickness = _femur(k, x, a, s)
    d_tibia, d_tibial_cartilage, height = _tibia(k, x, a, s)
    d_patella, d_patellar_cartilage = _patella(k, x, a, s)
    yield Tissue.SUBCUTANEOUS_FAT, d_skin
    fascia = d_skin + k.fat
    yield Tissue.DEEP_FAT, fascia
    yield Tissue.MUSCLE, np.maximum(_muscles(k, x, a, s), fascia + 0.5)
    yield Tissue.BLOOD, tube(a, s, (-33.0, 95.0), (-36.0, -95.0), 3.6 * dome(x, 1.0, 6.0))
    hoffa = tube(a, s, (pa - 6.0, ps - k.patella[1]), (k.plateau + 1.0, -9.0), 13.0 * dome(x, 0.0, 30.0))
    yield Tissue.HOFFA_FAT, np.maximum(hoffa, fascia)
    top = ps + k.patella[1]
    pouch = tube(a, s, (pa - 11.0, top - 4.0), (pa - 18.0, top + 26.0), k.effusion * dome(x, 0.0, 24.0))
    recess = tube(a, s, (-30.0, 8.0), (-33.0, 24.0), 0.5 * k.effusion * dome(x, -18.0, 11.0))
    film = np.minimum(d_femur - thickness - k.fluid_gap, np.minimum(pouch, recess))
    cavity = np.maximum(np.abs(x) - 39.0, s - 58.0)
    yield Tissue.FLUID, np.maximum(np.maximum(film, cavity), fascia + 2.0)
    yield Tissue.LIGAMENT, _ligaments(k, x, a, s)
    yield Tissue.MENISCUS, _meniscus(k, x, a, height)
    yield Tissue.TIBIAL_CARTILAGE, d_tibial_cartilage
    yield Tissue.CORTICAL_BONE, d_tibia
    yield Tissue.BONE_MARROW, d_tibia + 1.3
    yield Tissue.PATELLAR_CARTILAGE, d_patellar_cartilage
    yield Tissue.FEMORAL_CARTILAGE, d_femur - thickness
    yield Tissue.CORTICAL_BONE, d_femur
    yield Tissue.BONE_MARROW, d_femur + 1.3
    yield Tissue.CORTICAL_BONE, d_patella
    yield Tissue.BONE_MARROW, d_patella + 1.2
    fibula = tube(a, s, (-19.0, -20.0), (-18.0, -95.0), 8.0 * dome(x, 33.0, 9.0))
    yield Tissue.CORTICAL_BONE, fibula
    yield Tissue.BONE_MARROW, fibula + 1.3
