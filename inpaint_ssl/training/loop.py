"""The one training loop: it receives compiled programs, a feed and a validation, and knows neither task nor network."""

import collections
import contextlib
import logging
import math
import time
from collections.abc import Generator, Iterator
from typing import Any

import jax
import numpy as np
from rich.console import Console

from inpaint_ssl.batches import stack
from inpaint_ssl.checkpoint import RunCheckpoints
from inpaint_ssl.engine import NOT_DUE, Engine, Snapshot
from inpaint_ssl.progress import StageProgress
from inpaint_ssl.signals import Stopped
from inpaint_ssl.training.diverged import keep_for_replay, named_scans
from inpaint_ssl.training.outputs import SeedOutputs, Tracer
from inpaint_ssl.training.run import TrainingRun, TrainResult
from inpaint_ssl.training.state import LoopState, SeedState

log = logging.getLogger(__name__)


def train(run: TrainingRun, console: Console) -> list[TrainResult]:
    """Train every seed until early stopping or the last step, going on from the newest good checkpoint.

    The order at every step is: batch, step, log, validate, keep the best, decide on stopping, save. Do not change it: a
    checkpoint must hold the state after its validation. Raises Stopped, after saving, when a signal asks to stop.
    """

    def warn(line: str) -> None:
        console.print(f"warning: {line}", style="yellow", highlight=False, soft_wrap=True, markup=False)

    folder = run.directory / "checkpoints"
    checkpoints = RunCheckpoints(folder, asynchronous=run.settings.async_checkpoints, warn=warn)
    with contextlib.closing(checkpoints):
        restored = checkpoints.restore(run.start.state)
        if restored is None:
            snapshot, state = run.start, LoopState([SeedState() for _ in run.seeds])
        else:
            snapshot, state = Snapshot(*restored[:2]), LoopState.from_json(restored[2])
            log.info("%s: resumed at step %d", run.name, state.position)
        loop = _Loop(run, checkpoints, snapshot, state)
        with contextlib.closing(loop):
            return loop.run(console)


