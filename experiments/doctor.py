"""Check a data set before training: python -m experiments.doctor --config=configs/hippocampus.py
    --config.data.root=<folder> [--html=report.html] [--debug]

Looks at every scan once and prints what is wrong with the data, the most severe first, with file names and remedies;
then what training will do with them: image size, memory, and time from a step that is measured here. --html also writes
a page with histograms and pictures. Nothing else is written. Exit codes: 0 clean, 1 warnings, 2 errors or settings that
cannot be used, 130 interrupted.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict
from rich.console import Console

from configs import base
from experiments.command_line import answered, read_flags
from inpaint_ssl.config import resolve
from inpaint_ssl.errors import InputError

_USAGE = "--config=configs/<file>.py --config.data.root=<folder>"


def parse(argv: Sequence[str]) -> tuple[ConfigDict, Path | None]:
    """(settings not yet checked, page to write) from the command line; InputError when it cannot be read."""

    def define(values: flags.FlagValues) -> None:
        flags.DEFINE_string("html", "", "page to write, one file", flag_values=values)

    values = read_flags(argv, define, _USAGE)
    page = Path(values.html) if values.html else None
    if page is not None and page.is_dir():
        raise InputError(f"--html: {page} is a folder, expected the name of a file such as report.html")
    return values.config, page


def _run(config: ConfigDict, page: Path | None, console: Console) -> int:
    from inpaint_ssl.doctor.examine import examine
    from inpaint_ssl.doctor.findings import exit_code
    from inpaint_ssl.doctor.plan import make_plan
    from inpaint_ssl.doctor.terminal import print_findings

    diagnosis = examine(config, console)
    plan = make_plan(config, diagnosis, console)
    print_findings(diagnosis, plan, console)
    if page is not None:
        from inpaint_ssl.doctor.page import write_page

        write_page(page, config, diagnosis, plan, console)
        console.print(f"Page: {page}", highlight=False, soft_wrap=True, markup=False)
    return exit_code(plan.findings)


def main(argv: Sequence[str]) -> int:
    """The exit code of the command line `argv`."""

    def work() -> int:
        config, page = parse(argv)
        return _run(resolve(config, base.get_config()), page, Console())

    return answered(argv, __doc__, work, "interrupted")


if __name__ == "__main__":
    sys.exit(main(sys.argv))
