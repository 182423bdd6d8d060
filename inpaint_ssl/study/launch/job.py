"""What a job of the cluster runs: one worker. submitit pickles it where the job is submitted."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence

from submitit.helpers import DelayedSubmission

from inpaint_ssl.study.launch.command import worker_command

_SAVE_S = 75.0  # a worker that is asked to stop may take this long; submitit warns 90 s before the time is up
_POLL_S = 0.5


class WorkerJob:
    """Callable of submitit: runs a worker (module and flags in `command`) and returns its exit code."""

    def __init__(self, command: Sequence[str]) -> None:
        self.command = tuple(command)
        self._pid = 0

    def __call__(self) -> int:
        module, *flags = self.command
        process = subprocess.Popen([*worker_command(module, follow=False), *flags])
        self._pid = process.pid
        while (code := process.poll()) is None:  # not wait(), in whose lock checkpoint() could come
            time.sleep(_POLL_S)
        return code if code >= 0 else 128 - code

    def checkpoint(self) -> DelayedSubmission:
        """The time is up, or another job is more urgent: let the worker save; submitit then queues the job again."""
        if self._pid:
            try:
                os.kill(self._pid, signal.SIGUSR1)
                _await_end(self._pid)
            except (ProcessLookupError, ChildProcessError):  # it has ended already
                pass
        return DelayedSubmission(WorkerJob(self.command))


def _await_end(pid: int) -> None:
    deadline = time.monotonic() + _SAVE_S
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None and time.monotonic() < deadline:
        time.sleep(_POLL_S)
