"""What the report of a study of arms shows, read once: the arms, their Dice, gains, distances and label curves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inpaint_ssl.errors import InputError
from inpaint_ssl.report.info import shown_split
from inpaint_ssl.report.kinds.planned import planned_fractions
from inpaint_ssl.report.load import read_rows
from inpaint_ssl.statistics import Bootstrap, Description, StudyStatistics, describe, summarise
from inpaint_ssl.statistics.arm_gains import ArmGains, arm_gains, mean_differences
from inpaint_ssl.statistics.convergence import LateRuns, late_runs
from inpaint_ssl.statistics.label_curve import MINIMUM_COUNTS, LabelCurves, labels_of_arm
from inpaint_ssl.statistics.lost_classes import LostClasses, lost_classes

HD95, VOLUME = "hd95_mm", "volume_mm3"


@dataclass(frozen=True)
class Arm:
    """An arm of study.json. control: the arm that it is compared with, "" for from scratch itself."""

    name: str
    label: str
    pretrained: bool
    control: str
    settings: Mapping[str, Any]  # those in which it differs from the study's


@dataclass(frozen=True)
class Measured:
    """One metric of which less is better, on the scans shown: means by arm, class and label fraction.

    differences: arm - control by (arm, label fraction, class).
    """

    described: tuple[Description, ...]
    differences: Mapping[tuple[str, float, str], float]


@dataclass(frozen=True)
class ArmResults:
    """All that is shown of a study of arms, measured on the scans of `split`."""

    split: str
    alpha: float
    bootstrap: Bootstrap
    arms: tuple[Arm, ...]
    classes: tuple[str, ...]
    label_counts: Mapping[float, int]
    statistics: StudyStatistics
    gains: ArmGains
    dice_differences: Mapping[tuple[str, float, str], float]
    hd95: Measured  # mm
    volume: Measured  # absolute percent error
    late: Mapping[tuple[str, float], LateRuns]
    lost: LostClasses
    labels: Mapping[str, LabelCurves]  # by pretrained arm, where there are enough label fractions

    def label(self, name: str) -> str:
        """What a person calls an arm."""
        return next((arm.label for arm in self.arms if arm.name == name), name)

    def control_of(self, name: str) -> Arm | None:
        """The control of an arm, or None."""
        control = next(arm.control for arm in self.arms if arm.name == name)
        return next((arm for arm in self.arms if arm.name == control), None)

    def from_scratch_of(self, name: str) -> Arm | None:
        """The first arm from scratch along the controls of an arm, or None."""
        found, seen = self.control_of(name), set[str]()
        while found is not None and found.pretrained and found.name not in seen:
            seen.add(found.name)
            found = self.control_of(found.name)
        return None if found is None or found.pretrained else found

    @property
    def evaluated(self) -> tuple[Arm, ...]:
        """Arms with a Dice at any label fraction."""
        there = {name for entry in self.statistics.entries for name in entry.arms}
        return tuple(arm for arm in self.arms if arm.name in there)


def read_arms(workdir: Path, info: Mapping[str, Any]) -> ArmResults:
    """`arm_results` of per_scan.csv in `workdir`; without the file there is nothing evaluated yet."""
    return arm_results(read_rows(workdir / "per_scan.csv"), info)


def arm_results(rows: Sequence[Mapping[str, str]], info: Mapping[str, Any]) -> ArmResults:
    """What rows of per_scan.csv and study.json (`info`, with defaults) say, on the scans of info["select_on"].

    What has not been evaluated yet is left out. InputError for damaged rows and for arms that are none.
    """
    split, arms = shown_split(info), arms_of(info["arms"])
    alpha, how = float(info["alpha"]), Bootstrap(**info["bootstrap"])
    names = {arm.name for arm in arms}
    rows = [row for row in rows if row["arm"] in names and row["split"] == split]
    pairs = [(arm.name, arm.control) for arm in arms if arm.control]
    statistics = summarise(rows, alpha, bootstrap=how, split=split)
    known = [name for name in info["classes"] if name in statistics.classes]
    found = ArmResults(
        split=split,
        alpha=alpha,
        bootstrap=how,
        arms=arms,
        classes=(*known, *(name for name in statistics.classes if name not in known)),
        label_counts=info["label_counts"],
        statistics=statistics,
        gains=arm_gains(rows, pairs, split=split, alpha=alpha, bootstrap=how, planned=planned_fractions(info)),
        dice_differences=mean_differences(rows, pairs, split=split, metric="dice"),
        hd95=_measured(rows, pairs, split, HD95),
        volume=_measured([_absolute(r) for r in rows if r["metric"] == VOLUME], pairs, split, VOLUME),
        late=late_runs(info["cells"]),
        lost=lost_classes(rows, split),
        labels={},
    )
    labels = dict[str, LabelCurves]()
    for arm in arms:
        control = found.from_scratch_of(arm.name) if arm.pretrained else None
        if control is not None:
            curves = labels_of_arm(rows, arm.name, control.name, found.label_counts, alpha, how, split)
            labels |= {arm.name: curves} if len(curves.label_fractions) >= MINIMUM_COUNTS else {}
    return ArmResults(**(vars(found) | {"labels": labels}))


def arms_of(entries: Sequence[Mapping[str, Any]]) -> tuple[Arm, ...]:
    """The arms of study.json in their order. InputError where an entry lacks its name or names an unknown control."""
    try:
        found = tuple(
            Arm(str(e["arm"]), str(e.get("label") or e["arm"]), bool(e.get("pretrained")), str(e.get("against") or ""),
                dict(e.get("settings") or {}))
            for e in entries
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f'study.json: "arms" holds an entry that is no arm ({type(error).__name__}: {error}); expected arm, label, '
            "pretrained, against and settings; evaluate the study again"
        ) from None
    names = {arm.name for arm in found}
    for arm in found:
        if arm.control and arm.control not in names:
            raise InputError(
                f'study.json: the arm "{arm.name}" is compared with "{arm.control}", which is none of its arms '
                f"({', '.join(sorted(names))}); evaluate the study again"
            )
    return found


def _absolute(row: Mapping[str, str]) -> dict[str, str]:
    return {**row, "value": row["value"].removeprefix("-")}


def _measured(rows: Sequence[Mapping[str, str]], pairs: Sequence[tuple[str, str]], split: str, metric: str) -> Measured:
    described = describe(rows, metric, split, average=True)
    return Measured(described, mean_differences(rows, pairs, split=split, metric=metric))
