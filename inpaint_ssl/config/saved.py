"""config.json of a study: writing, reading, and whether it is the same study."""

import json
import math
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from inpaint_ssl.config.resolve import as_tuple, flatten
from inpaint_ssl.config.rules import WEIGHTS_GIVEN
from inpaint_ssl.errors import InputError
from inpaint_ssl.files import read_json, sha256_of

# may differ when a study is continued: what is run, how, and what is measured at the end, not what is studied; a dot at
# the end names a section
NOT_PART_OF_THE_STUDY = (
    *("stage", "log_every_steps", "profile", "deterministic", "evaluate.corruption_gallery", "engine.", "distributed."),
    *("data.device_memory_fraction", "data.stream_threads", "data.stream_prefetch", "clinical."),
    *("study.from", "study.select_on", "study.measure_on", "launcher", "workers", "slurm."),
    *("statistics.bootstrap_resamples", "statistics.bootstrap_seed"),
)
SELECTING = ("transfer_grid", "pretraining_grid", "optimal_strategy", "unlabelled_extent")
PHASES, LIMITS = ("pretrain", "finetune"), ("max_steps", "max_epochs")
LENGTHS = {f"{phase}.{name}" for phase in PHASES for name in LIMITS}  # may be raised to go on


def to_json(config: ConfigDict) -> dict[str, Any]:
    """`config` as plain dictionaries and lists, for config.json."""
    return json.loads(json.dumps(config.to_dict()))


def load(path: Path) -> ConfigDict:
    """The configuration in a config.json. Not yet checked: call resolve."""
    content = read_json(path, "config.json of a study")
    if not isinstance(content, dict):
        raise InputError(f"{path}: got {type(content).__name__}, expected the settings of a study as a JSON object")
    return ConfigDict({key: _tuples(value) for key, value in content.items()})


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return as_tuple(value)


def study_settings(config: ConfigDict) -> dict[str, Any]:
    """The settings that define a study, flat: all but NOT_PART_OF_THE_STUDY.

    Of WEIGHTS_GIVEN only whether they are given: where weights lie may change, and study/pretrained compares contents.
    """
    return {
        name: bool(value) if name in WEIGHTS_GIVEN else value
        for name, value in flatten(config).items()
        if name not in NOT_PART_OF_THE_STUDY and f"{name.partition('.')[0]}." not in NOT_PART_OF_THE_STUDY
    }


def fingerprint(config: ConfigDict) -> str:
    """SHA-256 of the settings that define a study."""
    return sha256_of(study_settings(config))


def length_of(config: ConfigDict, phase: str) -> dict[str, int]:
    """The limits of training of "pretrain" or "finetune"; 0 is no limit."""
    return {name: config[phase][name] for name in LIMITS}


def evaluated_parts(config: ConfigDict) -> tuple[str, ...]:
    """Whose scans runs are measured on; "auto": where a study selects settings, validation scans too."""
    named, both = config.study.measure_on, ("validation", "test")
    if named == "auto":
        return both if config.study.kind in SELECTING else ("test",)
    return both if named == "both" else (named,)


def evaluated_with(config: ConfigDict, phase: str) -> dict[str, Any]:
    """What may change in a study and decides the rows of its runs, which other values have measured anew."""
    parts = {} if config.study.measure_on == "auto" else {"measured_on": list(evaluated_parts(config))}
    return {**(to_json(config.clinical) if phase == "finetune" else {}), **parts}


def check_same_study(workdir: Path, config: ConfigDict) -> list[str]:
    """InputError that lists the settings in which `config` differs from the study that `workdir` already holds.

    Only the length of training may differ, when it is raised; the lines returned say what becomes of the learning rate.
    """
    path = Path(workdir) / "config.json"
    if not path.exists():
        return []
    saved = load(path)
    before, now = study_settings(saved), study_settings(config)
    differing = [name for name in {**now, **before} if before.get(name, "missing") != now.get(name, "missing")]
    raised = [
        name for name in differing if name in LENGTHS and (now[name] or math.inf) > (before.get(name, 0) or math.inf)
    ]
    more = "arms" in differing and set(before.get("arms", ())) < set(now["arms"])  # those that are there stay
    refused = [name for name in differing if name not in raised and not (more and name == "arms")]
    if refused:
        listed = ", ".join(
            f"{name} ({_was_and_is(name, before, now)}{', may only be raised' if name in LENGTHS else ''})"
            for name in refused[:5]
        )
        others = f" and {', '.join(refused[5:])}" if refused[5:] else ""
        raise InputError(
            f"{workdir} holds a different study: {listed}{others}; use another --workdir, or the settings of {path}"
        )
    begun = sorted(path.name for path in Path(workdir).glob("finetune/pretrained_*"))
    longer = [f"{name} ({_was_and_is(name, before, now)})" for name in raised if name.startswith("pretrain.")]
    if begun and longer:
        raise InputError(
            f"{workdir}: {', '.join(longer)}, but runs such as finetune/{begun[0]} began from the shorter "
            "pretraining; use another --workdir for the longer one"
        )
    return [_note_on(phase, saved, config) for phase in PHASES if any(name.startswith(f"{phase}.") for name in raised)]


def _was_and_is(name: str, *studies: dict[str, Any]) -> str:
    was, is_ = (repr(settings[name]) if name in settings else "no such setting" for settings in studies)
    return f"{was} there, {is_} now"


def _note_on(phase: str, before: ConfigDict, now: ConfigDict) -> str:
    """What raising the length of `phase` does to its learning rate."""
    old, new = before[phase], now[phase]
    changes = [f"{phase}.{name} {old[name] or 'no limit'} -> {new[name] or 'no limit'}" for name in LIMITS]
    text = ", ".join(change for change, name in zip(changes, LIMITS, strict=True) if old[name] != new[name])
    if new.schedule != "cosine" or old.max_steps == new.max_steps:
        return f"{text}: training goes on, the learning rate has no jump"
    rates = [
        cosine(old.max_steps, new.learning_rate, new.warmup_steps, length[phase].max_steps) for length in (before, now)
    ]
    return (
        f"{text}: cosine over {old.max_steps} steps becomes cosine over {new.max_steps}, so the learning rate at step "
        f"{old.max_steps} jumps from {rates[0]:.3g} to {rates[1]:.3g}; a run that is not there yet jumps where it is, "
        f"and none becomes the run of {new.max_steps} steps that another --workdir would give"
    )


def cosine(step: int, peak: float, warmup_steps: int, max_steps: int) -> float:
    """Learning rate of the schedule "cosine" at `step`; equal to optim.make_schedule's, without jax."""
    if step < warmup_steps:
        return peak * step / warmup_steps
    share = min((step - warmup_steps) / (max_steps - warmup_steps), 1)
    return peak * (1 + math.cos(math.pi * share)) / 2
