"""Generated knees in the layout of SKM-TEA (see data/readers/skm_tea.py): HDF5 files, annotations and metadata."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from inpaint_ssl.data.phantom.anatomy import Tissue
from inpaint_ssl.data.phantom.folder import new_folder
from inpaint_ssl.data.phantom.knee import SEQUENCE, PhantomDataset, PhantomTruth
from inpaint_ssl.data.scan import Scan
from inpaint_ssl.errors import InputError
from inpaint_ssl.files import write_csv_atomic, write_json_atomic

PAPER_SCANS = {"train": 86, "val": 33, "test": 36}
SIDED = (Tissue.TIBIAL_CARTILAGE, Tissue.MENISCUS)  # told apart into a medial and a lateral channel
LESS_COMMON = 8  # of so many scans one runs from right to left (18 of SKM-TEA's 155 do)
VERSION = "v1.0.0"

_CATEGORIES = (
    (1, "Meniscal Tear", ("Myxoid", "Horizontal", "Radial", "Vertical/Longitudinal", "Oblique", "Complex", "Flap",
                          "Extrusion")),
    (2, "Ligament Tear", ("Low-Grade Sprain", "Moderate Grade Sprain or Mucoid Degeneration",
                          "Full Thickness/Complete Tear")),
    (3, "Cartilage Lesion", ("1", "2A", "2B", "3")),
    (4, "Effusion", ("",)),
)  # fmt: skip
_TISSUES = ("Meniscus", "ACL", "PCL", "Femoral Cartilage", "Patellar Cartilage", "Tibial Cartilage")
_COLUMNS = ("MTR_ID", "MedialDirection", "SpoilerGradientArea", "SpoilerGradientTime", "RepetitionTime", "EchoTime1",
            "FlipAngle")  # fmt: skip


def write_skm_tea(
    root: Path,
    subjects: int,
    *,
    size: tuple[int, int] = (96, 96),
    slices: int = 24,
    seed: int = 0,
    snr: float = 20.0,
    unlabelled: int = 0,
    on_scan: Callable[[int], None] | None = None,
) -> None:
    """Write the knees of `PhantomDataset` with these settings as an SKM-TEA release folder `root`.

    The labelled subjects become scans MTR_001, MTR_002, ... in about the paper's shares of train, val and test (at
    least 3 are needed), then `unlabelled` further scans of the train list without seg. Every eighth scan of a list, its
    second one first, is stored from right to left. No findings are annotated. Spacing is the phantom's own. The same
    settings write the same bytes. on_scan(n) is called after each scan.
    Raises InputError for values out of range and for a `root` that is no empty or new folder; the folder appears whole.
    """
    root = Path(root)
    if subjects < len(PAPER_SCANS):
        raise InputError(f"phantom subjects {subjects}: expected at least 3, for training, validation and test")
    phantom = PhantomDataset(
        subjects=subjects, unlabelled_subjects=unlabelled, size=size, slices=slices, seed=seed, snr=snr
    )
    with new_folder(root) as folder:
        _write(folder, phantom, _lists(subjects, unlabelled), on_scan)


def _lists(subjects: int, unlabelled: int) -> dict[str, list[int]]:
    """The numbers of the scans in each list."""
    total = sum(PAPER_SCANS.values())
    n_val, n_test = (max(1, round(subjects * PAPER_SCANS[name] / total)) for name in ("val", "test"))
    n_train = subjects - n_val - n_test
    train = [*range(n_train), *range(subjects, subjects + unlabelled)]
    return {"train": train, "val": [*range(n_train, n_train + n_val)], "test": [*range(n_train + n_val, subjects)]}


def _write(
    folder: Path, phantom: PhantomDataset, lists: Mapping[str, list[int]], on_scan: Callable[[int], None] | None
) -> None:
    (folder / "image_files").mkdir()
    rows: dict[int, dict[str, Any]] = {}
    for name, numbers in lists.items():
        images = []
        for position, number in enumerate(numbers):
            leftwards = position % LESS_COMMON == 1
            scan, truth = phantom.read_with_truth(phantom.entries[number])
            image = _image(position, number, scan, leftwards)
            _write_scan(folder / "image_files" / image["file_name"], scan, truth, leftwards)
            images.append(image)
            rows[number] = {
                "MTR_ID": image["scan_id"],
                "MedialDirection": truth.medial_direction,
                "SpoilerGradientArea": SEQUENCE.spoiler_area,
                "SpoilerGradientTime": SEQUENCE.spoiler_duration_us,
                "RepetitionTime": SEQUENCE.tr_ms,
                "EchoTime1": SEQUENCE.te_ms,
                "FlipAngle": SEQUENCE.flip_angle_deg,
            }
            if on_scan is not None:
                on_scan(len(rows))
        write_json_atomic(folder / "annotations" / VERSION / f"{name}.json", _annotations(name, images))
    write_csv_atomic(folder / "all_metadata.csv", _COLUMNS, (rows[number] for number in sorted(rows)))


def _image(position: int, number: int, scan: Scan, leftwards: bool) -> dict[str, Any]:
    """The entry of a scan in its JSON file; the file's axes run along -Z, -Y and X (or -X) of RAS."""
    scan_id, old_id = f"MTR_{number + 1:03d}", f"{number + 1:07d}_V00"
    return {
        "id": position + 1,
        "file_name": f"{scan_id}.h5",
        "msp_id": old_id,
        "msp_file_name": f"{old_id}.h5",
        "scan_id": scan_id,
        "subject_id": number + 1,
        "timepoint": 0,
        "voxel_spacing": [float(mm) for mm in reversed(scan.spacing_mm)],
        "matrix_shape": [int(n) for n in reversed(scan.image.shape[:3])],
        "orientation": ["SI", "AP", "RL" if leftwards else "LR"],
        "num_echoes": scan.image.shape[3],
        "inspected": False,
    }


