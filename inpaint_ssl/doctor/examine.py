"""The examination of a data set: one look at every scan, then the checks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ml_collections import ConfigDict
from rich.console import Console

from inpaint_ssl.data.classes import class_map
from inpaint_ssl.data.preprocess import Preprocessing
from inpaint_ssl.data.readers import ReaderSettings, open_dataset
from inpaint_ssl.data.scan import ScanEntry
from inpaint_ssl.data.splits import SplitSettings
from inpaint_ssl.doctor import (
    checks_duplicates,
    checks_files,
    checks_geometry,
    checks_intensity,
    checks_labels,
    checks_splits,
)
from inpaint_ssl.doctor.duplicates import MOST_PAIRS, Twins, candidates, look_at_twins, pair_of
from inpaint_ssl.doctor.findings import Finding, in_order
from inpaint_ssl.doctor.inspect import Examination, Inspected, ScanSummary, inspect_scan
from inpaint_ssl.doctor.raw import Trouble
from inpaint_ssl.doctor.scans import ScanSet, parts_of
from inpaint_ssl.doctor.workers import SECONDS_PER_TASK, Failed, run_tasks
from inpaint_ssl.errors import InputError, Problems
from inpaint_ssl.progress import StageProgress


@dataclass(frozen=True)
class Diagnosis:
    """findings in order of severity; found: what is known of the scans, None when the data set cannot be listed."""

    findings: tuple[Finding, ...]
    found: ScanSet | None
    preprocessing: Preprocessing


def examine(config: ConfigDict, console: Console, seconds_per_scan: float = SECONDS_PER_TASK) -> Diagnosis:
    """Look at every scan of config.data once, in parallel processes, and say what is wrong with them.

    seconds_per_scan: after which reading a scan is given up. Raises InputError for settings that cannot be used.
    """
    data = config.data.to_dict()
    preprocessing = Preprocessing.from_config(data)
    problems = Problems(collect=True)
    try:
        reader = open_dataset(ReaderSettings.from_config(data), problems)
    except InputError as error:
        listed = [*problems.found, *([] if error in problems.found else [error])]
        return Diagnosis(tuple(checks_files.unlisted_findings(listed, data["root"])), None, preprocessing)
    findings = checks_files.listing_findings(problems.found, reader.notes, data["root"])
    examination = Examination(reader, preprocessing)
    processes = config.data.prepare_processes
    summaries, troubles = _look(examination, console, processes, seconds_per_scan)
    settings = SplitSettings.from_config(config.split.to_dict(), config.data.use_unlabelled)
    splits, of_splits = checks_splits.draw(reader.entries, settings)
    classes, of_classes = None, []
    try:
        classes = class_map(data["classes"], reader.labels)
    except InputError as error:
        of_classes = [Finding("error", "classes", str(error), "correct data.classes")]
    part = parts_of(reader.entries, splits)
    found = ScanSet(reader, data["root"], summaries, troubles, part, splits, classes)
    multiple = 2 ** (len(config.model.filters) - 1)
    twins, left = _look_at_pairs(found, examination, console, processes, seconds_per_scan)
    findings = [
        *checks_labels.summary_findings(found),
        *findings,
        *checks_files.trouble_findings(found),
        *of_splits,
        *of_classes,
        *checks_duplicates.scan_findings(found),
        *checks_duplicates.slice_findings(found, twins, left),
        *checks_duplicates.origin_findings(found),
        *checks_splits.name_findings(found, reader.entries),
        *checks_geometry.crop_findings(found, preprocessing, multiple),
        *checks_files.content_findings(found),
        *checks_labels.class_findings(found),
        *checks_intensity.hounsfield_findings(found, preprocessing.modality, preprocessing.hu_windows),
        *checks_intensity.outlier_findings(found, preprocessing.modality),
        *checks_geometry.geometry_findings(found, preprocessing.slice_axis, preprocessing.target_spacing_mm),
    ]
    return Diagnosis(tuple(in_order(findings)), found, preprocessing)


def _look(
    examination: Examination, console: Console, processes: int, seconds: float
) -> tuple[Mapping[str, ScanSummary], Sequence[tuple[ScanEntry, Trouble]]]:
    """Summaries by scan id, and the scans that are refused or whose process gave no result."""
    entries = examination.reader.entries
    results = _with_progress("look at scans", inspect_scan, examination, entries, console, processes, seconds)
    summaries: dict[str, ScanSummary] = {}
    troubles: list[tuple[ScanEntry, Trouble]] = []
    for entry, result in zip(entries, results, strict=True):
        if isinstance(result, Failed):
            troubles.append((entry, checks_files.trouble_of(result)))
            continue
        assert isinstance(result, Inspected)
        if result.summary is not None:
            summaries[entry.scan_id] = result.summary
        if result.trouble is not None:
            troubles.append((entry, result.trouble))
    return summaries, troubles


def _look_at_pairs(
    found: ScanSet, examination: Examination, console: Console, processes: int, seconds: float
) -> tuple[list[Twins], int]:
    """Pairs of scans with slices that are alike at full resolution, and how many pairs were too many to look at."""
    pairs = candidates(found)
    tasks = [pair_of(found, twins) for twins in pairs[:MOST_PAIRS]]
    if not tasks:
        return [], 0
    results = _with_progress("compare slices", look_at_twins, examination, tasks, console, processes, seconds)
    return [one for one in results if isinstance(one, Twins)], len(pairs) - len(tasks)


def _with_progress(
    stage: str,
    function: Callable[[Any, Any], Any],
    examination: Examination,
    tasks: Sequence[Any],
    console: Console,
    processes: int,
    seconds: float,
) -> list[Any]:
    unit = "scan" if stage == "look at scans" else "pair"
    with StageProgress(stage, len(tasks), unit, console=console) as progress:
        results = run_tasks(function, examination, tasks, processes, progress.update, seconds)
        progress.finish(len(tasks))
    return results
