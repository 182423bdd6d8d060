"""Runs the stages of a study; whatever is complete already is left as it is."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ml_collections import ConfigDict
from rich.console import Console

from inpaint_ssl.config import check_same_study, length_of, to_json
from inpaint_ssl.errors import InputError
from inpaint_ssl.files import read_json, write_json_atomic
from inpaint_ssl.machines import Machines
from inpaint_ssl.report import print_table, write_report
from inpaint_ssl.signals import Stopped
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
    stop: Callable[[], str] = str,
) -> bool:
    """Run `config.stage` of the study in `workdir`; True when every cell of the stage is complete.

    `config` and `base` come from inpaint_ssl.config.resolve and configs/base.py. Finished cells are skipped; a finished
    study is only printed. A cell that fails is reported and does not stop the others. Raises InputError before anything
    is written when data, splits or `workdir` do not fit, and signals.Stopped, after saving, when `stop()` names a
    signal. Of several `machines` (processes) the first alone writes; all must call this with the same settings.
    """
    machines = machines or Machines(1, 0, {})
    for note in check_same_study(workdir, config):
        console.print(f"note: {note}", highlight=False, soft_wrap=True, markup=False)
    if config.stage == "gallery":
        from inpaint_ssl.study.gallery import draw_gallery

        draw_gallery(config, workdir, console)
        return True
    cells = [*pretrain_cells(config), *finetune_cells(config)]
    complete = True
    if config.stage == "report" or _is_finished(config, workdir, cells):
        study, page = workdir / "study.json", workdir / "report.html"
        if not study.exists():
            raise InputError(f"{workdir} holds no study.json to report on; run --config.stage=all first")
        stale = not page.exists() or page.stat().st_mtime_ns < study.stat().st_mtime_ns
        if config.stage == "report" or stale:
            write_report(workdir)
    else:
        complete = _train_and_evaluate(config, base, workdir, console, cells, machines, stop)
        if machines.is_writer():
            write_report(workdir)
    if machines.is_writer():
        print_table(workdir, console)
    return complete


def _is_finished(config: ConfigDict, workdir: Path, cells: list[Cell]) -> bool:
    """True when every cell is evaluated and study.json, which is written after the collected rows, knows of it."""
    path = workdir / "study.json"
    done = all(cell.is_trained(workdir, length_of(config, cell.phase)) and cell.is_evaluated(workdir) for cell in cells)
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
    stop: Callable[[], str],
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
    data = prepare(config, workdir, console)
    manifest = make_manifest(config, data)
    trainer = Trainer(config, data, workdir, manifest, console, stop=stop, is_writer=machines.is_writer())
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
        if signal := stop():
            raise Stopped(signal)
        complete &= _run_group(trainer, group, config, workdir, machines)
        if machines.is_writer():
            collect_rows(workdir, cells)
            write_study(config, base, data, manifest, workdir, cells)
    return complete


def _check_stage(stage: str, cells: list[Cell], workdir: Path) -> None:
    """InputError when a stage is asked for before any run of the stage that it builds on has been trained."""
    for needed in {"finetune": ("pretrain",), "evaluate": ("pretrain", "finetune")}.get(stage, ()):
        missing = [cell for cell in cells if cell.phase == needed and cell.result(workdir) is None]
        if missing and len(missing) == len([cell for cell in cells if cell.phase == needed]):
            raise InputError(
                f"--config.stage={stage} needs {missing[0].directory} in {workdir}, which is not trained; "
                f"run --config.stage={needed} first"
            )


def _run_group(trainer: "Trainer", group: Group, config: ConfigDict, workdir: Path, machines: Machines) -> bool:
    """Train and evaluate what is missing of a group; False when a cell fails or needs a run that is not there."""
    length, stop = length_of(config, group.phase), trainer.stop

    def tell(line: str) -> None:
        log.error("%s", line)
        trainer.console.print(line, style="red", highlight=False, soft_wrap=True, markup=False)

    def trained() -> list[Cell]:
        machines.barrier("look")  # nothing is written while the processes look at what there is
        found = [cell for cell in group.cells if cell.is_trained(workdir, length)]
        machines.barrier("seen")
        return found

    if len(trained()) < len(group.cells):
        lacking = {cell: _lacking(trainer, cell, config.stage, workdir) for cell in group.cells}
        machines.barrier("begin")
        for cell, folder in lacking.items():
            if folder is not None:
                tell(f"skipped: {cell.name}, because {folder} is not trained")
        able = tuple(cell for cell, folder in lacking.items() if folder is None)
        if able:
            for error in _trained(trainer, Group(able), machines):
                tell(f"failed: {error}")
    done = trained()
    if config.stage in ("all", "evaluate") and machines.is_writer():
        for cell in done:
            if not cell.is_evaluated(workdir):
                trainer.evaluate(cell, stop if machines.count == 1 else str)
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
