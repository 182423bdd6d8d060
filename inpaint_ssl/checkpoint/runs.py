"""Orbax checkpoints: parameters, best parameters, optimiser state and loop position as separate items.

The JSON item `loop` also holds the steps, the shape of every array and checksums of all that is saved: Orbax notices
files that are cut short or missing, but hands out arrays with flipped bits without a word. In runs of several processes
every process makes the same calls; process 0 alone reads and writes, and hands what it read to the others.
"""

import contextlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from inpaint_ssl.checkpoint.storage import (
    alone,
    arrays_from_first_process,
    check_layout,
    crc32,
    crc32_of_json,
    described,
    empty,
    from_first_process,
    is_full_disk,
    layout,
)
from inpaint_ssl.errors import InputError
from inpaint_ssl.types import Params, TrainState

KEPT = 2
ARRAYS = ("params", "best", "opt_state")
UNFINISHED = "*.orbax-checkpoint-tmp*"
Restored = tuple[TrainState, Params, dict[str, Any]]
log = logging.getLogger(__name__)


class RunCheckpoints:
    """The checkpoints of one run, newest last. A checkpoint appears whole or not at all (Orbax renames it).

    With `asynchronous`, save returns once the arrays are copied to the host; what goes wrong afterwards is raised by
    the next save, wait or close. `warn` is called with every line that a person should see; the log has them too.
    """

    def __init__(self, directory: Path, *, asynchronous: bool = False, warn: Callable[[str], None] | None = None):
        self._directory = Path(directory).absolute()
        self._warn = warn or (lambda line: None)
        self._manager: ocp.CheckpointManager | None = None
        if jax.process_index() == 0:
            self._directory.mkdir(parents=True, exist_ok=True)
            how = {"enable_async_checkpointing": asynchronous, "multiprocessing_options": alone()}
            options = ocp.CheckpointManagerOptions(max_to_keep=KEPT, create=False, **how)
            self._manager = ocp.CheckpointManager(self._directory, options=options)

    def save(self, step: int, state: TrainState, best: Params, loop: dict[str, Any]) -> None:
        """Write `state`, `best` and the JSON-able `loop` as checkpoint `step`, unless that one is there already.

        Raises InputError when it cannot be written, on a full disk for one; the earlier checkpoints stay as they were.
        """
        if self._manager is None:
            return
        self.wait()
        if step in self._steps():
            return
        # As NumPy arrays, which Orbax copies before it writes them in the background.
        arrays = {"params": state.params, "best": best, "opt_state": state.opt_state}
        arrays = jax.tree.map(np.asarray, arrays)
        about = described(arrays, state.step, loop)
        items = {name: ocp.args.StandardSave(arrays[name]) for name in ARRAYS}
        self._check_room(step, arrays, about)
        with self._explaining(f"checkpoint {step}"):
            self._manager.save(step, args=ocp.args.Composite(**items, loop=ocp.args.JsonSave(about)), force=True)

    def restore(self, like: TrainState) -> Restored | None:
        """(state, best parameters, loop) of the newest checkpoint that is intact, or None; arrays are NumPy's.

        A damaged one is warned of and renamed, so that its step can be saved again. Raises InputError when all are
        damaged, or when arrays have other shapes than in `like`.
        """
        found = self._newest_intact(like) if jax.process_count() == 1 else self._restore_by_first_process(like)
        return found

    def wait(self) -> None:
        """Return once everything is on disk; raises what went wrong in a background save."""
        if self._manager is not None:
            with self._explaining("a checkpoint"):
                self._manager.wait_until_finished()

    def close(self) -> None:
        """Finish, as wait does, and release the folder."""
        if self._manager is not None:
            with contextlib.closing(self._manager):
                self.wait()

    def latest_step(self) -> int | None:
        """Step of the newest checkpoint, or None."""
        return max(self._steps(), default=None)

    def _steps(self) -> list[int]:
        return sorted(int(path.name) for path in self._directory.glob("*") if path.name.isdecimal())

    def _newest_intact(self, like: TrainState) -> Restored | None:
        before = "the checkpoint before it is used" if self._steps() else "the run begins anew, there is none before it"
        for path in self._clear_unfinished():
            self._tell(f"{path} was cut off while it was written; it is removed, and {before}")
        reasons: dict[int, str] = {}  # of damaged checkpoints, newest first
        for step in reversed(self._steps()):
            try:
                found = self._read(step, like)
            except (InputError, MemoryError):
                raise
            except Exception as error:  # Orbax and the libraries below raise of all kinds for files they cannot read
                reasons[step] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
                continue
            for damaged, reason in reasons.items():
                kept = self._set_aside(damaged)
                what = f"checkpoint {damaged} of {self._directory} is damaged ({reason})"
                self._tell(f"{what}; it is kept as {kept}, and checkpoint {step} before it is used")
            return found
        if reasons:
            listed = "; ".join(f"{step}: {reason}" for step, reason in reasons.items())
            raise InputError(
                f"{self._directory}: every checkpoint is damaged ({listed}); put back a copy, or delete this folder to "
                "begin the run at step 0"
            )
        return None

    def _read(self, step: int, like: TrainState) -> Restored:
        """Checkpoint `step` as NumPy arrays; an exception of any kind unless it holds what was saved."""
        assert self._manager is not None
        about = self._manager.restore(step, args=ocp.args.Composite(loop=ocp.args.JsonRestore()))["loop"]
        own = about.pop("own_crc32", None) if isinstance(about, dict) else None
        if own != crc32_of_json(about):
            raise ValueError(
                "loop is not what was saved" if own else "loop holds no checksum; is it of another version?"
            )
        wanted = {"params": like.params, "best": like.params, "opt_state": like.opt_state}
        check_layout(about["layout"], layout(wanted), f"checkpoint {step} of {self._directory}")
        args = {name: ocp.args.StandardRestore(empty(wanted[name])) for name in ARRAYS}
        arrays = self._manager.restore(step, args=ocp.args.Composite(**args))
        for name in ARRAYS:
            if crc32(arrays[name]) != about["crc32"][name]:
                raise ValueError(f"{name} is not what was saved")
        steps = np.array(about["step"], like.step.dtype)
        return TrainState(arrays["params"], arrays["opt_state"], steps), arrays["best"], about["loop"]

    def _restore_by_first_process(self, like: TrainState) -> Restored | None:
        """What _newest_intact finds in process 0, in every process: the others may not see its disk."""
        found, problem = None, ""
        try:
            found = self._newest_intact(like) if self._manager is not None else None
        except InputError as error:
            problem = str(error)
        about = {"error": problem, "loop": found and found[2]}
        about = json.loads(from_first_process(json.dumps(about).encode()))
        if about["error"]:
            raise InputError(about["error"])
        if about["loop"] is None:
            return None
        arrays = arrays_from_first_process(empty((like, like.params)) if found is None else found[:2])
        return (*arrays, about["loop"])

    def _set_aside(self, step: int) -> str:
        """Rename a damaged checkpoint; the new name."""
        assert self._manager is not None
        kept, number = self._directory / f"{step}.damaged", 1
        while kept.exists():
            number += 1
            kept = self._directory / f"{step}.damaged-{number}"
        (self._directory / str(step)).rename(kept)
        self._manager.reload()
        return kept.name

    def _clear_unfinished(self) -> list[Path]:
        """Remove what killed or failed saves have left, and say what it was."""
        found = sorted(self._directory.glob(UNFINISHED))
        for path in found:
            shutil.rmtree(path, ignore_errors=True)
        return found

    def _check_room(self, step: int, arrays: Any, about: dict[str, Any]) -> None:
        leaves = jax.tree.leaves(arrays)
        needed = sum(leaf.nbytes for leaf in leaves) + len(json.dumps(about)) + 1024 * (256 + len(leaves))
        if shutil.disk_usage(self._directory).free < needed:
            raise self._cannot_write(f"checkpoint {step}", f"the disk is full ({needed / 1e6:.1f} MB needed)")

    @contextlib.contextmanager
    def _explaining(self, what: str) -> Iterator[None]:
        """Turn what stops a save into one line, and give back the space of what was not finished."""
        try:
            yield
        except (OSError, ValueError) as error:
            for _ in range(20):  # other threads of the failed save are still writing
                if not self._clear_unfinished():
                    break
                time.sleep(0.1)
            reason = "the disk is full" if is_full_disk(error) else str(error).partition("\n")[0][:300]
            raise self._cannot_write(what, reason) from error

    def _cannot_write(self, what: str, reason: str) -> InputError:
        steps = self._steps()
        last = f"the last good checkpoint is step {steps[-1]}" if steps else "there is no earlier checkpoint"
        free = shutil.disk_usage(self._directory).free / 1e6
        return InputError(
            f"{what} cannot be written to {self._directory}: {reason}, {free:.1f} MB free; free some space or mend the "
            f"folder, then run the same command again; {last}"
        )

    def _tell(self, line: str) -> None:
        log.warning("%s", line)
        self._warn(line)
