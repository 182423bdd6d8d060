"""A worker: runs another module as `python -m` does, and hears when it has to stop.

    python -m inpaint_ssl.study.launch.worker [--follow] <module> <flags>

With --follow it gets SIGINT when its standard input is closed, which is when the launcher has died: work that nobody
sees any more should not go on. SIGUSR2, by which a job of submitit learns that its time is up, reaches all processes
of the job and is not for this one: the job passes it on as SIGUSR1.
"""

import os
import runpy
import signal
import sys
import threading

from inpaint_ssl.study.launch.command import WORKER


def _follow() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGINT)


def main(argv: list[str]) -> None:
    """Run the module that `argv` names, which ends the process with its own exit code."""
    follow = argv[1] == "--follow"
    module, *flags = argv[2 if follow else 1 :]
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    if follow:
        threading.Thread(target=_follow, name="launcher", daemon=True).start()
    os.environ[WORKER] = "1"
    sys.argv = [module, *flags]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv)
