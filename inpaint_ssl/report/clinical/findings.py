"""What the medians of clinical metrics say, both arms on the same scans and runs, and what that leaves out."""

from collections.abc import Sequence
from dataclasses import dataclass

from inpaint_ssl.metrics import QUANTITIES
from inpaint_ssl.report.clinical.text import error_text
from inpaint_ssl.report.load import Study
from inpaint_ssl.report.text import ARM_NAMES, enumeration, percent
from inpaint_ssl.statistics import FROM_SCRATCH, PRETRAINED, Agreement, minimum_n, paired_errors

_NAMED = 2  # classes whose scans without a value are named; of the others there are as many or fewer


@dataclass(frozen=True)
class _Class:
    """Medians of one class, in percent, over the scans and runs that have a value in both arms."""

    name: str
    scratch: float
    pretrained: float
    n_subjects: int
    arms: tuple[Agreement, Agreement]  # from scratch, pretrained

    @property
    def change(self) -> float:
        """What shows in one decimal."""
        return round(self.pretrained, 1) - round(self.scratch, 1)

    @property
    def values(self) -> str:
        before, after = f"{error_text(self.scratch)} %", f"{error_text(self.pretrained)} %"
        return f"({before} {ARM_NAMES[FROM_SCRATCH]}, {after} {ARM_NAMES[PRETRAINED]})"


def finding(study: Study, metric: str) -> str:
    """What the medians say at the smallest label fraction that supports a sentence; "" where none does.

    Both arms are compared on the same scans and runs. It counts classes in which one arm's median is lower by what
    shows in one decimal, names the largest change to each side, and makes no claim of significance. Classes with fewer
    subjects than a test of the study's alpha needs are left out, and named.
    """
    for fraction in study.statistics.label_fractions:
        found = [c for name in study.class_names if (c := _class(study, metric, fraction, name)) is not None]
        enough = [c for c in found if c.n_subjects >= minimum_n(study.statistics.alpha)]
        if enough:
            start = f"With {percent(fraction)} of the labels, the median error of {QUANTITIES[metric].title}"
            few = [c.name for c in found if c not in enough]
            return start + _changes(enough) + _without_value(enough) + _too_few(few, minimum_n(study.statistics.alpha))
    return ""


def _class(study: Study, metric: str, fraction: float, name: str) -> _Class | None:
    scratch = study.agreement(metric, fraction, name, FROM_SCRATCH)
    pretrained = study.agreement(metric, fraction, name, PRETRAINED)
    if scratch is None or pretrained is None:
        return None
    both = paired_errors(scratch, pretrained)
    errors = both.from_scratch, both.pretrained
    return _Class(name, errors[0].median, errors[1].median, errors[0].n_subjects, (scratch, pretrained))


def _changes(classes: Sequence[_Class]) -> str:
    sides = {"lower": [c for c in classes if c.change < 0], "higher": [c for c in classes if c.change > 0]}
    words = sorted((word for word in sides if sides[word]), key=lambda word: -len(sides[word]))
    if not words:
        return " was the same in both arms."
    if len(classes) == 1:
        return f" was {words[0]} with pretraining {classes[0].values}."
    total = len(classes)
    same = total - sum(map(len, sides.values()))
    rest = f", and the same for {same}" if same else ""
    if len(words) == 1 and not same:
        how = f"for {'both' if total == 2 else f'all {total}'} classes, {_most(sides[words[0]])}"
        return f" was {words[0]} with pretraining {how}."
    described = [
        f"{word} for {len(sides[word])}{f' of {total} classes' if i == 0 else ''}, {_most(sides[word])}"
        for i, word in enumerate(words)
    ]
    if len(words) == 2 and len(sides["lower"]) == len(sides["higher"]):
        return f" went both ways with pretraining: {'; '.join(described)}{rest}."
    return f" was, with pretraining, {'; '.join(described)}{rest}."


def _most(side: Sequence[_Class]) -> str:
    largest = max(side, key=lambda c: abs(c.pretrained - c.scratch))
    return f"{'most for ' if len(side) > 1 else ''}{largest.name} {largest.values}"


def _without_value(classes: Sequence[_Class]) -> str:
    """Which scans were left out of the comparison because an arm has no value for them."""
    parts: dict[str, list[str]] = {}  # by what is said, of which arms
    for place, arm in enumerate((FROM_SCRATCH, PRETRAINED)):
        missing = sorted(
            ((c.arms[place].n_scans_excluded, c.arms[place].n_scans_evaluated, c.name) for c in classes),
            key=lambda found: -found[0],
        )
        missing = [found for found in missing if found[0]]
        listed = [f"{n} of {of} scans" + (f" of {name}" if len(classes) > 1 else "") for n, of, name in missing]
        if len(listed) > _NAMED + 1:
            listed[_NAMED:] = [f"as many or fewer of {len(listed) - _NAMED} other classes"]
        if listed:
            parts.setdefault(enumeration(listed), []).append(ARM_NAMES[arm])
    if not parts:
        return ""
    said = [f"{'each' if len(arms) > 1 else arms[0]} had no value for {scans}" for scans, arms in parts.items()]
    runs = max(a.n_runs for c in classes for a in c.arms)
    in_a_run = "in at least one run, " if runs > 1 else ""
    return f" Compared where both arms have a value: {in_a_run}{'; '.join(said)}."


def _too_few(names: Sequence[str], needed: int) -> str:
    verb = "is" if len(names) == 1 else "are"
    return f" Left out {verb} {enumeration(list(names))}: fewer than {needed} subjects." if names else ""
