"""Settings and arms in words, and the factors in which arms may differ."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from inpaint_ssl.report.evidence.read import EvidenceStudy
from inpaint_ssl.report.kinds.arm_results import Arm
from inpaint_ssl.report.kinds.strategy_text import sampling_name, square, task_name
from inpaint_ssl.report.text import enumeration, percent, plain

_REGIONS = {"image": "patches anywhere in the image", "scan": "patches within the scan"}


@dataclass(frozen=True)
class Factor:
    """Something in which arms may differ. settings: that decide it; words: of their values, in that order."""

    name: str
    settings: tuple[str, ...]
    words: Callable[..., str]
    of_pretraining: bool  # says nothing of an arm from scratch

    def level(self, effective: Mapping[str, Any]) -> tuple[Any, ...]:
        """The values of an arm that has these settings."""
        return tuple(effective.get(name) for name in self.settings)


def _parts(parts: Any) -> str:
    return enumeration([str(part).replace("_", " ") for part in parts]) + " transferred"


def _frozen(steps: int, whole: bool) -> str:
    if whole:
        return "transferred tensors frozen"
    return f"transferred tensors frozen for {steps:,} steps" if steps else "all tensors trained at once"


def _extent(extent: float, unlabelled: bool) -> str:
    if not extent:
        return "pretrained on all training scans" + (" and the unlabelled ones" if unlabelled else "")
    if extent == 1.0:
        return "pretrained on all training scans"
    return f"pretrained on {percent(extent)} of the training scans"


def _length(steps: int, epochs: int) -> str:
    return f"{steps:,} steps" if steps else f"{epochs:,} epochs"


FACTORS = (
    Factor("Pretext task", ("corruption.task",), task_name, True),
    Factor("Patch size", ("corruption.patch_size",), lambda k: f"{square(k)} patches", True),
    Factor("Sampling of patches", ("corruption.sampling",), lambda s: f"{sampling_name(s)} sampling", True),
    Factor("Region of patches", ("corruption.region",), lambda r: _REGIONS.get(r, str(r)), True),
    Factor("Corrupted share", ("corruption.area_fraction",), lambda x: f"{percent(x)} of the image corrupted", True),
    Factor(
        "Length of pretraining", ("pretrain.max_steps", "pretrain.max_epochs"),
        lambda *n: f"{_length(*n)} of pretraining", True,
    ),
    Factor("Learning rate of pretraining", ("pretrain.learning_rate",), lambda x: f"pretraining rate {x:g}", True),
    Factor("Pretraining scans", ("split.pretraining_extent", "data.use_unlabelled"), _extent, True),
    Factor("Parts transferred", ("transfer.parts",), _parts, True),
    Factor(
        "Rate of transferred tensors", ("transfer.learning_rate_factor",),
        lambda x: f"transferred tensors at {'the same' if x == 1 else f'{x:g} × the'} rate", True,
    ),
    Factor("Freezing first", ("transfer.freeze_steps", "transfer.freeze"), _frozen, True),
    Factor("Learning rate of fine-tuning", ("finetune.learning_rate",), lambda x: f"fine-tuning rate {x:g}", False),
    Factor(
        "Length of fine-tuning", ("finetune.max_steps", "finetune.max_epochs"),
        lambda *n: f"{_length(*n)} of fine-tuning", False,
    ),
    Factor("Schedule of fine-tuning", ("finetune.schedule",), lambda s: f"{s.replace('_', ' ')} schedule", False),
    Factor(
        "Warm-up of fine-tuning", ("finetune.warmup_steps",),
        lambda n: f"{n:,} steps of warm-up" if n else "no warm-up", False,
    ),
    Factor("Augmentation", ("finetune.augmentation",), lambda a: f"augmentation {a}", False),
    Factor(
        "Loss", ("finetune.cross_entropy_weight",),
        lambda w: f"Dice loss plus {w:g} × cross-entropy" if w else "Dice loss", False,
    ),
    Factor(
        "Flips when predicting", ("evaluate.flips",),
        lambda f: f"averaged over flips ({enumeration([str(x) for x in f])})" if f else "no flips", False,
    ),
)  # fmt: skip
_ALWAYS = ("Pretext task", "Patch size")  # that describe any pretrained arm
_OF = {name: factor for factor in FACTORS for name in factor.settings}


def own_words(arm: Arm, effective: Mapping[str, Any], but: tuple[str, ...] = ()) -> list[str]:
    """What an arm's own settings say, factors in the order of FACTORS, without those named in `but`."""
    told = {_OF[name].name for name in arm.settings if name in _OF}
    told |= set(_ALWAYS) if arm.pretrained else set()
    shown = [f for f in FACTORS if f.name in told and f.name not in but and (arm.pretrained or not f.of_pretraining)]
    words = [factor.words(*factor.level(effective)) for factor in shown]
    return words + [f"{name} {plain(value)}" for name, value in arm.settings.items() if name not in _OF]


def arm_words(study: EvidenceStudy, arm: Arm) -> str:
    """An arm in words: how it begins, and every setting of its own."""
    start = "pretrained" if arm.pretrained else "from scratch"
    words = own_words(arm, study.effective(arm))
    return f"{start}: {', '.join(words)}" if words else start
