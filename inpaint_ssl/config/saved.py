"""config.json of a study: writing, reading, and whether it is the same study."""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from inpaint_ssl.config.resolve import as_tuple, flatten
from inpaint_ssl.errors import InputError
from inpaint_ssl.files import read_json, sha256_of

# may differ when a study is continued: what is run and how, not what is studied; a dot at the end names a section
NOT_PART_OF_THE_STUDY = (
    *("stage", "log_every_steps", "profile", "deterministic", "evaluate.corruption_gallery", "engine.", "distributed."),
    *("data.device_memory_fraction", "data.stream_threads", "data.stream_prefetch"),
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
    return as_tuple(value)


def study_settings(config: ConfigDict) -> dict[str, Any]:
    """The settings that define a study, flat: everything but NOT_PART_OF_THE_STUDY."""
    return {
        name: value
        for name, value in flatten(config).items()
        if name not in NOT_PART_OF_THE_STUDY and f"{name.partition('.')[0]}." not in NOT_PART_OF_THE_STUDY
    }


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
        values = [[repr(v[name]) if name in v else "no such setting" for v in (before, now)] for name in differing[:5]]
        listed = ", ".join(
            f"{name} ({was} there, {is_} now)" for name, (was, is_) in zip(differing, values, strict=False)
        )
        more = f" and {len(differing) - 5} more" if len(differing) > 5 else ""
        raise InputError(
            f"{workdir} holds a different study: {listed}{more}; use another --workdir, or the settings of {path}"
        )
