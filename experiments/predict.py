"""Segment and measure scans: python -m experiments.predict --model=<run or bundle> --input=<scans> --output=<folder>
    [--probabilities] [--uncertainty] [--flips=rows,columns] [--batch_size=16] [--overlap=0.5] [--nohash_ids] [--debug]

--model: the folder of a run (runs/<study>/finetune/<name>) or a bundle; several, with commas between, are averaged.
--input: a NIfTI file, a folder of them, or a folder of DICOM series. Every scan gets a mask on its own grid (NIfTI,
and of DICOM a DICOM segmentation too), a picture and rows in measurements.csv; index.html shows them all.
--probabilities: also a map for each class. --uncertainty: also how far several models, or --flips, disagree. --flips:
also segment turned round along rows, columns or both, and average; not for classes that are a side of the body.
--overlap: of tiles, for slices larger than the network's images. --nohash_ids: DICOM scans are named by patient and
series, not by hashes. A scan that cannot be used is told, and the others go on; the same command goes on with what is
missing. Exit codes: 0 all scans done, 1 some could not be, 2 something given cannot be used, 130 interrupted (what was
written is kept).
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from rich.console import Console

from configs import base
from experiments.command_line import answered, error_console, read_plain_flags

_USAGE = "--model=<folder of a run, or a bundle> --input=<NIfTI file, or folder> --output=<folder>"


def _define(values: flags.FlagValues) -> None:
    flags.DEFINE_list("model", [], "folders of runs, or bundles", flag_values=values)
    flags.DEFINE_string("input", "", "scans", flag_values=values)
    flags.DEFINE_string("output", "", "folder to write; made when missing", flag_values=values)
    flags.DEFINE_boolean("probabilities", False, "write a map for each class", flag_values=values)
    flags.DEFINE_boolean("uncertainty", False, "write how far models or flips disagree", flag_values=values)
    flags.DEFINE_list("flips", [], "rows, columns", flag_values=values)
    flags.DEFINE_integer("batch_size", 16, "slices at once", lower_bound=1, flag_values=values)
    flags.DEFINE_float("overlap", 0.5, "of tiles", flag_values=values)
    flags.DEFINE_boolean("hash_ids", True, "name DICOM scans by hashes", flag_values=values)


def parse(argv: Sequence[str]) -> flags.FlagValues:
    """The flags of the command line; InputError when it cannot be read."""
    return read_plain_flags(argv, _define, _USAGE, ("model", "input", "output"))


def _run(values: flags.FlagValues) -> int:
    from inpaint_ssl.predict.run import PredictSettings, load_model, predict
    from inpaint_ssl.runtime import configure

    configure(base.get_config())
    settings = PredictSettings(
        batch_size=values.batch_size,
        flips=tuple(values.flips),
        overlap=values.overlap,
        probabilities=values.probabilities,
        uncertainty=values.uncertainty,
        hash_ids=values.hash_ids,
    )
    models = [load_model(path) for path in values.model]
    errors = error_console()
    failed = predict(
        models, values.input, Path(values.output), settings, Console(), lambda text: errors.print(f"error: {text}")
    )
    return 1 if failed else 0


def main(argv: Sequence[str]) -> int:
    """The exit code of the command line `argv`."""
    return answered(
        argv, __doc__, lambda: _run(parse(argv)), "interrupted; the same command goes on with what is missing"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv))
