"""Prepared data sets: what is in them, and when they are made anew."""

import gzip
import hashlib
import io
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tensorflow_datasets as tfds
from nifti_sets import make_msd, make_nnunet, message
from rich.console import Console
from store_readers import SmallReader, versions, write_sources

from inpaint_ssl.data import PreparedStore, Preprocessing, ReaderSettings, ScanReader, display, open_dataset, source_of
from inpaint_ssl.data import prepare_store as prepare
from inpaint_ssl.data.store import shards
from inpaint_ssl.data.store.layout import common_dtype, dataset_slug

QUIET = Console(quiet=True)


def open_root(root: Path, **settings) -> ScanReader:
    return open_dataset(ReaderSettings(root=str(root), **settings))


@pytest.fixture
def sources(tmp_path: Path) -> list[str]:
    return write_sources(tmp_path / "files")


def test_everyone_can_read_it_with_tensorflow_datasets(tmp_path: Path) -> None:
    root = make_msd(tmp_path)
    reader = open_root(root)
    store = prepare(reader, "sagittal", tmp_path / "prepared", QUIET)
    assert "tensorflow" not in sys.modules
    builder = tfds.builder_from_directory(store.folder)
    slices = list(builder.as_data_source(split="slices"))
    scans = builder.info.metadata["scans"]
    assert [one["scan_id"] for one in scans] == [entry.scan_id for entry in reader.entries]
    position = 0
    for entry, about in zip(reader.entries, scans, strict=True):
        scan = reader.read(entry)
        shown = display(scan.image, "sagittal")
        labels = display(np.zeros(scan.image.shape[:3]) if scan.label is None else scan.label, "sagittal")
        for index in range(len(shown)):
            one = slices[position]
            assert np.array_equal(one["image"], shown[index]) and one["image"].dtype == scan.image.dtype
            assert np.array_equal(one["label"], labels[index])
            assert (one["scan_id"].decode(), one["slice_index"]) == (entry.scan_id, index)
            assert one["has_label"] == entry.has_label
            np.testing.assert_allclose(one["spacing_mm"], (scan.spacing_mm[2], scan.spacing_mm[1]))
            position += 1
        assert about["spacing_mm"] == pytest.approx(scan.spacing_mm)
        np.testing.assert_allclose(about["affine"], scan.affine)
        for file, path in zip(about["sources"], reader.sources(entry), strict=True):
            assert root / file["path"] == Path(path)
            assert file["sha256"] == hashlib.sha256(Path(path).read_bytes()).hexdigest()
        expected = {} if scan.label is None else dict(zip(*np.unique(scan.label, return_counts=True), strict=True))
        assert {int(v): n for v, n in about["label_voxels"].items()} == {int(v): n for v, n in expected.items() if v}
    assert position == len(slices)
    # Nothing of this machine is in it.
    for path in store.folder.iterdir():
        assert str(tmp_path).encode() not in path.read_bytes()