def _write_scan(path: Path, scan: Scan, truth: PhantomTruth, leftwards: bool) -> None:
    def stored(volume: np.ndarray) -> np.ndarray:
        flipped = volume[::-1, ::-1, ::-1] if leftwards else volume[:, ::-1, ::-1]
        return np.ascontiguousarray(np.moveaxis(flipped, (0, 1, 2), (2, 1, 0)))

    echoes = {f"echo{n + 1}": stored(scan.image[..., n]) for n in range(scan.image.shape[3])}
    rss = np.sqrt(sum(echo.astype(np.float64) ** 2 for echo in echoes.values()))
    with h5py.File(path, "w") as file:
        for name, echo in echoes.items():
            file[name] = echo
        if scan.label is not None:
            seg = stored(_one_hot(truth))
            file.create_dataset("seg", data=seg, compression="gzip", chunks=(*seg.shape[:2], 1, seg.shape[3]))
        for name, volume in {**echoes, "rss": rss}.items():
            for key, value in (("mean", volume.mean(dtype=np.float64)), ("std", volume.std(dtype=np.float64)),
                               ("min", volume.min()), ("max", volume.max())):  # fmt: skip
                file[f"stats/{name}/{key}"] = float(value)


def _one_hot(truth: PhantomTruth) -> np.ndarray:
    """uint8 (X, Y, Z, 6): patellar and femoral cartilage, tibial cartilage and meniscus, each medial and lateral."""
    channels = [truth.tissue == Tissue.PATELLAR_CARTILAGE, truth.tissue == Tissue.FEMORAL_CARTILAGE]
    for tissue in SIDED:
        channels += [(truth.tissue == tissue) & side for side in (~truth.lateral, truth.lateral)]
    return np.stack(channels, axis=3).astype(np.uint8)


def _annotations(name: str, images: list[dict[str, Any]]) -> dict[str, Any]:
    categories = [
        {"supercategory": group, "supercategory_id": number, "name": f"{group} ({kind})" if kind else group}
        for number, group, kinds in _CATEGORIES
        for kind in kinds
    ]
    return {
        "info": {
            "contributor": "inpaint_ssl",
            "description": f"Generated knees in the layout of SKM-TEA - {name}",
            "year": "",
            "date_created": "",
            "version": VERSION,
        },
        "categories": [{**category, "id": i} for i, category in enumerate(categories, start=1)],
        "tissues": [{"id": i, "name": tissue} for i, tissue in enumerate(_TISSUES, start=1)],
        "images": images,
        "annotations": [],
    }
