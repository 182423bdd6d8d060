"""Implicit functions (negative inside, about millimetres) of everything in the generated abdomen, in painting order.

x and y are float32 arrays of one shape, in the coordinates of abdomen_anatomy; a structure is the same at any matrix
size.
"""

import math
from collections.abc import Iterator
from functools import reduce

import numpy as np

from inpaint_ssl.data.phantom.abdomen_anatomy import Abdomen, AbdomenTissue, Loop
from inpaint_ssl.data.phantom.shapes import Array, ellipse, smooth_max, smooth_min, smoothstep, tube

Structure = tuple[AbdomenTissue, Array]
BACK = 76.0  # from the origin to the posterior end of the ring of flat muscles
NEAR_MM = 20.0  # structures need no distance beyond; more than half of the largest pixel
# Of fat in the muscles: it is made broad, so that the HU in its label are those of fat at pixels of 3 to 4 mm too.
STREAK_MM = 14.0  # distance that one unit of the field of fat streaks stands for
SEAM_MM = 2.0  # least half width of seams and planes
RIM_MM = 2.0  # of muscle around it
BONE_MM = 3.0  # away from bone, whose HU would outweigh it


def _trunk(x: Array, y: Array, half_x: float, half_y: Array) -> Array:
    """First-order distance to an outline between ellipse and box."""
    u, v = x / half_x, y / half_y
    u2, v2 = u * u, v * v
    round_, square = np.sqrt(u2 + v2), np.sqrt(np.sqrt(u2 * u2 + v2 * v2))
    q = 0.6 * round_ + 0.4 * square
    return (q + 1e-3) * (q - 1.0) / (np.hypot(u / half_x, v / half_y) + 1e-5)  # about -100 mm in the very middle


def _rotated(x: Array, y: Array, centre: tuple[float, float], half: tuple[float, float], angle: float) -> Array:
    """Distance to an ellipse whose first axis is turned by `angle`."""
    cos, sin = math.cos(angle), math.sin(angle)
    x, y = x - centre[0], y - centre[1]
    return ellipse(x * cos + y * sin, -x * sin + y * cos, *half)


def body(k: Abdomen, x: Array, y: Array) -> Array:
    """Distance to the skin; the back is flat, as on a table, with a groove over the spine."""
    anterior, lateral, posterior = k.fat
    back = 104.0 + posterior - 4.0 * np.exp(-((x / 14.0) ** 2))
    return _trunk(x, y, k.half_width + lateral, np.where(y > 0.0, k.front + anterior, back).astype(np.float32))


def _wall(k: Abdomen, x: Array, y: Array) -> Array:
    """Distance to the outer fascia of the flat muscles."""
    return _trunk(x, y, k.half_width, np.where(y > 0.0, k.front, BACK).astype(np.float32))


def _flat_muscles(k: Abdomen, side: Array, x: Array, y: Array, wall: Array, streaks: Array) -> tuple[Array, Array]:
    """Distances to the lateral flat muscles with the recti, and to patches of fat between the former."""
    ax = np.abs(x)
    reach = smoothstep(0.36, 0.72, ax / k.half_width) * smoothstep(-74.0, -52.0, y)
    thickness = k.lateral_wall * side * reach
    lateral = np.maximum(wall + 1.0, -wall - thickness)
    v = 1.0 - ((ax - k.diastasis - k.rectus[1]) / k.rectus[1]) ** 2
    bulk = k.rectus[0] * side * np.sign(v) * np.sqrt(np.abs(v))
    rectus = np.where(y > 0.0, np.maximum(wall + 1.2, -wall - 1.2 - bulk), np.float32(99.0))
    planes = np.abs(wall + 0.5 * thickness) - SEAM_MM
    patches = STREAK_MM * (1.0 - 1.3 * k.infiltration - streaks)
    return np.minimum(lateral, rectus), reduce(np.maximum, (planes, patches, lateral + RIM_MM))


def _compartments(k: Abdomen, x: Array, y: Array, streaks: Array) -> tuple[Array, Array]:
    """Distances to the fascia around erector spinae and multifidus, and to the fat between and before them.

    Muscle that is lost is replaced by fat inside the fascia, in front of what is left.
    """
    ax = np.abs(x)
    outline = smooth_min(
        _rotated(ax, y, (38.0, -82.0), (29.0, 19.0), 0.12), _rotated(ax, y, (17.0, -82.0), (15.0, 19.0), 0.0), 8.0
    )
    outline = np.maximum(outline, 2.5 - ax)
    bent = ax + 5.0 * streaks - 0.004 * (y + 84.0) ** 2
    length = 0.3 + 0.7 * k.infiltration
    seams = np.minimum(
        tube(bent, y, (25.0, -104.0), (25.0 - 6.0 * length, -100.0 + 36.0 * length), 0.0),
        tube(bent, y, (46.0, -104.0), (46.0 - 5.0 * length, -98.0 + 29.0 * length), 0.0) + 0.3,
    )
    seams -= SEAM_MM + 1.5 * k.infiltration + 0.8 * streaks
    # Beside the lamina, where multifidus gives way first.
    deep = _rotated(ax, y, (12.0, -80.0), (9.0, 7.0), -0.6) + 4.0 - 6.0 * k.infiltration - 4.0 * streaks
    lost = 14.0 * max(0.0, 1.0 - k.muscle) + 3.0 * k.infiltration
    layer = np.maximum(outline + 0.8, -outline + 2.2 - (lost + 3.0) * smoothstep(-92.0, -70.0, y))
    if lost < 2.0 * SEAM_MM:
        layer = layer + NEAR_MM
    return outline, np.minimum(np.maximum(np.minimum(seams, deep), outline + 0.8), layer)


