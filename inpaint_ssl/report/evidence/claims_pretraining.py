"""Claims about ways of pretraining: L2 norms, sampling, patch size."""

import itertools
from collections.abc import Iterator, Sequence

from inpaint_ssl.config.arms import OF_PRETRAINING
from inpaint_ssl.report.evidence.factors import Series, series_of, shared_words
from inpaint_ssl.report.evidence.outcome import Outcome, between, of_settings
from inpaint_ssl.report.evidence.read import Evidence, EvidenceStudy, Norm
from inpaint_ssl.report.evidence.rules import ALIKE, HIGHER, NOT_LOWER, in_order
from inpaint_ssl.report.evidence.words import FACTORS, Factor
from inpaint_ssl.report.kinds.arm_results import Arm
from inpaint_ssl.report.text import plain

_SIZE = [factor for factor in FACTORS if factor.name == "Patch size"]
_SAMPLING = [factor for factor in FACTORS if factor.name == "Sampling of patches"]


def _norms(series: Series) -> list[tuple[Arm, Norm]]:
    found = [(arm, series.study.norm(arm.name)) for arm in series.arms]
    return [(arm, norm) for arm, norm in found if norm is not None]


def _once(evidence: Evidence, factors: Sequence[Factor]) -> Iterator[Series]:
    """Series of pretrainings, each once although several arms may begin with it."""
    seen = set()
    for study in of_settings(evidence):
        for series in series_of(study, factors, measured=False):
            key = (study.name, *(study.pretraining.get(arm.name) for arm in series.arms))
            if key not in seen:
                seen.add(key)
                yield series


def falls_with_size(evidence: Evidence) -> Iterator[Outcome]:
    """Claim 1: the norm falls with every smaller patch, by series of patch sizes."""
    for series in _once(evidence, _SIZE):
        norms = _norms(series)
        steps = [small.mean < large.mean for (_, small), (_, large) in itertools.pairwise(norms)]
        if steps:
            figure = "; ".join(f"K = {plain(series.value(arm)[0])}: {norm.mean:.1f}" for arm, norm in norms)
            where = f"{series.study.title}, {norms[0][1].split} scans; {series.shared}"
            yield Outcome(where, f"L2 norm {figure}", in_order(steps))


def sampling(evidence: Evidence) -> Iterator[Outcome]:
    """Claim 2: the norm of Poisson-disc sampling is below that of random sampling."""
    for series in _once(evidence, _SAMPLING):
        norms = {series.value(arm)[0]: norm for arm, norm in _norms(series)}
        if {"poisson_disc", "random"} <= set(norms):
            ours, other = norms["poisson_disc"], norms["random"]
            where = f"{series.study.title}, {ours.split} scans; {series.shared}"
            yield Outcome(
                where, f"L2 norm {ours.mean:.1f} against {other.mean:.1f}", in_order([ours.mean < other.mean])
            )


def _alike_but_pretraining(study: EvidenceStudy) -> list[Arm]:
    """The largest group of pretrained arms that agree in all but their pretraining, one for each pretraining."""
    groups: dict[tuple[tuple[str, str], ...], dict[str, Arm]] = {}
    for arm in study.pretrained:
        if study.norm(arm.name) is not None:
            rest = tuple((n, repr(v)) for n, v in arm.settings.items() if not n.startswith(OF_PRETRAINING))
            groups.setdefault(rest, {}).setdefault(study.pretraining[arm.name], arm)
    return list(max(groups.values(), key=len).values()) if groups else []


def norm_and_dice(evidence: Evidence) -> Iterator[Outcome]:
    """Claim 3: Dice of the pretraining with the highest L2 norm is not lower than of that with the lowest."""
    for study in of_settings(evidence):
        arms = sorted(_alike_but_pretraining(study), key=lambda arm: _mean_norm(study, arm))
        if len(arms) > 1:
            low, high = arms[0], arms[-1]
            setting = (
                f"highest L2 norm ({high.label}, {_mean_norm(study, high):.1f}) − lowest ({low.label}, "
                f"{_mean_norm(study, low):.1f}) of {len(arms)} pretrainings"
            )
            yield from between(study, setting, NOT_LOWER, high, low)


def _mean_norm(study: EvidenceStudy, arm: Arm) -> float:
    norm = study.norm(arm.name)
    assert norm is not None  # of arms that have one
    return norm.mean


def large_patches(evidence: Evidence) -> Iterator[Outcome]:
    """Claim 7: Dice of the largest patches - smallest; higher on CT, alike on MRI."""
    for study in of_settings(evidence):
        rule = ALIKE if study.info["modality"] == "mri" else HIGHER
        for series in series_of(study, _SIZE):
            small, large = series.arms[0], series.arms[-1]
            shared = shared_words(study, series.arms, ("Patch size",))
            setting = f"{study.info['modality'].upper()}: {series.level(large)} − {series.level(small)}; {shared}"
            yield from between(study, setting, rule, large, small)
