"""The arms that config.arms names: their settings, whether they are pretrained, and what each is compared with."""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inpaint_ssl.errors import InputError

FROM_SCRATCH, PRETRAINED = "from_scratch", "pretrained"  # the arms of most studies; the first one is in every study
OF_PRETRAINING = ("corruption.", "pretrain.", "split.pretraining_extent", "data.use_unlabelled")
ALLOWED = (*OF_PRETRAINING, "finetune.", "transfer.", "evaluate.flips")
_NOT = ("transfer.pretrained", "transfer.pretrained_study", "transfer.second_learning_rate", "corruption.bank_seed")


@dataclass(frozen=True)
class ArmSpec:
    """One arm: `settings` are the dotted names and values that differ from the study's, `against` its control."""

    name: str
    pretrained: bool
    against: str
    settings: tuple[tuple[str, Any], ...]

    @property
    def of_pretraining(self) -> tuple[tuple[str, Any], ...]:
        """The settings that decide what the weights are pretrained with."""
        return tuple(setting for setting in self.settings if setting[0].startswith(OF_PRETRAINING))


def read_arms(texts: Sequence[str], known: Mapping[str, Any]) -> tuple[ArmSpec, ...]:
    """The arms of config.arms: "<name>: <setting>=<value> ...", beside settings "start=fresh" and "against=<arm>".

    known: every setting of the study by its dotted name. Values are as in Python, words without quotes are text; an arm
    may set what concerns corruption, training, transfer and flips. Types and ranges are checked by resolve. InputError
    for a text of another form, a name twice, and a setting that is none or not an arm's to change.
    """
    specs: list[ArmSpec] = []
    for text in texts:
        specs.append(_read(text, known))
        names = [FROM_SCRATCH, *(spec.name for spec in specs[:-1])]
        if specs[-1].name in names:
            raise InputError(f"config.arms: the name {specs[-1].name!r} is there twice ({text!r}); give each its own")
    names = [FROM_SCRATCH, *(spec.name for spec in specs)]
    for spec in specs:
        if spec.against not in names or spec.against == spec.name:
            listed = ", ".join(names)
            raise InputError(f"config.arms: {spec.name} is against {spec.against!r}; expected one of {listed}")
    return tuple(specs)


def _read(text: str, known: Mapping[str, Any]) -> ArmSpec:
    name, colon, words = text.partition(":")
    name = name.strip()
    if not colon or not name or not all(letter.isalnum() or letter in "_-." for letter in name):
        raise InputError(
            f"config.arms: got {text!r}, expected '<name>: <setting>=<value> ...' with a name of letters, digits and "
            "_ - ., such as 'low_rate: finetune.learning_rate=0.001'"
        )
    settings: dict[str, Any] = {}
    special = {"start": "pretrained", "against": FROM_SCRATCH}
    for word in words.split():
        key, equals, value = word.partition("=")
        if not equals or not value:
            raise InputError(f"config.arms: {name}: got {word!r}, expected <setting>=<value> without spaces")
        if key in special:
            special[key] = value
        elif key not in known or not key.startswith(ALLOWED) or key in _NOT:
            reason = "an arm cannot change it" if key in known else "no such setting"
            raise InputError(
                f"config.arms: {name}: {key}: {reason}; expected settings that begin with {', '.join(ALLOWED)}"
            )
        else:
            settings[key] = _value(value, known[key])
    settings = {key: value for key, value in settings.items() if value != known[key]}  # so that equal runs are one
    if special["start"] not in ("fresh", "pretrained"):
        raise InputError(f"config.arms: {name}: got start={special['start']}, expected start=fresh or start=pretrained")
    return ArmSpec(name, special["start"] == "pretrained", special["against"], tuple(settings.items()))


def _value(text: str, default: Any) -> Any:
    if isinstance(default, str):
        return text.strip("\"'")
    words = {"true": True, "false": False}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return text  # resolve says which type is expected
