"""The range of every setting."""

import math
import re
from collections.abc import Callable
from typing import Any

OUTPUT = "post_processing"  # the last convolution, which differs between the two networks
PARTS = ("encoder", "decoder", OUTPUT)
WEIGHTS_GIVEN = ("transfer.pretrained", "transfer.pretrained_study")  # where pretrained weights may come from
KINDS = (
    *("comparison", "arms", "transfer_grid", "pretraining_grid", "optimal_strategy", "unlabelled_extent", "clinical"),
)
TASKS, SAMPLINGS = ("context_prediction", "context_restoration"), ("poisson_disc", "random")
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
PLAIN_NAME: Rule = (
    (lambda value: all(letter.isalnum() or letter in "_-.,@+" for letter in value)),
    'a name without spaces, or ""',
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
    "study.name": NAME,
    "study.kind": _one_of(*KINDS),
    "study.from": TEXTS,
    "study.select_on": _one_of("validation", "test"),
    "study.measure_on": _one_of("auto", "validation", "test", "both"),
    "study.one_seed_from": ((lambda value: 0 <= value <= 1), "a label fraction, or 0"),
    "study.one_pretraining": YES_NO,
    "arms": TEXTS,
    "scale": _one_of("tiny", "reduced", "full"),
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
    "data.scans_per_subject": _at_least(1),
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
    "split.draw_by_seed": YES_NO,
    "split.label_fractions": _tuple_of(
        lambda part: is_number(part) and 0 < part <= 1, "one or more numbers above 0 and at most 1"
    ),
    "split.label_counts": _tuple_of(lambda count: is_whole(count) and count > 0, "whole numbers above 0", empty=True),
    "grid.learning_rates": _tuple_of(lambda rate: is_number(rate) and rate > 0, "one or more numbers above 0"),
    "grid.tasks": _tuple_of(lambda task: task in TASKS, '"context_prediction", "context_restoration" or both'),
    "grid.patch_sizes": _tuple_of(lambda size: is_whole(size) and size > 0, "one or more whole numbers above 0"),
    "grid.samplings": _tuple_of(lambda sampling: sampling in SAMPLINGS, '"poisson_disc", "random" or both'),
    "corruption.task": _one_of(*TASKS),
    "corruption.patch_size": _at_least(1),
    "corruption.sampling": _one_of(*SAMPLINGS),
    "corruption.area_fraction": INSIDE_UNIT,
    "corruption.region": _one_of("image", "scan"),
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
    "finetune.cross_entropy_weight": _at_least(0),
    "finetune.augmentation": _one_of("off", "light"),
    "transfer.parts": _tuple_of(lambda part: part in PARTS, f'one or more of "encoder", "decoder", "{OUTPUT}"'),
    "transfer.freeze": YES_NO,
    "transfer.learning_rate_factor": ((lambda value: 0 < value <= 1), "above 0 and at most 1"),
    "transfer.freeze_steps": _at_least(0),
    "transfer.second_learning_rate": _at_least(0),
    "transfer.adapt_input": _one_of("refuse", "mean", "repeat"),
    "evaluate.batch_size": _at_least(1),
    "evaluate.threshold": INSIDE_UNIT,
    "evaluate.flips": _tuple_of(lambda axis: axis in ("rows", "columns"), '"rows", "columns", both or ()', empty=True),
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
    "launcher": _one_of("local", "slurm"),
    "workers": _at_least(0),
    "slurm.partition": PLAIN_NAME,
    "slurm.account": PLAIN_NAME,
    "slurm.jobs": _at_least(1),
    "slurm.time_minutes": _at_least(1),
    "slurm.gpus": _at_least(0),
    "slurm.cpus": _at_least(1),
    "slurm.memory_gb": _at_least(1),
    "slurm.setup": TEXTS,
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
