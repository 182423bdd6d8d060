"""Prepare a data set alone: python -m experiments.prepare --config=configs/hippocampus.py --config.data.root=<folder>

Reads every scan once and writes the tensorflow-datasets data set that studies with these settings use, in
config.data.prepared or, without it, where `experiments.main` with the same --workdir looks for it. Exit codes: 0 it is
there, 2 something given cannot be used, 130 interrupted (nothing is left half-written).
"""

import sys
import traceback
from collections.abc import Sequence

from rich.console import Console

from configs import base
from experiments.main import parse
from inpaint_ssl.config import resolve
from inpaint_ssl.data import ReaderSettings, open_dataset, prepare_store, prepared_folder
from inpaint_ssl.errors import InputError


def main(argv: Sequence[str]) -> int:
    """The exit code of the command line `argv`."""
    errors = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
    debug = any(word.lstrip("-") in ("debug", "debug=true", "debug=True") for word in argv)
    if any(word in ("-h", "--help", "-help", "--helpfull") for word in argv):
        print(__doc__)
        return 0
    try:
        config, workdir, _ = parse(argv)
        config = resolve(config, base.get_config())
        console, data = Console(), config.data
        reader = open_dataset(ReaderSettings.from_config(data.to_dict()))
        folder = prepared_folder(data.prepared, workdir)
        store = prepare_store(reader, data.slice_axis, folder, console, data.prepare_processes)
        for line in (*(f"note: {note}" for note in reader.notes), *store.summary(), f"Prepared: {store.folder}"):
            console.print(line, highlight=False, soft_wrap=True, markup=False)
        return 0
    except (InputError, OSError) as error:
        message, code, trace = f"error: {error}", 2, traceback.format_exc()
    except KeyboardInterrupt:
        message, code, trace = "interrupted; nothing is left half-written", 130, traceback.format_exc()
    errors.print(f"{trace}{message}" if debug else message)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv))
