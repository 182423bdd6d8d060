"""What is drawn of one subject of the generated abdomen: build, organs and bowel at the third lumbar vertebra (L3).

Abdominal coordinates in mm: x towards the patient's right, y towards anterior; the vertebral body lies at (0, -28).
"""

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np


class AbdomenTissue(IntEnum):
    """Index of each tissue in `AbdomenTruth.tissue`; the paper's four classes come first and are the label values."""

    AIR = 0
    MUSCLE = 1
    SUBCUTANEOUS_FAT = 2
    VISCERAL_FAT = 3
    INTRAMUSCULAR_FAT = 4
    SKIN = 5
    FASCIA = 6
    CORTICAL_BONE = 7
    TRABECULAR_BONE = 8
    SPINAL_CANAL = 9
    KIDNEY = 10
    LIVER = 11
    BOWEL_WALL = 12
    BOWEL_CONTENT = 13
    ORAL_CONTRAST = 14
    STOOL = 15
    GAS = 16
    BLOOD = 17
    CALCIFICATION = 18
    EPIDURAL_FAT = 19
    TABLE = 20


@dataclass(frozen=True)
class Loop:
    """A section through bowel: centre, half axes and angle, a third harmonic, what it holds, height of its gas."""

    x: float
    y: float
    half: tuple[float, float]
    angle: float
    lobes: tuple[float, float]  # relative amplitude and phase of three bulges
    content: AbdomenTissue
    wall: float  # thickness
    level: float  # y (relative to the centre) above which there is gas; inf: none


@dataclass(frozen=True)
class Abdomen:
    """Random shape of one subject; lengths in mm, angles in radians, sides as (left, right) unless said otherwise."""

    scale: float  # of the whole subject
    turn: float  # rotation in the plane
    shift: tuple[float, float]
    half_width: float  # of the trunk inside the subcutaneous fat
    front: float  # from the origin to the anterior fascia
    fat: tuple[float, float, float]  # subcutaneous: anterior, lateral, posterior
    muscle: float  # factor on the muscles' thickness
    infiltration: float  # fat in the muscles, from 0 (hardly any) to 1 (myosteatosis)
    lateral_wall: float  # thickness of the three flat muscles together
    rectus: tuple[float, float]  # thickness, half width
    diastasis: float  # half the distance between the recti
    asymmetry: float  # relative: the left muscles are so much larger
    lumbar: tuple[float, float]  # half axes of the vertebral body
    canal: tuple[float, float]
    spinous: float  # y of the tip of the spinous process
    transverse: tuple[float, float]  # length of the transverse processes; 0: not in this slice
    facets: float  # radius of the facet joints
    kidneys: tuple[float, float]  # size; small ones are lower poles
    kidney_y: tuple[float, float]
    liver: tuple[float, float, float]  # half axes of the tip, y
    aorta: tuple[float, float, float]  # x, y, radius
    cava: tuple[float, float, float, float]  # x, y, half axes
    calcification: tuple[float, float]  # of the aortic wall: angle, half its extent
    loops: tuple[Loop, ...]  # colon first
    vessels: tuple[tuple[float, float, float], ...]  # of the mesentery: x, y, radius
    table: float  # distance below the back; 0: none
    field_of_view: float
    contrast: bool  # venous phase

    @property
    def inner_half_width(self) -> float:
        """Half the width of the cavity."""
        return self.half_width - self.lateral_wall


