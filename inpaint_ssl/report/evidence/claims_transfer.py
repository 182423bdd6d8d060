"""Claims about the transfer: which parts, freezing first, and the learning rate."""

from collections.abc import Iterator
from typing import Any

from inpaint_ssl.report.evidence.factors import Series, series_of, step
from inpaint_ssl.report.evidence.outcome import Outcome, between, of_settings
from inpaint_ssl.report.evidence.read import Evidence, EvidenceStudy
from inpaint_ssl.report.evidence.rules import ALIKE, HIGHER, NOT_LOWER
from inpaint_ssl.report.evidence.words import FACTORS
from inpaint_ssl.report.kinds.arm_results import Arm
from inpaint_ssl.report.text import percent

_BY_NAME = {factor.name: factor for factor in FACTORS}
_DESTROYS = 1e-2  # the paper's example of a large rate, section 6.2.1
_RATE, _SHARE = "Learning rate of fine-tuning", "Rate of transferred tensors"


def _series(study: EvidenceStudy, *names: str) -> list[Series]:
    return [s for s in series_of(study, [_BY_NAME[name] for name in names]) if s.arms[0].pretrained]


def _pair(series: Series, first: Arm, second: Arm, rule: str, note: str = "") -> list[Outcome]:
    setting = f"{series.level(first)} − {series.level(second)}; {series.shared}{note}"
    return between(series.study, setting, rule, first, second)


def encoder_only(evidence: Evidence) -> Iterator[Outcome]:
    """Claim 8: encoder only - encoder and decoder."""
    for study in of_settings(evidence):
        for series in _series(study, "Parts transferred"):
            levels = {tuple(series.value(arm)[0]): arm for arm in series.arms}
            if ("encoder",) in levels and ("encoder", "decoder") in levels:
                yield from _pair(series, levels["encoder",], levels["encoder", "decoder"], NOT_LOWER)


def frozen_first(evidence: Evidence) -> Iterator[Outcome]:
    """Claim 9: frozen for some steps - trained at once."""
    for study in of_settings(evidence):
        for series in _series(study, "Freezing first"):
            at_once = [arm for arm in series.arms if not any(series.value(arm))]
            for arm in series.arms:
                if at_once and arm is not at_once[0] and not series.value(arm)[1]:
                    yield from _pair(series, arm, at_once[0], ALIKE)


def _rate(effective: dict[str, Any]) -> float:
    """Of the transferred tensors."""
    return float(effective["finetune.learning_rate"]) * float(effective.get("transfer.learning_rate_factor", 1.0))


def high_rate(evidence: Evidence) -> Iterator[Outcome]:
    """Claim 10: transferred tensors at a lower rate - at 1e-2, with what the same change does from scratch."""
    for study in of_settings(evidence):
        for series in _series(study, _RATE, _SHARE):
            rates = {arm.name: _rate(study.effective(arm)) for arm in series.arms}
            for high in (arm for arm in series.arms if rates[arm.name] >= _DESTROYS):
                for low in (arm for arm in series.arms if rates[arm.name] < _DESTROYS):
                    yield from _pair(series, low, high, HIGHER, _from_scratch(series, low, high))


def _from_scratch(series: Series, low: Arm, high: Arm) -> str:
    """What the same two rates do without pretraining, in words; "" where that was not run."""
    study = series.study
    if series.factor.name != _RATE:
        return ""
    for fresh in series_of(study, [series.factor]):
        levels = {fresh.value(arm): arm for arm in fresh.arms if not arm.pretrained}
        if series.value(low) in levels and series.value(high) in levels:
            found = {f: step(study, levels[series.value(low)], levels[series.value(high)], f) for f in study.fractions}
            words = [f"{percent(f)}: {d.words}" for f, d in found.items() if d is not None]
            return f" (the same from scratch: {'; '.join(words)})" if words else ""
    return ""
