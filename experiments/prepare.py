"""Prepare a data set alone: python -m experiments.prepare --config=configs/hippocampus.py --config.data.root=<folder>

Reads every scan once and writes the tensorflow-datasets data set that studies with these settings use, in
config.data.prepared or, without it, where `experiments.main` with the same --workdir looks for it. Exit codes: 0 it is
there, 2 something given cannot be used, 130 interrupted (nothing is left half-written).
"""

import sys
from collections.abc import Sequence

from rich.console import Console

from configs import base
from experiments.command_line import answered
from experiments.main import parse
from inpaint_ssl.config import resolve
from inpaint_ssl.data import ReaderSettings, open_dataset, prepare_store, prepared_folder


def main(argv: Sequence[str]) -> int:
    """The exit code of the command line `argv`."""

    def work() -> int:
        given, workdir, _ = parse(argv)
        data, console = resolve(given, base.get_config()).data, Console()
        reader = open_dataset(ReaderSettings.from_config(data.to_dict()))
        folder = prepared_folder(data.prepared, workdir)
        store = prepare_store(reader, data.slice_axis, folder, console, data.prepare_processes)
        for line in (*(f"note: {note}" for note in reader.notes), *store.summary(), f"Prepared: {store.folder}"):
            console.print(line, highlight=False, soft_wrap=True, markup=False)
        return 0

    return answered(argv, __doc__, work, "interrupted; nothing is left half-written")


if __name__ == "__main__":
    sys.exit(main(sys.argv))
