"""Segments and measures every scan of an input, one after another, and writes what is found."""

import contextlib
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from inpaint_ssl.bundle import MetricsCard, card_of_run, load_bundle
from inpaint_ssl.checkpoint import crc32
from inpaint_ssl.data import Scan
from inpaint_ssl.data.geometry import SLICE_AXES
from inpaint_ssl.data.nifti_output import write_nifti, write_share
from inpaint_ssl.errors import InputError, Problems
from inpaint_ssl.files import write_bytes_atomic
from inpaint_ssl.measure import Measures, measure_mask
from inpaint_ssl.predict.dicom_seg import write_dicom_seg
from inpaint_ssl.predict.folder import OutputFolder
from inpaint_ssl.predict.inputs import Input, open_inputs
from inpaint_ssl.predict.measurements import write_measurements
from inpaint_ssl.predict.overlay import overlay_picture
from inpaint_ssl.predict.page import headline, write_index
from inpaint_ssl.progress import StageProgress
from inpaint_ssl.trained.ranges import outside, quantities
from inpaint_ssl.trained.run import TrainedModel, load_run
from inpaint_ssl.trained.segmenter import Segmentation, Segmenter
from inpaint_ssl.versions import versions

Record = dict[str, Any]
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
        return {"name": Path(self.model.origin).name, **self.identity(), "card": card}


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
    before anything is written.
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
    one_scan = _OneScan(segmenter, folder, settings)
    began, slices = time.monotonic(), 0
    with StageProgress("segment", len(inputs.scans), "scan", console=console) as progress:
        for number, given in enumerate(inputs.scans, start=1):
            record = one_scan(given)
            slices += 0 if record is None else record.get("slices", 0)
            if record is not None and record["status"] == "failed":
                tell_error(record["error"])
            pace = f"{slices / (time.monotonic() - began):.0f} slices/s" if slices else "there already"
            progress.update(number, f"{given.scan_id}  {pace}")
        progress.finish(len(inputs.scans))
    summary = {
        "versions": versions(),
        "seconds": round(time.monotonic() - began, 1),
        "problems": [str(error) for error in problems.found],
    }
    folder.finish(summary)
    records = list(folder.records().values())
    write_measurements(folder.path / "measurements.csv", records)
    about = {"models": [one.about() for one in models], "settings": asdict(settings), **summary}
    page = write_index(folder.path, about, records)
    _say(console, headline(records))
    _say(console, f"Masks, measurements and pictures: {page}")
    failed = {one["scan"] for one in records if one["status"] == "failed"}
    return len(problems.found) + sum(one.scan_id in failed for one in inputs.scans)


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True, markup=False)