def draw_abdomen(rng: np.random.Generator) -> Abdomen:
    """Draw one subject: lean to obese, muscular to sarcopenic, with hardly any to much fat in the muscles."""

    def u(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    visceral, subcutaneous = u(0.0, 1.0) ** 1.3, u(0.0, 1.0) ** 1.6
    muscle = u(0.66, 1.16)
    infiltration = min(1.0, max(0.0, 0.65 * u(0.0, 1.0) ** 1.4 + 0.8 * (1.0 - muscle) + 0.15 * subcutaneous))
    fat = 8.0 + 44.0 * subcutaneous
    half_width, front = 119.0 + 26.0 * visceral + u(-5.0, 5.0), 58.0 + 62.0 * visceral + u(-6.0, 6.0)
    lateral_wall = 20.5 * muscle * u(0.85, 1.15)
    scale = u(0.9, 1.1)
    sides = (fat * u(0.55, 0.8) + 2.0, 9.0 + fat * u(0.5, 0.8))
    liver = (u(9.0, 24.0), u(24.0, 46.0), u(-8.0, 14.0))
    kidneys = (u(0.45, 1.0), u(0.45, 1.0))
    kidney_y = (u(-18.0, -10.0), u(-20.0, -12.0))
    aorta, cava = (u(-14.0, -6.0), u(-1.0, 3.0), u(7.5, 11.0)), (u(15.0, 22.0), u(-3.0, 2.0), u(9.0, 13.0), u(6.0, 9.5))
    contrast = bool(rng.random() < 0.55)
    inner = half_width - lateral_wall
    loops = _draw_bowel(rng, inner, front, liver)
    return Abdomen(
        scale=scale,
        turn=u(-0.08, 0.08),
        shift=(u(-8.0, 8.0), u(-8.0, 8.0)),
        half_width=half_width,
        front=front,
        fat=(fat, *sides),
        muscle=muscle,
        infiltration=infiltration,
        lateral_wall=lateral_wall,
        rectus=(13.0 * muscle * u(0.8, 1.2), u(25.0, 34.0)),
        diastasis=u(2.0, 5.0) + 6.0 * visceral * u(0.0, 1.0),
        asymmetry=u(-0.06, 0.06),
        lumbar=(u(22.5, 26.5), u(16.0, 19.0)),
        canal=(u(10.0, 12.5), u(7.5, 9.5)),
        spinous=u(-100.0, -90.0),
        transverse=(u(26.0, 34.0), u(26.0, 34.0)) if rng.random() < 0.5 else (0.0, 0.0),
        facets=u(6.0, 9.0),
        kidneys=kidneys,
        kidney_y=kidney_y,
        liver=liver,
        aorta=aorta,
        cava=cava,
        calcification=(u(-math.pi, math.pi), max(0.0, u(-1.2, 1.0))),
        loops=loops,
        vessels=_draw_vessels(rng, inner, front),
        table=u(2.0, 6.0) if rng.random() < 0.7 else 0.0,
        field_of_view=_field_of_view(scale * (half_width + sides[0] + 14.0), u(1.0, 1.12)),
        contrast=contrast,
    )


def _field_of_view(half: float, margin: float) -> float:
    """In steps of 10 mm, as it is set at a scanner; between 320 and 500 mm."""
    return min(500.0, max(320.0, 10.0 * math.ceil(0.2 * half * margin)))


def _draw_bowel(
    rng: np.random.Generator, inner: float, front: float, liver: tuple[float, float, float]
) -> tuple[Loop, ...]:
    """Ascending, descending and transverse colon and duodenum; loops of small bowel where there is room."""

    def u(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    def loop(x: float, y: float, half: tuple[float, float], angle: float, kind: str) -> Loop:
        content = AbdomenTissue.STOOL if kind == "colon" else AbdomenTissue.BOWEL_CONTENT
        if oral and kind != "colon" and rng.random() < 0.7:
            content = AbdomenTissue.ORAL_CONTRAST
        gas = rng.random() < {"colon": 0.6, "transverse": 0.9, "small": 0.12, "duodenum": 0.0}[kind]
        level = u(-0.7, 0.6) * min(half) if gas else math.inf
        wall = u(1.6, 2.6) if kind in ("colon", "transverse") else u(1.8, 3.2)
        return Loop(x, y, half, angle, (u(0.02, 0.14), u(0.0, 2.0 * math.pi)), content, wall, level)

    oral = bool(rng.random() < 0.3)
    ascending, descending = u(13.0, 22.0), u(9.0, 16.0)
    colon = [
        loop(inner - 2.0 * liver[0] - ascending, u(4.0, 16.0), (ascending, ascending * u(0.85, 1.25)), 0.0, "colon"),
        loop(-(inner - descending - 4.0), u(-18.0, 4.0), (descending, descending * u(0.9, 1.3)), 0.0, "colon"),
    ]
    if rng.random() < 0.6:
        half = (u(22.0, 40.0), u(9.0, 15.0))
        colon.append(loop(u(-28.0, 28.0), front - half[1] - 12.0, half, u(-0.15, 0.15), "transverse"))
    if rng.random() < 0.6:
        colon.append(loop(u(0.0, 8.0), 17.0, (u(22.0, 32.0), u(6.0, 8.0)), u(-0.1, 0.1), "duodenum"))
    loops = list(colon)
    tip = Loop(
        inner - liver[0] + 4.0, liver[2], (liver[0] + 7.0, liver[1]), 0.0, (0.0, 0.0), AbdomenTissue.LIVER, 0.0, 0.0
    )
    wanted = int(rng.integers(12, 27))
    for _ in range(300):
        if len(loops) >= wanted + len(colon):
            break
        half = (u(9.0, 22.0), u(7.0, 13.0))
        x, y = u(-0.95, 0.9) * inner, u(8.0, front - 18.0)
        reach = math.sqrt(half[0] * half[1])
        inside = math.hypot(x / (inner - reach - 3.0), y / (front - reach - 8.0)) < 1.0
        great_vessels = math.hypot(x - 4.0, 1.4 * (y + 2.0)) < 20.0 + reach
        if inside and not great_vessels and all(_apart(x, y, half, other) for other in (tip, *loops)):
            loops.append(loop(x, y, half, u(0.0, math.pi), "small"))
    return tuple(loops)


def _apart(x: float, y: float, half: tuple[float, float], other: Loop) -> bool:
    """Whether a new loop would at most touch another one, at whatever angle it lies."""
    cos, sin = math.cos(other.angle), math.sin(other.angle)
    along, across = (x - other.x) * cos + (y - other.y) * sin, -(x - other.x) * sin + (y - other.y) * cos
    reach = 0.86 * math.sqrt(half[0] * half[1])
    return math.hypot(along / (other.half[0] + reach), across / (other.half[1] + reach)) > 1.0


def _draw_vessels(rng: np.random.Generator, inner: float, front: float) -> tuple[tuple[float, float, float], ...]:
    """Superior mesenteric artery and vein, and branches in the mesentery."""
    main = [(-3.0, 27.0, float(rng.uniform(2.8, 4.0))), (9.0, 28.0, float(rng.uniform(4.0, 6.0)))]
    angles, distances = rng.uniform(-0.2, math.pi + 0.2, 28), np.sqrt(rng.uniform(0.06, 0.8, 28))
    radii = rng.uniform(0.7, 1.9, 28)
    branches = [
        (float(inner * d * math.cos(a)), float(front * d * math.sin(a)), float(r))
        for a, d, r in zip(angles, distances, radii, strict=True)
    ]
    return (*main, *branches)