def muscles(k: Abdomen, x: Array, y: Array, wall: Array, streaks: Array) -> tuple[Array, Array, Array]:
    """Distances to all muscles, to the fascia of the back and to the fat between and inside the muscles."""
    ax = np.abs(x)
    side = np.where(x < 0.0, 1.0 + k.asymmetry, 1.0 - k.asymmetry).astype(np.float32)
    flat, planes = _flat_muscles(k, side, x, y, wall, streaks)
    back, seams = _compartments(k, x, y, streaks)
    bulk = math.sqrt(k.muscle)
    half = 17.0 * bulk * k.muscle
    psoas = _rotated(ax, y, (k.lumbar[0] + half - 2.5, -37.0), (half, 1.25 * half), 0.35)
    quadratus = _rotated(ax, y, (62.0, -58.0), (21.0 * bulk, 10.0 * k.muscle), 0.45)
    grown = np.minimum(np.minimum(psoas, quadratus) + 12.0 * (1.0 - side), back + 0.8)
    muscle = np.minimum(flat, grown)
    posterior = 0.5 + 0.5 * smoothstep(-52.0, -74.0, y)
    threshold = 1.0 - (0.1 + 0.7 * k.infiltration) * posterior
    inside = np.maximum(STREAK_MM * (threshold - streaks), muscle + RIM_MM)
    return muscle, back, reduce(np.minimum, (planes, seams, inside))


def _bone(k: Abdomen, x: Array, y: Array) -> tuple[Array, Array]:
    """Distances to the vertebra and its canal."""
    ax = np.abs(x)
    half_x, half_y = k.lumbar
    corpus = smooth_max(ellipse(x, y + 28.0, half_x, half_y), -ellipse(x, y + 54.0, 15.0, 11.0), 4.0)
    pedicle = tube(ax, y, (half_x - 8.0, -38.0), (half_x - 6.0, -56.0), 4.5)
    lamina = tube(ax, y, (half_x - 7.0, -60.0), (2.0, -71.0), 3.6)
    facet = _rotated(ax, y, (half_x - 4.0, -61.0), (k.facets, k.facets * 0.8), 0.6)
    spinous = tube(x, y, (0.0, -71.0), (0.0, k.spinous), 2.8 + 1.6 * smoothstep(-80.0, k.spinous, y))
    bone = smooth_min(smooth_min(corpus, pedicle, 5.0), smooth_min(facet, np.minimum(lamina, spinous), 4.0), 3.0)
    for sign, length in zip((-1.0, 1.0), k.transverse, strict=True):
        if length > 0.0:
            start, end = (sign * (half_x - 6.0), -53.0), (sign * (half_x - 6.0 + length), -56.0)
            bone = smooth_min(bone, tube(x, y, start, end, 3.2), 4.0)
    canal_x, canal_y = k.canal
    return bone, smooth_max(ellipse(x, y + 55.0, canal_x, canal_y), 0.8 * (ax - canal_x) - 0.6 * (y + 58.0), 3.0)


def _kidneys(k: Abdomen, x: Array, y: Array) -> tuple[Array, Array]:
    """Distances to the kidneys and to the fat of their sinus, which lower poles lack."""
    kidneys, sinus = [], []
    for sign, size, centre_y in zip((-1.0, 1.0), k.kidneys, k.kidney_y, strict=True):
        centre = (sign * (k.inner_half_width * 0.42 + 18.0), centre_y)
        outline = _rotated(sign * x, y, (sign * centre[0], centre[1]), (27.0 * size, 22.0 * size), -0.5)
        hilum = _rotated(sign * x, y, (sign * centre[0] - 15.0, centre[1] + 9.0), (15.0 * size, 6.0 * size), -0.6)
        kidneys.append(outline)
        sinus.append(hilum + 24.0 * max(0.0, 0.75 - size))
    return np.minimum(*kidneys), np.minimum(*sinus)


