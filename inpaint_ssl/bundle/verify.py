"""Does a bundle still say what its run says? Both, and the StableHLO program, on generated slices."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from inpaint_ssl.bundle.load import Bundle, load_bundle
from inpaint_ssl.data import Placement, display, to_volume
from inpaint_ssl.data.geometry import SLICE_AXES, fill, place, plane_axes
from inpaint_ssl.data.intensity import intensities_of
from inpaint_ssl.trained.networks import Hashed, views_program
from inpaint_ssl.trained.record import ModelRecord
from inpaint_ssl.trained.run import TrainedModel, load_run
from inpaint_ssl.trained.segmenter import Segmenter

SLICES = 4  # of each sample
SAMPLES = (1.0, 0.75)  # sides of the slices as shares of the image: one fills it, one has a margin
STRUCTURE = (
    *("task", "filters", "groups", "outputs", "preprocessing"),
    *("input_channels", "scan_channels", "classes", "threshold", "clinical"),
)
_HU = (-1000.0, 1500.0)  # where the training scans are not known
# Two programs round differently. A pixel may differ where its probabilities are so near to the threshold or each other.
_ROUNDING = {"cpu": 1e-3}
_ROUNDING_ELSEWHERE = 5e-2  # TF32, or bfloat16 as in training, beside float32


@dataclass(frozen=True)
class Agreement:
    """Of all pixels of the sample, between bundle and run, and between the StableHLO program and the bundle.

    records: what differs between their records; with another network or input there are no pixels. same_as_run,
    same_as_program: shares of equal pixels. run_difference, program_difference: largest difference of a probability,
    or, of a network that restores images, of a normalised intensity; the program gives no probabilities, so NaN there.
    unexplained: pixels in which the program differs and rounding is no reason. labelled: pixels that the bundle has in
    a class; where a network that segments finds nothing, an equal program proves little, and `lines` says so.
    """

    records: tuple[str, ...]
    pixels: int
    same_as_run: float
    run_difference: float
    same_as_program: float
    program_difference: float
    unexplained: int
    labelled: int

    @property
    def agrees(self) -> bool:
        """Bundle and run are equal, and the StableHLO program is up to rounding."""
        return not self.records and self.same_as_run == 1 and self.run_difference == 0 and self.unexplained == 0

    def lines(self) -> list[str]:
        """For a person to read."""
        differing = [f"the records of run and bundle differ: {', '.join(self.records)}"] if self.records else []
        verdict = "they agree" if self.agrees else "they differ: write the bundle again"
        if not self.pixels:
            return [*differing, verdict]
        segments = np.isnan(self.program_difference)
        found = f", {self.labelled} of them in a class" if segments else ""
        if segments and not self.labelled:
            found += ": it finds nothing in them, so its StableHLO is hardly tested"
        program = f"{self.unexplained} pixels differ by more than rounding"
        if not segments:
            program += f", largest difference {self.program_difference:.3g}"
        return [
            *differing,
            f"sample: {self.pixels} pixels of generated slices{found}",
            f"bundle and run: {_percent(self.same_as_run)} of the pixels are equal, largest difference of "
            f"{'a probability' if segments else 'an intensity'} {self.run_difference:.3g}",
            f"bundle and StableHLO: {_percent(self.same_as_program)} of the pixels are equal, {program}",
            verdict,
        ]


@dataclass(frozen=True)
class _Counts:
    """Of one scan of the sample."""

    pixels: int
    equal_to_run: int
    run_difference: float
    equal_to_program: int
    program_difference: float
    unexplained: int
    labelled: int = 0


def _percent(share: float) -> str:
    return f"{100 * share:.4f} %"


def verify_bundle(run: Path, bundle: Path, seed: int = 0) -> Agreement:
    """Compare the bundle in a file with the run in folder `run`; InputError where either cannot be used."""
    return compare(load_run(run), load_bundle(bundle), seed)


def compare(run: TrainedModel, bundle: Bundle, seed: int = 0) -> Agreement:
    """A trained network and a bundle on the sample of `seed`."""
    first, second = (json.loads(json.dumps(one.to_dict())) for one in (run.record, bundle.record))
    differing = tuple(name for name in first if first[name] != second[name])
    if set(differing) & set(STRUCTURE):
        return Agreement(differing, 0, 0.0, math.nan, 0.0, math.nan, 0, 0)
    program = jax.jit(bundle.network().call)
    count = _segmented if run.record.task == "segmentation" else _restored
    found = []
    for number, share in enumerate(SAMPLES):
        image, spacing_mm = sample_scan(run.record, seed + number, share)
        inputs, placement = program_inputs(run.record, image)
        output = np.asarray(program(*inputs))
        found.append(count(run, bundle, image, spacing_mm, output, placement))
    pixels = sum(one.pixels for one in found)
    return Agreement(
        records=differing,
        pixels=pixels,
        same_as_run=sum(one.equal_to_run for one in found) / pixels,
        run_difference=max(one.run_difference for one in found),
        same_as_program=sum(one.equal_to_program for one in found) / pixels,
        program_difference=max(one.program_difference for one in found),
        unexplained=sum(one.unexplained for one in found),
        labelled=sum(one.labelled for one in found),
    )


def sample_scan(record: ModelRecord, seed: int, share: float) -> tuple[np.ndarray, tuple[float, float, float]]:
    """(image (X, Y, Z, C) float32 in RAS, spacing in mm) of SLICES slices with sides of `share` of the network's image.

    Ellipsoids one inside the other, shading and noise, in HU within the range of the training scans, or from 0 to 1000.
    """
    how, rng = record.preprocessing, np.random.default_rng(seed)
    row_axis, column_axis = plane_axes(how.slice_axis)
    shape, spacing = [0, 0, 0], [1.0, 1.0, 1.0]
    shape[SLICE_AXES[how.slice_axis]] = SLICES
    for axis, side, mm in zip(
        (row_axis, column_axis), how.image_size, how.target_spacing_mm or (1.0, 1.0), strict=True
    ):
        shape[axis], spacing[axis] = max(1, int(side * share)), mm
    grid = np.meshgrid(*(np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape), indexing="ij")
    values = np.zeros((*shape, len(record.scan_channels)))
    for channel in range(values.shape[-1]):
        for radius in (0.9, 0.6, 0.35):
            centre = rng.uniform(-0.2, 0.2, 3)
            distance = sum(((g - c) / radius) ** 2 for g, c in zip(grid, centre, strict=True))
            values[..., channel] = np.where(distance < 1, rng.uniform(0.2, 0.9), values[..., channel])
        values[..., channel] += 0.1 * grid[row_axis] + rng.normal(0, 0.05, shape)
    values = np.clip(values, 0, 1)
    low, high = (0.0, 1000.0) if how.modality == "mri" else _hu_range(record)
    x, y, z = spacing
    return (low + (high - low) * values).astype(np.float32), (x, y, z)


def _hu_range(record: ModelRecord) -> tuple[float, float]:
    ranges = record.trained_on.ranges
    if "hu_min" not in ranges or "hu_max" not in ranges:
        return _HU
    return ranges["hu_min"][0], max(ranges["hu_max"][1], ranges["hu_min"][0] + 1)


def program_inputs(record: ModelRecord, image: np.ndarray) -> tuple[tuple[np.ndarray, ...], Placement]:
    """What the StableHLO program takes for an RAS image (X, Y, Z, C) whose slices fit into the network's image, and
    where they lie in it. No resampling.
    """
    how = record.preprocessing
    slices, placement = display(image, how.slice_axis), place(image.shape[:3], how.slice_axis, how.image_size)
    images = np.empty((len(slices), *how.image_size, image.shape[3]), np.float32)
    intensities = intensities_of(image)
    combined = how.channels == "root_sum_of_squares" and image.shape[3] > 1
    if how.modality == "ct":
        images[:] = np.nan
    elif combined:
        images[..., 0], images[..., 1:] = intensities.combined.min, 0
    else:
        images[:] = [one.min for one in intensities.channels]
    fill(images, slices, placement)
    if how.modality == "ct":
        return (images,), placement
    chosen = (intensities.combined,) if combined else intensities.channels
    of_scan = (np.array([[getattr(one, name) for one in chosen]] * len(images), np.float32) for name in ("mean", "std"))
    return (images, *of_scan), placement


def _segmented(
    run: TrainedModel,
    bundle: Bundle,
    image: np.ndarray,
    spacing_mm: tuple[float, float, float],
    output: np.ndarray,
    placement: Placement,
) -> _Counts:
    record = run.record
    of_run = record.stored(Segmenter([run], batch_size=SLICES).segment(image, spacing_mm).labels)
    of_bundle = bundle.segment(image, spacing_mm, batch_size=SLICES)
    first, second = (_outputs(model, image, placement) for model in (run, bundle.model))
    of_program = to_volume(output, placement)
    wrong = of_program != of_bundle
    ordered = np.sort(np.concatenate([np.zeros_like(second[..., :1]), second], axis=-1), axis=-1)[wrong]
    nearest = np.minimum(np.abs(ordered[:, -1] - record.threshold), ordered[:, -1] - ordered[:, -2])
    return _Counts(
        pixels=of_bundle.size,
        equal_to_run=int((of_run == of_bundle).sum()),
        run_difference=float(np.abs(first - second).max()),
        equal_to_program=int((~wrong).sum()),
        program_difference=math.nan,
        unexplained=int((nearest > _rounding()).sum()),
        labelled=int((of_bundle > 0).sum()),
    )


def _restored(
    run: TrainedModel,
    bundle: Bundle,
    image: np.ndarray,
    spacing_mm: tuple[float, float, float],
    output: np.ndarray,
    placement: Placement,
) -> _Counts:
    del spacing_mm
    first, second = (_outputs(model, image, placement) for model in (run, bundle.model))
    difference = np.abs(to_volume(output, placement) - second)
    near = difference <= _rounding() * max(1.0, float(np.abs(second).max()))
    pixels = first[..., 0].size
    return _Counts(
        pixels=pixels,
        equal_to_run=int((first == second).all(axis=-1).sum()),
        run_difference=float(np.abs(first - second).max()),
        equal_to_program=int(near.all(axis=-1).sum()),
        program_difference=float(difference.max()),
        unexplained=int((~near).any(axis=-1).sum()),
    )


def _outputs(model: TrainedModel, image: np.ndarray, placement: Placement) -> np.ndarray:
    """Probabilities, or restored intensities, (X, Y, Z, K) as Segmenter computes them."""
    how = model.record.preprocessing
    slices = display(image, how.slice_axis)
    images = np.zeros((len(slices), *how.image_size, image.shape[3]), np.float32)
    fill(images, slices, placement)
    boxes = np.tile(np.array(placement.box, np.int32), (len(slices), 1))
    statistics = np.tile(how.statistics(intensities_of(image), "the sample"), (len(slices), 1, 1))
    program = views_program(Hashed(model.record), ((),), False)
    return to_volume(np.asarray(program(model.params, images, boxes, statistics))[0], placement)


def _rounding() -> float:
    return _ROUNDING.get(jax.default_backend(), _ROUNDING_ELSEWHERE)
