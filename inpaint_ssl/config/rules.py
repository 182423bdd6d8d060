"""The range of every setting, and the settings that do not go together."""

import itertools
import math
import re
from collections.abc import Callable
from typing import Any

from inpaint_ssl.errors import InputError

PARTS = ("encoder", "decoder")  # the last convolution differs between the two networks
STAGES = ("all", "pretrain", "finetune", "evaluate", "report", "gallery")

Rule = tuple[Callable[[Any], bool], str]


def _one_of(*choices: str) -> Rule:
    return (lambda value: value in choices), "one of " + ", ".join(f'"{choice}"' for choice in choices)


def _at_least(smallest: float) -> Rule:
    return (lambda value: value >= smallest), f"{smallest} or more"


def _tuple_of(check: Callable[[Any], bool], meaning: str, *, length: int = 0, empty: bool = False) -> Rule:
    def holds(values: tuple[Any, ...]) -> bool:
        return (empty or len(values) > 0) and (not length or len(values) == length) and all(map(check, values))

    return holds, meaning


def is_whole(value: Any) -> bool:
    """An int that is no bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """A finite int or float."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


YES_NO: Rule = (lambda value: isinstance(value, bool)), "yes or no"
POSITIVE: Rule = (lambda value: value > 0), "above 0"
INSIDE_UNIT: Rule = (lambda value: 0 < value < 1), "above 0 and below 1"
SEED: Rule = (lambda value: 0 <= value < 2**32), "a whole number from 0 to 4294967295"
NAME: Rule = (
    (lambda value: bool(value) and all(letter.isalnum() or letter in "_-. " for letter in value)),
    "a name of letters, digits, spaces and _ - .",
)
TWO_SIDES = _tuple_of(lambda side: is_whole(side) and side > 0, "two whole numbers above 0", length=2)
WINDOWS = _tuple_of(
    lambda window: isinstance(window, tuple) and len(window) == 2 and all(map(is_number, window)) and window[0] > 0,
    "(width, level) pairs in HU with width above 0",
)

TEXTS = _tuple_of(lambda text: isinstance(text, str) and bool(text), "a tuple of texts", empty=True)


def _is_pattern(text: str) -> bool:
    try:
        return re.compile(text).groups <= 1
    except re.error:
        return False


_TRAINING: dict[str, Rule] = {
    "batch_size": _at_least(1),
    "learning_rate": POSITIVE,
    "schedule": _one_of("epoch_decay", "step_decay", "cosine", "constant"),
    "decay_factor": INSIDE_UNIT,
    "decay_every_epochs": _at_least(1),
    "decay_every_steps": _at_least(1),
    "learning_rate_floor": _at_least(0),
    "warmup_steps": _at_least(0),
    "min_steps_per_epoch": _at_least(0),
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
        lambda seed: is_whole(seed) and 0 <= seed < 2**32, "one or more whole numbers from 0 to 4294967295"
    ),
    "data.format": _one_of("auto", "msd", "nnunet", "nifti", "skm_tea", "dicom", "phantom"),
    "data.unlabelled_roots": TEXTS,
    "data.modality": _one_of("mri", "ct"),
    "data.labels": TEXTS,
    "data.label_map": TEXTS,
    "data.subject_pattern": (_is_pattern, "a regular expression with at most one group"),
    "data.classes": TEXTS,
    "data.slice_axis": _one_of("sagittal", "coronal", "axial"),
    "data.image_size": TWO_SIDES,
    "data.channels": _one_of("all", "root_sum_of_squares"),
    "data.target_spacing_mm": (
        (lambda pair: len(pair) in (0, 2) and all(is_number(mm) and mm > 0 for mm in pair)),
        "() or (row, column) spacing in mm, above 0",
    ),
    "data.hu_windows": WINDOWS,
    "data.geometry_tolerance_mm": POSITIVE,
    "data.prepare_processes": _at_least(0),
    "data.device_memory_fraction": ((lambda value: 0 <= value < 1), "0 (always stream) or more and below 1"),
    "data.device_dtype": _one_of("float32", "bfloat16", "float16"),
    "data.stream_threads": _at_least(1),
    "data.stream_prefetch": _at_least(1),
    "data.phantom.anatomy": _one_of("knee", "abdomen"),
    "data.phantom.subjects": _at_least(3),
    "data.phantom.unlabelled_subjects": _at_least(0),
    "data.phantom.size": TWO_SIDES,
    "data.phantom.slices": _at_least(8),
    "data.phantom.seed": SEED,
    "data.phantom.snr": POSITIVE,
    "split.fractions": _tuple_of(lambda part: is_number(part) and 0 < part < 1, "three numbers in (0, 1)", length=3),
    "split.method": _one_of("auto", "fractions", "official", "k_fold"),
    "split.folds": _at_least(2),
    "split.fold": _at_least(0),
    "split.pretraining_extents": _tuple_of(lambda part: is_number(part) and part > 0, "numbers above 0", empty=True),
    "split.pretraining_extent": _at_least(0),
    "split.split_seed": SEED,
    "split.subset_draw": SEED,
    "split.label_fractions": _tuple_of(
        lambda part: is_number(part) and 0 < part <= 1, "one or more numbers above 0 and at most 1"
    ),
    "split.label_counts": _tuple_of(lambda count: is_whole(count) and count > 0, "whole numbers above 0", empty=True),
    "corruption.task": _one_of("context_restoration", "context_prediction"),
    "corruption.patch_size": _at_least(1),
    "corruption.sampling": _one_of("poisson_disc", "random"),
    "corruption.area_fraction": INSIDE_UNIT,
    "corruption.masks": _one_of("fresh", "bank"),
    "corruption.bank_size": _at_least(1),
    "corruption.bank_seed": SEED,
    "corruption.bank_pairs": _one_of("fixed", "anew"),
    "corruption.validation": _one_of("fixed", "fresh"),
    "model.filters": (
        (lambda widths: len(widths) > 1 and all(is_whole(width) and width > 0 for width in widths)),
        "two or more whole numbers above 0",
    ),
    "model.groups": _at_least(1),
    "model.dtype": _one_of("auto", "float32", "bfloat16"),
    "model.conv_gradients": _one_of("auto", "derived", "canonical"),
    "finetune.dice_epsilon": POSITIVE,
    "transfer.parts": _tuple_of(lambda part: part in PARTS, '"encoder", "decoder" or both'),
    "transfer.adapt_input": _one_of("refuse", "average"),
    "evaluate.batch_size": _at_least(1),
    "evaluate.threshold": INSIDE_UNIT,
    "evaluate.inpainting_examples": _at_least(0),
    "evaluate.corruption_gallery": YES_NO,
    "clinical.t2_convention": _one_of("skm_tea", "original_code"),
    "clinical.t2_bounds_ms": (
        (lambda ends: len(ends) == 2 and 0 <= ends[0] < ends[1]),
        "two times in ms, the smaller one first and 0 or more",
    ),
    "clinical.t2_suppress_fat": YES_NO,
    "clinical.t2_suppress_fluid": YES_NO,
    "clinical.t1_ms": TEXTS,
    "clinical.t2_invalid_share": ((lambda value: 0 <= value <= 1), "from 0 to 1"),
    "clinical.intramuscular_fat": _one_of("off", "below_-30_hu", "-190_to_-30_hu"),
    "clinical.muscle_class": NAME,
    "clinical.intramuscular_fat_class": NAME,
    "clinical.surface_distances": YES_NO,
    "statistics.alpha": INSIDE_UNIT,
    "statistics.bootstrap_resamples": _at_least(1000),
    "statistics.bootstrap_seed": SEED,
    "engine.seeds": _one_of("auto", "in_turn", "unroll", "vmap", "devices"),
    "engine.driver": _one_of("jit", "shard_map", "pmap"),
    "engine.devices": _at_least(0),
    "engine.steps_per_call": _at_least(0),
    "engine.checkpoint_every_steps": _at_least(0),
    "engine.async_checkpoints": _one_of("auto", "on", "off"),
    "engine.compilation_cache": ((lambda value: bool(value)), '"auto", "off" or a folder'),
    "distributed.coordinator": (
        (lambda value: not value or value.rpartition(":")[2].isdigit()),
        "address:port of process 0, such as 10.0.0.1:9876",
    ),
    "distributed.processes": _at_least(0),
    "distributed.process": _at_least(0),
    "deterministic": YES_NO,
    "profile": YES_NO,
    "log_every_steps": _at_least(1),
    **{f"{phase}.{key}": rule for phase in ("pretrain", "finetune") for key, rule in _TRAINING.items()},
}


