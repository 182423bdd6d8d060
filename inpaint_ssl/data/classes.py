"""Classes of a study: sets of label values, which may overlap."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from inpaint_ssl.errors import InputError


@dataclass(frozen=True)
class ClassMap:
    """Names of the classes and the label values of each."""

    names: tuple[str, ...]
    members: tuple[tuple[int, ...], ...]

    def membership(self) -> np.ndarray:
        """Boolean (256, K): entry [v, k] says whether label value v belongs to class k."""
        table = np.zeros((256, len(self.names)), bool)
        for k, values in enumerate(self.members):
            table[list(values), k] = True
        return table

    def label_map(self, label: np.ndarray) -> np.ndarray:
        """Label values as a uint8 map of classes: 0 for none, else 1 + index of the last class that holds the value."""
        order = np.arange(1, len(self.names) + 1)
        return (self.membership() * order).max(axis=1).astype(np.uint8)[label]


def class_map(specification: Sequence[str], labels: Mapping[str, int | Sequence[int]]) -> ClassMap:
    """The classes named by config.data.classes.

    specification: () makes every entry of `labels` a class; otherwise "name=label+label", each label a name or a value
    of `labels`, or just "label". labels: name -> value, or name -> values for a region.
    Raises InputError for unknown labels.
    """
    values = {name: (value,) if isinstance(value, int) else tuple(value) for name, value in labels.items()}
    if not specification:
        return ClassMap(tuple(values), tuple(values.values()))
    if isinstance(specification, str):
        raise InputError(f"data.classes is {specification!r}, expected a tuple of texts like ('name=label+label',)")
    classes: dict[str, tuple[int, ...]] = {}
    for text in specification:
        name, found, right = text.partition("=")
        name, members = name.strip(), (right if found else text).split("+")
        if not name or name in classes:
            raise InputError(f"data.classes: the name of {text!r} is empty or used twice; give each class its own name")
        chosen = {value for member in members for value in _lookup(member.strip(), values, text)}
        classes[name] = tuple(sorted(chosen))
    return ClassMap(tuple(classes), tuple(classes.values()))


def _lookup(member: str, values: Mapping[str, tuple[int, ...]], text: str) -> tuple[int, ...]:
    if member in values:
        return values[member]
    known = {value for region in values.values() for value in region}
    if member.isdecimal() and int(member) in known:
        return (int(member),)
    listed = ", ".join(f"{name} ({'+'.join(map(str, region))})" for name, region in values.items())
    raise InputError(f"data.classes: no label {member!r} (of {text!r}) in the data set, use one of: {listed}")
