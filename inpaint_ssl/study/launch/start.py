"""Whether a study is shared among workers, and the one call that does it."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from ml_collections import ConfigDict
from rich.console import Console

from inpaint_ssl.signals import Stops
from inpaint_ssl.study.launch.command import WORKER, worker_flags
from inpaint_ssl.study.launch.devices import visible_gpus
from inpaint_ssl.study.launch.local import run_local
from inpaint_ssl.study.launch.slurm import run_slurm

PROGRAM = "experiments.main"


def wanted(config: ConfigDict, open_groups: int) -> bool:
    """True when run() should be called for so many groups of cells that are to do, False when this process does them.

    One group on this machine is done by this process, which may use all GPUs for it.
    """
    if config.launcher == "slurm":
        return open_groups > 0
    return side_by_side(config, open_groups) > 1


def is_worker() -> bool:
    """True in a process that run() has started, here or as a job: its words go to a log and the launcher's terminal."""
    return bool(os.environ.get(WORKER))


def run(
    config: ConfigDict,
    argv: Sequence[str],
    workdir: Path,
    console: Console,
    stops: Stops,
    open_groups: int,
    left: Callable[[], int] | None = None,
    program: str = PROGRAM,
) -> int:
    """Run workers on the study in `workdir` until all have ended; the worst of their exit codes (0 when all is done).

    argv: the command line of this process, whose flags the workers get (its first word is not used). left(): groups
    that are still to do, for the display. program: the module that a worker runs. Raises signals.Stopped when `stops`
    name a signal: after workers of this machine have saved, while jobs of a cluster go on. InputError when there is no
    cluster to submit to, or it refuses a job.
    """
    command = [program, *worker_flags(argv, workdir)]
    if config.launcher == "slurm":
        return run_slurm(config, command, workdir, console, stops, open_groups, left)
    return run_local(command, workdir, console, stops, side_by_side(config, open_groups), left)


def side_by_side(config: ConfigDict, open_groups: int) -> int:
    """How many groups of cells are done at the same time, when so many are left."""
    most = config.slurm.jobs if config.launcher == "slurm" else config.workers or max(1, len(visible_gpus()))
    return min(most, open_groups)
