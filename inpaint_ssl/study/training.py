"""Trains and evaluates the cells of a study. Steps are compiled once and shared by all cells of a phase."""

import functools
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from clu import parameter_overview
from ml_collections import ConfigDict
from rich.console import Console

from inpaint_ssl.batches import summed_over
from inpaint_ssl.checkpoint import load_weights, save_weights
from inpaint_ssl.config import to_json
from inpaint_ssl.corruption import CORRUPTORS, Corruptor, corrupt_from_bank, make_mask_bank
from inpaint_ssl.data import ArraySliceSource
from inpaint_ssl.evaluate import SCAN_COLUMNS, SLICE_COLUMNS, Evaluation, evaluate_inpainting, evaluate_segmentation
from inpaint_ssl.files import write_csv_atomic, write_json_atomic, write_npz_atomic
from inpaint_ssl.loop import LoopSettings, TrainingRun, loop_lengths, train
from inpaint_ssl.losses import dice_loss_of_sums
from inpaint_ssl.models import UNet
from inpaint_ssl.optim import OptimSettings, make_optimizer, make_schedule
from inpaint_ssl.progress import StageProgress
from inpaint_ssl.rng import stream_key
from inpaint_ssl.steps import (
    LossFunction,
    inpainting_loss,
    make_inpainting_validation_step,
    make_predict_step,
    make_restore_step,
    make_segmentation_validation_step,
    make_train_step,
    segmentation_loss,
)
from inpaint_ssl.study.cells import Cell
from inpaint_ssl.study.prepare import StudyData
from inpaint_ssl.study.pretrained import pretraining_folders
from inpaint_ssl.transfer import GraftReport, graft
from inpaint_ssl.types import Params, TrainState

PAPER_PIXELS = 512 * 512  # the early-stopping threshold of equation 1 is given for this image area
log = logging.getLogger(__name__)


def _corruptor(config: ConfigDict, data: StudyData) -> Corruptor:
    """Fresh patches for every image and step, or the masks of a bank that serves all seeds."""
    settings = config.corruption
    if settings.masks == "fresh":
        corrupt = CORRUPTORS[settings.task]
        return lambda key, image: corrupt(key, image, data.patches)
    key = stream_key(settings.bank_seed, "mask_bank")
    bank = make_mask_bank(key, config.data.image_size, data.patches, settings.task, settings.bank_size)
    return functools.partial(corrupt_from_bank, bank=bank, pair_anew=settings.bank_pairs == "anew")


