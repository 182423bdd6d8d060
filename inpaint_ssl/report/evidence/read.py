"""Reads collected studies: results of every arm, L2 norms of its pretraining, and what is still missing."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from inpaint_ssl.config import flatten, read_arms
from inpaint_ssl.config.resolve import as_tuple
from inpaint_ssl.errors import InputError
from inpaint_ssl.files import read_csv, read_json
from inpaint_ssl.report.evidence import files
from inpaint_ssl.report.info import read_info
from inpaint_ssl.report.kinds.arm_results import VOLUME, Arm, ArmResults, arm_results
from inpaint_ssl.statistics import AVERAGE
from inpaint_ssl.statistics.arm_gains import by_run
from inpaint_ssl.statistics.arms import Paired, Values, compare_subjects, pairs, values_by_arm
from inpaint_ssl.statistics.rows import Run

DICE = "dice"


@dataclass(frozen=True)
class Norm:
    """L2 norm of restored slices of one pretraining, mean over channels, then seeds; `slices` of one of them."""

    mean: float
    slices: int
    split: str


@dataclass(frozen=True)
class EvidenceStudy:
    """One collected study. settings: of the study, by dotted name; rows: of per_scan.csv on the scans shown."""

    name: files.Name
    info: Mapping[str, Any]
    settings: Mapping[str, Any]
    splits: Mapping[str, Any]
    environment: Mapping[str, Any]
    rows: tuple[Mapping[str, str], ...]
    results: ArmResults
    norms: Mapping[str, Norm]  # by the arm that names the pretraining
    pretraining: Mapping[str, str]  # by arm, the arm that names its pretraining
    _values: dict[tuple[str, str], dict[tuple[float, str], Values]] = field(default_factory=dict, repr=False)

    @property
    def data_name(self) -> str:
        """The data set in words: "hippocampus"."""
        return self.name.data.replace("_", " ")

    @property
    def label(self) -> str:
        """The study in words: "hippocampus tuning"."""
        return self.name.folder.replace("_", " ")

    @property
    def n_scans(self) -> int:
        """Number of scans measured."""
        return len({(row["subject"], row["scan"]) for row in self.rows})

    @property
    def n_subjects(self) -> int:
        """Number of subjects measured."""
        return len({row["subject"] for row in self.rows})

    @property
    def title(self) -> str:
        """The data set, and the variant where there is one."""
        return self.data_name + (f" ({self.name.variant.replace('_', ' ')})" if self.name.variant else "")

    @property
    def fractions(self) -> tuple[float, ...]:
        """Label fractions with results, rising."""
        return self.results.statistics.label_fractions

    @property
    def pretrained(self) -> tuple[Arm, ...]:
        """Pretrained arms with results."""
        return tuple(arm for arm in self.results.evaluated if arm.pretrained)

    @property
    def incomplete(self) -> tuple[dict[str, Any], ...]:
        """Runs that are not complete, as study.json lists them."""
        return tuple(cell for cell in self.info["cells"] if cell["status"] != "complete")

    def effective(self, arm: Arm) -> dict[str, Any]:
        """Every setting of an arm: the study's, or its own."""
        return {**self.settings, **{name: as_tuple(value) for name, value in arm.settings.items()}}

    def norm(self, arm: str) -> Norm | None:
        """The L2 norm of an arm's pretraining, or None."""
        return self.norms.get(self.pretraining.get(arm, ""))

    def dice(self, arm: str, fraction: float, class_name: str = AVERAGE) -> float:
        """Mean Dice over subjects, NaN without results."""
        entry = self.results.statistics.entry(fraction, class_name)
        return entry.arms[arm].mean if entry is not None and arm in entry.arms else math.nan

    def values(self, metric: str = DICE, class_name: str = AVERAGE) -> dict[tuple[float, str], Values]:
        """Values by (label fraction, arm) of one class or of all; of volumes the absolute error."""
        if (metric, class_name) not in self._values:
            rows = [row for row in self.rows if row["metric"] == metric and class_name in (AVERAGE, row["class"])]
            if metric == VOLUME:
                rows = [{**row, "value": row["value"].removeprefix("-")} for row in rows]
            self._values[metric, class_name] = values_by_arm(rows, self.results.split, metric)
        return self._values[metric, class_name]

    def gain(
        self, arm: str, control: str, fraction: float, metric: str = DICE, class_name: str = AVERAGE
    ) -> dict[str, float]:
        """arm - control by subject, on the runs, scans and classes that both have; {} where there are none."""
        values = self.values(metric, class_name)
        both = pairs(values.get((fraction, arm), {}), values.get((fraction, control), {})).by_subject()
        return {subject: first - second for subject, (first, second) in both.items()}

    def by_run(
        self, arm: str, control: str, fraction: float, metric: str = DICE, class_name: str = AVERAGE
    ) -> dict[Run, float]:
        """arm - control by run, mean over subjects, as `gain` has it by subject."""
        values = self.values(metric, class_name)
        return by_run(values.get((fraction, arm), {}), values.get((fraction, control), {}))

    def lost_a_class(self, arms: Collection[str], fractions: Collection[float]) -> bool:
        """Did one of these arms miss a class in most scans, in a run that all of them have at a label fraction?"""
        values, lost = self.values(), self.results.lost.runs
        runs = {
            f: set.intersection(*({case[0] for case in values.get((f, arm), {})} for arm in arms)) for f in fractions
        }
        return any(one.arm in arms and one.run in runs.get(one.label_fraction, ()) for one in lost)

    def compare(self, first: Mapping[str, float], second: Mapping[str, float] | None = None) -> Paired | None:
        """`first` - `second` over subjects (0 where there is no second) with the study's interval; None without any."""
        second = dict.fromkeys(first, 0.0) if second is None else second
        return compare_subjects(first, second, self.results.alpha, self.results.bootstrap)