def test_images_are_those_of_the_scans(tmp_path: Path) -> None:
    reader = open_root(make_nnunet(tmp_path))
    store = prepare(reader, "coronal", tmp_path / "prepared", QUIET)
    for spacing in ((), (1.0, 1.0)):
        how = Preprocessing("mri", "coronal", (16, 16), "all", (), spacing)
        source = store.source(how, ["c", "a", "d"])
        loaded = source.load()
        assert [scan.scan_id for scan in source.scans] == ["c", "a", "d"]
        entries = {entry.scan_id: entry for entry in reader.entries}
        for scan in source.scans:
            expected = source_of(reader.read(entries[scan.scan_id]), how)
            part = slice(scan.first, scan.first + scan.n_slices)
            for name in ("images", "targets", "example_ids", "boxes", "statistics", "slice_of"):
                assert np.array_equal(getattr(loaded, name)[part], getattr(expected, name)), name
            read = reader.read(entries[scan.scan_id])
            image, label = source.volumes(scan)
            assert np.array_equal(image, read.image) and image.dtype == source.store.dtype
            assert np.array_equal(label, np.zeros(scan.placement.shape) if read.label is None else read.label)
            assert scan.acquisition == read.acquisition and scan.spacing_mm == read.spacing_mm
        assert loaded.images.dtype == source.image_dtype
        with ThreadPoolExecutor(8) as pool:  # as batches are assembled
            records = list(pool.map(source.__getitem__, range(len(source))))
        for index, record in enumerate(records):
            for one, other in zip(record, loaded[index], strict=True):
                assert np.array_equal(one, other)
    subset = source.subset(("a", "c"))
    assert [scan.scan_id for scan in subset.scans] == ["c", "a"]
    assert np.array_equal(subset.load().images, loaded.images[np.isin(loaded.scan_of, (0, 1))])
    assert np.array_equal(subset[len(subset) - 1].image, subset.load().images[-1])
    assert len(source.subset(("a", "c"), labelled_only=False)) == len(subset)
    assert "no scan of subject zzz" in message(source.subset, ("zzz",))
    with pytest.raises(IndexError):
        source[len(source)]


def test_nothing_is_read_again_until_something_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, folder = make_msd(tmp_path), tmp_path / "prepared"
    first = prepare(open_root(root), "sagittal", folder, QUIET)
    assert first.folder.name == "1.0.0"
    hashed: list[str] = []
    monkeypatch.setattr(
        "inpaint_ssl.data.store.prepare.file_sha256", lambda path: hashed.append(path) or shards.file_sha256(path)
    )
    before = {path: path.stat().st_mtime_ns for path in first.folder.iterdir()}
    assert prepare(open_root(root), "sagittal", folder, QUIET).folder == first.folder
    assert hashed == []
    image = root / "imagesTr" / "knee_001.nii.gz"
    os.utime(image, ns=(1, 1))  # touched, not changed: compared by content, once
    assert prepare(open_root(root), "sagittal", folder, QUIET).folder == first.folder
    assert str(image) in hashed
    hashed.clear()
    assert prepare(open_root(root), "sagittal", folder, QUIET).folder == first.folder
    assert hashed == []
    assert {path: path.stat().st_mtime_ns for path in first.folder.iterdir()} == before

    old = image.read_bytes()
    stored = nib.Nifti1Image.from_bytes(gzip.decompress(old))
    nib.save(nib.Nifti1Image(np.asarray(stored.dataobj) + 1, stored.affine), image)
    said = io.StringIO()
    second = prepare(open_root(root), "sagittal", folder, Console(file=said))
    assert f"note: {first.folder} was prepared from other files" in said.getvalue()
    assert second.folder.name == "2.0.0" and versions(folder) == ["1.0.0", "2.0.0"]
    assert second.records[0].image_sha256 != first.records[0].image_sha256
    image.write_bytes(old)  # ... and back: the first version is found again
    assert prepare(open_root(root), "sagittal", folder, QUIET).folder == first.folder
    # A byte that changes neither the size nor, as restored, the time is not noticed; a new time is.
    changed = bytearray(old)
    changed[9] ^= 1  # a field of the gzip header
    image.write_bytes(changed)
    assert prepare(open_root(root), "sagittal", folder, QUIET).folder.name == "3.0.0"


def test_settings_and_scans_decide_too(tmp_path: Path) -> None:
    root, folder = make_msd(tmp_path), tmp_path / "prepared"
    one = prepare(open_root(root), "sagittal", folder, QUIET)
    assert prepare(open_root(root), "axial", folder, QUIET).folder.parent != one.folder.parent
    mapped = prepare(open_root(root, label_map=("2=1",)), "sagittal", folder, QUIET)
    assert mapped.folder.parent != one.folder.parent
    assert set(mapped.records[0].label_voxels) == {1}
    assert (
        prepare(open_root(root, geometry_tolerance_mm=5.0), "sagittal", folder, QUIET).folder.parent
        != one.folder.parent
    )
    (root / "imagesTs" / "knee_009.nii.gz").unlink()
    assert len(prepare(open_root(root), "sagittal", folder, QUIET).records) == len(one.records) - 1


