"""The rivals: patches and corruption as the paper describes them, one image at a time in NumPy.

Poisson-disc patches by Bridson's algorithm with 10 candidates a visit and a background grid; random patches one after
another until the area is covered; zeroing and swapping by slices. Each in two forms: plain, step by step as it is
described, and tuned, as fast as NumPy allows without changing the algorithm. Both are ours; the code of the paper was
measured at 290 to 600 ms for a mask of 512 x 512 on another machine.
"""

import math

import numpy as np

CANDIDATES = 10
MAX_RUNS = 100
_NEIGHBOURS = np.arange(-2, 3)
_FAR = -1e9  # where an empty cell's point lies


def bridson_plain(generator: np.random.Generator, image_size: tuple[int, int], patch_size: int) -> np.ndarray:
    """Corners int64 (n, 2), at least K*sqrt(2) apart, of patches inside an image of (height, width): a full sample.

    One candidate after another.
    """
    height, width = (side - patch_size + 1 for side in image_size)
    radius = patch_size * math.sqrt(2)
    grid = np.full(((height - 1) // patch_size + 1, (width - 1) // patch_size + 1), -1)  # which point a cell holds
    points = np.empty((grid.size, 2))
    active: list[int] = []
    n = 0

    def add(point: np.ndarray) -> None:
        nonlocal n
        points[n] = point
        grid[int(point[0]) // patch_size, int(point[1]) // patch_size] = n
        active.append(n)
        n += 1

    add(generator.integers(0, (height, width)).astype(float))
    while active:
        visited = generator.integers(len(active))
        for _ in range(CANDIDATES):
            distance = radius * math.sqrt(generator.uniform(1, 4))
            angle = generator.uniform(0, 2 * math.pi)
            offset = (distance * math.sin(angle), distance * math.cos(angle))
            candidate = np.rint(points[active[visited]] + offset)
            if not (0 <= candidate[0] < height and 0 <= candidate[1] < width):
                continue
            row, column = int(candidate[0]) // patch_size, int(candidate[1]) // patch_size
            near = grid[max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3]
            if np.all(np.sum((points[near[near >= 0]] - candidate) ** 2, axis=1) >= 2 * patch_size**2):
                add(candidate)
                break
        else:
            active.pop(visited)
    return points[:n].astype(int)


def bridson(generator: np.random.Generator, image_size: tuple[int, int], patch_size: int) -> np.ndarray:
    """Corners int64 (n, 2), at least K*sqrt(2) apart, of patches inside an image of (height, width): a full sample.

    The candidates of a visit all at once.
    """
    height, width = (side - patch_size + 1 for side in image_size)
    # A cell of side K holds one point at most; two more cells on every side spare the tests at the border.
    grid = np.full(((height - 1) // patch_size + 5, (width - 1) // patch_size + 5, 2), _FAR)
    active: list[np.ndarray] = []
    points: list[np.ndarray] = []

    def add(point: np.ndarray) -> None:
        grid[int(point[0] // patch_size) + 2, int(point[1] // patch_size) + 2] = point
        active.append(point)
        points.append(point)

    add(generator.integers(0, (height, width)).astype(float))
    while active:
        visited = generator.integers(len(active))
        uniform = generator.random((2, CANDIDATES))
        distance = patch_size * np.sqrt(2 + 6 * uniform[0])  # uniform by area between the radius and twice the radius
        angle = 2 * np.pi * uniform[1]
        offset = np.stack([distance * np.sin(angle), distance * np.cos(angle)], axis=1)
        candidates = np.rint(active[visited] + offset)
        row, column = candidates.T
        candidates = candidates[(row >= 0) & (row < height) & (column >= 0) & (column < width)]
        cells = (candidates // patch_size).astype(int) + 2
        near = grid[cells[:, 0, None, None] + _NEIGHBOURS[:, None], cells[:, 1, None, None] + _NEIGHBOURS]
        apart = (((near - candidates[:, None, None]) ** 2).sum(-1) >= 2 * patch_size**2).all((1, 2))
        good = np.flatnonzero(apart)
        if len(good):
            add(candidates[good[0]])
        else:
            active.pop(visited)
    return np.array(points).astype(int)


def poisson_disc_patches(
    generator: np.random.Generator, image_size: tuple[int, int], patch_size: int, area_fraction: float, plain: bool
) -> np.ndarray:
    """A random choice of floor(area_fraction * height * width / K^2) of Bridson's corners, int64 (n, 2), random order.

    Bridson's algorithm runs again while it finds too few; RuntimeError after MAX_RUNS runs.
    """
    count = int(area_fraction * image_size[0] * image_size[1] / patch_size**2)
    for _ in range(MAX_RUNS):
        corners = (bridson_plain if plain else bridson)(generator, image_size, patch_size)
        if len(corners) >= count:
            return generator.permutation(corners)[:count]
    raise RuntimeError(f"{MAX_RUNS} runs of Bridson's algorithm found fewer than {count} patches of side {patch_size}")


def random_patches_plain(
    generator: np.random.Generator, image_size: tuple[int, int], patch_size: int, area_fraction: float, pairs: bool
) -> np.ndarray:
    """Uniform corners int64 (n, 2), one after another until their union covers the fraction of the image.

    With `pairs`, corners 2i and 2i + 1 do not overlap each other and are added together.
    """
    height, width = (side - patch_size + 1 for side in image_size)
    covered, mask, chosen = 0, np.zeros(image_size, bool), []
    while covered < area_fraction * mask.size:
        draw = [(generator.integers(height), generator.integers(width)) for _ in range(2 if pairs else 1)]
        if pairs and all(abs(a - b) < patch_size for a, b in zip(*draw, strict=True)):
            continue
        for row, column in draw:
            window = mask[row : row + patch_size, column : column + patch_size]
            covered += patch_size**2 - window.sum()
            window[:] = True
        chosen += draw
    return np.array(chosen)


def random_patches(
    generator: np.random.Generator, image_size: tuple[int, int], patch_size: int, area_fraction: float, pairs: bool
) -> np.ndarray:
    """Uniform corners int64 (n, 2), one after another until their union covers the fraction of the image.

    With `pairs`, corners 2i and 2i + 1 do not overlap each other and are added together. Corners are drawn in blocks.
    """
    places = np.array(image_size) - patch_size + 1
    needed = area_fraction * image_size[0] * image_size[1]
    block = max(1, int(needed / patch_size**2))  # drawn at once; less would not suffice
    covered, mask, chosen = 0, np.zeros(image_size, bool), []
    while True:
        draws = generator.integers(0, places, (block, 2 if pairs else 1, 2))
        if pairs:
            draws = draws[(np.abs(draws[:, 0] - draws[:, 1]) >= patch_size).any(axis=1)]
        for draw in draws.tolist():
            for row, column in draw:
                window = mask[row : row + patch_size, column : column + patch_size]
                covered += patch_size**2 - int(np.count_nonzero(window))
                window[:] = True
            chosen += draw
            if covered >= needed:
                return np.array(chosen)


def zero(image: np.ndarray, corners: np.ndarray, patch_size: int) -> np.ndarray:
    """A copy of image (H, W, C) with the patches set to zero."""
    image = image.copy()
    for row, column in corners.tolist():
        image[row : row + patch_size, column : column + patch_size] = 0
    return image


def swap(image: np.ndarray, corners: np.ndarray, patch_size: int) -> np.ndarray:
    """A copy of image (H, W, C) with patches 2i and 2i + 1 swapped, pair after pair; an odd last one stays."""
    image = image.copy()
    places = [slice(row, row + patch_size) for row in corners[:, 0].tolist()]
    columns = [slice(column, column + patch_size) for column in corners[:, 1].tolist()]
    for i in range(0, len(places) - 1, 2):
        first, second = (places[i], columns[i]), (places[i + 1], columns[i + 1])
        kept = image[first].copy()
        image[first] = image[second]
        image[second] = kept
    return image


def corrupt(
    generator: np.random.Generator,
    image: np.ndarray,
    task: str,
    sampling: str,
    patch_size: int,
    area_fraction: float,
    plain: bool,
) -> np.ndarray:
    """Image (H, W, C) corrupted by a task and sampling of that name in inpaint_ssl.corruption."""
    size = (image.shape[0], image.shape[1])
    restoration = task == "context_restoration"
    if sampling == "poisson_disc":
        corners = poisson_disc_patches(generator, size, patch_size, area_fraction, plain)
    else:
        draw = random_patches_plain if plain else random_patches
        corners = draw(generator, size, patch_size, area_fraction, restoration)
    return (swap if restoration else zero)(image, corners, patch_size)
