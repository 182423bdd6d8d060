"""Writes RESULTS.md and its figures from the collected files alone; the same files give the same text."""

import os
from pathlib import Path

from inpaint_ssl.errors import InputError
from inpaint_ssl.files import write_text_atomic
from inpaint_ssl.report.evidence import files
from inpaint_ssl.report.evidence.claims_table import claims_table
from inpaint_ssl.report.evidence.comparison import best, extent, primary
from inpaint_ssl.report.evidence.figures import figure_of, write_figures
from inpaint_ssl.report.evidence.plain_words import plain_words
from inpaint_ssl.report.evidence.protocol import protocol
from inpaint_ssl.report.evidence.read import Evidence, read_evidence
from inpaint_ssl.report.evidence.record import record
from inpaint_ssl.report.evidence.tuning import tuning

_DRAWN = ("tuning", "primary", "extent", "best")  # parts that have a figure
_HEAD = (
    "# Results: does pretraining help on real scans?\n\n"
    "Written by `python -m experiments.results write` from the files in `{folder}`; do not edit it by hand. Dice: "
    "overlap of a predicted and a drawn structure, 0 (none) to 1 (perfect)."
)


def write(evidence: Path, output: Path) -> list[str]:
    """Write RESULTS.md (`output`) and the figures in evidence/figures; what was written, in words.

    Everything that has no files is said to be not run. InputError for an `evidence` that is a file, for collected files
    that are damaged, and for a figure that cannot be made small.
    """
    if Path(evidence).is_file():
        raise InputError(f"--evidence: {evidence} is a file, expected a folder of collected studies")
    found = read_evidence(evidence)
    text = results_text(found, _seen_from(evidence, output))
    drawings = [figure_of(study) for study in found.studies if study.name.part in _DRAWN]
    write_figures([drawing for drawing in drawings if drawing is not None], Path(evidence))
    write_text_atomic(output, text)
    return [f"{len(found.studies)} studies: {', '.join(s.name.folder for s in found.studies) or 'none'}", f"{output}"]


def _seen_from(evidence: Path, output: Path) -> str:
    """The folder of the evidence relative to that of the written file, with slashes."""
    return Path(os.path.relpath(evidence, Path(output).parent or ".")).as_posix()


def results_text(evidence: Evidence, folder: str) -> str:
    """RESULTS.md. folder: that of the evidence as seen from it."""
    figures = f"{folder}/{files.FIGURES}"
    sections = (
        ("In plain words", " ".join(plain_words(evidence))),
        ("Protocol", protocol(evidence)),
        ("What makes pretraining pay", tuning(evidence, figures)),
        ("Primary comparison", primary(evidence, figures)),
        ("Extent of unlabelled data", extent(evidence, figures)),
        ("The paper's claims", claims_table(evidence)),
        ("Best Dice, beyond the paper", best(evidence, figures)),
        ("How to repeat it", record(evidence, folder)),
    )
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections)
    return f"{_HEAD.format(folder=folder)}\n\n{body}\n"
