"""Trains and evaluates the groups of a study one after another, beside other processes that do the same."""

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
from ml_collections import ConfigDict

from inpaint_ssl.config import evaluated_with
from inpaint_ssl.errors import InputError
from inpaint_ssl.files import write_json_atomic
from inpaint_ssl.machines import Machines
from inpaint_ssl.signals import Stopped, Stops
from inpaint_ssl.study.cells import FAILED, Cell, Group
from inpaint_ssl.study.claims import Claims
from inpaint_ssl.study.designs import is_reported
from inpaint_ssl.study.pretrained import is_elsewhere
from inpaint_ssl.study.record import collect_rows, write_study
from inpaint_ssl.study.training import Trainer

# The summary of a study of hundreds of runs takes seconds: it is then written in a twentieth of the time.
_RECORD_PAYS, _CHEAP_S = 20, 1.0
POLL_S = 1.0  # between two looks at what other processes have done
log = logging.getLogger(__name__)


class Work:
    """What one process does of a study; several may do theirs side by side, in one folder.

    A group is done by whoever holds the claim on it. One that begins with the weights of a run which another process
    is still training waits for that run.
    """

    def __init__(
        self,
        config: ConfigDict,
        base: ConfigDict,
        trainer: Trainer,
        claims: Claims,
        machines: Machines,
        stops: Stops,
        cells: Sequence[Cell],
    ) -> None:
        self.config, self.base, self.trainer, self.workdir = config, base, trainer, trainer.workdir
        self.claims, self.machines, self.stops, self.cells = claims, machines, stops, cells
        self.began = time.time()
        self.has_told = False
        self.recorded = self.recording = 0.0  # when the summary was last written, and how long that took

    def do(self, groups: Sequence[Group]) -> bool:
        """Do all groups; True when every one of them is complete. Raises signals.Stopped when asked to stop."""
        waiting, complete = list(groups), True
        while waiting:
            took = False
            for group in list(waiting):
                if signal := self.stops.together():
                    raise Stopped(signal)
                if self._waits_for_another(group, waiting):
                    continue
                done = self._claimed(group)
                if done is None:
                    continue
                took, complete = True, complete and done
                waiting.remove(group)
            if waiting and not took:
                self._tell_who_is_at_it(waiting)
                time.sleep(POLL_S)
        if self.machines.is_writer():
            self._record()
        return complete

    def _tell_who_is_at_it(self, waiting: Sequence[Group]) -> None:
        """Say once for whom this process waits: until the end of their runs, or until they count as dead."""
        if self.has_told or not self.machines.is_writer():
            return
        held = [f"{who} ({group.name})" for group in waiting if (who := self.claims.holder(group.directory))]
        if held:
            self.has_told = True
            self.trainer.console.print(f"waiting for {', '.join(held)}", highlight=False, soft_wrap=True, markup=False)

    def _waits_for_another(self, group: Group, waiting: Sequence[Group]) -> bool:
        """True while a run that the group begins with is neither trained nor given up, and not this process's to do."""
        starts = {cell.start.with_seed(0) for cell in group.cells if cell.start is not None}
        return any(other.cells[0].with_seed(0) in starts for other in waiting if other is not group)

    def _claimed(self, group: Group) -> bool | None:
        """Do the group; None when another process is at it."""
        is_writer = self.machines.is_writer()
        claim = self.claims.take(group.directory) if is_writer else None
        if not self.machines.any(f"claim {group.name}", claim is not None):
            return None
        try:
            complete = self._do(group)
            if is_writer and self._pays_to_record():
                self._record()
            return complete
        finally:
            if claim is not None:
                claim.release()

    def _pays_to_record(self) -> bool:
        return self.recording < _CHEAP_S or time.monotonic() - self.recorded > _RECORD_PAYS * self.recording

    def _record(self) -> None:
        """The rows of all cells and study.json, by one process at a time, so that what is newer stays."""
        claim = self.claims.wait("study")
        assert claim is not None
        began = time.monotonic()
        with claim:
            collect_rows(self.config, self.workdir, self.cells)
            trainer = self.trainer
            write_study(self.config, self.base, trainer.data, trainer.manifest, self.workdir, self.cells)
        self.recorded = time.monotonic()
        self.recording = self.recorded - began

    def _do(self, group: Group) -> bool:
        """Train and evaluate what is missing of a group; False when a cell fails or needs a run that is not there."""
        stage, length = self.config.stage, group.cells[0].length(self.config)

        def holds(what: str, check: Callable[[Cell], bool]) -> list[Cell]:
            """The cells of which it holds for process 0: another may see files later."""
            writes = self.machines.is_writer()
            return [c for c in group.cells if self.machines.any(f"{c.name} {what}", writes and check(c))]

        done = holds("trained", lambda cell: cell.is_trained(self.workdir, length))
        missing = [cell for cell in group.cells if cell not in done]
        given_up = holds("given up", lambda cell: cell in missing and self._has_failed_since(cell))
        able = holds("able", lambda c: c in missing and c not in given_up and self._lacking(c, stage) is None)
        for cell in missing:
            if cell not in able and cell not in given_up:
                self._tell(f"skipped: {cell.name}, because {self._lacking(cell, stage)} is not trained")
        if able:
            # All seeds of the group that can be trained: those that are trained already end at once, as they did.
            together = tuple(cell for cell in group.cells if cell in able or cell in done)
            errors = self._trained(Group(together))
            for error in errors:
                self._tell(f"failed: {error}")
            done = holds("trained now", lambda cell: cell.is_trained(self.workdir, length))
            self._note_failures([cell for cell in able if cell not in done], errors)
        complete = len(done) == len(group.cells)
        if stage in ("all", "evaluate") and self.machines.is_writer():
            complete &= all([self._evaluated(cell) for cell in done])
        return complete

    def _evaluated(self, cell: Cell) -> bool:
        """Evaluate a trained cell unless it is; False when that fails, as with best weights that are damaged."""
        settings = evaluated_with(self.config, cell.phase)
        if not is_reported(self.config, cell) or cell.is_evaluated(self.workdir, settings):
            return True
        try:
            self.trainer.evaluator.evaluate(cell, self.stops.here)
        except InputError as error:
            if self.machines.count > 1:  # the others would wait for this one
                raise
            self._tell(f"failed: {cell.name}: {error}")
            self._note_failures([cell], [str(error)])
            return False
        (self.workdir / cell.directory / FAILED).unlink(missing_ok=True)
        return True

    def _tell(self, line: str) -> None:
        log.error("%s", line)
        self.trainer.console.print(line, style="red", highlight=False, soft_wrap=True, markup=False)

    def _lacking(self, cell: Cell, stage: str) -> Path | None:
        """The folder of a run that must be trained before this cell can be."""
        if stage == "evaluate":
            return self.workdir / cell.directory
        if cell.start is None or is_elsewhere(self.config, cell.start):
            return None
        trained = cell.start.is_trained(self.workdir, cell.start.length(self.config))
        return None if trained else self.workdir / cell.start.directory

    def _note_failures(self, cells: Sequence[Cell], errors: Sequence[str]) -> None:
        """failed.json of each cell, for the report and for other processes, which then do not try it again."""
        for cell in cells if self.machines.is_writer() else ():
            own = [error for error in errors if cell.name in error] or list(errors)
            about = {"error": "; ".join(own), "seconds_since_1970": time.time()}
            write_json_atomic(self.workdir / cell.directory / FAILED, about)

    def _has_failed_since(self, cell: Cell) -> bool:
        """True when another process has tried the cell in vain since this one began."""
        failure = cell.failure(self.workdir)
        return failure is not None and failure["seconds_since_1970"] > self.began

    def _trained(self, group: Group) -> list[str]:
        """Train the group; what went wrong."""
        for cell in group.cells if self.machines.is_writer() else ():
            (self.workdir / cell.directory / FAILED).unlink(missing_ok=True)
        try:
            return self.trainer.train(group)
        except jax.errors.JaxRuntimeError as error:
            self.machines.settle()  # when another process has ended, this one ends here, and says so
            if "RESOURCE_EXHAUSTED" not in str(error) or self.machines.count > 1:
                raise
            text = " ".join(str(error).split())[:300]
            return [f"{group.name}: out of memory ({text}); lower config.{group.phase}.batch_size or model.filters"]
        except InputError as error:
            if self.machines.count > 1:  # the others would wait for this one
                raise
            return [f"{group.name}: {error}"]
