"""Write generated scans as a data set: python -m experiments.phantom --layout=<layout> --output=<folder>
    [--subjects=10] [--unlabelled=0] [--size=96,96] [--slices=24] [--seed=0] [--snr=20]

skm_tea: knees in the layout of SKM-TEA (HDF5, annotations in JSON, all_metadata.csv), with its shares of training,
validation and test scans. nnunet: axial CT slices of the abdomen in the raw layout of nnU-Net v2 (dataset.json, NIfTI);
--slices does not apply. The folder must be new or empty. Exit codes: 0 done, 2 something given cannot be used, 130
interrupted.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from experiments.command_line import answered
from inpaint_ssl.data.phantom.nnunet import write_nnunet
from inpaint_ssl.data.phantom.skm_tea import write_skm_tea
from inpaint_ssl.errors import InputError
from inpaint_ssl.progress import StageProgress

LAYOUTS: dict[str, tuple[Callable[..., None], str]] = {
    "nnunet": (write_nnunet, "abdomens"),
    "skm_tea": (write_skm_tea, "knees"),
}
ONLY = {"slices": "skm_tea"}  # options that apply to one layout


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; expected python -m experiments.phantom --layout=<layout> --output=<folder>")


def _two_sides(text: str) -> tuple[int, int]:
    try:
        rows, columns = (int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}, expected two whole numbers such as 96,96") from None
    return rows, columns


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options from the words after the program's name; InputError when they do not fit."""
    parser = _Parser(prog="python -m experiments.phantom", description=__doc__, allow_abbrev=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--layout", choices=sorted(LAYOUTS), required=True, help="layout of the data set")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--subjects", type=int, default=10, help="subjects with labels")
    parser.add_argument("--unlabelled", type=int, default=0, help="further subjects without labels")
    parser.add_argument(
        "--size",
        type=_two_sides,
        default=(96, 96),
        help="voxels of a slice: SI,AP of a knee; rows,columns of an abdomen",
    )
    parser.add_argument("--slices", type=int, default=argparse.SUPPRESS, help="sagittal slices of a knee (24)")
    parser.add_argument("--seed", type=int, default=0, help="of anatomy, shading and noise")
    parser.add_argument(
        "--snr",
        type=float,
        default=20.0,
        help="over the noise: femoral cartilage in echo 1; muscle less fat (150 HU); inf: no noise",
    )
    options = parser.parse_args(arguments)
    for name, layout in ONLY.items():
        if name in options and options.layout != layout:
            raise InputError(f"--{name} does not apply to --layout={options.layout}, only to {layout}; leave it out")
    return options


def main(argv: Sequence[str]) -> int:
    """The exit code of the command line `argv`."""

    def work() -> int:
        options = vars(parse(argv[1:]))
        (write, what), output = LAYOUTS[options.pop("layout")], options.pop("output")
        total = max(options["subjects"] + options["unlabelled"], 1)
        with StageProgress(f"write {what}", total, "scan") as progress:
            write(output, options.pop("subjects"), **options, on_scan=progress.update)
            progress.finish(total, str(output))
        return 0

    return answered(argv, None, work, "interrupted; nothing was written")


if __name__ == "__main__":
    sys.exit(main(sys.argv))
