"""Measures trained cells on the test scans and writes what statistics and report read."""

import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict
from rich.console import Console

from inpaint_ssl.checkpoint import best_weights
from inpaint_ssl.config import evaluated_parts, evaluated_with
from inpaint_ssl.data import SliceSource
from inpaint_ssl.evaluate import SCAN_COLUMNS, SLICE_COLUMNS, Evaluation, evaluate_inpainting, evaluate_segmentation
from inpaint_ssl.files import write_csv_atomic, write_json_atomic, write_npz_atomic
from inpaint_ssl.progress import StageProgress
from inpaint_ssl.rng import stream_key
from inpaint_ssl.signals import Stopped
from inpaint_ssl.steps import make_predict_step, make_restore_step
from inpaint_ssl.study.cells import EVALUATION, Cell
from inpaint_ssl.study.phases import Phases
from inpaint_ssl.study.prepare import StudyData
from inpaint_ssl.types import Params


class Evaluator:
    """Evaluates the cells of one study in `workdir`; what predicts is compiled once for all that flip alike."""

    def __init__(self, config: ConfigDict, data: StudyData, workdir: Path, phases: Phases, console: Console):
        self.config, self.data, self.workdir, self.phases, self.console = config, data, workdir, phases, console
        self.predict = functools.cache(lambda flips: jax.jit(make_predict_step(phases.segmenter, flips)))

    def evaluate(self, cell: Cell, stop: Callable[[], str] = str) -> None:
        """Measure a trained cell; evaluation.json comes last and says what its rows were measured with.

        Raises signals.Stopped between two scans when stop() names a signal; the evaluation then begins anew next time.
        """
        directory = self.workdir / cell.directory
        shapes = jax.eval_shape(self.phases.init(cell.phase), stream_key(0, "shapes"))
        params = best_weights(directory, shapes)
        columns = {
            "study": self.config.study.name,
            "dataset": self.data.dataset_name,
            "arm": cell.arm or "pretrained",
            "label_fraction": cell.label_fraction or "",
            "subset_draw": cell.subset_draw,
            "seed": cell.seed,
        }
        parts = evaluated_parts(self.config)
        parts = parts if cell.phase == "finetune" else parts[-1:]
        sources = {part: {"validation": self.data.validation, "test": self.data.test}[part] for part in parts}
        began, total = time.monotonic(), sum(len(source.scans) for source in sources.values())
        with StageProgress(f"evaluate {cell.name}", total, "scan", console=self.console) as progress:

            def on_scan(done: int) -> None:
                if signal := stop():
                    raise Stopped(signal)
                progress.update(done, f"{done / (time.monotonic() - began):.1f} scans/s")

            measure = self._inpainting if cell.phase == "pretrain" else self._segmentation
            evaluations, before = [], 0
            for part, source in sources.items():
                count = functools.partial(lambda first, done: on_scan(first + done), before)
                evaluations.append(measure(cell, params, source, {**columns, "split": part}, count))
                before += len(source.scans)
            evaluation = _together(evaluations)
            progress.finish(total, "")
        (directory / EVALUATION).unlink(missing_ok=True)  # what is written from here on may be of other settings
        for name, arrays in evaluation.examples.items():
            write_npz_atomic(directory / "examples" / f"{name}.npz", **arrays)
        write_csv_atomic(directory / "per_slice.csv", SLICE_COLUMNS, evaluation.slice_rows)
        if cell.phase == "finetune":
            write_csv_atomic(directory / "per_scan.csv", SCAN_COLUMNS, evaluation.rows)
        write_json_atomic(directory / EVALUATION, evaluated_with(self.config, cell.phase))

    def _segmentation(
        self, cell: Cell, params: Params, source: SliceSource, columns: dict[str, Any], on_scan: Callable[[int], None]
    ) -> Evaluation:
        return evaluate_segmentation(
            self.predict(cell.config(self.config).evaluate.flips),
            params,
            source,
            self.data.measures,
            columns,
            batch_size=self.config.evaluate.batch_size,
            threshold=self.config.evaluate.threshold,
            on_scan=on_scan,
        )

    def _inpainting(
        self, cell: Cell, params: Params, source: SliceSource, columns: dict[str, Any], on_scan: Callable[[int], None]
    ) -> Evaluation:
        restore = make_restore_step(self.phases.inpainter, self.phases.corruptor(cell.config(self.config)))
        return evaluate_inpainting(
            jax.jit(restore),
            params,
            source,
            self.data.channel_names,
            columns,
            key=stream_key(cell.seed, "test/corruption"),
            batch_size=self.config.evaluate.batch_size,
            examples=self.config.evaluate.inpainting_examples,
            on_scan=on_scan,
        )


def _together(evaluations: Sequence[Evaluation]) -> Evaluation:
    """Rows of all parts; pictures of the last one, the test scans."""
    rows = [row for one in evaluations for row in one.rows]
    slice_rows = [row for one in evaluations for row in one.slice_rows]
    return Evaluation(rows, slice_rows, evaluations[-1].examples)
