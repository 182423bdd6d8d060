"""Real scans: what is said of them is true, nothing is invented, and planted copies are found."""

import io
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nifti_sets import every_nth
from PIL import Image
from rich.console import Console
from scipy import ndimage

from configs import base, headneck_ct, hippocampus
from inpaint_ssl.config import resolve
from inpaint_ssl.doctor.examine import examine

QUIET = Console(quiet=True)


def diagnose(module, root: Path, **changes):
    config = module.get_config()
    config.data.root = str(root)
    config.data.scans_per_subject = 1  # as if nothing were known of heads
    for key, value in changes.items():
        config.split[key] = value
    return examine(resolve(config, base.get_config()), QUIET)


@pytest.mark.slow
def test_hippocampus(real_data: Path) -> None:
    """Its files numbered 2n - 1 and 2n share their intensities: both hippocampi of one head, in different parts."""
    diagnosis = diagnose(hippocampus, real_data / "hippocampus")
    said = {f.kind: f for f in diagnosis.findings}
    assert {kind for kind, f in said.items() if f.severity != "info"} == {"same_origin"}
    for item in said["same_origin"].items:
        numbers = sorted(int(scan.removeprefix("hippocampus_")) for scan, _ in item.shown)
        assert numbers[0] % 2 == 1 and numbers[1] == numbers[0] + 1
        values = []
        for scan, _ in item.shown:
            data = np.asarray(nib.load(real_data / "hippocampus" / "imagesTr" / f"{scan}.nii.gz").dataobj)
            values.append(set(np.unique(data).tolist()))
        assert len(values[0] & values[1]) > 0.5 * min(map(len, values))
    assert len(said["same_origin"].items) >= 20
    assert len(diagnosis.found.summaries) == 200


@pytest.mark.slow
@pytest.mark.parametrize(("n", "scans"), [(3, 74), pytest.param(1, 222, marks=pytest.mark.full)])
def test_headneck_ct(real_data: Path, tmp_path: Path, n: int, scans: int) -> None:
    """Every third scan, with three of the six that have blank slices, or all of them."""
    root = every_nth(real_data / "headneck_ct", tmp_path, n)
    diagnosis = diagnose(headneck_ct, root)
    said = {f.kind: f for f in diagnosis.findings}
    assert {kind for kind, f in said.items() if f.severity != "info"} == {
        "constant_slices",
        "spacing_varies",
        "geometry_outlier",
    }
    spacings, blank = [], []
    for path in sorted(root.glob("images*/*.nii.gz")):
        image = nib.load(path)
        spacings.append(image.header.get_zooms()[0])
        data = np.asarray(image.dataobj)
        flat = np.flatnonzero(data.min(axis=(0, 1)) == data.max(axis=(0, 1)))
        used = np.setdiff1d(np.arange(data.shape[2]), flat)
        if ((flat > used[0]) & (flat < used[-1])).any():
            blank.append(path.name)
    assert sorted(Path(item.path).name for item in said["constant_slices"].items) == sorted(blank)
    assert f"{min(spacings):.4g}" in said["spacing_varies"].message
    assert f"{max(spacings):.4g}" in said["spacing_varies"].message
    assert len(diagnosis.found.summaries) == scans


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    low, high = np.percentile(image, (0.5, 99.5))
    grey = (np.clip((image - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    result = np.empty_like(image, np.float32)
    for k in range(image.shape[2]):
        stream = io.BytesIO()
        Image.fromarray(grey[:, :, k]).save(stream, "JPEG", quality=quality)
        result[:, :, k] = np.asarray(Image.open(stream))
    return result


CHANGES = {
    "rescaled": lambda image: image * 1.7 + 100,
    "noised": lambda image: image + np.random.default_rng(0).normal(0, 0.1 * image.std(), image.shape),
    "compressed": lambda image: jpeg(image, 40),
    "brighter": lambda image: (np.clip(image + 1000, 0, 3000) / 3000) ** 0.7 * 3000 - 1000,
    "shifted": lambda image: np.roll(image, (1, 1), (0, 1)),
    "smaller": lambda image: ndimage.zoom(image, (0.8, 0.8, 1), order=1),
    "blurred": lambda image: ndimage.gaussian_filter(image, (0.8, 0.8, 0)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hippocampus", "headneck_ct"])
def test_changed_copies_among_real_scans(real_data: Path, tmp_path: Path, name: str) -> None:
    """60 scans in training, 10 others in validation with a changed copy of one of training for each change."""
    module, is_ct = (headneck_ct, True) if name == "headneck_ct" else (hippocampus, False)
    source, root = real_data / name, tmp_path / name
    ending = "_0000.nii.gz" if is_ct else ".nii.gz"
    ids = sorted(path.name.removesuffix(ending) for path in (source / "imagesTr").glob("*.nii.gz"))[::2][:71]
    # Every other one: hippocampi of one head are numbered one after another.
    for scan in ids:
        for path in (f"imagesTr/{scan}{ending}", f"labelsTr/{scan}.nii.gz"):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / path, root / path)
    copies = []
    for number, (change, make) in enumerate(CHANGES.items()):
        original = ids[5 * number]
        image = nib.load(source / "imagesTr" / f"{original}{ending}")
        changed = make(np.asarray(image.dataobj).astype(np.float32))
        nib.save(nib.Nifti1Image(np.rint(changed).astype(np.int32), image.affine), root / f"imagesTr/{change}{ending}")
        label = np.zeros(changed.shape, np.uint8)
        label[8:16, 8:16, 8:16] = 1
        nib.save(nib.Nifti1Image(label, image.affine), root / "labelsTr" / f"{change}.nii.gz")
        copies.append({original, change})
    scans = [*ids, *CHANGES]
    content = json.loads((source / "dataset.json").read_text())
    pairs = [{"image": f"imagesTr/{s}.nii.gz", "label": f"labelsTr/{s}.nii.gz"} for s in scans]
    content |= {"numTraining": len(scans)} | ({} if is_ct else {"training": pairs, "test": []})
    (root / "dataset.json").write_text(json.dumps(content))
    parts = {"train": ids[:60], "validation": [*ids[60:70], *CHANGES], "test": ids[70:]}
    (tmp_path / "split.json").write_text(json.dumps(parts))
    diagnosis = diagnose(module, root, file=str(tmp_path / "split.json"))
    found = [
        {scan for scan, _ in item.shown}
        for f in diagnosis.findings
        if f.kind == "nearly_equal_slices"
        for item in f.items
    ]
    assert sorted(map(sorted, found)) == sorted(map(sorted, copies))
