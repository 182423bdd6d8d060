"""Slices by index and the table of scans."""

import hashlib

import numpy as np
import pytest
from nifti_sets import make_nnunet, message, random_label
from rich.console import Console

from inpaint_ssl.data import (
    ArraySliceSource,
    Preprocessing,
    ReaderSettings,
    example_id,
    indices_of,
    open_dataset,
    prepare_store,
    to_volume,
)

SETTINGS = Preprocessing("mri", "sagittal", (8, 16), "all", ())


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ArraySliceSource:
    folder = tmp_path_factory.mktemp("source")
    dataset = open_dataset(ReaderSettings(root=str(make_nnunet(folder))))
    store = prepare_store(dataset, "sagittal", folder / "prepared", Console(quiet=True))
    return store.source(SETTINGS, [entry.scan_id for entry in dataset.entries]).load()


def test_arrays_hold_every_slice_of_every_scan(source: ArraySliceSource) -> None:
    assert len(source) == 4 * 5
    assert source.images.shape == (20, 8, 16, 2)
    assert source.targets.dtype == np.uint8
    assert source.scan_of.tolist() == sorted([*range(4)] * 5)
    assert source.slice_of.tolist() == [0, 1, 2, 3, 4] * 4
    assert [scan.first for scan in source.scans] == [0, 5, 10, 15]
    assert [scan.has_label for scan in source.scans] == [True, True, False, False]
    assert source.scans[0].spacing_mm == pytest.approx((1.5, 0.5, 2))
    assert np.array_equal(to_volume(source.targets[5:10], source.scans[1].placement), random_label(0))
    image, label = source.volumes(source.scans[1])
    assert np.array_equal(label, random_label(0))
    assert image.shape == (*label.shape, 2)
    assert np.array_equal(image, to_volume(source.images[5:10], source.scans[1].placement))


def test_records(source: ArraySliceSource) -> None:
    record = source[8]
    assert (record.scan, record.slice_index) == (1, 3)
    assert record.example_id == example_id("b", 3) == source.example_ids[8]
    assert np.array_equal(record.image, source.images[8])
    assert np.array_equal(record.target, source.targets[8])


def test_example_ids_are_hashes_of_scan_and_slice() -> None:
    expected = hashlib.blake2b(b"hippocampus_001/17").digest()[:4]
    assert example_id("hippocampus_001", 17) == int.from_bytes(expected, "big") == 3603547524  # b2sum says d6c9c584
    assert example_id("a", 1) != example_id("a", 2) != example_id("b", 2)


@pytest.mark.parametrize("subjects", [("a",), ("b", "c"), ("d", "a"), ("a", "b", "c", "d"), ()])
def test_subsets_keep_order_ids_and_slices(source: ArraySliceSource, subjects: tuple) -> None:
    subset = source.subset(subjects)
    kept = np.isin(np.repeat(["a", "b", "c", "d"], 5), subjects)
    assert [scan.scan_id for scan in subset.scans] == sorted(subjects)
    assert np.array_equal(subset.images, source.images[kept])
    assert np.array_equal(subset.targets, source.targets[kept])
    assert np.array_equal(subset.example_ids, source.example_ids[kept])
    assert np.array_equal(subset.slice_of, source.slice_of[kept])
    assert subset.scan_of.dtype == np.int32
    for number, scan in enumerate(subset.scans):
        assert (subset.scan_of[scan.first : scan.first + scan.n_slices] == number).all()


def test_only_labelled_scans_and_unknown_subjects(source: ArraySliceSource) -> None:
    assert "no scan of subject zzz" in message(source.subset, ("a", "zzz"))
    assert "no scan of subject c" in message(source.subset, ("a", "c"), labelled_only=True)
    assert len(source.subset(("a", "b"), labelled_only=True)) == 10


def test_where_scans_lie(source: ArraySliceSource) -> None:
    assert indices_of(source, [source.scans[2], source.scans[0]]).tolist() == [*range(10, 15), *range(5)]
    assert "no scan b" in message(indices_of, source.subset(("a",)), [source.scans[1]])