class _OneScan:
    """Reads, segments, measures and writes one scan after another with one Segmenter."""

    def __init__(self, segmenter: Segmenter, folder: OutputFolder, settings: PredictSettings) -> None:
        self.segmenter, self.folder, self.settings = segmenter, folder, settings
        record = segmenter.record
        modality, channels = record.preprocessing.modality, len(record.scan_channels)
        self.measures = Measures.from_config(record.clinical, record.classes, modality, channels)

    def __call__(self, given: Input) -> Record | None:
        """The record of a scan, "done" or with its error "failed", which is kept; None when it was there already."""
        began = time.monotonic()
        record: Record = {"scan": given.scan_id, "source": ", ".join(given.shown()[:1]), "sources": {}}
        try:
            if self.folder.done(given) is not None:
                return None
            record["sources"] = given.stamps()  # before it is read: a change meanwhile is then noticed next time
            record |= self._segmented(given)
        except InputError as error:
            record |= {"status": "failed", "error": str(error)}
        else:
            record |= {"status": "done", "seconds": round(time.monotonic() - began, 3)}
        self.folder.keep(given, record)
        return record

    def _segmented(self, given: Input) -> Record:
        how = self.segmenter.record.preprocessing
        scan = given.read()
        with self._space_for_probabilities(scan) as probabilities:
            found = self.segmenter.segment(
                scan.image, scan.spacing_mm, name=f"scan {given.scan_id}", probabilities=probabilities
            )
            shares = self._write_probabilities(given, probabilities, scan)
        trained_on = self.segmenter.record.trained_on
        of_scan = quantities(scan.image.shape[:3], scan.spacing_mm, found.intensities.channels, how.modality)
        unlike = outside(trained_on.ranges, of_scan, trained_on.scans)
        rows = measure_mask(found.labels, scan.image, scan.spacing_mm, how.slice_axis, scan.acquisition, self.measures)
        dicom_seg, warnings = self._write_dicom_seg(given, found, scan)
        return {
            "shape": list(scan.original_shape),
            "spacing_mm": list(scan.spacing_mm),
            "orientation": scan.original_orientation,
            "slices": scan.image.shape[SLICE_AXES[how.slice_axis]],
            "mask": self._write_mask(given, found, scan),
            "dicom_seg": dicom_seg,
            "overlay": self._write_overlay(given, found, scan),
            "probabilities": shares,
            "uncertainty": self._write_uncertainty(given, found, scan),
            "disagreement": _number(found.disagreement),
            "warnings": [*unlike, *warnings],
            "measurements": [{**row, "value": _number(row["value"])} for row in rows],
        }

    def _write_mask(self, given: Input, found: Segmentation, scan: Scan) -> str:
        name = self.folder.file("masks", given.scan_id, ".nii.gz")
        write_nifti(self.folder.path / name, self.segmenter.record.stored(found.labels), scan)
        return name

    def _write_dicom_seg(self, given: Input, found: Segmentation, scan: Scan) -> tuple[str, list[str]]:
        """The DICOM segmentation of a scan that came as DICOM, "" without one, and what is to be said of it."""
        sources = given.source_images()
        if sources is None:
            return "", []
        name = self.folder.file("masks", given.scan_id, ".dcm")
        try:
            return name, write_dicom_seg(self.folder.path / name, found.labels, scan, sources, self.segmenter.record)
        except InputError as error:  # the NIfTI mask is there all the same
            return "", [str(error)]

    def _write_overlay(self, given: Input, found: Segmentation, scan: Scan) -> str:
        name, record = self.folder.file("overlays", given.scan_id, ".png"), self.segmenter.record
        how, names = record.preprocessing, record.classes.names
        picture = overlay_picture(scan.image, found.labels, how.slice_axis, scan.spacing_mm, names, how.modality)
        write_bytes_atomic(self.folder.path / name, picture)
        return name

    def _write_uncertainty(self, given: Input, found: Segmentation, scan: Scan) -> str:
        if found.uncertainty is None:
            return ""
        name = self.folder.file("uncertainty", given.scan_id, ".nii.gz")
        write_share(self.folder.path / name, found.uncertainty, scan)
        return name

    @contextlib.contextmanager
    def _space_for_probabilities(self, scan: Scan) -> Iterator[np.ndarray | None]:
        """A file beside the results that holds them while they are made: they can be larger than the memory."""
        if not self.settings.probabilities:
            yield None
            return
        shape = (self.segmenter.record.outputs, *scan.image.shape[:3])
        with tempfile.TemporaryFile(dir=self.folder.path) as file:
            yield np.moveaxis(np.memmap(file, np.float16, "w+", shape=shape), 0, -1)  # a class lies together

    def _write_probabilities(self, given: Input, probabilities: np.ndarray | None, scan: Scan) -> list[str]:
        if probabilities is None:
            return []
        written = []
        for k, of_class in enumerate(self.segmenter.record.classes.names):
            written.append(self.folder.file("probabilities", given.scan_id, ".nii.gz", of_class))
            write_share(self.folder.path / written[-1], probabilities[..., k], scan)
        return written


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