@pytest.mark.slow
def test_the_number_of_processes_changes_nothing(tmp_path: Path, sources: list[str]) -> None:
    one, three = (prepare(SmallReader(sources), "axial", tmp_path / str(n), QUIET, n) for n in (1, 3))
    assert one.records == three.records
    assert sorted(path.name for path in one.folder.iterdir()) == sorted(path.name for path in three.folder.iterdir())
    assert len(list(one.folder.glob("*array_record*"))) == 3
    for mine, other in zip(one.read(range(100)), three.read(range(100)), strict=True):
        assert np.array_equal(mine, other)


def test_a_damaged_version_is_named(tmp_path: Path, sources: list[str]) -> None:
    store = prepare(SmallReader(sources[:3]), "axial", tmp_path / "prepared", QUIET)
    (shard,) = store.folder.glob("*array_record*")
    content = shard.read_bytes()
    shard.write_bytes(content[:-1])
    assert f"{shard} has {len(content) - 1} bytes, expected {len(content)}; delete" in message(
        PreparedStore.open, store.folder
    )
    shard.write_bytes(content[:100] + bytes(len(content) - 200) + content[-100:])
    how = Preprocessing("ct", "axial", (8, 8), "all", ((400.0, 50.0),))
    text = message(PreparedStore.open(store.folder).source(how, ["scan_0001"]).load)
    assert f"{store.folder} is damaged" in text
    metadata = json.loads((store.folder / "metadata.json").read_text())
    for broken in ({**metadata, "format": 0}, {k: v for k, v in metadata.items() if k != "scans"}, []):
        (store.folder / "metadata.json").write_text(json.dumps(broken))
        assert str(store.folder) in message(PreparedStore.open, store.folder)


def test_a_description_that_was_changed_is_named(tmp_path: Path, sources: list[str]) -> None:
    store = prepare(SmallReader(sources[:3]), "axial", tmp_path / "prepared", QUIET)
    for name in ("features.json", "dataset_info.json"):
        path = store.folder / name
        content = path.read_bytes()
        path.write_bytes(content.replace(b"1", b"2", 1))
        assert f"{path} is not as it was written" in message(PreparedStore.open, store.folder)
        path.write_bytes(content)
    metadata = json.loads((store.folder / "metadata.json").read_text())
    metadata["scans"][1]["shape"][2] += 1
    (store.folder / "metadata.json").write_text(json.dumps(metadata))
    assert "its SHA-256 is another" in message(PreparedStore.open, store.folder)


@pytest.mark.parametrize("content", ["{", "[]", '{"1.0.0": 3}', '{"1.0.0": [1]}', '{"1.0.0": [null, {}, "x"]}'])
def test_damaged_times_of_files_are_passed_over(tmp_path: Path, sources: list[str], content: str) -> None:
    folder = tmp_path / "prepared"
    store = prepare(SmallReader(sources[:3]), "axial", folder, QUIET)
    (store.folder.parent / "checked.json").write_text(content)
    os.utime(sources[1], ns=(1, 1))
    assert prepare(SmallReader(sources[:3]), "axial", folder, QUIET).folder == store.folder
    times = json.loads((store.folder.parent / "checked.json").read_text())["1.0.0"]
    assert times[1] == [1]


def test_types_and_names() -> None:
    kinds = [np.dtype(kind) for kind in ("uint8", "int16", "uint16", "int32", "float32")]
    assert common_dtype(kinds[:1]) == np.uint8
    assert common_dtype(kinds[:2]) == np.int16
    assert common_dtype(kinds[1:3]) == np.int32
    assert common_dtype(kinds) == np.float32
    assert dataset_slug("OpenKBP head and neck CT") == "openkbp_head_and_neck_ct"
    assert dataset_slug("2021 – Knee") == "data_2021_knee"
