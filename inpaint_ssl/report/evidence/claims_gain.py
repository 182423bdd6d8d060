"""Claims about the gain of pretraining: where it is largest, and what more unlabelled data adds."""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from inpaint_ssl.report.evidence.factors import series_of
from inpaint_ssl.report.evidence.outcome import Outcome, between, over_fractions, place
from inpaint_ssl.report.evidence.read import Evidence, EvidenceStudy
from inpaint_ssl.report.evidence.rules import (
    HIGHER,
    NOT_LOWER,
    Difference,
    cautions,
    difference,
    verdict_of_gain,
)
from inpaint_ssl.report.evidence.words import FACTORS
from inpaint_ssl.report.kinds.arm_results import VOLUME, Arm
from inpaint_ssl.report.text import percent, ratio
from inpaint_ssl.statistics.rows import Run

_FEW = 0.25  # label fraction up to which the paper claims a gain
_WEAK = 0.8  # Dice from scratch, section 4
_POINTS = " percentage points"
_EXTENT = [factor for factor in FACTORS if factor.name == "Pretraining scans"]


def _arms(evidence: Evidence) -> Iterator[tuple[EvidenceStudy, Arm, Arm]]:
    """(study, pretrained arm, its control from scratch) of the primary comparisons."""
    for study in evidence.of("primary"):
        for arm in study.pretrained:
            control = study.results.from_scratch_of(arm.name)
            if control is not None:
                yield study, arm, control


def at_least_equal(evidence: Evidence) -> Iterator[Outcome]:
    """Claim 4: pretrained - from scratch at every label fraction up to 25 %."""
    for study, arm, control in _arms(evidence):
        few = [fraction for fraction in study.fractions if fraction <= _FEW]
        setting = f"{arm.label} − {control.label}"
        yield from between(study, setting, NOT_LOWER, arm, control, few)


def grows(evidence: Evidence) -> Iterator[Outcome]:
    """Claim 5a: gain at the smallest - gain at the largest label fraction, by subject."""
    for study, arm, control in _arms(evidence):
        gains = {f: study.gain(arm.name, control.name, f) for f in study.fractions}
        there = [fraction for fraction, gain in gains.items() if gain]
        if len(there) > 1:
            first, last = there[0], there[-1]
            setting = f"{arm.label}: gain at {percent(first)} − gain at {percent(last)} of the labels"
            runs = [study.by_run(arm.name, control.name, f) for f in (first, last)]
            minded = cautions(
                [_by_run(runs[:1], runs[1:]), runs[0].values()],
                study.lost_a_class((arm.name, control.name), (first, last)),
            )
            yield from _one(study, setting, gains[first], gains[last], minded)


def _one(
    study: EvidenceStudy,
    setting: str,
    first: Mapping[str, float],
    second: Mapping[str, float],
    minded: tuple[str, ...],
    unit: str = "",
) -> list[Outcome]:
    """One outcome from `first` - `second` by subject, of which the first one has to be a gain itself."""
    found, gain = (difference(study.compare(first, other), unit) for other in (second, None))
    if found is None or gain is None:
        return []
    figure = f"{found.words}; the first alone {gain.words}"
    return [Outcome(f"{place(study)}; {setting}", figure, verdict_of_gain(found, gain), minded)]


def _by_run(first: Sequence[Mapping[Run, float]], second: Sequence[Mapping[Run, float]] = ()) -> list[float]:
    """Mean of `first` - mean of `second` (0 without any) for each run that all have."""
    runs = set.intersection(*(set(part) for part in (*first, *second)))
    return [float(np.mean([p[r] for p in first]) - np.mean([p[r] for p in second] or 0.0)) for r in sorted(runs)]


