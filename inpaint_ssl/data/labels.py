"""Label values: which a label file may hold, how they are replaced, and what is said of those it may not hold."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from inpaint_ssl.errors import InputError


@dataclass(frozen=True)
class LabelRules:
    """declared: every value that a label may hold after `mapping` was applied, 0 included; ignore: the value of
    nnU-Net's "ignore" label, or -1; mapping: value in the file -> value used; where: what declares the values.
    """

    declared: frozenset[int]
    ignore: int = -1
    mapping: Mapping[int, int] = field(default_factory=dict)
    where: str = "dataset.json"

    def to_dict(self) -> dict[str, object]:
        """JSON-able."""
        mapping = {str(old): new for old, new in sorted(self.mapping.items())}
        return {"declared": sorted(self.declared), "ignore": self.ignore, "mapping": mapping}


def parse_label_map(texts: tuple[str, ...]) -> dict[int, int]:
    """config.data.label_map: texts "old=new" or "old+old=new" to value in the file -> value used."""
    mapping: dict[int, int] = {}
    for text in texts:
        left, found, right = text.partition("=")
        values = [part.strip() for part in left.split("+")]
        if not found or not right.strip().isdecimal() or not all(value.isdecimal() for value in values):
            raise InputError(f"data.label_map: got {text!r}, expected texts such as '255=1' or '3+4=2'")
        for old, new in ((int(value), int(right)) for value in values):
            if new > 255:
                raise InputError(f"data.label_map: {text!r} maps to {new}, expected a value from 0 to 255")
            if mapping.setdefault(old, new) != new:
                raise InputError(f"data.label_map maps {old} to {mapping[old]} and to {new}; give it once")
    return mapping


def parse_labels(texts: tuple[str, ...]) -> dict[str, int | tuple[int, ...]]:
    """config.data.labels: texts "name=value" or "name=value+value" to name -> value or values."""
    labels: dict[str, int | tuple[int, ...]] = {}
    for text in texts:
        name, found, right = text.partition("=")
        values = [part.strip() for part in right.split("+")]
        if not name.strip() or not found or not all(v.isdecimal() and 0 < int(v) < 256 for v in values):
            raise InputError(f"data.labels: got {text!r}, expected texts such as 'liver=5' with values from 1 to 255")
        if name.strip() in labels:
            raise InputError(f"data.labels: the name {name.strip()!r} is used twice; give each label its own")
        region = tuple(sorted({int(value) for value in values}))
        labels[name.strip()] = region[0] if len(region) == 1 else region
    return labels


def declared_values(labels: Mapping[str, int | tuple[int, ...]]) -> frozenset[int]:
    """0 and every value of `labels`."""
    return frozenset({0}.union(*((v,) if isinstance(v, int) else v for v in labels.values())))


def checked_label(data: np.ndarray, path: str, rules: LabelRules) -> np.ndarray:
    """A label file's voxels (X, Y, Z, 1) as uint8 (X, Y, Z), values replaced by rules.mapping.

    Raises InputError (kind "labels") for values that are no whole numbers from 0 to 255, or that are not declared.
    """
    if data.shape[3] != 1:
        raise InputError(f"{path} has {data.shape[3]} values per voxel, expected one label map; store one", "labels")
    values = data[..., 0]
    if values.dtype.kind == "f":
        # Scaled files come within rounding of whole numbers.
        if not np.isfinite(values).all():
            raise InputError(f"{path}: label values must be whole numbers from 0 to 255; correct the file", "labels")
        whole = np.rint(values)
        if np.abs(values - whole).max() > 1e-3:
            strange = float(values[np.abs(values - whole) > 1e-3][0])
            raise InputError(f"{path}: a label value is {strange}, expected whole numbers; correct the file", "labels")
        values = whole
    present = np.unique(values)
    if any(int(value) in rules.mapping for value in present):
        given, values = values, values.astype(np.result_type(values, np.int16))
        for old, new in rules.mapping.items():
            values[given == old] = new
        present = np.unique(values)
    if present[0] < 0 or present[-1] > 255:
        raise InputError(
            f"{path}: label values must be whole numbers from 0 to 255, got {present[0]:g} to {present[-1]:g}; correct "
            "the file, or replace values with data.label_map",
            "labels",
        )
    found = {int(value) for value in present}
    if found - rules.declared:
        raise InputError(_undeclared(found, path, rules), "labels")
    if rules.ignore in found:
        raise InputError(
            f"{path} has voxels of the label 'ignore' ({rules.ignore}), which training cannot leave out; label them or "
            "remove the scan",
            "labels",
        )
    return np.ascontiguousarray(values, dtype=np.uint8)


def _undeclared(present: set[int], path: str, rules: LabelRules) -> str:
    strange, unused = sorted(present - rules.declared), sorted(rules.declared - present - {0, rules.ignore})
    remap = ""
    if len(strange) == len(unused):
        remap = ", ".join(f"'{old}={new}'" for old, new in zip(strange, unused, strict=True))
    return (
        f"{path} holds the label values {', '.join(map(str, strange))}, but {rules.where} declares only "
        f"{', '.join(map(str, sorted(rules.declared)))}; declare them there, or replace them with data.label_map"
        + (f", perhaps ({remap},)" if remap else "")
    )
