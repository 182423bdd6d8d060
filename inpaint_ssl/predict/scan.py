"""One scan after another: read, segmented, measured, written."""

import contextlib
import math
import os
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from inpaint_ssl.data import Scan
from inpaint_ssl.data.geometry import SLICE_AXES
from inpaint_ssl.data.nifti_output import write_nifti, write_share
from inpaint_ssl.errors import InputError, one_line
from inpaint_ssl.files import write_bytes_atomic
from inpaint_ssl.measure import Measures, measure_mask
from inpaint_ssl.predict.folder import OutputFolder
from inpaint_ssl.predict.inputs import Input
from inpaint_ssl.predict.overlay import overlay_picture
from inpaint_ssl.trained.ranges import outside, quantities
from inpaint_ssl.trained.segmenter import Segmentation, Segmenter

Record = dict[str, Any]


class OneScan:
    """With one Segmenter into one folder. probabilities: whether a map for each class is written too."""

    def __init__(self, segmenter: Segmenter, folder: OutputFolder, probabilities: bool) -> None:
        self.segmenter, self.folder, self.probabilities = segmenter, folder, probabilities
        record = segmenter.record
        modality, channels = record.preprocessing.modality, len(record.scan_channels)
        self.measures = Measures.from_config(record.clinical, record.classes, modality, channels)

    def __call__(self, given: Input, on_slices: Callable[[int], None]) -> Record | None:
        """The record of a scan, "done" or with its error "failed", which is kept; None when it was there already.

        on_slices gets the number of slices done. What no reader foresees fails the scan too, with where it happened.
        Raises InputError when nothing can be written, as to a full disk.
        """
        try:
            return self._done_or_failed(given, on_slices)
        except OSError as error:
            why = f"{error.strerror or error} ({error.filename or self.folder.path})"
            raise InputError(f"scan {given.scan_id}: {why}; the same command goes on with what is missing") from error

    def _done_or_failed(self, given: Input, on_slices: Callable[[int], None]) -> Record | None:
        began = time.monotonic()
        record: Record = {"scan": given.scan_id, "source": ", ".join(given.shown()[:1]), "sources": {}}
        try:
            if self.folder.done(given) is not None:
                return None
            record["sources"] = given.stamps()  # before it is read: a change meanwhile is then noticed next time
            record |= self._segmented(given, on_slices)
        except InputError as error:
            record |= {"status": "failed", "error": str(error)}
        except OSError:
            raise
        except Exception as error:
            record |= {"status": "failed", "error": f"scan {given.scan_id}: {_unforeseen(error)}"}
        else:
            record |= {"status": "done", "seconds": round(time.monotonic() - began, 3)}
        self.folder.keep(given, record)
        return record

    def _segmented(self, given: Input, on_slices: Callable[[int], None]) -> Record:
        how = self.segmenter.record.preprocessing
        scan = given.read()
        with self._space_for_probabilities(scan) as probabilities:
            name = f"scan {given.scan_id}"
            found = self.segmenter.segment(
                scan.image, scan.spacing_mm, name=name, probabilities=probabilities, on_slices=on_slices
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
        write_nifti(self.folder.path / name, self.segmenter.record.stored(found.labels), scan, given.nifti_header())
        return name

    def _write_dicom_seg(self, given: Input, found: Segmentation, scan: Scan) -> tuple[str, list[str]]:
        """The DICOM segmentation of a scan that came as DICOM, "" without one, and what is to be said of it."""
        sources = given.source_images()
        if sources is None:
            return "", []
        from inpaint_ssl.predict.dicom_seg import write_dicom_seg  # takes most of a second, and few need it

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
        write_share(self.folder.path / name, found.uncertainty, scan, given.nifti_header())
        return name

    @contextlib.contextmanager
    def _space_for_probabilities(self, scan: Scan) -> Iterator[np.ndarray | None]:
        """A file beside the results that holds them while they are made: they can be larger than the memory."""
        if not self.probabilities:
            yield None
            return
        shape = (self.segmenter.record.outputs, *scan.image.shape[:3])
        with tempfile.TemporaryFile(dir=self.folder.path) as file:
            # else a full disk would end the process when the map is written to
            os.posix_fallocate(file.fileno(), 0, math.prod(shape) * np.dtype(np.float16).itemsize)
            yield np.moveaxis(np.memmap(file, np.float16, "r+", shape=shape), 0, -1)  # a class lies together

    def _write_probabilities(self, given: Input, probabilities: np.ndarray | None, scan: Scan) -> list[str]:
        if probabilities is None:
            return []
        written = []
        for k, of_class in enumerate(self.segmenter.record.classes.names):
            written.append(self.folder.file("probabilities", given.scan_id, ".nii.gz", of_class))
            write_share(self.folder.path / written[-1], probabilities[..., k], scan, given.nifti_header())
        return written


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _unforeseen(error: Exception) -> str:
    """In one line what went wrong, and where in the code."""
    places = traceback.extract_tb(error.__traceback__)
    where = f" in {Path(places[-1].filename).name}, line {places[-1].lineno}" if places else ""
    text = str(error).partition("\n")[0][:300]
    return one_line(f"an unforeseen {type(error).__name__}{where} ({text}); the other scans go on, please report it")