def _mean(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each subject's values."""
    subjects = dict.fromkeys(subject for part in parts for subject in part)
    return {s: float(np.mean([part[s] for part in parts if s in part])) for s in subjects}


def weakest(evidence: Evidence) -> Iterator[Outcome]:
    """Claim 5b: mean gain of classes and label fractions with Dice up to 0.8 from scratch - mean gain of the others."""
    for study, arm, control in _arms(evidence):
        cells: dict[bool, list[dict[str, float]]] = {True: [], False: []}
        runs: dict[bool, list[dict[Run, float]]] = {True: [], False: []}
        for fraction in study.fractions:
            for name in study.results.classes:
                dice = study.dice(control.name, fraction, name)
                gain = study.gain(arm.name, control.name, fraction, class_name=name)
                if gain and not math.isnan(dice):
                    cells[dice <= _WEAK].append(gain)
                    own = study.by_run(arm.name, control.name, fraction, class_name=name)
                    runs[dice <= _WEAK].append(own)
        if cells[True] and cells[False]:
            setting = (
                f"{arm.label}: gain where Dice from scratch is at most {_WEAK:g} ({len(cells[True])} of "
                f"{len(cells[True]) + len(cells[False])} classes at label fractions) − elsewhere"
            )
            lost = study.lost_a_class((arm.name, control.name), study.fractions)
            minded = cautions([_by_run(runs[True], runs[False]), _by_run(runs[True])], lost)
            yield from _one(study, setting, _mean(cells[True]), _mean(cells[False]), minded)


def _extents(evidence: Evidence) -> Iterator[tuple[EvidenceStudy, list[Arm], int]]:
    """(study, arms by rising number of pretraining scans, place of the one on the training scans alone)."""
    for study in evidence.of("extent"):
        for series in series_of(study, _EXTENT):
            size = {arm.name: _size(*series.value(arm)) for arm in series.arms}
            arms = sorted(series.arms, key=lambda arm: size[arm.name])
            training = next((k for k, arm in enumerate(arms) if size[arm.name] == 1.0), None)
            if training is not None and training + 1 < len(arms):
                yield study, arms, training


def _size(extent: float, unlabelled: bool) -> float:
    """A number that rises with the pretraining set: multiples of the training subjects, infinite for all there is."""
    return float(extent) or (math.inf if unlabelled else 1.0)


def extent_helps(evidence: Evidence) -> Iterator[Outcome]:
    """Claim 6a: with the unlabelled scans - on the training scans alone."""
    for study, arms, training in _extents(evidence):
        most, base = arms[-1], arms[training]
        setting = f"{most.label} − {base.label}"
        yield from between(study, setting, HIGHER, most, base)


def extent_saturates(evidence: Evidence) -> Iterator[Outcome]:
    """Claim 6b: gain of the step up to the training scans - gain of the step beyond them, by subject."""
    for study, arms, training in _extents(evidence):
        if not training:
            continue
        least, base, most = arms[0], arms[training], arms[-1]
        found, runs = dict[float, Difference](), list[list[float]]()
        for fraction in study.fractions:
            first, second = (study.gain(b.name, a.name, fraction) for a, b in ((least, base), (base, most)))
            both = difference(study.compare(first, second)) if first and second else None
            if both is not None:
                found[fraction] = both
                steps = ((base, least), (most, base))
                runs.append(_by_run(*([study.by_run(a.name, b.name, fraction)] for a, b in steps)))
        setting = f"step from {least.label} to {base.label} − step from {base.label} to {most.label}"
        minded = cautions(runs, study.lost_a_class([arm.name for arm in (least, base, most)], found))
        yield from over_fractions(study, setting, HIGHER, found, minded)


def hardest(evidence: Evidence) -> Iterator[Outcome]:
    """Claim 11: fall of the absolute volume error of the class with the lowest Dice - mean fall of the others.

    At the smallest label fraction, by subject.
    """
    for study, arm, control in _arms(evidence):
        classes = study.results.classes
        if len(classes) < 2 or not study.fractions:
            continue
        fraction = study.fractions[0]
        hard = min(classes, key=lambda name: study.dice(control.name, fraction, name))
        falls = {c: study.gain(control.name, arm.name, fraction, VOLUME, c) for c in classes}
        others = _mean([falls[c] for c in classes if c != hard])
        if not falls[hard] or not others:
            continue
        runs = {c: study.by_run(control.name, arm.name, fraction, VOLUME, c) for c in classes}
        dice = ratio(study.dice(control.name, fraction, hard))
        setting = (
            f"{arm.label}: fall of the volume error of {hard} (Dice {dice} from scratch) − mean fall of the other "
            f"classes, {percent(fraction)} of the labels"
        )
        differences = _by_run([runs[hard]], [runs[c] for c in classes if c != hard])
        minded = cautions([differences, runs[hard].values()], study.lost_a_class((arm.name, control.name), (fraction,)))
        yield from _one(study, setting, falls[hard], others, minded, _POINTS)
