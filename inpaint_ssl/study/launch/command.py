"""The command line of a worker."""

import sys
from collections.abc import Sequence
from pathlib import Path

WORKER = "INPAINT_SSL_WORKER"  # variable that is set in a worker and in the processes that it starts
_OURS = ("config.launcher", "config.workers", "workdir")


def worker_flags(argv: Sequence[str], workdir: Path) -> list[str]:
    """The flags of `argv` but for what a launcher decides, which is replaced: one worker, in this very folder."""
    kept, words = [], list(argv[1:])
    while words:
        name, is_joined, _ = words[0].partition("=")
        if name.startswith("-") and name.lstrip("-") in _OURS:
            del words[: 1 if is_joined else 2]
        else:
            kept.append(words.pop(0))
    return [*kept, f"--workdir={Path(workdir).absolute()}", "--config.launcher=local", "--config.workers=1"]


def worker_command(module: str, *, follow: bool) -> list[str]:
    """The words that start a worker, to be followed by its flags; follow: it ends when its standard input is closed."""
    return [sys.executable, "-m", "inpaint_ssl.study.launch.worker", *(["--follow"] if follow else []), module]
