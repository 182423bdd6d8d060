"""What to corrupt: the static description of the patches, and the patches themselves."""

import dataclasses
import math
import numbers
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from inpaint_ssl.errors import InputError

Task = Literal["context_prediction", "context_restoration"]
Sampling = Literal["poisson_disc", "random"]

# Beyond this share, uniform patches need many times the image's area in draws.
MAX_RANDOM_FRACTION = 0.75


class Patches(NamedTuple):
    """Square patches of one image, in the order in which they were drawn.

    corners: int32 (max_patches, 2), row and column of the top-left pixel. used: bool (max_patches,), True for the
    leading patches that corrupt the image. For context restoration patches 2i and 2i + 1 are the pair i.
    """

    corners: jax.Array
    used: jax.Array


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class PatchSpec:
    """Which patches corrupt an image (paper, sections 2.4 and 2.5.2). Hashable; static under jit.

    patch_size: side K of the square patches in pixels. sampling: "poisson_disc" (centres at least K*sqrt(2) apart) or
    "random" (uniform, may overlap). area_fraction: smallest share of the image area that is corrupted, in (0, 1).
    Raises InputError when a field is out of its range; `check` tells whether the spec suits an image.
    """

    patch_size: int = 32
    sampling: Sampling = "poisson_disc"
    area_fraction: float = 0.25

    def __post_init__(self) -> None:
        size, fraction = self.patch_size, self.area_fraction
        if not isinstance(size, numbers.Integral) or isinstance(size, bool) or size < 1:
            raise InputError(f"patch_size is {size!r}, expected a whole number of pixels >= 1")
        if self.sampling not in get_args(Sampling):
            raise InputError(f'sampling is {self.sampling!r}, expected "poisson_disc" or "random"')
        if not isinstance(fraction, numbers.Real) or not 0.0 < fraction < 1.0:
            raise InputError(f"area_fraction is {fraction!r}, expected a number inside (0, 1)")
        object.__setattr__(self, "patch_size", int(size))  # NumPy's short numbers would overflow
        object.__setattr__(self, "area_fraction", float(fraction))

    def check(self, image_size: tuple[int, int], task: str = "context_prediction") -> None:
        """Raise InputError if this spec cannot corrupt every image of image_size = (height, width) in pixels.

        A Poisson-disc spec passes only if a jittered lattice holds its patches: what packing would allow is not what
        sampling finds.
        """
        height, width = image_size
        got = f"patch_size {self.patch_size} with an image of {height} x {width} pixels"
        if task not in get_args(Task):
            raise InputError(f'task is {task!r}, expected "context_prediction" or "context_restoration"')
        if min(height, width) < 1:
            raise InputError(f"image size is {height} x {width}, expected at least 1 x 1 pixels")
        largest = largest_patch(image_size, task)
        if largest < 1:
            raise InputError(f"image of {height} x {width} pixels holds no two patches to swap: use a larger image")
        if self.patch_size > largest:
            room = "two patches side by side" if task == "context_restoration" else "the patch"
            raise InputError(f"{got}, expected room for {room}: {_remedy(image_size, self, task)} or larger images")
        if self.sampling == "random":
            if self.area_fraction > MAX_RANDOM_FRACTION:
                raise InputError(
                    f"area_fraction is {self.area_fraction} with random sampling, expected at most "
                    f"{MAX_RANDOM_FRACTION}: use area_fraction <= {MAX_RANDOM_FRACTION}"
                )
            return
        rows, columns = lattice_shape(image_size, self.patch_size)
        count = patch_count(image_size, self, task)
        if count > rows * columns:
            raise InputError(
                f"{got} needs {count} Poisson-disc patches for area_fraction {self.area_fraction}, expected at most "
                f"{rows * columns}: {_remedy(image_size, self, task)}"
            )


def ceil(value: float) -> int:
    """Smallest whole number >= value, ignoring the rounding error of a decimal fraction (0.07 * 100 is 7)."""
    return math.ceil(round(value, 6))


def uniform_below(bits: jax.Array, limit: jax.Array | int) -> jax.Array:
    """Whole numbers int32 0..limit-1 of uint32 bits: 2**32 is so far above any limit here that this is uniform."""
    return (bits % jnp.asarray(limit, jnp.uint32)).astype(jnp.int32)


def patch_count(image_size: tuple[int, int], spec: PatchSpec, task: str) -> int:
    """Number of disjoint patches that make up the area fraction; even for context restoration."""
    count = ceil(spec.area_fraction * image_size[0] * image_size[1] / spec.patch_size**2)
    return count + count % 2 if task == "context_restoration" else count


def lattice_step(patch_size: int) -> int:
    """Smallest whole number of pixels >= K*sqrt(2)."""
    return math.isqrt(2 * patch_size**2) + 1


def lattice_shape(image_size: tuple[int, int], patch_size: int) -> tuple[int, int]:
    """Rows and columns of the square lattice of patches with centres at least K*sqrt(2) apart."""
    step = lattice_step(patch_size)
    rows, columns = ((side - patch_size) // step + 1 for side in image_size)
    return rows, columns


def largest_patch(image_size: tuple[int, int], task: str) -> int:
    """Largest patch side that fits; two such patches must fit side by side for context restoration."""
    fits = min(image_size)
    return min(fits, max(image_size) // 2) if task == "context_restoration" else fits


def _is_feasible(image_size: tuple[int, int], spec: PatchSpec, task: str) -> bool:
    if spec.patch_size > largest_patch(image_size, task):
        return False
    if spec.sampling == "random":
        return spec.area_fraction <= MAX_RANDOM_FRACTION
    return patch_count(image_size, spec, task) <= math.prod(lattice_shape(image_size, spec.patch_size))


def _remedy(image_size: tuple[int, int], spec: PatchSpec, task: str) -> str:
    """The largest area fraction at this patch size, the largest patch size at this fraction, the other sampling."""
    advice = []
    largest = largest_patch(image_size, task)
    if spec.sampling == "poisson_disc" and spec.patch_size <= largest:
        rows, columns = lattice_shape(image_size, spec.patch_size)
        count = rows * columns - (rows * columns % 2 if task == "context_restoration" else 0)
        share = math.floor(1e4 * count * spec.patch_size**2 / (image_size[0] * image_size[1])) / 1e4
        if share > 0:
            advice.append(f"area_fraction <= {share}")
    # Not every smaller patch will do: the rows of a lattice come in whole numbers.
    others = (dataclasses.replace(spec, patch_size=size) for size in range(largest, 0, -1))
    fitting = next((other for other in others if _is_feasible(image_size, other, task)), None)
    if fitting is not None:
        advice.append(f"patch_size = {fitting.patch_size}")
    if _is_feasible(image_size, dataclasses.replace(spec, sampling="random"), task):
        advice.append('sampling = "random"')
    return "use " + " or ".join(advice or ["a smaller area_fraction"])
