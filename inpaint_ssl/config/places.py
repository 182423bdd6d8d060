"""Settings that name a place, and how they are emptied before settings travel."""

import copy
from collections.abc import Mapping
from typing import Any

# Settings that hold a path, a host or an id, or could; a dot at the end names a section.
PLACES = (
    *("data.root", "data.unlabelled_roots", "data.prepared", "data.id_salt_file", "data.subject_pattern"),
    *("split.file", "study.from", "transfer.pretrained", "transfer.pretrained_study"),
    *("engine.compilation_cache", "slurm.", "distributed."),
)
_EMPTY = {"engine.compilation_cache": "auto"}  # where "" is no choice


def is_place(name: str) -> bool:
    """Is this dotted name of a setting among PLACES?"""
    return name in PLACES or f"{name.partition('.')[0]}." in PLACES


def emptied(name: str, value: Any) -> Any:
    """The value of a setting without a place: texts become "" (the cache "auto"), lists and tuples empty ones."""
    if not is_place(name) or not isinstance(value, str | list | tuple):
        return value
    return _EMPTY.get(name, "") if isinstance(value, str) else type(value)()


def without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a config.json with PLACES emptied: texts become "" (the cache "auto"), lists [], numbers stay."""
    return {
        section: {key: emptied(f"{section}.{key}", copy.deepcopy(value)) for key, value in values.items()}
        if isinstance(values, Mapping)
        else copy.deepcopy(values)
        for section, values in config.items()
    }
