"""A bundle in memory, and masks from arrays: inpaint_ssl.load_bundle."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jax import export
from nibabel import orientations

from inpaint_ssl.bundle.archive import MODEL, NETWORK, WEIGHTS, read_archive
from inpaint_ssl.bundle.card import MetricsCard
from inpaint_ssl.bundle.export import load_network
from inpaint_ssl.bundle.weights import from_safetensors
from inpaint_ssl.config import RULES
from inpaint_ssl.data.geometry import ras_orientation
from inpaint_ssl.errors import InputError
from inpaint_ssl.measure import Measures
from inpaint_ssl.memory import GIB, free_bytes
from inpaint_ssl.trained.record import ModelRecord
from inpaint_ssl.trained.run import TrainedModel
from inpaint_ssl.trained.segmenter import Segmenter

_SMALLEST_SPACING = 0.01  # mm to which slices are resampled: finer ones would take all memory
_SAME_SPACING = 0.01  # of the spacing: headers round
_TEXTS = ("task", "compute_dtype", "study", "dataset", "arm", "data_sha256", "splits_sha256", "config_sha256")


class Bundle:
    """A trained network with all that it needs to be applied.

    record: what it is. model: record and weights. card: how well it did on test scans, None where it was not
    evaluated. labels: name of each class -> its value in masks. colours: name -> "#rrggbb". citation: whom to cite. Of
    a pretraining there are no labels, and `segment` refuses.
    """

    def __init__(self, model: TrainedModel, card: MetricsCard | None, about: Mapping[str, Any], network: bytes) -> None:
        self.model, self.record, self.card = model, model.record, card
        self.labels: dict[str, int] = self.record.labels
        self.colours: dict[str, str] = {one["name"]: one["colour"] for one in about["labels"]}
        self.citation: dict[str, str] = dict(about["citation"])
        self._network = network

    def __repr__(self) -> str:
        return f"Bundle({self.model.origin!r}: {self.record.task} of {self.record.study!r}, labels {self.labels})"

    def segment(
        self,
        array: np.ndarray,
        spacing_mm: Sequence[float] | np.ndarray | None = None,
        *,
        affine: np.ndarray | None = None,
        batch_size: int = 16,
        flips: Sequence[str] = (),
        overlap: float = 0.5,
    ) -> np.ndarray:
        """The mask of a scan: uint8 (X, Y, Z), on the grid of `array`, with the values of `labels`, 0 for none.

        array: (X, Y, Z), or (X, Y, Z, C) with the channels of record.scan_channels in that order; stored values of MRI,
        HU of CT. Without an affine it is in RAS orientation (indices grow towards the patient's right, anterior and
        superior, as nibabel has it) and spacing_mm, along X, Y and Z, is needed. affine: (4, 4) from indices to mm in
        RAS, as nibabel's `image.affine`; then the array may lie in any orientation, and spacing_mm is taken from it.
        batch_size, flips, overlap: as of Segmenter. The network is compiled at the first call, and again for another
        batch_size, or flips, only.

        Raises InputError for an array, a spacing or an affine that does not fit, values that are not finite, and a
        bundle of a pretraining.
        """
        image = np.asarray(array)
        image = image[..., None] if image.ndim == 3 else image
        if image.ndim != 4 or not image.size:
            raise InputError(f"got an array of shape {image.shape}, expected (X, Y, Z) or (X, Y, Z, channels)")
        orientation = orientations.axcodes2ornt("RAS")
        spacing = None if spacing_mm is None else _spacing(spacing_mm)
        if affine is not None:
            orientation, own = _placed(affine)
            if spacing is not None:
                _check_same(spacing, own)
            image = orientations.apply_orientation(image, orientation)
            spacing = [own[axis] for axis in np.argsort(orientation[:, 0])]
        if spacing is None:
            raise InputError("got neither spacing_mm nor affine; give the size of a voxel in mm along X, Y and Z")
        flips = (flips,) if isinstance(flips, str) else flips
        segmenter = Segmenter([self.model], batch_size=batch_size, flips=flips, overlap=overlap)
        found = segmenter.segment(image, spacing, name="the array")
        mask = self.record.stored(found.labels)
        back = orientations.ornt_transform(orientations.axcodes2ornt("RAS"), orientation)
        return np.ascontiguousarray(orientations.apply_orientation(mask, back))

    def network(self) -> export.Exported:
        """The network as StableHLO, from raw slices to labels: `jax.jit(bundle.network().call)(...)`.

        Its arguments are in README.md of the bundle. For bundles whose origin you trust: unlike all else, it is read by
        MLIR, which a program that was made to harm can crash. Raises InputError where this version of jax cannot read
        it.
        """
        return load_network(self._network, self.record, f"{self.model.origin}: {NETWORK}")


def load_bundle(path: str | Path) -> Bundle:
    """The bundle in a file that python -m experiments.bundle wrote. Nothing is unpickled, run or written to disk.

    Raises InputError that names the file, what is wrong and the remedy, for whatever is no whole, undamaged bundle; see
    archive.read_archive and weights.from_safetensors.
    """
    where = str(path)
    about, members = read_archive(Path(path))
    record = _record(about, f"{where}: {MODEL}")
    stated = about.get("card")
    card = None if stated is None else MetricsCard.from_dict(stated, f"{where}: {MODEL}")
    params = from_safetensors(members[WEIGHTS], record, f"{where}: {WEIGHTS}")
    return Bundle(TrainedModel(record, params, where), card, about, members[NETWORK])


def _record(about: Mapping[str, Any], where: str) -> ModelRecord:
    """The record and, with it, labels and citation as they should be; InputError naming `where` for anything else."""
    values = about.get("record")
    if not isinstance(values, dict) or any(not isinstance(values.get(name), str) for name in _TEXTS):
        raise InputError(f"{where}: the record of the model is missing or has other types; get the file again")
    record = ModelRecord.from_dict(values, where)
    try:
        _check_applicable(record)
    except (InputError, AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"{where}: the record of the model cannot be used ({type(error).__name__}: {error}); get the file again"
        ) from None
    labels, citation = about.get("labels"), about.get("citation")
    as_expected = (
        isinstance(labels, list)
        and all(isinstance(one, dict) for one in labels)
        and [(one.get("name"), one.get("value")) for one in labels] == list(record.labels.items())
        and all(re.fullmatch("#[0-9a-f]{6}", str(one.get("colour"))) for one in labels)
        and isinstance(citation, dict)
        and all(isinstance(text, str) for text in citation.values())
    )
    if not as_expected:
        raise InputError(f"{where}: labels or citation are not those of the record; get the file again")
    return record


def _check_applicable(record: ModelRecord) -> None:
    """ValueError for a record, damaged or made to harm, with which applying its network would fail or take all memory.

    AttributeError, KeyError, TypeError, OverflowError or InputError where a value is missing or of another type.
    """
    how, on = record.preprocessing, record.trained_on
    given = {f"data.{name}": getattr(how, name) for name in ("image_size", "hu_windows", "target_spacing_mm")}
    given |= {f"clinical.{name}": value for name, value in record.clinical.items()}
    for name, value in given.items():
        takes, expected = RULES[name]
        if not takes(value):
            raise ValueError(f"{name} is {value!r}, expected {expected}")
    if any(mm < _SMALLEST_SPACING for mm in how.target_spacing_mm):
        raise ValueError(f"resampling to {how.target_spacing_mm} mm, expected {_SMALLEST_SPACING} mm or more")
    one_image = 4 * math.prod(how.image_size) * (len(record.input_channels) + record.filters[0])
    if one_image > (free := free_bytes()):
        raise ValueError(
            f"one image of {how.image_size} pixels takes {one_image / GIB:.3g} GiB, {free / GIB:.3g} GiB are free"
        )
    channels = len(record.scan_channels)
    if how.channels_out(channels) != len(record.input_channels) or (how.modality == "ct" and channels != 1):
        raise ValueError(f"{channels} channels of a scan do not make {len(record.input_channels)} of the network")
    if record.task == "segmentation":
        Measures.from_config(record.clinical, record.classes, how.modality, channels)
    ends = [end for low_and_high in on.ranges.values() for end in low_and_high]
    if on.scans < 1 or not all(map(math.isfinite, ends)) or any(low > high for low, high in on.ranges.values()):
        raise ValueError("trained_on is of no scans, or its ranges are no numbers from low to high")


def _spacing(given: Any) -> list[float]:
    try:
        x, y, z = np.asarray(given, np.float64).tolist()
        if min(x, y, z) > 0 and math.isfinite(x + y + z):
            return [x, y, z]
    except (TypeError, ValueError):
        pass
    raise InputError(f"spacing_mm is {given!r}, expected three numbers of mm above 0, along X, Y and Z")


def _placed(affine: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """(orientation array to RAS, spacing along the array's own axes) of an affine; InputError for one of no grid."""
    matrix = np.asarray(affine)
    try:
        if matrix.shape != (4, 4):
            raise ValueError(f"its shape is {matrix.shape}")
        matrix = matrix.astype(np.float64)
        return ras_orientation(matrix), np.linalg.norm(matrix[:3, :3], axis=0).tolist()
    except (TypeError, ValueError) as error:
        raise InputError(f"affine: {error}; expected a (4, 4) matrix from voxel indices to mm, as of nibabel") from None


def _check_same(given: list[float], own: list[float]) -> None:
    if any(not abs(a - b) <= _SAME_SPACING * b for a, b in zip(given, own, strict=True)):
        stated = " x ".join(f"{mm:.4g}" for mm in own)
        raise InputError(f"spacing_mm is {given}, the affine has {stated} mm; leave spacing_mm out, or correct one")
