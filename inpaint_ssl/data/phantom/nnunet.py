"""Generated abdomens in the raw layout of nnU-Net v2 (see data/readers/dataset_json.py): one NIfTI file a slice."""

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np

from inpaint_ssl.data.phantom.abdomen import AbdomenPhantom
from inpaint_ssl.data.phantom.folder import new_folder
from inpaint_ssl.files import write_json_atomic

ENDING = ".nii.gz"
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def write_nnunet(
    root: Path,
    subjects: int,
    *,
    size: tuple[int, int] = (96, 96),
    seed: int = 0,
    snr: float = 20.0,
    unlabelled: int = 0,
    on_scan: Callable[[int], None] | None = None,
) -> None:
    """Write the slices of `AbdomenPhantom` with these settings as a raw nnU-Net v2 data set `root`.

    Labelled ones go to imagesTr and labelsTr, the others to imagesUl, under their own ids; int16 HU and uint8 labels,
    columns running to the patient's left and rows to posterior (LPS), as CT is commonly stored. The same settings write
    the same bytes. on_scan(n) is called after each slice.
    Raises InputError for values out of range and for a `root` that is no empty or new folder; the folder appears whole.
    """
    phantom = AbdomenPhantom(subjects=subjects, unlabelled_subjects=unlabelled, size=size, seed=seed, snr=snr)
    with new_folder(Path(root)) as folder:
        for name in ("imagesTr", "labelsTr", "imagesUl"):
            (folder / name).mkdir()
        for number, entry in enumerate(phantom.entries, start=1):
            scan = phantom.read(entry)
            images = folder / ("imagesTr" if entry.has_label else "imagesUl")
            _write(images / f"{entry.scan_id}_0000{ENDING}", scan.image[..., 0], scan.affine)
            if scan.label is not None:
                _write(folder / "labelsTr" / f"{entry.scan_id}{ENDING}", scan.label, scan.affine)
            if on_scan is not None:
                on_scan(number)
        description = {
            "name": phantom.name,
            "channel_names": {"0": phantom.channel_names[0]},
            "labels": {"background": 0, **phantom.labels},
            "numTraining": subjects,
            "file_ending": ENDING,
        }
        write_json_atomic(folder / "dataset.json", description)


def _write(path: Path, ras: np.ndarray, affine: np.ndarray) -> None:
    """A volume on a grid whose middle is the origin, so that turning its axes turns the affine alone."""
    image = nib.Nifti1Image(np.ascontiguousarray(ras[::-1, ::-1]), LPS @ affine, dtype=ras.dtype)
    image.set_sform(image.affine, code="scanner")
    image.set_qform(image.affine, code="scanner")  # which some programs read instead
    image.header.set_xyzt_units("mm")
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=6, mtime=0))