class Trainer:
    """Runs single cells of one study in `workdir`; knows nothing of which cells there are."""

    def __init__(self, config: ConfigDict, data: StudyData, workdir: Path, manifest: dict[str, Any], console: Console):
        self.config, self.data, self.workdir = config, data, workdir
        self.manifest, self.console = manifest, console
        channels = len(data.channel_names)
        shared = {
            "filters": config.model.filters,
            "groups": config.model.groups,
            "dtype": jnp.dtype(config.model.dtype),
        }
        self.inpainter = UNet(out_channels=channels, head="inpainting", **shared)
        self.segmenter = UNet(out_channels=len(data.classes.names), head="segmentation", **shared)
        self.membership = jnp.asarray(data.classes.membership())
        corrupt = self.corrupt = _corruptor(config, data)
        self.losses: dict[str, LossFunction] = {
            "pretrain": inpainting_loss(self.inpainter, corrupt),
            "finetune": segmentation_loss(self.segmenter, self.membership),
        }
        self.validation_steps = {
            "pretrain": jax.jit(make_inpainting_validation_step(self.inpainter, corrupt)),
            "finetune": jax.jit(make_segmentation_validation_step(self.segmenter, self.membership)),
        }
        self.predict = jax.jit(make_predict_step(self.segmenter))
        self.pretraining = pretraining_folders(config, workdir)
        self.transfer_shown = False
        # One compilation for every cell whose schedule is the same: arms, and with cosine all label fractions too.
        self._step = functools.cache(self._compile)
        self._init = functools.cache(self._initialiser)
        if config.transfer.pretrained_study:  # weights that do not fit are found before anything is written
            for seed in config.seeds:
                self._graft(seed, self._fresh(Cell("finetune", seed)))

    def _compile(
        self, phase: str, steps_per_epoch: int
    ) -> tuple[Callable[..., Any], optax.GradientTransformation, optax.Schedule]:
        section = self.config[phase]
        names = OptimSettings.__dataclass_fields__
        settings = OptimSettings(**{name: section[name] for name in names})
        schedule = make_schedule(settings, steps_per_epoch)
        optimizer = make_optimizer(settings, schedule)
        return jax.jit(make_train_step(self.losses[phase], optimizer), donate_argnums=0), optimizer, schedule

    def train(self, cell: Cell) -> None:
        """Train a cell, or go on from its newest checkpoint; then best/, manifest.json and result.json are there."""
        config, section = self.config, self.config[cell.phase]
        directory = self.workdir / cell.directory
        directory.mkdir(parents=True, exist_ok=True)
        write_json_atomic(directory / "config.json", to_json(config))
        source = self.data.pretraining
        if cell.phase == "finetune":
            source = self.data.training.subset(self.data.splits.label_subsets[cell.label_fraction])
        steps_per_epoch, last_step, ends_by = loop_lengths(
            len(source), section.batch_size, section.max_epochs, section.max_steps
        )
        schedule_epoch = steps_per_epoch if section.schedule == "epoch_decay" else 0
        step, optimizer, schedule = self._step(cell.phase, schedule_epoch)
        params = self._initial_params(cell, directory)
        log.info(
            "%s: %d slices, %d steps an epoch, at most %d steps", cell.name, len(source), steps_per_epoch, last_step
        )
        run = TrainingRun(
            name=cell.name,
            directory=directory,
            state=TrainState(params=params, opt_state=optimizer.init(params), step=jnp.zeros((), jnp.int32)),
            step=step,
            validate=lambda candidate, position: self._validation_loss(cell, candidate, position),
            learning_rate=lambda position: float(schedule(position)),
            source=source,
            key=stream_key(cell.seed, f"{cell.phase}/corruption"),
            settings=LoopSettings(
                batch_size=section.batch_size,
                steps_per_epoch=steps_per_epoch,
                last_step=last_step,
                ends_by=ends_by,
                validate_every=section.validate_every_steps or steps_per_epoch,
                patience=section.early_stopping_patience,
                min_delta=self._min_delta(cell.phase),
                log_every=config.log_every_steps,
                seed=cell.seed,
                stream=f"{cell.phase}/order",
            ),
        )
        result = train(run, self.console)
        save_weights(directory / "best", result.best)
        write_json_atomic(directory / "manifest.json", self._run_manifest(cell, source))
        names = ("steps", "best_step", "best_validation_loss", "seconds", "stopped", "images_per_second")
        write_json_atomic(directory / "result.json", {name: getattr(result, name) for name in names})

    def _min_delta(self, phase: str) -> float:
        section = self.config[phase]
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

    def _initialiser(self, phase: str) -> Callable[[jax.Array], Any]:
        """seed key -> fresh variables. They depend on phase and seed alone, so both arms share decoder and head."""
        model = self.inpainter if phase == "pretrain" else self.segmenter
        images = jnp.zeros((1, *self.config.data.image_size, len(self.data.channel_names)))
        return jax.jit(lambda key: model.init(key, images)["params"])

    def _fresh(self, cell: Cell) -> Params:
        return self._init(cell.phase)(stream_key(cell.seed, f"{cell.phase}/init"))

    def _shapes(self, phase: str) -> Any:
        return jax.eval_shape(self._init(phase), stream_key(0, "shapes"))

    def _initial_params(self, cell: Cell, directory: Path) -> Params:
        params = self._fresh(cell)
        log.info("%s\n%s", cell.name, parameter_overview.get_parameter_overview(params, include_stats=False))
        if cell.arm != "pretrained":
            return params
        grafted, report = self._graft(cell.seed, params)
        rows = [vars(row) for row in report.rows]
        write_csv_atomic(directory / "transfer.csv", list(rows[0]), rows)
        if not self.transfer_shown:
            self.console.print(report.table())
            self.transfer_shown = True
        log.info("%s: %d tensors loaded, %d fresh", cell.name, report.count("loaded"), report.count("fresh"))
        return grafted

    def _graft(self, seed: int, params: Params) -> tuple[Params, GraftReport]:
        weights = load_weights(self.pretraining[seed] / "best")
        return graft(weights, params, self.config.transfer.parts, self.config.transfer.adapt_input)

    def _validation_loss(self, cell: Cell, params: Params, position: int) -> float:
        """Equation 1 or 2 over the whole validation set, after `position` steps of training."""
        key = stream_key(cell.seed, "validation/corruption")
        if self.config.corruption.validation == "fresh":
            key = jax.random.fold_in(key, position)
        sums = summed_over(
            self.validation_steps[cell.phase],
            params,
            self.data.validation,
            self.config.evaluate.batch_size,
            key,
        )
        if cell.phase == "pretrain":
            return float(sums["total"] / sums["count"])
        return float(dice_loss_of_sums(sums["intersection"], sums["total"]))

    def _run_manifest(self, cell: Cell, source: ArraySliceSource) -> dict[str, Any]:
        seen = {
            "training_scans": [scan.scan_id for scan in source.scans],
            "training_subjects": sorted({scan.subject_id for scan in source.scans}),
        }
        return {**self.manifest, "cell": vars(cell), **seen}

    def evaluate(self, cell: Cell) -> None:
        """Measure a trained cell on the test scans; the file of rows comes last and marks it as evaluated."""
        directory = self.workdir / cell.directory
        params = load_weights(directory / "best", self._shapes(cell.phase))
        columns = {
            "study": self.config.study,
            "dataset": self.data.dataset_name,
            "arm": cell.arm or "pretrained",
            "label_fraction": cell.label_fraction or "",
            "subset_draw": cell.subset_draw,
            "seed": cell.seed,
            "split": "test",
        }
        began = time.monotonic()
        with StageProgress(
            f"evaluate {cell.name}", len(self.data.test.scans), "scan", console=self.console
        ) as progress:

            def on_scan(done: int) -> None:
                progress.update(done, f"{done / (time.monotonic() - began):.1f} scans/s")

            measure = self._inpainting if cell.phase == "pretrain" else self._segmentation
            evaluation = measure(cell, params, columns, on_scan)
            progress.finish(len(self.data.test.scans), "")
        for name, arrays in evaluation.examples.items():
            write_npz_atomic(directory / "examples" / f"{name}.npz", **arrays)
        header = SLICE_COLUMNS if cell.phase == "pretrain" else SCAN_COLUMNS
        write_csv_atomic(directory / cell.evaluation_file, header, evaluation.rows)

    def _segmentation(
        self, cell: Cell, params: Params, columns: dict[str, Any], on_scan: Callable[[int], None]
    ) -> Evaluation:
        settings = self.config.evaluate
        return evaluate_segmentation(
            self.predict,
            params,
            self.data.test,
            self.data.classes,
            columns,
            batch_size=settings.batch_size,
            threshold=settings.threshold,
            on_scan=on_scan,
        )

    def _inpainting(
        self, cell: Cell, params: Params, columns: dict[str, Any], on_scan: Callable[[int], None]
    ) -> Evaluation:
        restore = make_restore_step(self.inpainter, self.corrupt)
        return evaluate_inpainting(
            jax.jit(restore),
            params,
            self.data.test,
            self.data.channel_names,
            columns,
            key=stream_key(cell.seed, "test/corruption"),
            batch_size=self.config.evaluate.batch_size,
            examples=self.config.evaluate.inpainting_examples,
            on_scan=on_scan,
        )
