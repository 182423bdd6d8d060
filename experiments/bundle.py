"""Write a trained network as one file: python -m experiments.bundle --run=<folder of one run> --output=model.zip
    [--verify] [--debug]

The folder is that of a run, such as runs/<study>/finetune/<name>. The file holds weights, settings, preprocessing,
names and colours of labels, the metrics card, the citation and the network as StableHLO, and no id of a patient or
scan; README.md in it says how it is used. The same run gives the same bytes; an existing file is never replaced.
--verify compares an existing bundle with the run on generated slices instead. Exit codes: 0 done, or they agree; 1
--verify found that they differ; 2 something given cannot be used; 130 interrupted.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from rich.console import Console

from configs import base
from experiments.command_line import answered, read_plain_flags
from inpaint_ssl.bundle import MetricsCard, verify_bundle, write_bundle
from inpaint_ssl.runtime import configure

_USAGE = "--run=<folder of one run> --output=model.zip [--verify]"


def _define(values: flags.FlagValues) -> None:
    flags.DEFINE_string("run", "", "folder of one run", flag_values=values)
    flags.DEFINE_string("output", "", "bundle to write, or to compare", flag_values=values)
    flags.DEFINE_boolean("verify", False, "compare the bundle with the run", flag_values=values)


def parse(argv: Sequence[str]) -> flags.FlagValues:
    """The flags of the command line; InputError when it cannot be read."""
    return read_plain_flags(argv, _define, _USAGE, ("run", "output"))


def _on_card(card: MetricsCard | None) -> str:
    if card is None:
        return "the run was not evaluated, so the bundle has no metrics card"
    average = card.scores[0]
    stated = "no value" if average.mean is None else f"{average.mean:.3f}"
    interval = (
        ""
        if average.lower is None
        else f" ({100 * card.level:g} % interval {average.lower:.3f} to {average.upper:.3f})"
    )
    name = "Dice" if card.metric == "dice" else "L2 norm"
    return f"{name}, {average.name} over {card.subjects} {card.part} subjects: {stated}{interval}"


def _run(values: flags.FlagValues, console: Console) -> int:
    configure(base.get_config())
    run, output = Path(values.run), Path(values.output)
    if values.verify:
        agreement = verify_bundle(run, output)
        lines, code = agreement.lines(), 0 if agreement.agrees else 1
    else:
        written = write_bundle(run, output)
        state = "was there already, with the bytes of this run" if written.was_there else f"{written.size / 1e6:.3g} MB"
        lines, code = [_on_card(written.card), f"bundle: {output} ({state})"], 0
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    return code


def main(argv: Sequence[str]) -> int:
    """The exit code of the command line `argv`."""
    return answered(argv, __doc__, lambda: _run(parse(argv), Console()), "interrupted; nothing was written")


if __name__ == "__main__":
    sys.exit(main(sys.argv))
