"""Checks a configuration against configs/base.py before anything is written."""

import difflib
import math
from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from inpaint_ssl.config.arms import read_arms
from inpaint_ssl.config.rules import RULES, is_whole
from inpaint_ssl.config.together import check_together
from inpaint_ssl.errors import InputError


def _flatten(tree: ConfigDict | Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping | ConfigDict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def flatten(config: ConfigDict | Mapping[str, Any]) -> dict[str, Any]:
    """Every setting under its dotted name, in the order of configs/base.py."""
    return dict(_flatten(config))


def as_tuple(value: Any) -> Any:
    """Lists inside lists as tuples inside tuples; anything else as it is."""
    return tuple(as_tuple(item) for item in value) if isinstance(value, list | tuple) else value


def _coerced(name: str, value: Any, default: Any) -> Any:
    """`value` as the type of `default`; whole numbers serve as floats, lists as tuples, nothing else is changed."""
    if isinstance(default, tuple):
        value = as_tuple(value)
        if default and all(isinstance(item, float) for item in default) and isinstance(value, tuple):
            value = tuple(float(item) if is_whole(item) else item for item in value)
    elif isinstance(default, float) and is_whole(value):
        value = float(value)
    if type(value) is not type(default):
        raise InputError(
            f"config.{name}: got {value!r} ({type(value).__name__}), expected a {type(default).__name__} "
            f"such as {default!r}; see configs/base.py"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"config.{name}: got {value!r}, expected a finite number; see configs/base.py")
    return value


def _checked(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Values of the right types, in their ranges and possible together."""
    values = {name: _coerced(name, given[name], default) for name, default in defaults.items()}
    for name, (holds, expected) in RULES.items():
        if not holds(values[name]):
            raise InputError(f"config.{name}: got {values[name]!r}, expected {expected}; see configs/base.py")
    check_together(values)
    return values


def resolve(config: ConfigDict, base: ConfigDict) -> ConfigDict:
    """A locked copy of `config` whose names and types are those of `base` and whose values lie in their ranges.

    Raises InputError with what was got, what was expected and what to do; nothing is written.
    """
    given, defaults = flatten(config), flatten(base)
    for name in given:
        if name not in defaults:
            close = difflib.get_close_matches(name, defaults, n=1)
            hint = f"did you mean config.{close[0]}?" if close else "see configs/base.py for every key"
            raise InputError(f"config.{name}: no such setting; {hint}")
    missing = [name for name in defaults if name not in given]
    if missing:
        raise InputError(f"config.{missing[0]}: missing; start from configs/base.py, which holds every key")
    values = _checked(given, defaults)
    for arm in read_arms(values["arms"], values):
        try:
            _checked({**values, **dict(arm.settings)}, defaults)
        except InputError as error:
            raise InputError(f"config.arms: {arm.name}: {error}") from None
    resolved = ConfigDict()
    for name, value in values.items():
        section = resolved
        *path, key = name.split(".")
        for part in path:
            if part not in section:
                section[part] = ConfigDict()
            section = section[part]
        section[key] = value
    return resolved.lock()
