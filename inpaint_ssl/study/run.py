"""Runs the stages of a study; whatever is complete already is left as it is."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict
from rich.console import Console

from inpaint_ssl.config import check_same_study, evaluated_with, length_of, to_json
from inpaint_ssl.errors import InputError
from inpaint_ssl.files import read_json, write_json_atomic
from inpaint_ssl.machines import Machines
from inpaint_ssl.report import print_table, write_report
from inpaint_ssl.signals import Stopped, Stops
from inpaint_ssl.study.cells import Cell, Group, finetune_cells, grouped, pretrain_cells

if TYPE_CHECKING:
    from inpaint_ssl.study.training import Trainer

log = logging.getLogger(__name__)


def run_study(
    config: ConfigDict,
    base: ConfigDict,
    workdir: Path,
    console: Console,
    machines: Machines | None = None,
    stops: Stops | None = None,
) -> bool:
    """Run `config.stage` of the study in `workdir`; True when every cell of the stage is complete.

    `config` and `base` come from inpaint_ssl.config.resolve and configs/base.py. Finished cells are skipped; a finished
    study is only printed. A cell that diverges is reported and does not stop the others. Raises InputError when data,
    splits or `workdir` do not fit, before anything is written, and when a checkpoint can be neither read nor written;
    signals.Stopped, after saving, when `stops` name a signal. Of several `machines` (processes), which share `workdir`,
    the first alone writes; all must call this with the same settings.
    """
    machines, stops = machines or Machines(1, 0, {}), stops or Stops()
    for note in check_same_study(workdir, config):
        note = f"{note}; runs that stopped early stay as they are"
        console.print(f"note: {note}", highlight=False, soft_wrap=True, markup=False)
    cells = [*pretrain_cells(config), *finetune_cells(config)]
    finished = config.stage == "report" or machines.any(
        "finished", machines.is_writer() and _is_finished(config, workdir, cells)
    )
    complete = True
    if config.stage not in ("gallery", "report") and not finished:
        complete = _train_and_evaluate(config, base, workdir, console, cells, machines, stops)
    if machines.is_writer():
        if config.stage == "gallery":
            from inpaint_ssl.study.gallery import draw_gallery

            draw_gallery(config, workdir, console)
        else:
            _report(config, workdir, console, finished)
    machines.barrier("reported")  # a process that has come to its end would end the others
    return complete


def _report(config: ConfigDict, workdir: Path, console: Console, finished: bool) -> None:
    """The report, unless a finished study has a fresh one, and the table."""
    study, page = workdir / "study.json", workdir / "report.html"
    if not study.exists():
        raise InputError(f"{workdir} holds no study.json to report on; run --config.stage=all first")
    fresh = page.exists() and page.stat().st_mtime_ns >= study.stat().st_mtime_ns
    if config.stage == "report" or not (finished and fresh):
        write_report(workdir)
    print_table(workdir, console)


def _is_finished(config: ConfigDict, workdir: Path, cells: list[Cell]) -> bool:
    """True when every cell is evaluated and study.json, which is written after the collected rows, knows of it."""
    path = workdir / "study.json"
    done = all(
        cell.is_trained(workdir, length_of(config, cell.phase))
        and cell.is_evaluated(workdir, evaluated_with(config, cell.phase))
        for cell in cells
    )
    if not path.exists() or not done:
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
) -> bool:
    # Imported here so that printing a finished study and the report stage start without jax.
    from inpaint_ssl.data import write_splits
    from inpaint_ssl.runtime import configure
    from inpaint_ssl.study.gallery import write_gallery
    from inpaint_ssl.study.prepare import prepare
    from inpaint_ssl.study.record import collect_rows, make_manifest, write_study
    from inpaint_ssl.study.training import Trainer

    configure(config)
    _check_stage(config.stage, cells, workdir)
    data = prepare(config, workdir, console, stops.here)
    manifest = make_manifest(config, data)
    _check_same_dtype(workdir, manifest)
    trainer = Trainer(config, data, workdir, manifest, console, machines, stop=stops.together)
    # A gallery from before config.json may be one of other settings.
    has_gallery = (workdir / "config.json").exists() and (workdir / "gallery.npz").exists()
    machines.barrier("prepared")  # all have read what an earlier start left
    if machines.is_writer():
        if config.evaluate.corruption_gallery and cells[0].phase == "pretrain" and not has_gallery:
            write_gallery(config, data.training, workdir, console)
        write_json_atomic(workdir / "config.json", to_json(config))
        write_json_atomic(workdir / "manifest.json", manifest)
        write_splits(workdir / "splits.json", data.splits)
    complete = True
    for group in grouped(cells):
        if config.stage not in ("all", "evaluate", group.phase):
            continue
        if signal := stops.together():
            raise Stopped(signal)
        complete &= _run_group(trainer, group, config, workdir, machines, stops)
        if machines.is_writer():
            collect_rows(config, workdir, cells)
            write_study(config, base, data, manifest, workdir, cells)
    return complete


def _check_same_dtype(workdir: Path, manifest: dict[str, Any]) -> None:
    """InputError when "auto" means another type on this machine than where the study was begun."""
    path = workdir / "manifest.json"
    before = read_json(path, "manifest of a study").get("compute_dtype") if path.exists() else None
    if before not in (None, manifest["compute_dtype"]):
        raise InputError(
            f"{path}: this study computes in {before}, and config.model.dtype would be {manifest['compute_dtype']} on "
            f"this device; go on where it was begun, or use another --workdir with config.model.dtype set"
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


def _run_group(
    trainer: "Trainer", group: Group, config: ConfigDict, workdir: Path, machines: Machines, stops: Stops
) -> bool:
    """Train and evaluate what is missing of a group; False when a cell fails or needs a run that is not there."""
    length = length_of(config, group.phase)

    def tell(line: str) -> None:
        log.error("%s", line)
        trainer.console.print(line, style="red", highlight=False, soft_wrap=True, markup=False)

    def holds(what: str, check: Callable[[Cell], bool]) -> list[Cell]:
        """The cells of which it holds for process 0: another may see files later."""
        return [c for c in group.cells if machines.any(f"{c.name} {what}", machines.is_writer() and check(c))]

    done = holds("trained", lambda cell: cell.is_trained(workdir, length))
    missing = [cell for cell in group.cells if cell not in done]
    able = holds("able", lambda cell: cell in missing and _lacking(trainer, cell, config.stage, workdir) is None)
    for cell in missing:
        if cell not in able:
            tell(f"skipped: {cell.name}, because {_lacking(trainer, cell, config.stage, workdir)} is not trained")
    if able:
        # All seeds of the group that can be trained: those that are trained already end at once, as they did.
        together = tuple(cell for cell in group.cells if cell in able or cell in done)
        for error in _trained(trainer, Group(together), machines):
            tell(f"failed: {error}")
        done = holds("trained now", lambda cell: cell.is_trained(workdir, length))
    if config.stage in ("all", "evaluate") and machines.is_writer():
        for cell in done:
            if not cell.is_evaluated(workdir, evaluated_with(config, cell.phase)):
                trainer.evaluator.evaluate(cell, stops.here)
    return len(done) == len(group.cells)


def _lacking(trainer: "Trainer", cell: Cell, stage: str, workdir: Path) -> Path | None:
    """The folder of a run that must be trained before this cell can be."""
    if stage == "evaluate":
        return workdir / cell.directory
    pretraining = trainer.pretraining[cell.seed]
    return pretraining if cell.arm == "pretrained" and not (pretraining / "result.json").exists() else None


def _trained(trainer: "Trainer", group: Group, machines: Machines) -> list[str]:
    """Train the group; what went wrong."""
    import jax

    try:
        return trainer.train(group)
    except jax.errors.JaxRuntimeError as error:
        machines.settle()  # when another process has ended, this one ends here, and says so
        if "RESOURCE_EXHAUSTED" not in str(error) or machines.count > 1:
            raise
        text = " ".join(str(error).split())[:300]
        return [f"{group.name}: out of memory ({text}); lower config.{group.phase}.batch_size or model.filters"]
