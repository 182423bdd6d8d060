"""Checks a configuration against configs/base.py before anything is written, and reads and writes config.json.

No jax here: a wrong setting is reported at once. Defaults live in configs/base.py alone; ranges live here.
"""

import difflib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from inpaint_ssl.errors import InputError
from inpaint_ssl.files import read_json, sha256_of

PARTS = ("encoder", "decoder")  # the last convolution differs between the two networks
STAGES = ("all", "pretrain", "finetune", "evaluate", "report")
NOT_PART_OF_THE_STUDY = ("stage", "log_every_steps")  # may differ when a study is continued

Rule = tuple[Callable[[Any], bool], str]


def _one_of(*choices: str) -> Rule:
    return (lambda value: value in choices), "one of " + ", ".join(f'"{choice}"' for choice in choices)


def _at_least(smallest: float) -> Rule:
    return (lambda value: value >= smallest), f"{smallest} or more"


def _tuple_of(check: Callable[[Any], bool], meaning: str, *, length: int = 0, empty: bool = False) -> Rule:
    def holds(values: tuple[Any, ...]) -> bool:
        return (empty or len(values) > 0) and (not length or len(values) == length) and all(map(check, values))

    return holds, meaning


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


POSITIVE: Rule = (lambda value: value > 0), "above 0"
INSIDE_UNIT: Rule = (lambda value: 0 < value < 1), "above 0 and below 1"
SEED: Rule = (lambda value: 0 <= value < 2**32), "a whole number from 0 to 4294967295"
NAME: Rule = (
    (lambda value: bool(value) and all(letter.isalnum() or letter in "_-. " for letter in value)),
    "a name of letters, digits, spaces and _ - .",
)
TWO_SIDES = _tuple_of(lambda side: _is_whole(side) and side > 0, "two whole numbers above 0", length=2)
WINDOWS = _tuple_of(
    lambda window: isinstance(window, tuple) and len(window) == 2 and all(map(_is_number, window)) and window[0] > 0,
    "(width, level) pairs in HU with width above 0",
)

_TRAINING: dict[str, Rule] = {
    "batch_size": _at_least(1),
    "learning_rate": POSITIVE,
    "schedule": _one_of("epoch_decay", "cosine", "constant"),
    "decay_factor": INSIDE_UNIT,
    "decay_every_epochs": _at_least(1),
    "learning_rate_floor": _at_least(0),
    "warmup_steps": _at_least(0),
    "max_epochs": _at_least(0),
    "max_steps": _at_least(0),
    "validate_every_steps": _at_least(0),
    "adam_b1": ((lambda value: 0 <= value < 1), "0 or more and below 1"),
    "adam_b2": ((lambda value: 0 <= value < 1), "0 or more and below 1"),
    "adam_eps": POSITIVE,
    "early_stopping_patience": _at_least(0),
    "early_stopping_min_delta": _at_least(0),
}

RULES: dict[str, Rule] = {
    "study": NAME,
    "stage": _one_of(*STAGES),
    "seeds": _tuple_of(
        lambda seed: _is_whole(seed) and 0 <= seed < 2**32, "one or more whole numbers from 0 to 4294967295"
    ),
    "data.format": _one_of("auto", "msd", "nnunet", "phantom"),
    "data.modality": _one_of("mri", "ct"),
    "data.classes": _tuple_of(
        lambda text: isinstance(text, str), 'texts such as "cartilage=femoral+tibial"', empty=True
    ),
    "data.slice_axis": _one_of("sagittal", "coronal", "axial"),
    "data.image_size": TWO_SIDES,
    "data.channels": _one_of("all", "root_sum_of_squares"),
    "data.hu_windows": WINDOWS,
    "data.geometry_tolerance_mm": POSITIVE,
    "data.phantom.subjects": _at_least(3),
    "data.phantom.unlabelled_subjects": _at_least(0),
    "data.phantom.size": TWO_SIDES,
    "data.phantom.slices": _at_least(8),
    "data.phantom.seed": SEED,
    "data.phantom.snr": POSITIVE,
    "split.fractions": _tuple_of(lambda part: _is_number(part) and 0 < part < 1, "three numbers in (0, 1)", length=3),
    "split.split_seed": SEED,
    "split.subset_draw": SEED,
    "split.label_fractions": _tuple_of(
        lambda part: _is_number(part) and 0 < part <= 1, "one or more numbers above 0 and at most 1"
    ),
    "split.label_counts": _tuple_of(lambda count: _is_whole(count) and count > 0, "whole numbers above 0", empty=True),
    "corruption.task": _one_of("context_restoration", "context_prediction"),
    "corruption.patch_size": _at_least(1),
    "corruption.sampling": _one_of("poisson_disc", "random"),
    "corruption.area_fraction": INSIDE_UNIT,
    "model.filters": (
        (lambda widths: len(widths) > 1 and all(_is_whole(width) and width > 0 for width in widths)),
        "two or more whole numbers above 0",
    ),
    "model.groups": _at_least(1),
    "model.dtype": _one_of("float32", "bfloat16"),
    "transfer.parts": _tuple_of(lambda part: part in PARTS, '"encoder", "decoder" or both'),
    "transfer.adapt_input": _one_of("refuse", "average"),
    "evaluate.batch_size": _at_least(1),
    "evaluate.threshold": INSIDE_UNIT,
    "evaluate.inpainting_examples": _at_least(0),
    "statistics.alpha": INSIDE_UNIT,
    "log_every_steps": _at_least(1),
    **{f"{phase}.{key}": rule for phase in ("pretrain", "finetune") for key, rule in _TRAINING.items()},
}


