"""The answer in a few sentences for a radiologist, chosen by rules from the numbers."""

from inpaint_ssl.report.evidence.read import Evidence, EvidenceStudy
from inpaint_ssl.report.evidence.rules import ALIKE, SEEN, difference, verdict
from inpaint_ssl.report.kinds.strategy_text import capital, plural
from inpaint_ssl.report.text import enumeration, interval, ratio, signed
from inpaint_ssl.statistics.arm_gains import ArmGain

MOST = 10  # sentences
_ASKED = (
    "A program that outlines structures in scans learns from scans in which experts have drawn them, and such drawings "
    "are costly; we asked whether it needs fewer of them if it first learns, without any drawing, to repair spoiled "
    "parts of scans (pretraining)."
)
_LIMITS = (
    "None of this speaks for other organs, scanners or diseases, for larger networks, or for any use in patients{runs}."
)
_RUNS = (
    "; a number rests on {runs} of each kind, and the intervals tell how much subjects differ, not how much a repeated "
    "training would"
)
_SCANS = {
    "hippocampus": "MRI scans of the hippocampus, a small part of the brain",
    "headneck_ct": "CT scans of the head and neck",
}
_NAMES = {"headneck_ct": "Head and neck"}
_BETTER, _WORSE = "better", "worse"
_ALIKE, _OPEN = "no difference that matters", "not decided by these scans"
_KINDS = {
    _BETTER: "better than none", _WORSE: "worse than none", _ALIKE: "making no difference that matters",
    _OPEN: "not decided by these scans",
}  # fmt: skip
_FEW = 3  # arms that are named one by one


def plain_words(evidence: Evidence) -> list[str]:
    """At most MOST sentences: the question, the scans, the answers with their numbers, and what they do not say."""
    compared, tried = (_widest(evidence, part) for part in ("primary", "tuning"))
    if compared:
        found = [_tested_on(compared), *(sentence for study in compared for sentence in _answers(study))]
    else:
        found = [_not_tested(evidence), *(sentence for study in tried for sentence in _tried(study))]
    last = [sentence for study in compared if (sentence := _lost(study))]
    last += [missing] if (missing := _missing(compared or list(evidence.of("tuning")))) else []
    runs = [gain.n_runs for study in compared or tried for gain in study.results.gains.gains]
    rests = _RUNS.format(runs=_trainings(min(runs), max(runs))) if runs else ""
    return [_ASKED, *found[: MOST - 2 - len(last)], *last, _LIMITS.format(runs=rests)]


def _widest(evidence: Evidence, part: str) -> list[EvidenceStudy]:
    """Of each data set the study of this part with the most comparisons, if it has any."""
    found: dict[str, EvidenceStudy] = {}
    for study in evidence.of(part):
        before = found.get(study.name.data)
        if len(study.results.gains.gains) > (len(before.results.gains.gains) if before else 0):
            found[study.name.data] = study
    return list(found.values())


def _trainings(least: int, most: int) -> str:
    return plural(most, "training") if least == most else f"{least} to {most} trainings"


def _scans(study: EvidenceStudy) -> str:
    kind = _SCANS.get(study.name.data, f"{str(study.info['modality']).upper()} scans ({study.data_name})")
    people = "1 person" if study.n_subjects == 1 else f"{study.n_subjects} people"
    return f"{study.n_scans} {kind} ({people})"


def _name(study: EvidenceStudy) -> str:
    """The data set at the beginning of a sentence."""
    return _NAMES.get(study.name.data, capital(study.data_name))


def _tested_on(studies: list[EvidenceStudy]) -> str:
    on_test = all(study.results.split == "test" for study in studies)
    aside = "set aside beforehand" if on_test else "that also served to choose settings"
    return (
        f"It was tested on {enumeration([_scans(study) for study in studies])}, {aside}; names in quotation marks are "
        "ways of pretraining, explained below."
    )


def _not_tested(evidence: Evidence) -> str:
    tried = [study for study in evidence.of("tuning") if study.rows]
    if not tried:
        return "Nothing has been measured yet, so there is no answer."
    on_test = any("test" in study.info["measured_on"] for study in evidence.studies)
    why = "the comparison on test scans has not been made" if on_test else "the test scans have not been looked at"
    return (
        f"There is no answer yet: {why}, and so far ways of pretraining were tried on "
        f"{enumeration([_scans(study) for study in tried])} that serve to choose among them."
    )


