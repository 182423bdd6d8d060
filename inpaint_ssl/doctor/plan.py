"""What training will do with a data set, in words: images, memory, time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ml_collections import ConfigDict
from rich.console import Console

from inpaint_ssl.data.preprocess import Preprocessing
from inpaint_ssl.doctor.checks_geometry import smallest_image_size, whole_image_size
from inpaint_ssl.doctor.examine import Diagnosis
from inpaint_ssl.doctor.findings import Finding, count, in_order
from inpaint_ssl.doctor.scans import ScanSet
from inpaint_ssl.errors import InputError
from inpaint_ssl.report.text import duration
from inpaint_ssl.study.designs import cells_of

if TYPE_CHECKING:
    from inpaint_ssl.forecast.estimate import Forecast, PhaseForecast, Slices

_NAMES = {"pretrain": "Pretraining", "finetune": "Fine-tuning"}
_GB = 1e9


@dataclass(frozen=True)
class Plan:
    """lines: (subject, sentence) in order. findings: those of the examination and of the forecast, by severity."""

    lines: tuple[tuple[str, str], ...]
    findings: tuple[Finding, ...]


def make_plan(config: ConfigDict, diagnosis: Diagnosis, console: Console) -> Plan:
    """Image sizes from the labels, then memory and time from a step of each phase that is compiled and measured here.

    Without scans or splits there is nothing to forecast.
    """
    found = diagnosis.found
    if found is None or not found.scans:
        return Plan((), diagnosis.findings)
    lines = _image_lines(found, diagnosis.preprocessing, 2 ** (len(config.model.filters) - 1))
    if found.splits is None or found.classes is None:
        lines.append(("Time", "no forecast before the errors above are mended"))
        return Plan(tuple(lines), diagnosis.findings)
    slices = slices_of(config, found, diagnosis.preprocessing)
    lines.append(("Slices", _slices_text(slices, found)))
    if not slices.pretraining or not slices.validation or not all(slices.finetuning.values()):
        lines.append(("Time", "no forecast: a part of the data has no slice that can be read"))
        return Plan(tuple(lines), diagnosis.findings)
    console.print("measure a training step of each phase", highlight=False)
    try:
        from inpaint_ssl.forecast.estimate import make_forecast
        from inpaint_ssl.runtime import configure

        configure(config)
        forecast = make_forecast(config, slices)
    except InputError as error:
        refused = Finding("error", "settings", str(error), "change the setting")
        return Plan(tuple(lines), tuple(in_order([*diagnosis.findings, refused])))
    lines += forecast_lines(config, forecast)
    findings = in_order([*diagnosis.findings, *_memory_findings(config, forecast, slices)])
    return Plan(tuple(lines), tuple(findings))


def slices_of(config: ConfigDict, found: ScanSet, preprocessing: Preprocessing) -> "Slices":
    """How many slices each part of the study has, of the scans that could be read, and how much one takes."""
    from inpaint_ssl.forecast.estimate import Slices

    splits, classes = found.splits, found.classes
    assert splits is not None and classes is not None

    def number(subjects: Sequence[str], labelled_only: bool = True) -> int:
        chosen = set(subjects)
        scans = (scan for scan in found.scans if scan.record.subject_id in chosen)
        return sum(scan.n_slices for scan in scans if scan.record.has_label or not labelled_only)

    unlabelled = config.data.use_unlabelled
    fractions = {cell.label_fraction for cell in cells_of(config) if cell.phase == "finetune"}
    labelled = {**{fraction: splits.train for fraction in fractions}, **splits.label_subsets}
    validation = number(splits.validation)
    dtype = np.result_type(*(scan.dtype for scan in found.scans))
    bytes_each = dtype.itemsize if dtype.kind in "iu" else {"float32": 4}.get(config.data.device_dtype, 2)
    if preprocessing.target_spacing_mm and dtype.kind in "iu":
        bytes_each = {"float32": 4}.get(config.data.device_dtype, 2)  # resampled values are no whole numbers
    height, width = preprocessing.image_size
    n_channels = len(found.reader.channel_names)
    return Slices(
        pretraining=number(splits.pretraining, not unlabelled),
        validation=validation,
        finetuning={fraction: number(subjects) for fraction, subjects in labelled.items()},
        channels=preprocessing.channels_out(n_channels),
        classes=len(classes.names),
        resident=number([*splits.train, *splits.pretraining], not unlabelled) + validation,
        stored_bytes=height * width * (n_channels * bytes_each + 1),
        extents={extent: number(subjects, not unlabelled) for extent, subjects in splits.pretraining_subsets.items()},
    )


def _image_lines(found: ScanSet, preprocessing: Preprocessing, multiple: int) -> list[tuple[str, str]]:
    height, width = preprocessing.image_size
    whole = whole_image_size(found.scans, preprocessing, multiple)
    text = f"{height} x {width} pixels are set; {whole[0]} x {whole[1]} holds every slice whole"
    kept, labelled = (sum(getattr(scan, name) for scan in found.labelled) for name in ("kept", "labelled"))
    lines = []
    if labelled:
        smallest = smallest_image_size(found.labelled, preprocessing, multiple)
        text += f", {smallest[0]} x {smallest[1]} is the smallest that holds every labelled voxel about the centre"
        # Rounded down: 100 % means all.
        share = "all" if kept == labelled else f"{np.floor(1e4 * kept / labelled) / 100:.2f} %"
        lines.append(("Crop", f"keeps {share} of the {labelled:,} labelled voxels"))
    return [("Image size", f"{text} (multiples of {multiple})"), *lines]


def _slices_text(slices: "Slices", found: ScanSet) -> str:
    assert found.splits is not None
    subsets = ", ".join(
        f"{slices.finetuning[fraction]:,} at {100 * fraction:g} % of the labels ({count(len(subjects), 'subject')})"
        for fraction, subjects in sorted(found.splits.label_subsets.items())
    )
    return f"{slices.pretraining:,} to pretrain on; to fine-tune on {subsets}; {slices.validation:,} for validation"


def forecast_lines(config: ConfigDict, forecast: "Forecast") -> list[tuple[str, str]]:
    """A forecast in sentences."""
    stays = "they stay on the device" if forecast.is_resident else "they are streamed from the prepared set"
    lines = [
        (
            "Memory of slices",
            f"{forecast.resident_bytes / _GB:.2f} GB for training and validation, {forecast.allowed_bytes / _GB:.2f} "
            f"GB are allowed (data.device_memory_fraction {config.data.device_memory_fraction:g}): {stays}",
        )
    ]
    if not forecast.phases:
        return [*lines, ("Training", "none: this study ranks the strategies of config.study.from")]
    lines += [(_NAMES[phase.phase], _phase_text(phase, forecast)) for phase in forecast.phases]
    if forecast.seconds is not None:
        text = f"about {duration(forecast.seconds)} on this machine ({forecast.device}), if nothing else runs on it"
        early = any(config[phase.phase].early_stopping_patience for phase in forecast.phases)
        text += "; early stopping may end it much sooner" if early else ""
        lines.append(("All together", f"{text}; evaluation and report come on top"))
    return lines


def _phase_text(phase: "PhaseForecast", forecast: "Forecast") -> str:
    needs = f"a step needs {phase.peak_bytes / _GB:.2f} GB of {forecast.limit_bytes / _GB:.2f} GB"
    if phase.step_seconds is None or phase.seconds is None:
        return f"does not fit: {needs}"
    steps = sorted(set(phase.steps.values()))
    many = f"{steps[0]:,}" if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,}"
    runs = sum(phase.runs.values())
    each = f"{1000 * phase.step_seconds:.0f} ms" if phase.step_seconds < 1 else f"{phase.step_seconds:.1f} s"
    return (
        f"{count(runs, 'run')} of {many} steps of {count(phase.batch_size, 'slice')}, {each} each (measured), with "
        f"validation and {duration(phase.compile_seconds)} of compiling: about {duration(phase.seconds)}; {needs}"
    )


def _memory_findings(config: ConfigDict, forecast: "Forecast", slices: "Slices") -> list[Finding]:
    from inpaint_ssl.forecast.estimate import fitting_batch

    findings = []
    for phase in forecast.phases:
        if phase.peak_bytes > forecast.limit_bytes:
            most = fitting_batch(config, phase.phase, slices, forecast.limit_bytes)
            remedy = f"use --config.{phase.phase}.batch_size={most}, the largest that fits"
            if not most:
                remedy = "use fewer filters (config.model.filters) or smaller images (config.data.image_size)"
            text = (
                f"a step of config.{phase.phase}.batch_size={phase.batch_size} needs {phase.peak_bytes / _GB:.2f} GB "
                f"of memory, where {forecast.limit_bytes / _GB:.2f} GB can be used"
            )
            findings.append(Finding("error", "memory", text, remedy))
    return findings
