"""Trains the cells of a study. Programs are compiled once and shared by all cells of a phase."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from clu import parameter_overview
from ml_collections import ConfigDict
from rich.console import Console

from inpaint_ssl.batches import ExampleOrder, passes_per_epoch, stack
from inpaint_ssl.checkpoint import crc32, save_weights
from inpaint_ssl.config import to_json
from inpaint_ssl.data import SliceSource, indices_of
from inpaint_ssl.engine import Snapshot
from inpaint_ssl.files import write_csv_atomic, write_json_atomic
from inpaint_ssl.machines import Machines
from inpaint_ssl.rng import stream_key
from inpaint_ssl.steps import NOT_SLOWED, Slowed
from inpaint_ssl.study.cells import Cell, Group
from inpaint_ssl.study.evaluation import Evaluator
from inpaint_ssl.study.phases import Phases
from inpaint_ssl.study.prepare import StudyData
from inpaint_ssl.study.pretrained import (
    RECORD,
    given_weights,
    is_elsewhere,
    start_weights,
    trained_on_both,
    trained_on_elsewhere,
)
from inpaint_ssl.trained.record import TrainedOn
from inpaint_ssl.training import LoopSettings, SeedRun, TrainingRun, TrainResult, last_step, train
from inpaint_ssl.transfer import GraftReport, graft
from inpaint_ssl.types import Params, TrainState

PAPER_PIXELS = 512 * 512  # the early-stopping threshold of equation 1 is given for this image area
RESULT = ("steps", "best_step", "best_validation_loss", "seconds", "stopped", "images_per_second")
log = logging.getLogger(__name__)


class Trainer:
    """Trains groups of cells of one study in `workdir`; knows nothing of which cells there are.

    `evaluator` measures them with the same networks. stop() is the name of the signal that asks all processes to stop,
    or "".
    """

    def __init__(
        self,
        config: ConfigDict,
        data: StudyData,
        workdir: Path,
        manifest: dict[str, Any],
        console: Console,
        machines: Machines | None = None,
        stop: Callable[[], str] = str,
    ):
        self.config, self.data, self.workdir = config, data, workdir
        self.manifest, self.console = manifest, console
        machines = machines or Machines(1, 0, {})
        self.stop, self.is_writer = stop, machines.is_writer()
        self.phases = Phases(config, data, machines)
        self.evaluator = Evaluator(config, data, workdir, self.phases, console)
        self.transfer_shown = False
        for phase in {"all": ("pretrain", "finetune"), "pretrain": ("pretrain",), "finetune": ("finetune",)}.get(
            config.stage, ()
        ):
            self.phases.check_memory(phase, len(config.seeds))
        if given_weights(config):  # those that do not fit are found before anything is written
            for seed in config.seeds:
                cell = Cell("finetune", seed, start=Cell("pretrain", seed))
                self._graft(cell, self._fresh(cell))

    def train(self, group: Group) -> list[str]:
        """Train the cells of a group, or go on from their newest checkpoint; the errors of those that failed.

        Then best/, manifest.json and result.json of the others are there. Raises signals.Stopped after saving.
        """
        first = group.cells[0]
        own = first.config(self.config)
        for cell in group.cells:
            if self.is_writer:
                write_json_atomic(self._folder(cell) / "config.json", to_json(own))
        if group.phase == "pretrain":
            source = self.data.pretraining_of(own)
        else:
            source = self.data.labelled(first.label_fraction, first.subset_draw)
        run = self._run(group, own, source)
        results = train(run, self.console)
        for cell, result in zip(group.cells, results, strict=True):
            if self.is_writer and not result.error:
                self._write_result(cell, result, source)
        return [result.error for result in results if result.error]

    def _folder(self, cell: Cell) -> Path:
        return self.workdir / cell.directory

    def _write_result(self, cell: Cell, result: TrainResult, source: SliceSource) -> None:
        """result.json comes last: it says that the cell is trained, and how long it was meant to be."""
        directory, length = self._folder(cell), cell.length(self.config)
        if cell.is_trained(self.workdir, length):  # its group was stopped between two of these
            return
        save_weights(directory / "best", result.best)
        write_json_atomic(directory / "manifest.json", self._run_manifest(cell, source))
        (directory / cell.evaluation_file).unlink(missing_ok=True)  # of a run that has gone on since
        values = {name: getattr(result, name) for name in RESULT}
        about = {"length": length, "best_crc32": crc32(result.best)}
        write_json_atomic(directory / "result.json", {**values, **about})

    def _run(self, group: Group, own: ConfigDict, source: SliceSource) -> TrainingRun:
        section, phases, phase = own[group.phase], self.phases, group.phase
        examples = indices_of(self.data.learning, source.scans)
        passes = passes_per_epoch(len(examples), section.batch_size, section.min_steps_per_epoch)
        seeds = tuple(
            SeedRun(
                cell.name,
                self._folder(cell),
                ExampleOrder(cell.seed, f"{phase}/order", examples, section.batch_size, passes),
            )
            for cell in group.cells
        )
        steps_per_epoch = seeds[0].order.steps_per_epoch
        settings = self._settings(own, phase, steps_per_epoch)
        log.info(
            "%s: %d slices, %d steps an epoch (%d passes), at most %d steps",
            *(group.name, len(examples), steps_per_epoch, passes, settings.last_step),
        )
        schedule_epoch = steps_per_epoch if section.schedule == "epoch_decay" else 0
        frozen = own.transfer.parts if group.cells[0].start and own.transfer.freeze else ()
        slowed = _slowed(group.cells[0], own)
        programs, optimizer, schedule = phases.get(own, phase, len(seeds), schedule_epoch, frozen, slowed)
        data, validation_data = phases.placed(programs)
        return TrainingRun(
            name=group.name,
            directory=self.workdir / group.directory,
            seeds=seeds,
            programs=programs,
            start=self._start(group, optimizer.init),
            keys=jnp.stack([stream_key(cell.seed, f"{phase}/corruption") for cell in group.cells]),
            source=self.data.learning,
            feed=phases.feed,
            data=data,
            validation=phases.validation_feed,
            validation_data=validation_data,
            validation_batch=self.config.evaluate.batch_size,
            validation_keys=lambda step: self._validation_keys(group, step),
            validation_loss=lambda sums: phases.validation_loss(phase, sums),
            learning_rate=lambda step: float(schedule(step)),
            settings=settings,
            stop=self.stop,
            is_writer=self.is_writer,
        )

    def _settings(self, own: ConfigDict, phase: str, steps_per_epoch: int) -> LoopSettings:
        section, engine = own[phase], self.config.engine
        last, ends_by = last_step(steps_per_epoch, section.max_epochs, section.max_steps)
        on_gpu = jax.default_backend() != "cpu"
        return LoopSettings(
            last_step=last,
            ends_by=ends_by,
            validate_every=section.validate_every_steps or steps_per_epoch,
            patience=section.early_stopping_patience,
            min_delta=self._min_delta(own, phase),
            log_every=self.config.log_every_steps,
            checkpoint_every=engine.checkpoint_every_steps,
            async_checkpoints={"on": True, "off": False, "auto": on_gpu}[engine.async_checkpoints],
            profile=self.config.profile,
        )

    def _start(self, group: Group, init: Callable[[Params], Any]) -> Snapshot:
        """Fresh or grafted parameters of every seed, leaves (seeds, ...), on the host."""
        params = [self._initial_params(cell, self._folder(cell)) for cell in group.cells]
        states = [TrainState(params=one, opt_state=init(one), step=jnp.zeros((), jnp.int32)) for one in params]
        return Snapshot(stack(states), stack(params))

    def _validation_keys(self, group: Group, step: int) -> jax.Array:
        """(seeds,) keys of the corruption in validation after `step` steps of training."""
        keys = [stream_key(cell.seed, "validation/corruption") for cell in group.cells]
        if self.config.corruption.validation == "fresh":
            keys = [jax.random.fold_in(key, step) for key in keys]
        return jnp.stack(keys)

    def _min_delta(self, own: ConfigDict, phase: str) -> float:
        section = own[phase]
        if phase == "finetune":
            return section.early_stopping_min_delta
        height, width = self.config.data.image_size
        scaled = section.early_stopping_min_delta * height * width / PAPER_PIXELS
        log.info(
            "early stopping of pretraining: threshold %g at 512 x 512, so %g here",
            section.early_stopping_min_delta,
            scaled,
        )
        return scaled

    def _fresh(self, cell: Cell) -> Params:
        return self.phases.init(cell.phase)(stream_key(cell.seed, f"{cell.phase}/init"))

    def _initial_params(self, cell: Cell, directory: Path) -> Params:
        params = self._fresh(cell)
        log.info("%s\n%s", cell.name, parameter_overview.get_parameter_overview(params, include_stats=False))
        if cell.start is None:
            return params
        grafted, report = self._graft(cell, params)
        rows = [vars(row) for row in report.rows]
        if self.is_writer:
            write_csv_atomic(directory / "transfer.csv", list(rows[0]), rows)
        if not self.transfer_shown:
            self.console.print(report.table())
            self.transfer_shown = True
        counts = ", ".join(f"{report.count(status)} {status}" for status in ("loaded", "adapted", "fresh"))
        log.info("%s: tensors of the network: %s", cell.name, counts)
        return grafted

    def _graft(self, cell: Cell, params: Params) -> tuple[Params, GraftReport]:
        """Of a pretraining the parts that are transferred, of another fine-tuning everything."""
        assert cell.start is not None
        weights = start_weights(self.config, self.workdir, cell.start)
        if cell.start.phase == "finetune":
            return graft(weights, params, tuple(params))
        transfer = cell.config(self.config).transfer
        return graft(weights, params, transfer.parts, transfer.adapt_input)

    def _run_manifest(self, cell: Cell, source: SliceSource) -> dict[str, Any]:
        seen: dict[str, Any] = {
            "training_scans": [scan.scan_id for scan in source.scans],
            "training_subjects": sorted({scan.subject_id for scan in source.scans}),
            "trained_on": self._trained_on(cell, source).to_dict(),
        }
        begun_with = {RECORD: self.manifest.get(RECORD, {}) if _pretraining_of(cell) is not None else {}}
        return {**self.manifest, **begun_with, "cell": cell.record(), **seen}

    def _trained_on(self, cell: Cell, source: SliceSource) -> TrainedOn:
        """The scans that a run's weights come from, those of its pretraining included, here or elsewhere."""
        scans, start = list(source.scans), _pretraining_of(cell)
        elsewhere = None if start is None else trained_on_elsewhere(self.config, start, self.data.scan_channels)
        if start is not None and not is_elsewhere(self.config, start):
            scans += self.data.pretraining_of(start.config(self.config)).scans
        own = TrainedOn.of(scans, self.config.data.modality)
        return own if elsewhere is None else trained_on_both(own, scans, elsewhere)


def _slowed(cell: Cell, own: ConfigDict) -> Slowed:
    """How the transferred parts learn in the run whose weights they were put into."""
    transfer = own.transfer
    if cell.start is None or cell.start.phase != "pretrain":
        return NOT_SLOWED
    if transfer.learning_rate_factor == 1.0 and not transfer.freeze_steps:
        return NOT_SLOWED
    return Slowed(tuple(transfer.parts), transfer.learning_rate_factor, transfer.freeze_steps)


def _pretraining_of(cell: Cell) -> Cell | None:
    """The pretraining that the weights of a fine-tuning come from, perhaps by way of another fine-tuning."""
    start = cell.start
    while start is not None and start.phase != "pretrain":
        start = start.start
    return start
