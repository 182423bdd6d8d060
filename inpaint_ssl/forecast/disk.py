"""Room on disk: what runs will have written to the folder of a study. Imports jax."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from inpaint_ssl.checkpoint.runs import KEPT
from inpaint_ssl.data.geometry import slice_size
from inpaint_ssl.forecast.runs import PlannedRun
from inpaint_ssl.optim import OptimSettings, make_optimizer
from inpaint_ssl.rng import stream_key
from inpaint_ssl.study.designs import is_reported
from inpaint_ssl.study.phases import Phases
from inpaint_ssl.study.prepare import StudyData

# Beside the arrays: names, shapes and checksums of what Orbax saves, in files of whole blocks.
_SAVED_ITEM, _LOOP = 40_000, 30_000
_LOGS_OF_A_RUN = 60_000  # settings, manifest, result, metrics.csv, TensorBoard, their folders and the claim
_LOGS_OF_A_STEP = 8  # of the last two, more or less: a row of 25 steps takes 200 bytes
_OF_THE_STUDY = 3_000_000  # report, tables, figures, log
_PICTURE = 8_192  # smallest


@dataclass(frozen=True)
class Room:
    """Bytes on disk. checkpoints: parameters, best parameters and optimiser state of those that are kept. best: weights
    that runs end with. rest: rows, pictures, logs, report. present: in the folder already. left: still to be written.
    free: of the disk.
    """

    checkpoints: int
    best: int
    rest: int
    present: int
    left: int
    free: int

    @property
    def total(self) -> int:
        """When the study is complete."""
        return self.checkpoints + self.best + self.rest

    @property
    def fits(self) -> bool:
        """Whether what is left fits on the disk."""
        return self.left <= self.free


@dataclass(frozen=True)
class _Sizes:
    """Bytes of one run."""

    checkpoints: int
    best: int
    rest: int


def room_for(
    phases: Phases, data: StudyData, workdir: Path, runs: Sequence[PlannedRun], row_bytes: dict[str, int]
) -> Room:
    """What `runs`, all of the study, take together. row_bytes: rows of one run, by phase, as measured."""
    sizes = [_sizes(phases, data, run, row_bytes) for run in runs]
    left, rows = _OF_THE_STUDY, 0
    for run, size in zip(runs, sizes, strict=True):
        seeds = len(run.group.cells)
        rows += row_bytes[run.group.phase] * seeds
        if run.trains:
            folders = {run.group.directory, *(cell.directory for cell in run.group.cells)}
            there = sum(bytes_in(workdir / folder) for folder in folders)
            left += max(size.checkpoints + size.best + size.rest - there, 0)
        elif run.unmeasured:
            left += size.rest * run.unmeasured // seeds
    present = bytes_in(workdir)
    return Room(
        checkpoints=sum(size.checkpoints for size in sizes),
        best=sum(size.best for size in sizes),
        rest=sum(size.rest for size in sizes) + rows + _OF_THE_STUDY,  # the rows of all runs stand in one file too
        present=present,
        left=left,
        free=shutil.disk_usage(existing(workdir)).free,
    )


def _sizes(phases: Phases, data: StudyData, run: PlannedRun, row_bytes: dict[str, int]) -> _Sizes:
    phase, cells = run.group.phase, run.group.cells
    params, optimiser = _state_bytes(phases, phase)
    kept = min(KEPT, max(run.validations, 1))
    checkpoint = len(cells) * (2 * params + optimiser) + 3 * _SAVED_ITEM + _LOOP
    reported = sum(is_reported(phases.config, cell) for cell in cells)
    pictures = _picture_bytes(phases, data, phase)
    logs = len(cells) * (_LOGS_OF_A_RUN + _LOGS_OF_A_STEP * run.steps)
    return _Sizes(
        kept * checkpoint,
        len(cells) * (params + _SAVED_ITEM),
        reported * (row_bytes[phase] + pictures) + logs,
    )


def _state_bytes(phases: Phases, phase: str) -> tuple[int, int]:
    """(parameters, state of their optimiser) of one seed."""
    section = phases.config[phase]
    settings = OptimSettings(**{name: section[name] for name in OptimSettings.__dataclass_fields__})
    params = jax.eval_shape(phases.init(phase), stream_key(0, "shapes"))
    state = jax.eval_shape(make_optimizer(settings, 1).init, params)
    return _nbytes(params), _nbytes(state)


def _nbytes(tree: Any) -> int:
    return sum(leaf.size * jnp.dtype(leaf.dtype).itemsize for leaf in jax.tree.leaves(tree))


def _picture_bytes(phases: Phases, data: StudyData, phase: str) -> int:
    """Pictures of the test scans, compressed: noise of float32 hardly becomes smaller, label maps vanish."""
    config = phases.config
    if phase == "pretrain":
        height, width = config.data.image_size
        of_one = 3 * 4 * height * width * len(data.channel_names)
        return min(config.evaluate.inpainting_examples, len(data.test.scans)) * max(of_one, _PICTURE)
    shown = (slice_size(scan.placement.shape, scan.placement.slice_axis) for scan in data.test.scans)
    return sum(max(4 * rows * columns, _PICTURE) for rows, columns in shown)


def bytes_in(folder: Path) -> int:
    """Bytes that the files below `folder` take on the disk; 0 without it."""
    if not folder.is_dir():
        return 0
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_blocks * 512
        except OSError:  # another process has just removed it
            continue
    return total


def existing(folder: Path) -> Path:
    """The nearest folder that is there."""
    folder = Path(folder).absolute()
    return next(one for one in (folder, *folder.parents) if one.is_dir())
