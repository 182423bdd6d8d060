"""Runs the stages of a study; whatever is complete already is left as it is."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict
from rich.console import Console

from inpaint_ssl.config import PHASES, check_same_study, evaluated_with, to_json
from inpaint_ssl.errors import InputError
from inpaint_ssl.files import read_json, write_json_atomic
from inpaint_ssl.machines import Machines
from inpaint_ssl.report import print_table, write_report
from inpaint_ssl.signals import Stops
from inpaint_ssl.study import launch
from inpaint_ssl.study.cells import Cell, grouped
from inpaint_ssl.study.claims import Claims
from inpaint_ssl.study.designs import analyses_alone, cells_of, is_reported
from inpaint_ssl.study.pretrained import RECORD, check_unchanged, pretrained_from
from inpaint_ssl.study.selecting import is_selected, rank_studies, write_selection

log = logging.getLogger(__name__)


def run_study(
    config: ConfigDict,
    base: ConfigDict,
    workdir: Path,
    console: Console,
    machines: Machines | None = None,
    stops: Stops | None = None,
    argv: Sequence[str] = (),
) -> bool:
    """Run `config.stage` of the study in `workdir`; True when every cell of the stage is complete.

    `config` and `base` come from inpaint_ssl.config.resolve and configs/base.py. Finished cells are skipped; a finished
    study is only printed. A cell that fails is reported and does not stop the others. Raises InputError when data,
    splits or `workdir` do not fit, before anything is written; what goes wrong in one run is that cell's failure.
    Raises signals.Stopped, after saving, when `stops` name a signal. Of several `machines` (processes), which share
    `workdir`, the first alone writes; all must call this with the same settings. argv: the command line, with which
    other processes or jobs are started where config.launcher and config.workers ask for them; without it none are.
    """
    machines, stops = machines or Machines(1, 0, {}), stops or Stops()
    for note in check_same_study(workdir, config):
        _tell(console, f"{note}; runs that stopped early stay as they are")
    if analyses_alone(config):
        if machines.is_writer():
            rank_studies(config, workdir, console)
            _report(config, workdir, console, finished=False)
        machines.barrier("reported")
        return True
    cells = cells_of(config)
    _check_starts(config, workdir, cells)
    finished = config.stage == "report" or machines.any(
        "finished", machines.is_writer() and _is_finished(config, workdir, cells)
    )
    complete = True
    if config.stage not in ("gallery", "report") and not finished:
        complete = _train_and_evaluate(config, base, workdir, console, cells, machines, stops, argv)
    if machines.is_writer():
        if config.stage == "gallery":
            from inpaint_ssl.study.gallery import draw_gallery

            draw_gallery(config, workdir, console)
        else:
            if not finished or config.stage == "report" or not is_selected(config, workdir):
                write_selection(config, workdir)
            _report(config, workdir, console, finished)
    machines.barrier("reported")  # a process that has come to its end would end the others
    return complete


def _tell(console: Console, note: str) -> None:
    console.print(f"note: {note}", highlight=False, soft_wrap=True, markup=False)


def _report(config: ConfigDict, workdir: Path, console: Console, finished: bool) -> None:
    """The report, unless a finished study has a fresh one, and the table."""
    study, page = workdir / "study.json", workdir / "report.html"
    if not study.exists():
        raise InputError(f"{workdir} holds no study.json to report on; run --config.stage=all first")
    fresh = page.exists() and page.stat().st_mtime_ns >= study.stat().st_mtime_ns
    if config.stage == "report" or not (finished and fresh):
        write_report(workdir)
    if not launch.is_worker():
        print_table(workdir, console)


def is_complete(config: ConfigDict, workdir: Path, cell: Cell) -> bool:
    """True when a cell is trained and, unless it is the first of two training runs of an arm, evaluated."""
    return cell.is_trained(workdir, cell.length(config)) and (
        not is_reported(config, cell) or cell.is_evaluated(workdir, evaluated_with(config, cell.phase))
    )


def _is_done(config: ConfigDict, workdir: Path, cell: Cell) -> bool:
    """True when config.stage has nothing left to do for a cell of its own."""
    if config.stage in PHASES:
        return cell.is_trained(workdir, cell.length(config))
    return is_complete(config, workdir, cell)


def _is_finished(config: ConfigDict, workdir: Path, cells: list[Cell]) -> bool:
    """True when every cell is complete and study.json, which is written after the collected rows, knows of it."""
    path = workdir / "study.json"
    if not path.exists() or not all(is_complete(config, workdir, cell) for cell in cells):
        return False
    recorded = read_json(path, "summary of a study")["cells"]
    return sum(cell["status"] == "complete" for cell in recorded) == len(cells)


def _train_and_evaluate(
    config: ConfigDict,
    base: ConfigDict,
    workdir: Path,
    console: Console,
    cells: list[Cell],
    machines: Machines,
    stops: Stops,
    argv: Sequence[str],
) -> bool:
    # Imported here so that printing a finished study and the report stage start without jax.
    from inpaint_ssl.data import write_splits
    from inpaint_ssl.runtime import configure
    from inpaint_ssl.study.gallery import write_gallery
    from inpaint_ssl.study.prepare import prepare
    from inpaint_ssl.study.record import make_manifest
    from inpaint_ssl.study.training import Trainer
    from inpaint_ssl.study.work import Work

    groups = [group for group in grouped(cells) if config.stage in ("all", "evaluate", group.phase)]

    def left() -> int:
        return sum(not all(_is_done(config, workdir, cell) for cell in group.cells) for group in groups)

    _check_stage(config.stage, cells, workdir)
    check_unchanged(config, workdir)
    if argv and machines.count == 1 and launch.wanted(config, left()):
        launch.run(config, argv, workdir, console, stops, left(), left)
        if not (workdir / "study.json").exists():
            raise InputError(
                f"{workdir}: no worker came to train a run; what each said is above and in {workdir / 'workers'}; mend "
                "that and run the same command again"
            )
        return left() == 0
    configure(config)
    weights = pretrained_from(config)  # damaged ones are found before scans are read
    data = prepare(config, workdir, console, stops.here)
    check_same_study(workdir, config)  # again: meanwhile another process may have begun a study here
    manifest = {**make_manifest(config, data), RECORD: weights}
    _check_same_dtype(workdir, manifest)
    claims, asked = Claims(workdir), stops

    def lost() -> str:
        return claims.lost() if machines.count == 1 else ""

    stops = Stops(lambda: asked.together() or lost(), lambda: asked.here() or lost())
    trainer = Trainer(config, data, workdir, manifest, console, machines, stop=stops.together)
    # A gallery from before config.json may be one of other settings.
    has_gallery = (workdir / "config.json").exists() and (workdir / "gallery.npz").exists()
    machines.barrier("prepared")  # all have read what an earlier start left
    if machines.is_writer():
        pretrains = any(cell.phase == "pretrain" for cell in cells)
        if config.evaluate.corruption_gallery and pretrains and not has_gallery:
            write_gallery(config, data.training, workdir, console)
        write_json_atomic(workdir / "config.json", to_json(config))
        write_json_atomic(workdir / "manifest.json", manifest)
        write_splits(workdir / "splits.json", data.splits)
    return Work(config, base, trainer, claims, machines, stops, cells).do(groups)


def _check_same_dtype(workdir: Path, manifest: dict[str, Any]) -> None:
    """InputError when "auto" means another type on this machine than where the study was begun."""
    path = workdir / "manifest.json"
    before = read_json(path, "manifest of a study").get("compute_dtype") if path.exists() else None
    if before not in (None, manifest["compute_dtype"]):
        raise InputError(
            f"{path}: this study computes in {before}, and config.model.dtype would be {manifest['compute_dtype']} on "
            f"this device; go on where it was begun, or use another --workdir with config.model.dtype set"
        )


def _check_starts(config: ConfigDict, workdir: Path, cells: list[Cell]) -> None:
    """InputError when a run would be trained longer with whose shorter weights another one has begun."""
    for cell in cells:
        start = cell.start
        if start is None or not (workdir / cell.directory / "config.json").exists() or start.result(workdir) is None:
            continue
        if not start.is_trained(workdir, start.length(config)):
            raise InputError(
                f"{workdir}: {start.directory} would be trained longer than it was (config.{start.phase}.max_steps, "
                f"max_epochs), but {cell.directory} began from its weights; use another --workdir for longer training"
            )


def _check_stage(stage: str, cells: list[Cell], workdir: Path) -> None:
    """InputError when a stage is asked for before any run of the stage that it builds on has been trained."""
    for needed in {"finetune": ("pretrain",), "evaluate": ("pretrain", "finetune")}.get(stage, ()):
        missing = [cell for cell in cells if cell.phase == needed and cell.result(workdir) is None]
        if missing and len(missing) == len([cell for cell in cells if cell.phase == needed]):
            raise InputError(
                f"--config.stage={stage} needs {missing[0].directory} in {workdir}, which is not trained; "
                f"run --config.stage={needed} first"
            )
