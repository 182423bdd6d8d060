"""A launcher of cell_worker as a process of its own: python launch_cells.py <folder> <workers> <flags of the worker>"""

import sys
from pathlib import Path

from ml_collections import ConfigDict
from rich.console import Console

from inpaint_ssl.signals import EXIT_STOPPED, Stopped, Stops, graceful_stop
from inpaint_ssl.study import launch


def main(workdir, workers, *flags):
    config = ConfigDict({"launcher": "local", "workers": workers})
    with graceful_stop(print) as request:
        stops = Stops(here=lambda: request.requested)
        try:
            return launch.run(config, ["main", *flags], workdir, Console(), stops, 99, program="cell_worker")
        except Stopped as stopped:
            print(f"stopped by {stopped}")
            return EXIT_STOPPED


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]))
