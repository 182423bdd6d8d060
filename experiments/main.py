"""Run a study: python -m experiments.main --config=configs/quickstart.py --workdir=runs/quickstart

Without --workdir the folder is runs/<config.study.name>. Without --config the study in --workdir goes on with the
settings of its config.json. Any setting can be changed on the command line, for example --config.seeds=0,1,2 or
--config.stage=report; --config.stage=gallery only draws how a slice is corrupted. --plan runs nothing and writes
nothing to --workdir: it prints the runs and what they share, and the time (from steps that are measured here) and the
disk that they will take. Exit codes: 0 complete, 1 a run of the study failed, 2 something given cannot be used, 75
stopped by SIGTERM, SIGINT or SIGUSR1 after saving, or because another process of the run has ended (the same command
goes on), 130 ended at once by a second SIGINT.
"""

import contextlib
import logging
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict
from rich.console import Console

from configs import base
from experiments.command_line import error_console, read_flags, wants_help, wants_traceback
from inpaint_ssl.config import inherit, resolve
from inpaint_ssl.errors import InputError
from inpaint_ssl.machines import Machines, start
from inpaint_ssl.signals import EXIT_AT_ONCE, EXIT_STOPPED, Stopped, Stops, graceful_stop

_USAGE = (
    "--config=configs/<file>.py --workdir=<folder> (or --workdir=<folder> alone for a study that was started there)"
)


def parse(argv: Sequence[str]) -> tuple[ConfigDict, Path, bool]:
    """(settings not yet checked, work folder, debug) from the command line; InputError when it cannot be read."""
    return _parsed(argv, lambda values: None)[1:]


def _parsed(
    argv: Sequence[str], define_more: Callable[[flags.FlagValues], None]
) -> tuple[flags.FlagValues, ConfigDict, Path, bool]:
    def define(values: flags.FlagValues) -> None:
        flags.DEFINE_string(
            "workdir",
            "",
            "folder of the study; made when missing; default: runs/<config.study.name>",
            flag_values=values,
        )
        define_more(values)

    def saved(values: flags.FlagValues) -> Path | None:
        return Path(values.workdir) / "config.json" if values.workdir else None

    values = read_flags(argv, define, _USAGE, saved)
    config = values.config
    return values, config, Path(values.workdir) if values.workdir else _default_workdir(config), values.debug


def _define_plan(values: flags.FlagValues) -> None:
    flags.DEFINE_boolean("plan", False, "print what the study will do and take, and run nothing", flag_values=values)


def _default_workdir(config: ConfigDict) -> Path:
    """runs/<name of the study>; InputError for a name that would be another folder or none."""
    name = str(config.study.name).replace(" ", "_")
    if not name.strip("._") or "/" in name:
        raise InputError(f"config.study.name: got {name!r}, which names no folder of runs/; give --workdir=<folder>")
    return Path("runs", name)


class _LogFile(logging.FileHandler):
    """log.txt of a study; what is said before its folder is made waits, so that a refused one leaves no trace."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "log.txt", delay=True, encoding="utf-8")
        self._folder, self._waiting = folder, list[logging.LogRecord]()

    def emit(self, record: logging.LogRecord) -> None:
        self._waiting.append(record)
        if self._folder.is_dir():
            while self._waiting:
                super().emit(self._waiting.pop(0))


@contextlib.contextmanager
def _log_to(handler: logging.Handler) -> Iterator[None]:
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("inpaint_ssl")
    logger.setLevel(logging.INFO)
    logger.handlers = [handler]
    logger.propagate = False  # the terminal shows progress lines, not the log
    try:
        yield
    finally:
        logger.handlers = []
        handler.close()


def _run(config: ConfigDict, workdir: Path, machines: Machines, errors: Console, argv: Sequence[str]) -> int:
    """Run the study; of several processes the first alone writes and speaks."""
    from inpaint_ssl.study import run_study

    def warn(line: str) -> None:
        errors.print(line)

    def stop() -> str:
        asked = machines.any("stop", bool(request.requested))
        # A signal that came after this process had answered is for the next time: all must stop at the same step.
        return (request.requested or "a signal to another process") if asked else ""

    writes = machines.is_writer()
    with _log_to(_LogFile(workdir) if writes else logging.NullHandler()), graceful_stop(warn) as request:
        try:
            console, stops = Console(quiet=not writes), Stops(stop, lambda: request.requested)
            return 0 if run_study(config, base.get_config(), workdir, console, machines, stops, argv) else 1
        except Exception as error:
            if not isinstance(error, InputError | OSError | Stopped):
                machines.settle()  # when another process has ended, that is the cause, and this one ends here saying so
            raise


def main(argv: Sequence[str]) -> int:
    """The exit code of the command line `argv`."""
    machines = Machines(1, 0, {})
    debug, errors = wants_traceback(argv), error_console()
    if wants_help(argv):
        print(__doc__)
        return 0
    try:
        values, config, workdir, debug = _parsed(argv, _define_plan)
        config, notes = inherit(resolve(config, base.get_config()))
        config = resolve(config, base.get_config())
        if workdir.exists() and not workdir.is_dir():
            raise InputError(f"--workdir: {workdir} is a file, expected a folder or a path where one can be made")
        given = config.distributed
        for note in notes:
            print(f"note: {note}")
        if values.plan:
            from inpaint_ssl.forecast.study_plan import show_plan

            show_plan(config, workdir, Console())
            return 0
        machines = start(given.coordinator, given.processes, given.process)
        code = _run(config, workdir, machines, errors, argv)
        machines.end(code)
        return code
    except Stopped as stopped:
        message, code = f"stopped by {stopped} and saved; the same command goes on", EXIT_STOPPED
        trace = traceback.format_exc()
    except (InputError, OSError) as error:
        remedy = "" if isinstance(error, InputError) else "; a study needs readable files and room in --workdir"
        message, code, trace = f"error: {error}{remedy}", 2, traceback.format_exc()
    except KeyboardInterrupt:
        message, code = "interrupted; the same command goes on from the last checkpoint", EXIT_AT_ONCE
        trace = traceback.format_exc()
    errors.print(f"{trace}{message}" if debug else message)
    machines.end(code)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv))
