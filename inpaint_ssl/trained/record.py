"""Everything that travels with weights, and is needed to apply them to another scan. Nothing here imports jax.

It names no subject and no scan: what is known of the training scans are ranges, counts and hashes of voxels.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from inpaint_ssl.data import ClassMap, Preprocessing, ScanInfo
from inpaint_ssl.errors import InputError
from inpaint_ssl.trained.ranges import quantities, ranges_of

TASKS = ("segmentation", "inpainting")


@dataclass(frozen=True)
class TrainedOn:
    """The scans that a network was trained on, pretraining included.

    ranges: quantity (ranges.quantities) -> lowest and highest of a scan. image_sha256: sorted, of the voxels of each
    scan (ScanRecord.image_sha256).
    """

    scans: int
    subjects: int
    ranges: Mapping[str, tuple[float, float]]
    image_sha256: tuple[str, ...]

    @classmethod
    def of(cls, scans: Iterable[ScanInfo], modality: str) -> "TrainedOn":
        """Of the scans that training sees; one that is listed twice counts once."""
        unique = {scan.scan_id: scan for scan in scans}.values()
        known = [scan for scan in unique if scan.intensity]
        found = (quantities(one.placement.shape, one.spacing_mm, one.intensity, modality) for one in known)
        hashes = {scan.image_sha256 for scan in unique if scan.image_sha256}
        subjects = {scan.subject_id for scan in unique}
        return cls(len(unique), len(subjects), ranges_of(found), tuple(sorted(hashes)))

    def joined(self, other: "TrainedOn") -> "TrainedOn":
        """Both together: of weights that were trained again, on other scans."""
        ends = [_ends(ranges, which) for ranges in (self.ranges, other.ranges) for which in (0, 1)]
        hashes = tuple(sorted({*self.image_sha256, *other.image_sha256}))
        return TrainedOn(self.scans + other.scans, self.subjects + other.subjects, ranges_of(ends), hashes)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        ranges = {name: list(ends) for name, ends in self.ranges.items()}
        return {**vars(self), "ranges": ranges, "image_sha256": list(self.image_sha256)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrainedOn":
        """The inverse of to_dict."""
        ranges = {name: (float(low), float(high)) for name, (low, high) in values["ranges"].items()}
        return cls(int(values["scans"]), int(values["subjects"]), ranges, tuple(map(str, values["image_sha256"])))


def _ends(ranges: Mapping[str, tuple[float, float]], which: int) -> dict[str, float]:
    return {name: ends[which] for name, ends in ranges.items()}


@dataclass(frozen=True)
class ModelRecord:
    """What a trained network is and what it expects.

    task: "segmentation" or "inpainting". filters, groups: of the U-Net; outputs: its classes or image channels;
    compute_dtype: that of its training. scan_channels: of a scan as it is read; input_channels: of the network.
    threshold: probability from which a pixel belongs to a class. clinical: config.clinical. versions: of packages.
    """

    task: str
    filters: tuple[int, ...]
    groups: int
    outputs: int
    compute_dtype: str
    preprocessing: Preprocessing
    input_channels: tuple[str, ...]
    scan_channels: tuple[str, ...]
    classes: ClassMap
    threshold: float
    clinical: Mapping[str, Any]
    trained_on: TrainedOn
    study: str
    dataset: str
    arm: str
    label_fraction: float
    seed: int
    subset_draw: int
    data_sha256: str
    splits_sha256: str
    config_sha256: str
    versions: Mapping[str, str]

    @property
    def values(self) -> tuple[int, ...]:
        """What each class is in a mask: its label value where every class has one of its own, else its index + 1."""
        single = {members[0] for members in self.classes.members if len(members) == 1}
        if len(single) == len(self.classes.names):
            return tuple(members[0] for members in self.classes.members)
        return tuple(range(1, len(self.classes.names) + 1))

    @property
    def labels(self) -> dict[str, int]:
        """Name of each class -> its value in masks."""
        return dict(zip(self.classes.names, self.values, strict=True))

    def stored(self, label_map: np.ndarray) -> np.ndarray:
        """A uint8 map of class index + 1 with the values that masks have."""
        return np.array([0, *self.values], np.uint8)[label_map]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        members = {name: list(one) for name, one in zip(self.classes.names, self.classes.members, strict=True)}
        changed = {
            "preprocessing": self.preprocessing.to_dict(),
            "classes": members,
            "trained_on": self.trained_on.to_dict(),
            "clinical": {name: list(v) if isinstance(v, tuple) else v for name, v in self.clinical.items()},
            "versions": dict(self.versions),
        }
        lists = {name: list(getattr(self, name)) for name in ("filters", "input_channels", "scan_channels")}
        return {**vars(self), **lists, **changed}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str) -> "ModelRecord":
        """The inverse of to_dict; InputError naming `where`, the file, for other content."""
        try:
            names, members = zip(*values["classes"].items(), strict=True) if values["classes"] else ((), ())
            own: dict[str, Any] = {
                "preprocessing": Preprocessing.from_dict(values["preprocessing"]),
                "classes": ClassMap(tuple(names), tuple(tuple(int(value) for value in one) for one in members)),
                "trained_on": TrainedOn.from_dict(values["trained_on"]),
                "filters": tuple(int(width) for width in values["filters"]),
                "clinical": {n: tuple(v) if isinstance(v, list) else v for n, v in values["clinical"].items()},
                "versions": {str(name): str(version) for name, version in values["versions"].items()},
            }
            own |= {name: tuple(map(str, values[name])) for name in ("input_channels", "scan_channels")}
            own |= {name: int(values[name]) for name in ("groups", "outputs", "seed", "subset_draw")}
            own |= {name: float(values[name]) for name in ("threshold", "label_fraction")}
            record = cls(**{**values, **own})
            record.check()
        except (InputError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            reason = f"{type(error).__name__}: {error}" if not isinstance(error, InputError) else str(error)
            raise InputError(
                f"{where}: the record of the model cannot be used ({reason}); write it again with the version that "
                "made it, or use that version"
            ) from None
        return record

    def check(self) -> None:
        """ValueError for what no network can be."""
        classes = len(self.classes.names)
        problems = (
            (self.task not in TASKS, f"task {self.task!r}"),
            (self.compute_dtype not in ("float32", "bfloat16"), f"compute_dtype {self.compute_dtype!r}"),
            (not 1 <= len(self.filters) <= 12 or not all(1 <= n <= 65536 for n in self.filters), "filters"),
            (self.groups < 1 or any(width % self.groups for width in self.filters), "groups"),
            (self.task == "segmentation" and not 1 <= self.outputs == classes <= 255, "outputs and classes"),
            (self.task == "inpainting" and self.outputs != len(self.input_channels), "outputs and input channels"),
            (any(not one or not all(0 < v < 256 for v in one) for one in self.classes.members), "values of classes"),
            (not self.input_channels or not self.scan_channels, "channels"),
            (not 0 < self.threshold < 1, f"threshold {self.threshold}"),
            (any(n < 1 or n % 2 ** (len(self.filters) - 1) for n in self.preprocessing.image_size), "image_size"),
        )
        wrong = [what for holds, what in problems if holds]
        if wrong:
            raise ValueError(f"no network has such {', '.join(wrong)}")