def _bowel(loop: Loop, x: Array, y: Array, inside: Array) -> Iterator[Structure]:
    dx, dy = x - loop.x, y - loop.y
    near = np.nonzero(np.hypot(dx, dy) < 1.3 * max(loop.half) + NEAR_MM)  # most of the image is far away
    outline = np.full(x.shape, NEAR_MM, np.float32)
    outline[near] = np.maximum(_lobed(loop, dx[near], dy[near]), inside[near])
    lumen = outline + loop.wall
    yield AbdomenTissue.BOWEL_WALL, outline
    yield loop.content, lumen
    if loop.level < math.inf:
        yield AbdomenTissue.GAS, np.maximum(lumen, loop.level - dy)


def _lobed(loop: Loop, dx: Array, dy: Array) -> Array:
    """Distance to an ellipse with three bulges: cos(3 a) of the direction a, from its cosine and sine."""
    cos, sin = math.cos(loop.angle), math.sin(loop.angle)
    u, v = (dx * cos + dy * sin) / loop.half[0], (-dx * sin + dy * cos) / loop.half[1]
    q = np.hypot(u, v) + 1e-3
    c, s = u / q, v / q
    amplitude, phase = loop.lobes
    bulges = math.cos(phase) * c * (4.0 * c * c - 3.0) + math.sin(phase) * s * (3.0 - 4.0 * s * s)
    return q * (q - 1.0 - amplitude * bulges) / (np.hypot(u / loop.half[0], v / loop.half[1]) + 1e-3)


def _calcified(k: Abdomen, x: Array, y: Array) -> Array:
    """Distance to calcium in the wall of the aorta."""
    ax, ay, radius = k.aorta
    angle, extent = k.calcification
    end = (ax + (radius - 0.8) * math.cos(angle), ay + (radius - 0.8) * math.sin(angle))
    shell = np.abs(np.hypot(x - ax, y - ay) - radius + 0.8) - 1.0
    return np.maximum(shell, np.hypot(x - end[0], y - end[1]) - radius * extent)


def table(k: Abdomen, x: Array, y: Array) -> Iterator[Structure]:
    """The shell of the table and the foam in it, a hollow under the back; neither turned nor bent as the subject is."""
    if k.table > 0.0:
        surface = y + 104.0 + k.fat[2] + k.table + 60.0 * abs(k.turn) - 0.00045 * x * x
        board = np.maximum(np.maximum(surface, -surface - 34.0 + 0.0009 * x * x), np.abs(x) - 205.0)
        yield AbdomenTissue.TABLE, board
        yield AbdomenTissue.AIR, board + 1.6


def structures(k: Abdomen, x: Array, y: Array, streaks: Array) -> Iterator[Structure]:
    """Yield (tissue, signed distance) in painting order: a later structure covers an earlier one.

    streaks: random field, about -1 to 1, where fat streaks run through the muscles.
    """
    t = AbdomenTissue
    skin, wall = body(k, x, y), _wall(k, x, y)
    yield t.SKIN, skin
    yield t.SUBCUTANEOUS_FAT, skin + 2.0
    yield t.FASCIA, wall
    yield t.VISCERAL_FAT, wall + 2.2
    inside = wall + 4.0 + k.lateral_wall * smoothstep(0.36, 0.72, np.abs(x) / k.half_width)
    kidneys, sinus = _kidneys(k, x, y)
    yield t.KIDNEY, np.maximum(kidneys, inside)
    yield t.VISCERAL_FAT, np.maximum(sinus, kidneys + 1.0)
    muscle, back, fat = muscles(k, x, y, wall, streaks)
    bone, canal = _bone(k, x, y)
    # Between the muscles of the back and those in front of them lie small muscles, and fat that is not in the cavity.
    gap = np.maximum(np.maximum(y + 55.0 - 3.0 * streaks, np.abs(x) - 58.0), wall + 2.2)
    yield t.FASCIA, back
    yield t.MUSCLE, np.minimum(muscle, gap)
    fat = np.minimum(fat, np.maximum(gap, 0.8 - muscle))
    yield t.INTRAMUSCULAR_FAT, np.maximum(fat, BONE_MM - bone)
    inside = np.maximum(inside, 0.5 - muscle)
    half_x, half_y, centre = k.liver
    tip = ellipse(x - (k.inner_half_width - half_x + 4.0), y - centre, half_x + 6.0, half_y)
    yield t.LIVER, smooth_max(tip, inside, 5.0)
    for vx, vy, radius in k.vessels:
        yield t.BLOOD, np.maximum(np.hypot(x - vx, y - vy) - radius, inside)
    for loop in k.loops:
        yield from _bowel(loop, x, y, inside)
    ax, ay, radius = k.aorta
    cx, cy, half_x, half_y = k.cava
    yield t.BLOOD, np.minimum(np.hypot(x - ax, y - ay) - radius, ellipse(x - cx, y - cy, half_x, half_y))
    if k.calcification[1] > 0.0:
        yield t.CALCIFICATION, _calcified(k, x, y)
    yield t.EPIDURAL_FAT, ellipse(x, y + 56.0, 17.0, 14.0)
    yield t.CORTICAL_BONE, bone
    yield t.TRABECULAR_BONE, bone + 1.8
    yield t.SPINAL_CANAL, canal
