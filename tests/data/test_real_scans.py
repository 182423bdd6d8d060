"""The readers on real scans against nibabel and NumPy used directly."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from inpaint_ssl.data import (
    Preprocessing,
    Scan,
    ScanDataset,
    build_source,
    make_splits,
    open_dataset,
    preprocess,
    to_volume,
)

WINDOWS = ((400.0, 50.0), (1800.0, 40.0), (500.0, 50.0))
FRACTIONS = {"fractions": (0.6, 0.15, 0.25), "label_fractions": (0.05, 1.0), "label_counts": ()}


def open_real(folder: Path) -> ScanDataset:
    return open_dataset(format="auto", root=str(folder), geometry_tolerance_mm=0.1, phantom={})


def check_against_nibabel(scan: Scan, folder: Path, image: str, label: str) -> None:
    """Compare with the canonical image of nibabel, which shares no code with the reader's numbers."""
    stored = nib.load(folder / image)
    canonical = nib.as_closest_canonical(stored)
    values = canonical.get_fdata()
    assert np.array_equal(scan.image[..., 0], values.astype(np.float32))
    assert scan.image.sum(dtype=float) == pytest.approx(np.asarray(stored.dataobj).sum(dtype=float))
    assert scan.affine == pytest.approx(canonical.affine)
    assert scan.spacing_mm == pytest.approx(canonical.header.get_zooms()[:3])
    assert scan.original_shape == stored.shape
    truth = np.asarray(nib.as_closest_canonical(nib.load(folder / label)).dataobj)
    assert scan.label is not None
    assert np.array_equal(scan.label, truth)
    counts = np.unique(np.asarray(nib.load(folder / label).dataobj), return_counts=True)
    assert dict(zip(*np.unique(scan.label, return_counts=True), strict=True)) == dict(zip(*counts, strict=True))


def test_hippocampus_is_listed_whole(real_data: Path) -> None:
    folder = real_data / "hippocampus"
    dataset = open_real(folder)
    assert dataset.labels == {"Anterior": 1, "Posterior": 2}
    assert dataset.channel_names == ("MRI",)
    assert len(dataset.entries) == json.loads((folder / "dataset.json").read_text())["numTraining"] == 200
    splits = make_splits(dataset.entries, split_seed=0, subset_draw=0, use_unlabelled=True, **FRACTIONS)
    assert [len(p) for p in (splits.train, splits.validation, splits.test)] == [120, 30, 50]
    assert len(splits.label_subsets[0.05]) == 6


def test_headneck_ct_is_listed_whole(real_data: Path) -> None:
    dataset = open_real(real_data / "headneck_ct")
    assert dataset.labels == {"brainstem": 1, "spinal_cord": 2, "right_parotid": 3, "left_parotid": 4}
    assert sum(entry.has_label for entry in dataset.entries) == 180
    assert sum(not entry.has_label for entry in dataset.entries) == 42


def test_hippocampus_reads_as_nibabel_does(real_data: Path) -> None:
    folder = real_data / "hippocampus"
    dataset = open_real(folder)
    kinds = set()
    for entry in dataset.entries[::20]:
        name = f"{entry.scan_id}.nii.gz"
        kinds.add(str(nib.load(folder / "imagesTr" / name).get_data_dtype()))
        check_against_nibabel(dataset.read(entry), folder, f"imagesTr/{name}", f"labelsTr/{name}")
    assert kinds == {"uint8", "float32"}


def test_headneck_ct_reads_as_nibabel_does_and_right_is_right(real_data: Path) -> None:
    folder = real_data / "headneck_ct"
    dataset = open_real(folder)
    for entry in dataset.entries[:160:40]:
        scan = dataset.read(entry)
        check_against_nibabel(scan, folder, f"imagesTr/{entry.scan_id}_0000.nii.gz", f"labelsTr/{entry.scan_id}.nii.gz")
        assert scan.original_orientation == "LPI"
        # In an axial image the patient's right is on the viewer's left, and the nose points up.
        slices = preprocess(scan, Preprocessing("ct", "axial", (128, 128), "all", WINDOWS))
        column = {label: np.argwhere(slices.targets == label)[:, 2].mean() for label in (1, 3, 4)}
        assert column[3] < column[1] < column[4]
        sagittal = preprocess(scan, Preprocessing("ct", "sagittal", (128, 128), "all", WINDOWS))
        row = {label: np.argwhere(sagittal.targets == label)[:, 1].mean() for label in (1, 2)}
        assert row[1] < row[2]  # the brainstem is above the spinal cord


@pytest.mark.parametrize("axis", ["sagittal", "coronal", "axial"])
def test_volumes_come_back_from_their_slices(real_data: Path, axis: str) -> None:
    for name, modality, windows in (("hippocampus", "mri", ()), ("headneck_ct", "ct", WINDOWS)):
        dataset = open_real(real_data / name)
        settings = Preprocessing(modality, axis, (128, 128), "all", windows)
        source = build_source(dataset, dataset.entries[:2], settings)
        for entry, info in zip(dataset.entries, source.scans, strict=False):
            scan = dataset.read(entry)
            part = slice(info.first, info.first + info.n_slices)
            assert np.array_equal(to_volume(source.targets[part], info.placement), scan.label)
            shown = to_volume(source.images[part], info.placement)
            values = scan.image[..., 0].astype(float)
            if modality == "mri":
                expected = (values - values.mean()) / values.std()
                assert shown[..., 0] == pytest.approx(expected, abs=1e-4)
            else:
                across = tuple(a for a in range(3) if a != ("sagittal", "coronal", "axial").index(axis))
                clipped = np.clip(values, -150, 250)  # level 50, width 400
                deviation = clipped.std(axis=across, keepdims=True)
                expected = (clipped - clipped.mean(axis=across, keepdims=True)) / np.where(
                    deviation > 0, deviation, np.inf
                )
                assert shown[..., 0] == pytest.approx(expected, abs=1e-4)


def test_every_hippocampus_slice_has_its_own_id(real_data: Path) -> None:
    dataset = open_real(real_data / "hippocampus")
    source = build_source(dataset, dataset.entries, Preprocessing("mri", "sagittal", (64, 64), "all", ()))
    assert len(source) == sum(nib.load(entry.image_paths[0]).shape[0] for entry in dataset.entries)
    assert len(np.unique(source.example_ids)) == len(source)
    # Scans of very different scale come out alike.
    assert 3 < source.images.reshape(len(source), -1).max(axis=1).max() < 40