def meaning(study: EvidenceStudy, gain: ArmGain) -> str:
    """What a gain means for a reader: better, worse, no difference that matters, or not decided."""
    if gain.runs_disagree:
        return _OPEN
    if study.results.gains.is_better(gain):
        return _BETTER
    if gain.is_worse:
        return _WORSE
    alike = verdict(difference(gain.paired), ALIKE) == SEEN
    return _ALIKE if alike else _OPEN


def _gain(study: EvidenceStudy, gain: ArmGain) -> str:
    paired = gain.paired
    return (
        f'{ratio(paired.first_mean)} ("{study.results.label(gain.arm)}": {signed(paired.mean_difference)}, plausibly '
        f"{interval(paired.lower, paired.upper)}, {meaning(study, gain)}{_divided(gain)})"
    )


def _divided(gain: ArmGain) -> str:
    """In how many trainings it is higher, where they disagree."""
    return f": higher in {gain.n_higher} of {gain.n_runs} trainings" if gain.runs_disagree else ""


def _pretrained_gains(study: EvidenceStudy, fraction: float) -> list[ArmGain]:
    """Of pretrained arms over one from scratch."""
    pretrained = {arm.name for arm in study.pretrained}
    return [g for g in study.results.gains.at(fraction) if g.arm in pretrained and g.control not in pretrained]


def _labelled(study: EvidenceStudy, fraction: float) -> str:
    count = study.results.label_counts.get(fraction)
    return "" if count is None else f", learning from the drawings of {'1 person' if count == 1 else f'{count} people'}"


def _answers(study: EvidenceStudy) -> list[str]:
    """One sentence at the smallest label fraction, one at the largest where that is another."""
    fractions = [f for f in study.fractions if _pretrained_gains(study, f)]
    ends = list(dict.fromkeys([*fractions[:1], *fractions[-1:]]))
    found = []
    for number, fraction in enumerate(ends):
        gains = _pretrained_gains(study, fraction)
        scale = " (Dice: 0 none, 1 perfect)" if not number else ""
        named = gains if len(gains) <= _FEW else _ends(gains)
        control, words = ratio(gains[0].paired.second_mean), enumeration([_gain(study, gain) for gain in named])
        found.append(
            f"{_name(study)}{_labelled(study, fraction)}: agreement with the "
            f"experts{scale} was {control} without pretraining, with it {words}."
        )
    return found


def _ends(gains: list[ArmGain]) -> list[ArmGain]:
    ordered = sorted(gains, key=lambda gain: -gain.paired.mean_difference)
    return [ordered[0], ordered[-1]]


def _tried(study: EvidenceStudy) -> list[str]:
    """How many ways of pretraining raised Dice, at the smallest label fraction, and the best and worst of them."""
    fraction = next((f for f in study.fractions if _pretrained_gains(study, f)), None)
    if fraction is None:
        return []
    gains = _pretrained_gains(study, fraction)
    verdicts = [meaning(study, gain) for gain in gains]
    kinds = [f"{verdicts.count(v)} as {words}" for v, words in _KINDS.items() if v in verdicts]
    best, worst = _ends(gains) if len(gains) > 1 else (gains[0], None)
    dice = f"{ratio(best.paired.second_mean)} without pretraining, with it at best {_gain(study, best)}"
    if worst is not None:
        dice += (
            f" and at worst {_gain(study, worst)}; the best of several looks better here than it will on other scans"
        )
    return [
        f"{_name(study)}{_labelled(study, fraction)}: of "
        f"{plural(len(gains), 'way')} of pretraining we count {enumeration(kinds)}.",
        f"Agreement with the experts (Dice: 0 none, 1 perfect) was {dice}.",
    ]


def _lost(study: EvidenceStudy) -> str:
    """How often a structure was missed in most scans, with and without pretraining; "" where that never happened."""
    lost, pretrained = study.results.lost, {arm.name for arm in study.pretrained}
    if not lost.runs:
        return ""
    counts = []
    for kind, words in ((False, "without"), (True, "with")):
        n = sum((run.arm in pretrained) is kind for run in lost.runs)
        total = sum(runs for arm, runs in lost.n_runs.items() if (arm in pretrained) is kind)
        counts.append(f"{n} of {total} trainings {words} pretraining")
    return (
        f"{_name(study)}: in {enumeration(counts)} a structure was missed in most people, which weighs heavily in "
        "these numbers."
    )


def _missing(studies: list[EvidenceStudy]) -> str:
    lacking, planned = sum(len(s.incomplete) for s in studies), sum(len(s.info["cells"]) for s in studies)
    if not lacking:
        return ""
    verb = "is" if lacking == 1 else "are"
    return f"Of {planned} planned trainings {lacking} {verb} missing, so numbers may still change."
