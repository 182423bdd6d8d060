"""Runs the stages of a study; whatever is complete already is left as it is."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from ml_collections import ConfigDict
from rich.console import Console

from inpaint_ssl.config import check_same_study, to_json
from inpaint_ssl.errors import InputError
from inpaint_ssl.files import read_json, write_json_atomic
from inpaint_ssl.report import print_table, write_report
from inpaint_ssl.study.cells import Cell, finetune_cells, pretrain_cells

if TYPE_CHECKING:
    from inpaint_ssl.study.training import Trainer

log = logging.getLogger(__name__)


def run_study(config: ConfigDict, base: ConfigDict, workdir: Path, console: Console) -> bool:
    """Run `config.stage` of the study in `workdir`; True when every cell of the stage is complete.

    `config` and `base` come from inpaint_ssl.config.resolve and configs/base.py. Finished cells are skipped; a finished
    study is only printed. A cell whose training diverges is reported and does not stop the others. Raises InputError
    before anything is written when data, splits or `workdir` do not fit.
    """
    check_same_study(workdir, config)
    if config.stage == "gallery":
        from inpaint_ssl.study.gallery import draw_gallery

        draw_gallery(config, workdir, console)
        return True
    cells = [*pretrain_cells(config), *finetune_cells(config)]
    complete = True
    if config.stage == "report" or _is_finished(workdir, cells):
        study, page = workdir / "study.json", workdir / "report.html"
        if not study.exists():
            raise InputError(f"{workdir} holds no study.json to report on; run --config.stage=all first")
        stale = not page.exists() or page.stat().st_mtime_ns < study.stat().st_mtime_ns
        if config.stage == "report" or stale:
            write_report(workdir)
    else:
        complete = _train_and_evaluate(config, base, workdir, console, cells)
        write_report(workdir)
    print_table(workdir, console)
    return complete


def _is_finished(workdir: Path, cells: list[Cell]) -> bool:
    """True when every cell is evaluated and study.json, which is written after the collected rows, knows of it."""
    path = workdir / "study.json"
    if not path.exists() or not all(cell.is_evaluated(workdir) for cell in cells):
        return False
    recorded = read_json(path, "summary of a study")["cells"]
    return sum(cell["status"] == "complete" for cell in recorded) == len(cells)


def _train_and_evaluate(
    config: ConfigDict, base: ConfigDict, workdir: Path, console: Console, cells: list[Cell]
) -> bool:
    # Imported here so that printing a finished study and the report stage start without jax.
    from inpaint_ssl.data import write_splits
    from inpaint_ssl.study.gallery import write_gallery
    from inpaint_ssl.study.prepare import prepare
    from inpaint_ssl.study.record import collect_rows, make_manifest, write_study
    from inpaint_ssl.study.training import Trainer

    _check_stage(config.stage, cells, workdir)
    data = prepare(config, workdir, console)
    manifest = make_manifest(config, data)
    trainer = Trainer(config, data, workdir, manifest, console)
    # A gallery from before config.json may be one of other settings.
    has_gallery = (workdir / "config.json").exists() and (workdir / "gallery.npz").exists()
    if config.evaluate.corruption_gallery and cells[0].phase == "pretrain" and not has_gallery:
        write_gallery(config, data.training, workdir, console)
    write_json_atomic(workdir / "config.json", to_json(config))
    write_json_atomic(workdir / "manifest.json", manifest)
    write_splits(workdir / "splits.json", data.splits)
    complete = True
    for cell in _cells_of_stage(config.stage, cells):
        complete &= _run_cell(trainer, cell, config.stage, workdir)
        collect_rows(workdir, cells)
        write_study(config, base, data, manifest, workdir, cells)
    return complete


def _cells_of_stage(stage: str, cells: list[Cell]) -> list[Cell]:
    return [cell for cell in cells if stage in ("all", "evaluate") or cell.phase == stage]


def _check_stage(stage: str, cells: list[Cell], workdir: Path) -> None:
    """InputError when a stage is asked for before any run of the stage that it builds on has been trained."""
    for needed in {"finetune": ("pretrain",), "evaluate": ("pretrain", "finetune")}.get(stage, ()):
        missing = [cell for cell in cells if cell.phase == needed and cell.result(workdir) is None]
        if missing and len(missing) == len([cell for cell in cells if cell.phase == needed]):
            raise InputError(
                f"--config.stage={stage} needs {missing[0].directory} in {workdir}, which is not trained; "
                f"run --config.stage={needed} first"
            )


def _run_cell(trainer: "Trainer", cell: Cell, stage: str, workdir: Path) -> bool:
    """Train and evaluate what is missing of a cell; False when it fails or needs a run that is not there."""
    from inpaint_ssl.loop import TrainingDiverged

    trained = cell.result(workdir) is not None
    pretraining = trainer.pretraining[cell.seed]
    lacking = pretraining if cell.arm == "pretrained" and not (pretraining / "result.json").exists() else None
    if stage == "evaluate" and not trained:
        lacking = workdir / cell.directory
    if lacking is not None:
        trainer.console.print(f"skipped: {cell.name}, because {lacking} is not trained", style="red", soft_wrap=True)
        return False
    try:
        if not trained:
            trainer.train(cell)
        if stage in ("all", "evaluate") and not cell.is_evaluated(workdir):
            trainer.evaluate(cell)
    except TrainingDiverged as error:
        log.error("%s", error)
        trainer.console.print(f"failed: {error}", style="red", highlight=False, soft_wrap=True)
        return False
    return True
