"""Run a benchmark: python -m experiments.benchmark corruption [--output=runs/benchmark] [--quick]

Prints tables and writes <output>/<benchmark>.json. --quick: tiny sizes and few rounds, to see that it runs; its numbers
mean nothing. memory takes --config=configs/<file>.py, the study to be measured; prepare takes --root=<data set>; engine
and training take --rounds=<n> and --only=<what>,<what>, such as seeds/vmap or 512x9, and write after every round;
predict takes --only=speed,compiled,start,memory. Exit codes: 0 done, 2 something given cannot be used, 130 interrupted.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from experiments.benchmarks import corruption, engine, memory, predicting, prepare, startup, surface, t2, training
from experiments.command_line import answered
from inpaint_ssl.errors import InputError

# Name -> (folder, quick, console) -> file of results. Their modules import no jax, which starts in their processes.
BENCHMARKS: dict[str, Callable[..., Path]] = {
    "corruption": corruption.run,
    "engine": engine.run,
    "memory": memory.run,
    "predict": predicting.run,
    "prepare": prepare.run,
    "startup": startup.run,
    "surface": surface.run,
    "t2": t2.run,
    "training": training.run,
    "training_compiled": training.run_compiled,
}

IN_ROUNDS = ("engine", "training", "training_compiled")
TAKING = {"rounds": IN_ROUNDS, "only": (*IN_ROUNDS, "predict")}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; expected python -m experiments.benchmark <name> [--output=<folder>] [--quick]")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """benchmark, output (Path) and quick from the words after the program's name; InputError when they do not fit."""
    parser = _Parser(prog="python -m experiments.benchmark", description=__doc__, allow_abbrev=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("benchmark", choices=sorted(BENCHMARKS), help="what to measure")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark"), help="folder of the results")
    parser.add_argument("--quick", action="store_true", help="tiny sizes and few rounds")
    parser.add_argument("--config", default="", help="memory: the study's settings; configs/quickstart.py without")
    parser.add_argument("--root", default="", help="prepare: a data set in the nnU-Net v2 layout to measure as well")
    parser.add_argument("--rounds", type=int, default=0, help="engine, training: rounds of measuring; 0 for enough")
    parser.add_argument("--only", default="", help="engine, training, predict: names of what is measured, with commas")
    options = parser.parse_args(arguments)
    options.only = tuple(name.strip() for name in options.only.split(",") if name.strip())
    for name, taking in TAKING.items():
        if getattr(options, name) and options.benchmark not in taking:
            raise InputError(f"--{name}: {options.benchmark} has its own; expected it with {', '.join(taking)}")
    if options.rounds < 0:
        raise InputError(f"--rounds: got {options.rounds}, expected 1 or more, or 0 for enough of them")
    if options.root and options.benchmark != "prepare":
        raise InputError(f"--root: {options.benchmark} reads no scans; expected it with prepare alone")
    if options.root and not (Path(options.root) / "dataset.json").is_file():
        raise InputError(f"--root: no dataset.json in {options.root}, expected the folder of a data set")
    if options.config and options.benchmark != "memory":
        raise InputError(f"--config: {options.benchmark} has sizes of its own; expected it with memory alone")
    if options.output.exists() and not options.output.is_dir():
        raise InputError(f"--output: {options.output} is a file, expected a folder or a path where one can be made")
    return options


def main(argv: Sequence[str]) -> int:
    """The exit code of the command line `argv`."""

    def work() -> int:
        options = parse(argv[1:])
        options.output.mkdir(parents=True, exist_ok=True)  # found out before minutes of measuring, not after
        settings = {name: value for name in ("config", "root", "rounds", "only") if (value := getattr(options, name))}
        BENCHMARKS[options.benchmark](options.output, options.quick, Console(), **settings)
        return 0

    return answered(argv, None, work, "interrupted; of engine, training and predict what was finished is kept")


if __name__ == "__main__":
    sys.exit(main(sys.argv))