def check_together(v: dict[str, Any]) -> None:
    """InputError for settings that are possible alone but not with each other; `v` maps dotted names to values."""
    size, levels = v["data.image_size"], len(v["model.filters"])
    multiple = 2 ** (levels - 1)
    if v["corruption.patch_size"] > min(size):
        raise InputError(
            f"config.corruption.patch_size: got {v['corruption.patch_size']}, larger than the image of {size[0]} x "
            f"{size[1]} pixels (config.data.image_size); use at most {min(size)}"
        )
    if v["corruption.masks"] == "bank":
        _check_mask_bank(v)
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
    _check_split(v)
    for name in ("seeds", "split.label_fractions", "split.pretraining_extents", "transfer.parts"):
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
    if v["data.format"] == "phantom" and v["data.root"]:
        raise InputError(
            f'config.data.root: got {v["data.root"]!r} with config.data.format="phantom", which reads no files; add '
            "--config.data.format=auto, or leave the root out"
        )
    if (v["data.format"], v["data.phantom.anatomy"]) == ("phantom", "abdomen"):
        for name, expected in (("data.modality", "ct"), ("data.slice_axis", "axial")):
            if v[name] != expected:
                raise InputError(
                    f'config.{name}: got {v[name]!r} with config.data.phantom.anatomy="abdomen", whose scans are '
                    f'single axial CT slices; use "{expected}", as configs/abdomen_phantom.py does'
                )
    if v["data.format"] != "phantom" and not v["data.root"]:
        raise InputError(
            'config.data.root: got "", expected the folder of the data set; add --config.data.root=<folder>'
        )


def _check_split(v: dict[str, Any]) -> None:
    if v["split.file"] and v["split.method"] in ("official", "k_fold"):
        raise InputError(
            f"config.split.method: got {v['split.method']!r} with config.split.file, which names the subjects of each "
            "part; leave one of the two out"
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
    if v["split.fold"] >= v["split.folds"]:
        raise InputError(
            f"config.split.fold: got {v['split.fold']}, expected less than config.split.folds={v['split.folds']}"
        )


def _check_mask_bank(v: dict[str, Any]) -> None:
    height, width = v["data.image_size"]
    if height != width:
        raise InputError(
            f'config.corruption.masks: got "bank" with images of {height} x {width} pixels, expected square ones, '
            'since a bank turns its masks by 90 degrees; use "fresh" or a square config.data.image_size'
        )
    swaps_discs = (v["corruption.task"], v["corruption.sampling"]) == ("context_restoration", "poisson_disc")
    if v["corruption.bank_pairs"] == "anew" and not swaps_discs:
        raise InputError(
            f'config.corruption.bank_pairs: got "anew" with {v["corruption.task"]} and {v["corruption.sampling"]} '
            'sampling, expected context_restoration and poisson_disc; use "fixed"'
        )
