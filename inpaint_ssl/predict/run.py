"""Segments and measures every scan of an input, one after another, and writes what is found."""

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import numpy as np
from rich.console import Console

from inpaint_ssl.bundle import MetricsCard, card_of_run, load_bundle
from inpaint_ssl.checkpoint import crc32
from inpaint_ssl.errors import Problems, one_line
from inpaint_ssl.predict.folder import OutputFolder
from inpaint_ssl.predict.inputs import Input, open_inputs
from inpaint_ssl.predict.measurements import write_measurements
from inpaint_ssl.predict.page import headline, write_index
from inpaint_ssl.predict.scan import OneScan, Record
from inpaint_ssl.progress import StageProgress
from inpaint_ssl.trained.run import TrainedModel, load_run
from inpaint_ssl.trained.segmenter import Segmenter
from inpaint_ssl.versions import versions

_NAMED = ("study", "dataset", "arm", "label_fraction", "seed", "labels")


@dataclass(frozen=True)
class PredictSettings:
    """batch_size, flips, overlap: as of Segmenter. probabilities, uncertainty: also write these maps. hash_ids: DICOM
    scans are named by salted hashes, as in training, and not by what identifies the patient.
    """

    batch_size: int = 16
    flips: tuple[str, ...] = ()
    overlap: float = 0.5
    probabilities: bool = False
    uncertainty: bool = False
    hash_ids: bool = True


@dataclass(frozen=True)
class GivenModel:
    """A trained network and how well it did on test scans, None where it was not evaluated."""

    model: TrainedModel
    card: MetricsCard | None

    def identity(self) -> Record:
        """Which network it is, by content, wherever it lies; JSON-able."""
        record = self.model.record
        trained_on = {"scans": record.trained_on.scans, "subjects": record.trained_on.subjects}
        return {
            **{name: getattr(record, name) for name in _NAMED},
            "preprocessing": record.preprocessing.to_dict(),
            "trained_on": trained_on,
            "weights_crc32": crc32(jax.tree.map(np.asarray, self.model.params)),
        }

    def about(self) -> Record:
        """The same, and what else the page says of it."""
        card = None if self.card is None else self.card.to_dict()
        return {"name": one_line(Path(self.model.origin).name), **self.identity(), "card": card}


def load_model(path: str) -> GivenModel:
    """The folder of a run, or a bundle; InputError for anything else."""
    if Path(path).is_dir():
        model = load_run(Path(path))
        about = model.record
        return GivenModel(model, card_of_run(Path(path), about.task, about.dataset, about.splits_sha256))
    bundle = load_bundle(Path(path))
    return GivenModel(bundle.model, bundle.card)


def predict(
    models: Sequence[GivenModel],
    source: str,
    output: Path,
    settings: PredictSettings,
    console: Console,
    tell_error: Callable[[str], None],
) -> int:
    """Segment the scans of `source` into the folder `output`; the number of scans that could not be.

    source: a NIfTI file, a folder of them, or a folder of DICOM series. Several models are one ensemble. A scan that
    cannot be used is told to tell_error and recorded, and the others go on; what `output` holds already of the same
    models, settings and files stays as it is. Raises InputError for models, input and output that cannot be used,
    before anything is written. KeyboardInterrupt, after tables and page, when the user interrupts.
    """
    segmenter = Segmenter(
        [one.model for one in models],
        batch_size=settings.batch_size,
        flips=settings.flips,
        overlap=settings.overlap,
        uncertainty=settings.uncertainty,
    )
    problems = Problems(collect=True)
    inputs = open_inputs(source, segmenter.record, settings.hash_ids, problems)
    for note in inputs.notes:
        _say(console, f"note: {note}")
    # how many slices go through the network at once decides nothing
    decides = {name: value for name, value in asdict(settings).items() if name != "batch_size"}
    folder = OutputFolder(output, {"models": [one.identity() for one in models], "settings": decides}, Path(source))
    folder.check_names(inputs.scans)
    for error in problems.found:
        tell_error(str(error))
    began = time.monotonic()
    ended = _segment_all(OneScan(segmenter, folder, settings.probabilities), inputs.scans, console, tell_error)
    summary = {
        "versions": versions(),
        "seconds": round(time.monotonic() - began, 1),
        "problems": [str(error) for error in problems.found],
    }
    folder.finish(summary)
    wanted = {one.scan_id for one in inputs.scans}  # a scan that failed and is no input any more is forgotten
    records = [one for name, one in folder.records().items() if one["status"] == "done" or name in wanted]
    write_measurements(folder.path / "measurements.csv", records)
    about = {"models": [one.about() for one in models], "settings": asdict(settings), **summary}
    page = write_index(folder.path, about, records)
    if not ended:
        raise KeyboardInterrupt
    _say(console, headline(records))
    _say(console, f"Masks, measurements and pictures: {page}")
    failed = {one["scan"] for one in records if one["status"] == "failed"}
    return len(problems.found) + sum(one.scan_id in failed for one in inputs.scans)


def _segment_all(
    one_scan: OneScan, scans: Sequence[Input], console: Console, tell_error: Callable[[str], None]
) -> bool:
    """False when interrupted, so that tables and page are still written of what is done."""
    began, slices = time.monotonic(), 0
    with StageProgress("segment", len(scans), "scan", console=console) as progress:
        try:
            for number, given in enumerate(scans, start=1):
                record = one_scan(given, functools.partial(_tell_slices, progress, number, given.scan_id))
                slices += 0 if record is None else record.get("slices", 0)
                if record is not None and record["status"] == "failed":
                    tell_error(record["error"])
                pace = f"{slices / (time.monotonic() - began):.0f} slices/s" if slices else "there already"
                progress.update(number, f"{given.scan_id}  {pace}")
            progress.finish(len(scans))
        except KeyboardInterrupt:
            return False
    return True


def _tell_slices(progress: StageProgress, number: int, scan_id: str, done: int) -> None:
    progress.update(number - 1, f"{scan_id}  {done} slice{'s' * (done != 1)}")


def _say(console: Console, text: str) -> None:
    console.print(one_line(text), highlight=False, soft_wrap=True, markup=False)
