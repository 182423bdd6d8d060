"""The readers on real scans against nibabel and NumPy used directly."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from rich.console import Console

from inpaint_ssl.batches import batches_of_scan
from inpaint_ssl.data import (
    Preprocessing,
    ReaderSettings,
    Scan,
    ScanReader,
    SplitSettings,
    example_id,
    make_splits,
    open_dataset,
    prepare_store,
    source_of,
    to_volume,
)

WINDOWS = ((400.0, 50.0), (1800.0, 40.0), (500.0, 50.0))


def open_real(folder: Path) -> ScanReader:
    return open_dataset(ReaderSettings(root=str(folder)))


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
    splits = make_splits(dataset.entries, SplitSettings())
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
        slices = source_of(scan, Preprocessing("ct", "axial", (128, 128), "all", WINDOWS))
        column = {label: np.argwhere(slices.targets == label)[:, 2].mean() for label in (1, 3, 4)}
        assert column[3] < column[1] < column[4]
        sagittal = source_of(scan, Preprocessing("ct", "sagittal", (128, 128), "all", WINDOWS))
        row = {label: np.argwhere(sagittal.targets == label)[:, 1].mean() for label in (1, 2)}
        assert row[1] < row[2]  # the brainstem is above the spinal cord


@pytest.fixture(scope="module", params=["hippocampus", "headneck_ct"])
def few(request, real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of the first scans of a real one: six labelled, and of headneck_ct two unlabelled."""
    folder, root = tmp_path_factory.mktemp("few") / request.param, real_data / request.param
    description = json.loads((root / "dataset.json").read_text())
    cases = sorted(path.name.removesuffix(".nii.gz") for path in (root / "labelsTr").glob("*.nii.gz"))[:6]
    for part, names in (("imagesTr", cases), ("labelsTr", cases), ("imagesUl", None)):
        (folder / part).mkdir(parents=True)
        for path in sorted((root / part).glob("*.nii.gz")) if (root / part).is_dir() else []:
            if names is None or any(path.name.startswith(name) for name in names):
                (folder / part / path.name).symlink_to(path)
            if names is None and len(list((folder / part).iterdir())) == 2:
                break
    if "training" in description:
        files = [f"{name}.nii.gz" for name in cases]
        description["training"] = [{"image": f"imagesTr/{f}", "label": f"labelsTr/{f}"} for f in files]
    (folder / "dataset.json").write_text(json.dumps({**description, "numTraining": 6}))
    return folder


@pytest.mark.parametrize("axis", ["sagittal", "coronal", "axial"])
def test_prepared_slices_are_the_files_normalised(few: Path, tmp_path: Path, axis: str) -> None:
    """From file to network input and back to a volume, beside nibabel and float64."""
    is_ct = few.name == "headneck_ct"
    dataset = open_real(few)
    store = prepare_store(dataset, axis, tmp_path, Console(quiet=True))
    how = Preprocessing("ct" if is_ct else "mri", axis, (128, 128), "all", WINDOWS if is_ct else ())
    source = store.source(how, [entry.scan_id for entry in dataset.entries])
    for entry, info in zip(dataset.entries, source.scans, strict=True):
        batches = [np.asarray(b.images)[: len(i)] for i, b in batches_of_scan(source, info, 32)]
        shown = to_volume(np.concatenate(batches), info.placement)
        stored = nib.as_closest_canonical(nib.load(entry.image_paths[0])).get_fdata()
        if entry.has_label:
            truth = nib.as_closest_canonical(nib.load(entry.label_path)).get_fdata()
            assert np.array_equal(source.volumes(info).label, truth)
            counts = dict(zip(*np.unique(truth, return_counts=True), strict=True))
            record = next(one for one in store.records if one.scan_id == entry.scan_id)
            assert record.label_voxels == {int(value): n for value, n in counts.items() if value}
        if not is_ct:
            np.testing.assert_allclose(shown[..., 0], (stored - stored.mean()) / stored.std(), rtol=0, atol=1e-5)
            continue
        across = tuple(a for a in range(3) if a != ("sagittal", "coronal", "axial").index(axis))
        for channel, (width, level) in enumerate(WINDOWS):
            clipped = np.clip(stored, level - width / 2, level + width / 2)
            deviation = clipped.std(axis=across, keepdims=True)
            expected = (clipped - clipped.mean(axis=across, keepdims=True)) / np.where(deviation > 0, deviation, np.inf)
            np.testing.assert_allclose(shown[..., channel], expected, rtol=1e-6, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hippocampus", "headneck_ct"])
def test_every_scan_is_prepared_as_nibabel_reads_it(real_data: Path, tmp_path: Path, name: str) -> None:
    dataset = open_real(real_data / name)
    store = prepare_store(dataset, "axial", tmp_path, Console(quiet=True))
    assert store.dtype == (np.int16 if name == "headneck_ct" else np.float32)
    ids = []
    for number, (entry, record) in enumerate(zip(dataset.entries, store.records, strict=True)):
        canonical = nib.as_closest_canonical(nib.load(entry.image_paths[0]))
        images, labels = store.read(range(store.firsts[number], store.firsts[number + 1]))
        volume = images[..., 0].transpose(2, 1, 0)[::-1, ::-1]  # slices of rows from anterior, columns from right
        assert np.array_equal(volume, np.asarray(canonical.dataobj))
        assert record.spacing_mm == pytest.approx(canonical.header.get_zooms()[:3])
        np.testing.assert_allclose(record.affine, canonical.affine)
        if entry.has_label:
            truth = np.asarray(nib.as_closest_canonical(nib.load(entry.label_path)).dataobj)
            assert np.array_equal(labels.transpose(2, 1, 0)[::-1, ::-1], truth)
        ids += [example_id(entry.scan_id, index) for index in range(len(images))]
    assert len(set(ids)) == len(ids) == store.firsts[-1]