class _Loop:
    def __init__(self, run: TrainingRun, checkpoints: RunCheckpoints, snapshot: Snapshot, state: LoopState) -> None:
        self.of, self.checkpoints, self.state = run, checkpoints, state
        self.engine = Engine(run.programs, snapshot, run.keys, run.data, run.validation_data)
        self.outputs = [SeedOutputs(seed.directory, state.position, run.is_writer) for seed in run.seeds]
        self.began = time.monotonic() - state.seconds
        self.unread: list[tuple[np.ndarray, Any]] = []  # positions and metrics, these still on the devices

    def close(self) -> None:
        """Release the files of the outputs."""
        for outputs in self.outputs:
            outputs.close()

    def active(self) -> np.ndarray:
        """(seeds,) which of them have not stopped."""
        return np.array([not seed.stopped for seed in self.state.seeds])

    def run(self, console: Console) -> list[TrainResult]:
        settings, state = self.of.settings, self.state
        first, note = state.position, ""
        tracer = Tracer(self.of.directory / "profile", first, settings.profile, self.of.is_writer)
        stage = StageProgress(self.of.name, settings.last_step, start=first, console=console)
        with stage as progress, tracer, contextlib.closing(self._placed_ahead(first)) as calls:
            while state.position < settings.last_step and self.active().any():
                waited = time.monotonic()
                count, placed = next(calls)
                state.waiting += time.monotonic() - waited
                self._step(count, placed)
                if tracer.is_due(state.position):
                    self._read_metrics()  # waits for the steps that are still on their way
                    tracer.turn()
                note = self._after_step() or note
                progress.update(state.position, note)
            self._end()
            best = min(state.seeds, key=lambda seed: seed.best_loss)
            progress.finish(state.position, f"best validation {best.best_loss:.4g} at step {best.best_step}")
        return self._results()

    def _placed_ahead(self, first: int) -> Generator[tuple[int, Any]]:
        """(number of steps, their items on the devices) call by call, the next one already on its way."""
        run = self.of
        size = run.programs.padded(run.seeds[0].order.batch_size)
        orders = [seed.order for seed in run.seeds]
        rows = run.programs.train.local_rows(size)
        items = run.feed.training(orders, range(first, run.settings.last_step), size, rows)
        waiting: collections.deque[tuple[int, Any]] = collections.deque()
        try:
            for count in self._calls(first):
                waiting.append((count, self.engine.place(stack([next(items) for _ in range(count)]))))
                if len(waiting) > 1:
                    yield waiting.popleft()
            yield from waiting
        finally:
            if hasattr(items, "close"):  # Grain's threads
                items.close()

    def _calls(self, first: int) -> Iterator[int]:
        """Steps of each call: as many as set, single ones where a row, a validation or a checkpoint is due earlier."""
        settings, most = self.of.settings, self.of.programs.settings.steps_per_call
        every = [n for n in (settings.log_every, settings.validate_every, settings.checkpoint_every) if n]
        step = first
        while step < settings.last_step:
            due = min(*(step - step % n + n for n in every), settings.last_step) - step
            count = most if due >= most else 1
            yield count
            step += count

    def _step(self, count: int, placed: Any) -> None:
        steps = self.state.position + np.arange(count)[:, None]
        positions = np.where(self.active()[None], steps, NOT_DUE).astype(np.int32)
        self.unread.append((positions, self.engine.run(placed, positions)))
        self.state.position += count

    def _after_step(self) -> str:
        """Log, validate, keep the best, decide on stopping, save: what is due. The note of the progress line, or ""."""
        settings, step, note = self.of.settings, self.state.position, ""
        validates = step % settings.validate_every == 0 or step == settings.last_step
        logs = validates or step % settings.log_every == 0
        if logs:
            note = self._log()
        if validates and self.active().any():
            note = f"{note}  validation {self._validate():.4g}"
        signal = self.of.stop()
        saves = validates or signal or (settings.checkpoint_every and step % settings.checkpoint_every == 0)
        if saves:
            self._read_metrics()
            self._save()
        if signal:
            self.checkpoints.wait()
            raise Stopped(signal)
        return note

    def _read_metrics(self) -> None:
        """Fetch the metrics of the steps since the last time; a seed whose step was not finite has failed there."""
        for positions, results in self.unread:
            metrics = self.engine.fetch(results)
            for call_step, due in enumerate(positions):
                for number, seed in enumerate(self.state.seeds):
                    if due[number] == NOT_DUE or seed.stopped:
                        continue
                    values = {name: float(value[call_step, number]) for name, value in metrics.items()}
                    if values["finite"]:
                        seed.add(values)
                    else:
                        self._fail_at_step(number, values)
        self.unread.clear()

    def _log(self) -> str:
        self._read_metrics()
        state = self.state
        state.seconds = time.monotonic() - self.began
        speed, losses = self._images_per_second(), []
        for number, seed in enumerate(state.seeds):
            if not seed.stopped and seed.pending:
                losses.append(self._add_row(number, "train", seed.averages(), speed))
        if not losses:
            return ""
        epoch = (state.position - 1) // self.of.seeds[0].order.steps_per_epoch + 1
        waiting = f"waiting {100 * state.waiting_share:.1f} %"
        return f"epoch {epoch}  loss {np.mean(losses):.4g}  {speed:.0f} images/s  {waiting}"

    def _add_row(self, number: int, split: str, means: dict[str, float], speed: float) -> float:
        seed, order = self.state.seeds[number], self.of.seeds[number].order
        row = {
            "step": seed.steps,
            "epoch": (seed.steps - 1) // order.steps_per_epoch,
            "split": split,
            **{name: repr(value) for name, value in means.items()},
            "learning_rate": f"{self.of.learning_rate(seed.steps - 1):.6g}",
            "images_per_second": f"{speed:.1f}",
            "waiting_share": f"{self.state.waiting_share:.4f}",
            "seconds": f"{self.state.seconds:.1f}",
        }
        seed.rows.append(row)
        self.outputs[number].row(row)
        return means["loss"]

    def _images_per_second(self) -> float:
        """Training slices of all seeds over all time since the start, validation and saving included."""
        pairs = zip(self.of.seeds, self.state.seeds, strict=True)
        images = sum(run.order.images_until(seed.steps) for run, seed in pairs)
        return images / self.state.seconds if self.state.seconds else 0.0

    def _validate(self) -> float:
        """Losses of the seeds that still run, what follows from them, and the lowest."""
        run, active = self.of, self.active()
        size = run.programs.padded(run.validation_batch)
        items = run.validation.in_order(run.validation_batch, size, run.programs.validate.local_rows(size))
        sums = self.engine.validate(items, run.validation_keys(self.state.position), active)
        self.state.seconds = time.monotonic() - self.began
        improved, losses, speed = np.zeros_like(active), [], self._images_per_second()
        for number in np.flatnonzero(active).tolist():
            seed, loss = self.state.seeds[number], run.validation_loss(sums[number])
            losses.append(loss)
            if not math.isfinite(loss):
                self._fail(number, f"the validation loss is {loss} at step {seed.steps}")
                continue
            self._add_row(number, "validation", {"loss": loss}, speed)
            improved[number] = seed.judge(loss, patience=run.settings.patience, min_delta=run.settings.min_delta)
        self.engine.keep_best(improved)
        return min(losses)

    def _fail_at_step(self, number: int, metrics: dict[str, float]) -> None:
        seed, run = self.state.seeds[number], self.of.seeds[number]
        rate, indices = self.of.learning_rate(seed.steps), run.order.at(seed.steps)
        folder = run.directory / "diverged"
        params = jax.tree.map(lambda leaf: leaf[number], self.engine.snapshot().state.params)
        if self.of.is_writer:
            keep_for_replay(
                folder, params, self.of.source, indices, self.of.feed.dtype, run.order.seed, seed.steps, rate
            )
        scans = named_scans(self.of.source, indices)
        self._fail(
            number,
            f"step {seed.steps + 1} is not finite: loss {metrics['loss']:g}, gradient norm "
            f"{metrics['gradient_norm']:g}, learning rate {rate:.3g}, scans {scans}; the batch and the parameters "
            f"before the step are in {folder}",
        )

    def _fail(self, number: int, what: str) -> None:
        seed, folder = self.state.seeds[number], self.of.directory / "checkpoints"
        newest = self.checkpoints.latest_step()
        last = f"{folder} has none yet" if newest is None else f"the last good one is {folder / str(newest)}"
        seed.stopped = "diverged"
        seed.error = (
            f"{self.of.seeds[number].name}: {what}; of its checkpoints {last}; use a lower learning rate in another "
            "--workdir, or mend the data"
        )
        log.error("%s", seed.error)

    def _save(self) -> None:
        self.state.seconds = time.monotonic() - self.began
        self.checkpoints.save(self.state.position, *self.engine.snapshot(), self.state.to_json())
        self._write()

    def _write(self) -> None:
        for seed, outputs in zip(self.state.seeds, self.outputs, strict=True):
            outputs.write(seed.rows)

    def _end(self) -> None:
        self._read_metrics()
        for seed in self.state.seeds:
            seed.stopped = seed.stopped or self.of.settings.ends_by
        self._write()  # once more: a kill may have come between the last checkpoint and these files
        self.checkpoints.wait()

    def _results(self) -> list[TrainResult]:
        best, seconds = self.engine.snapshot().best, self.state.seconds / len(self.state.seeds)
        return [
            TrainResult(
                best=jax.tree.map(lambda leaf, number=number: leaf[number], best),
                steps=seed.steps,
                best_step=seed.best_step,
                best_validation_loss=seed.best_loss,
                seconds=seconds,
                stopped=seed.stopped,
                images_per_second=run.order.images_until(seed.steps) / seconds if seconds else 0.0,
                error=seed.error,
            )
            for number, (run, seed) in enumerate(zip(self.of.seeds, self.state.seeds, strict=True))
        ]
