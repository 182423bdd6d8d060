"""Which factor makes a difference: arms of one study that differ in one factor alone."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from inpaint_ssl.config.arms import ALLOWED, OF_PRETRAINING
from inpaint_ssl.report.evidence.read import EvidenceStudy
from inpaint_ssl.report.evidence.rules import Difference, change, difference
from inpaint_ssl.report.evidence.words import FACTORS, Factor, own_words
from inpaint_ssl.report.kinds.arm_results import Arm
from inpaint_ssl.report.kinds.strategy_text import capital
from inpaint_ssl.report.text import percent, ratio


@dataclass(frozen=True)
class Series:
    """Arms that differ in one factor alone, by rising level; words of a pretrained one say what they share."""

    study: EvidenceStudy
    factor: Factor
    arms: tuple[Arm, ...]

    def level(self, arm: Arm) -> str:
        """The level of an arm in words."""
        return self.factor.words(*self.value(arm))

    def value(self, arm: Arm) -> tuple[Any, ...]:
        """The level of an arm."""
        return self.factor.level(self.study.effective(arm))

    @property
    def shared(self) -> str:
        """What the arms have in common besides the study's settings."""
        return shared_words(self.study, self.arms, (self.factor.name,))

    @property
    def reference(self) -> Arm:
        """The arm at the study's own level, else the first: what the others are compared with."""
        own = self.factor.level(self.study.settings)
        return next((arm for arm in self.arms if self.value(arm) == own), self.arms[0])


def shared_words(study: EvidenceStudy, arms: Sequence[Arm], but: tuple[str, ...]) -> str:
    """The words that all of these arms have, without those of the factors in `but`."""
    words = [own_words(arm, study.effective(arm), but) for arm in arms]
    return ", ".join(word for word in words[0] if all(word in other for other in words[1:]))


def series_of(study: EvidenceStudy, factors: Iterable[Factor] = FACTORS, *, measured: bool = True) -> list[Series]:
    """Every group of two or more arms that agree in all settings of an arm but those of one factor.

    measured: only arms that have a Dice.
    """
    found = []
    for factor in factors:
        groups: dict[Any, list[Arm]] = {}
        for arm in study.results.evaluated if measured else study.results.arms:
            if factor.of_pretraining and not arm.pretrained:
                continue
            groups.setdefault(_others(study, factor, arm), []).append(arm)
        for arms in groups.values():
            level = {arm.name: factor.level(study.effective(arm)) for arm in arms}
            if len(set(level.values())) < 2:
                continue
            distinct = [a for k, a in enumerate(arms) if level[a.name] not in {level[b.name] for b in arms[:k]}]
            found.append(Series(study, factor, tuple(sorted(distinct, key=lambda a: _order(level[a.name])))))
    return found


def _others(study: EvidenceStudy, factor: Factor, arm: Arm) -> tuple[Any, ...]:
    """All that must agree: whether it is pretrained, and settings of an arm that are not the factor's.

    From scratch what only concerns pretraining is no difference.
    """
    skipped = set(factor.settings)
    if not arm.pretrained:
        skipped |= {name for other in FACTORS if other.of_pretraining for name in other.settings}
    kept = ((n, v) for n, v in study.effective(arm).items() if n.startswith(ALLOWED) and n not in skipped)
    return (arm.pretrained, *kept)


def _order(level: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple((0, float(v), "") if isinstance(v, int | float) else (1, 0.0, str(v)) for v in level)


def step(study: EvidenceStudy, arm: Arm, other: Arm, fraction: float) -> Difference | None:
    """arm - other in class-averaged Dice on the runs that both have."""
    return difference(study.compare(study.gain(arm.name, other.name, fraction)))


def factor_sentences(study: EvidenceStudy) -> list[str]:
    """One sentence for each factor and group of arms: Dice of each level, and its difference to the reference."""
    sentences = []
    for series in series_of(study):
        reference = series.reference
        for fraction in study.fractions:
            first = f"{series.level(reference)} {ratio(study.dice(reference.name, fraction))}"
            parts = [f"{first}{_norm(study, series, reference)}"]
            for arm in series.arms:
                if arm is reference:
                    continue
                found = step(study, arm, reference, fraction)
                gained = f", {found.words}" if found is not None else ""
                dice = f"{series.level(arm)} {ratio(study.dice(arm.name, fraction))}"
                parts.append(f"{dice}{gained}, {change(found)}{_norm(study, series, arm)}")
            shared = series.shared or ("" if reference.pretrained else "from scratch")
            about = f" ({shared})" if shared else ""
            where = f" at {percent(fraction)} of the labels" if len(study.fractions) > 1 else ""
            sentences.append(f"**{capital(series.factor.name)}**{about}{where}: {'; '.join(parts)}.")
    return sentences


def _norm(study: EvidenceStudy, series: Series, arm: Arm) -> str:
    """The L2 norm, where the factor changes the pretraining."""
    norm, changes = study.norm(arm.name), any(name.startswith(OF_PRETRAINING) for name in series.factor.settings)
    return f" (L2 norm {norm.mean:.1f})" if norm is not None and changes else ""