def _flatten(tree: ConfigDict | Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping | ConfigDict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def flatten(config: ConfigDict | Mapping[str, Any]) -> dict[str, Any]:
    """Every setting under its dotted name, in the order of configs/base.py."""
    return dict(_flatten(config))


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(item) for item in value) if isinstance(value, list | tuple) else value


def _coerced(name: str, value: Any, default: Any) -> Any:
    """`value` as the type of `default`; whole numbers serve as floats, lists as tuples, nothing else is changed."""
    if isinstance(default, tuple):
        value = _as_tuple(value)
        if default and all(isinstance(item, float) for item in default) and isinstance(value, tuple):
            value = tuple(float(item) if _is_whole(item) else item for item in value)
    elif isinstance(default, float) and _is_whole(value):
        value = float(value)
    if type(value) is not type(default):
        raise InputError(
            f"config.{name}: got {value!r} ({type(value).__name__}), expected a {type(default).__name__} "
            f"such as {default!r}; see configs/base.py"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"config.{name}: got {value!r}, expected a finite number; see configs/base.py")
    return value


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
    values = {name: _coerced(name, given[name], default) for name, default in defaults.items()}
    for name, (holds, expected) in RULES.items():
        if not holds(values[name]):
            raise InputError(f"config.{name}: got {values[name]!r}, expected {expected}; see configs/base.py")
    _check_together(values)
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


def _check_together(v: dict[str, Any]) -> None:
    """Settings that are possible alone but not with each other."""
    size, levels = v["data.image_size"], len(v["model.filters"])
    multiple = 2 ** (levels - 1)
    if v["corruption.patch_size"] > min(size):
        raise InputError(
            f"config.corruption.patch_size: got {v['corruption.patch_size']}, larger than the image of {size[0]} x "
            f"{size[1]} pixels (config.data.image_size); use at most {min(size)}"
        )
    if any(side % multiple for side in size):
        larger = tuple(math.ceil(side / multiple) * multiple for side in size)
        raise InputError(
            f"config.data.image_size: got {size}, expected multiples of {multiple} for a U-Net of {levels} levels; "
            f"use {larger} or fewer levels (config.model.filters)"
        )
    for width in v["model.filters"]:
        if width % v["model.groups"]:
            raise InputError(
                f"config.model.filters: got {width}, no multiple of config.model.groups={v['model.groups']}; "
                "change one of the two"
            )
    if not math.isclose(sum(v["split.fractions"]), 1.0, abs_tol=1e-6):
        raise InputError(
            f"config.split.fractions: got {v['split.fractions']}, which add up to {sum(v['split.fractions']):g}, "
            "expected training, validation and test shares that add up to 1"
        )
    counts = v["split.label_counts"]
    if counts and len(counts) != len(v["split.label_fractions"]):
        raise InputError(
            f"config.split.label_counts: got {len(counts)} counts for {len(v['split.label_fractions'])} "
            "config.split.label_fractions; give one for each, or ()"
        )
    for name in ("seeds", "split.label_fractions", "transfer.parts"):
        repeated = [a for a, b in itertools.pairwise(sorted(v[name])) if a == b]
        if repeated:
            raise InputError(f"config.{name}: got {repeated[0]!r} twice, expected each once; remove one")
    for phase in ("pretrain", "finetune"):
        if not v[f"{phase}.max_steps"] and (v[f"{phase}.schedule"] == "cosine" or not v[f"{phase}.max_epochs"]):
            raise InputError(
                f"config.{phase}.max_steps: got 0 with schedule {v[f'{phase}.schedule']!r} and max_epochs "
                f"{v[f'{phase}.max_epochs']}, expected a number of steps; cosine needs it, and training must end"
            )
        if v[f"{phase}.schedule"] == "cosine" and v[f"{phase}.warmup_steps"] >= v[f"{phase}.max_steps"]:
            raise InputError(
                f"config.{phase}.warmup_steps: got {v[f'{phase}.warmup_steps']}, expected fewer than "
                f"config.{phase}.max_steps={v[f'{phase}.max_steps']}; lower one or raise the other"
            )
    if v["data.format"] != "phantom" and not v["data.root"]:
        raise InputError(
            'config.data.root: got "", expected the folder that holds dataset.json; add --config.data.root=<folder>'
        )


def to_json(config: ConfigDict) -> dict[str, Any]:
    """`config` as plain dictionaries, for config.json."""
    return config.to_dict()


def load(path: Path) -> ConfigDict:
    """The configuration in a config.json. Not yet checked: call resolve."""
    content = read_json(path, "config.json of a study")
    if not isinstance(content, dict):
        raise InputError(f"{path}: got {type(content).__name__}, expected the settings of a study as a JSON object")
    return ConfigDict({key: _tuples(value) for key, value in content.items()})


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return _as_tuple(value)


def study_settings(config: ConfigDict) -> dict[str, Any]:
    """The settings that define a study, flat: everything but the stage to run and how often to log."""
    return {name: value for name, value in flatten(config).items() if name not in NOT_PART_OF_THE_STUDY}


def fingerprint(config: ConfigDict) -> str:
    """SHA-256 of the settings that define a study."""
    return sha256_of(study_settings(config))


def check_same_study(workdir: Path, config: ConfigDict) -> None:
    """InputError that lists the settings in which `config` differs from the study that `workdir` already holds."""
    path = Path(workdir) / "config.json"
    if not path.exists():
        return
    before, now = study_settings(load(path)), study_settings(config)
    differing = [name for name in {**now, **before} if before.get(name, "missing") != now.get(name, "missing")]
    if differing:
        listed = ", ".join(f"{name} ({before.get(name)!r} there, {now.get(name)!r} now)" for name in differing[:5])
        more = f" and {len(differing) - 5} more" if len(differing) > 5 else ""
        raise InputError(
            f"{workdir} holds a different study: {listed}{more}; use another --workdir, or the settings of {path}"
        )
