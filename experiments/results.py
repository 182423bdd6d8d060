"""RESULTS.md from files that commands wrote: python -m experiments.results collect --from=<folder of studies>
    [--evidence=experiments/evidence] [--force] [--elsewhere], then
python -m experiments.results write [--evidence=experiments/evidence] [--output=RESULTS.md]

collect takes what the write-up needs of every study of configs/evidence.py in a folder, without places, into
experiments/evidence/<study>/. A collected study is not replaced by one with fewer complete runs unless --force is
given; --elsewhere: the studies ran on another machine, so the processor of this one is not recorded. write makes
RESULTS.md and its figures from these files alone; the same files give the same text. Exit codes: 0 done, 2 something
given cannot be used, 130 interrupted.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from rich.console import Console

from experiments.benchmarks.machine import available_cores, processor
from experiments.command_line import answered, read_plain_flags
from inpaint_ssl.errors import InputError
from inpaint_ssl.report.evidence.collect import collect
from inpaint_ssl.report.evidence.write import write

EVIDENCE = "experiments/evidence"
_USAGE = {
    "collect": "collect --from=<folder of studies> [--evidence=<folder>] [--force] [--elsewhere]",
    "write": "write [--evidence=<folder>] [--output=RESULTS.md]",
}


def parse(argv: Sequence[str]) -> tuple[str, flags.FlagValues]:
    """(collect or write, its flags) of the command line; InputError when it cannot be read."""
    words = [word for word in argv[1:] if word != "--debug"]
    command = words[0] if words else ""
    if command not in _USAGE:
        raise InputError(f"got {command or 'no word'!r}, expected {' or '.join(_USAGE.values())}")

    def define(values: flags.FlagValues) -> None:
        flags.DEFINE_string("evidence", EVIDENCE, "folder of what is collected", flag_values=values)
        if command == "collect":
            flags.DEFINE_string("from", "", "folder in which the studies lie", flag_values=values)
            flags.DEFINE_boolean("force", False, "replace what has more complete runs", flag_values=values)
            flags.DEFINE_boolean("elsewhere", False, "the studies ran on another machine", flag_values=values)
        else:
            flags.DEFINE_string("output", "RESULTS.md", "file to write", flag_values=values)

    required = ("from",) if command == "collect" else ()
    return command, read_plain_flags([argv[0], *words[1:]], define, _USAGE[command], required)


def _run(argv: Sequence[str], console: Console) -> int:
    command, values = parse(argv)
    evidence = Path(values.evidence)
    if command == "collect":
        machine = {} if values.elsewhere else {"processor": processor(), "cores": available_cores()}
        lines = collect(Path(str(values["from"].value)), evidence, machine, force=values.force)
    else:
        lines = write(evidence, Path(values.output))
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    return 0


def main(argv: Sequence[str]) -> int:
    """The exit code of the command line `argv`."""
    return answered(argv, __doc__, lambda: _run(argv, Console()), "interrupted; the same command starts over")


if __name__ == "__main__":
    sys.exit(main(sys.argv))
