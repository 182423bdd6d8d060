"""The metrics card of a bundle: how well its network did on the test scans of its study. No jax here."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inpaint_ssl.errors import InputError
from inpaint_ssl.files import read_csv
from inpaint_ssl.statistics import AVERAGE, Bootstrap, mean_interval
from inpaint_ssl.statistics.arms import Values, arm_mean, values_by_arm
from inpaint_ssl.statistics.restoration import METRIC as L2_NORM

LEVEL = 0.95  # of the intervals
PART = "test"
UNITS = {"dice": "ratio", L2_NORM: "normalised intensity"}
_EVALUATED = "evaluation.json"  # a run has it once it was measured


@dataclass(frozen=True)
class Score:
    """Of one class, or image channel, or of their average: mean over test subjects and BCa interval of LEVEL, None for
    a single subject; mean None where no subject has a value.
    """

    name: str
    mean: float | None
    lower: float | None
    upper: float | None
    subjects: int


@dataclass(frozen=True)
class MetricsCard:
    """metric: "dice" or "inpainting_l2_norm" (less is better). scores: the average first. The subjects are those of
    `part` of the data set `dataset`, as the splits of this hash draw it.
    """

    metric: str
    unit: str
    part: str
    dataset: str
    splits_sha256: str
    subjects: int
    scans: int
    level: float
    scores: tuple[Score, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {**vars(self), "scores": [dict(vars(score)) for score in self.scores]}

    @classmethod
    def from_dict(cls, values: Any, where: str) -> "MetricsCard":
        """The inverse of to_dict; InputError naming `where` for other content."""
        try:
            scores = tuple(_score(one) for one in values["scores"])
            names = ("metric", "unit", "part", "dataset", "splits_sha256")
            texts: dict[str, Any] = {name: _text(values[name]) for name in names}
            numbers: dict[str, Any] = {name: int(values[name]) for name in ("subjects", "scans")}
            card = cls(**numbers, **texts, level=float(values["level"]), scores=scores)
            if card.metric not in UNITS:
                raise ValueError(f"no metric {card.metric!r}")
            counts = (card.subjects, card.scans, *(one.subjects for one in scores))
            ends = [end for one in scores for end in (one.mean, one.lower, one.upper) if end is not None]
            if not scores or min(counts) < 0 or not 0 < card.level < 1 or not all(map(math.isfinite, ends)):
                raise ValueError("it has no scores, or numbers that cannot be")
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(f"{where}: the metrics card cannot be read ({error}); get the file again") from None
        return card


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _score(values: Any) -> Score:
    numbers = (values["mean"], values["lower"], values["upper"])
    mean, lower, upper = (None if one is None else float(one) for one in numbers)
    return Score(_text(values["name"]), mean, lower, upper, int(values["subjects"]))


def card_of_run(folder: Path, task: str, dataset: str, splits_sha256: str) -> MetricsCard | None:
    """The card of the run in `folder`, from what evaluation wrote there; None when it was not evaluated.

    task: "segmentation" (Dice of per_scan.csv) or "inpainting" (L2 norm of per_slice.csv). Subjects are the unit:
    values are averaged over the classes of a scan (for the average), slices of a scan, scans of a subject. Raises
    InputError for rows that are no numbers.
    """
    name = "per_scan.csv" if task == "segmentation" else "per_slice.csv"
    if not (folder / _EVALUATED).exists() or not (folder / name).exists():
        return None
    rows = read_csv(folder / name)
    metric = "dice" if task == "segmentation" else L2_NORM
    try:
        values = _by_scan(rows) if task == "segmentation" else _of_slices(rows)
    except (KeyError, ValueError) as error:
        raise InputError(f"{folder / name} cannot be used ({error}); evaluate the run again") from None
    if not values:
        return None
    names = list(dict.fromkeys(name for of in values.values() for name in of))
    of_classes = {one: {case: {one: of[one]} for case, of in values.items() if one in of} for one in names}
    scores = [_scored(name, of) for name, of in {AVERAGE: values, **of_classes}.items()]
    subjects, scans = ({case[place] for case in values} for place in (1, 2))
    return MetricsCard(
        metric=metric,
        unit=UNITS[metric],
        part=PART,
        dataset=dataset,
        splits_sha256=splits_sha256,
        subjects=len(subjects),
        scans=len(scans),
        level=LEVEL,
        scores=tuple(scores),
    )


def _by_scan(rows: Iterable[Mapping[str, str]]) -> Values:
    """Dice of the one arm that a run is."""
    return {case: of for values in values_by_arm(rows, PART).values() for case, of in values.items()}


def _of_slices(rows: Iterable[Mapping[str, str]]) -> Values:
    """L2 norms as means over the slices of each scan."""
    found: dict[Any, dict[str, list[float]]] = {}
    for row in rows:
        if row["metric"] == L2_NORM and row["split"] == PART:
            case = ((int(row["subset_draw"]), int(row["seed"])), row["subject"], row["scan"])
            found.setdefault(case, {}).setdefault(row["class"], []).append(float(row["value"] or "nan"))
    return {case: {name: math.fsum(of) / len(of) for name, of in classes.items()} for case, classes in found.items()}


def _scored(name: str, values: Values) -> Score:
    found = arm_mean(values)
    if found is None:
        return Score(name, None, None, None, 0)
    ends = mean_interval(found.subjects.values(), 1 - LEVEL, Bootstrap())
    lower, upper = (None if math.isnan(end) else end for end in ends)
    return Score(name, found.mean, lower, upper, found.n_subjects)