@dataclass(frozen=True)
class Evidence:
    """All collected studies, sorted by data set; `notes`: the hand-written file, "" without it."""

    folder: Path
    studies: tuple[EvidenceStudy, ...]
    notes: str

    def of(self, part: str, data: str = "") -> tuple[EvidenceStudy, ...]:
        """The studies of one part, of all data sets or one."""
        return tuple(s for s in self.studies if s.name.part == part and data in ("", s.name.data))


def read_evidence(folder: Path) -> Evidence:
    """Every collected study in `folder`, which may be missing or empty. InputError naming a damaged file."""
    folder = Path(folder)
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        name = files.name_of(path.name)
        if name is not None and (path / files.STUDY).is_file():
            found.append(_read(path, name))
    found.sort(key=lambda study: (-_is_mri(study), study.name.data, study.name.variant))
    notes = folder / files.NOTES
    return Evidence(folder, tuple(found), notes.read_text(encoding="utf-8").strip() if notes.is_file() else "")


def _is_mri(study: EvidenceStudy) -> int:
    """MRI first, as in the paper."""
    return int(study.info["modality"] == "mri")


def _read(path: Path, name: files.Name) -> EvidenceStudy:
    info = read_info(path)
    config, splits, environment = (read_json(path / file, what) for file, what in _TABLES.items())
    for file, table in zip(_TABLES, (config, splits, environment), strict=True):
        if not isinstance(table, dict):
            raise InputError(f"{path / file} holds no table; collect the study again")
    settings = {key: as_tuple(value) for key, value in flatten(config).items()}
    same = {"study": info["study"], "dataset": info["dataset"]}
    rows = [same | row for row in files.unpacked_rows(path / files.SCANS)]
    results = arm_results(rows, info)
    return EvidenceStudy(
        name=name,
        info=info,
        settings=settings,
        splits=splits,
        environment=environment,
        rows=tuple(row for row in rows if row["split"] == results.split),
        results=results,
        norms=_norms(read_csv(path / files.RESTORATION), results.split),
        pretraining=_pretrainings(config.get("arms", ()), settings),
    )


_TABLES = {
    files.CONFIG: "settings of a study",
    files.SPLITS: "splits of a study",
    files.ENVIRONMENT: "where and with what a study ran",
}


def _norms(rows: Sequence[Mapping[str, str]], split: str) -> dict[str, Norm]:
    """On the scans shown, or where pretraining was not measured there on those that it was measured on."""
    splits = {row["split"] for row in rows}
    split = split if split in splits else min(splits, default=split)
    seeds: dict[str, dict[str, list[float]]] = {}
    slices: dict[str, int] = {}
    for row in rows:
        if row["split"] == split:
            seeds.setdefault(row["arm"], {}).setdefault(row["seed"], []).append(float(row["mean"]))
            slices[row["arm"]] = int(row["slices"])
    return {
        arm: Norm(float(np.mean([np.mean(values) for values in of.values()])), slices[arm], split)
        for arm, of in seeds.items()
    }


def _pretrainings(texts: Sequence[str], settings: Mapping[str, Any]) -> dict[str, str]:
    """By pretrained arm the first arm of the same pretraining, which names it."""
    began: dict[Any, str] = {}
    specs = [spec for spec in read_arms(texts, settings) if spec.pretrained]
    return {spec.name: began.setdefault(spec.of_pretraining, spec.name) for spec in specs}
