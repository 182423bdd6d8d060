"""Official splits, folds, sets to pretrain on, and scans of equal content."""

import json
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nifti_sets import message

from configs import base
from inpaint_ssl.data.scan import ScanEntry
from inpaint_ssl.data.splits import (
    Splits,
    SplitSettings,
    drop_leaks,
    load_or_make_splits,
    make_splits,
    read_splits,
    write_splits,
)

PARTS = ("train", "validation", "test")


def entries_of(n: int, unlabelled: int = 0) -> list[ScanEntry]:
    labelled = [ScanEntry(f"s{i:04d}", f"s{i:04d}", True) for i in range(n)]
    return labelled + [ScanEntry(f"u{i:04d}", f"u{i:04d}", False) for i in range(unlabelled)]


def make(entries: list[ScanEntry], **changes: Any) -> Splits:
    return make_splits(entries, SplitSettings(**changes))


def official(n: int) -> list[ScanEntry]:
    return [replace(entry, split=PARTS[number % 3]) for number, entry in enumerate(entries_of(n))]


def test_the_settings_are_those_of_the_configuration() -> None:
    config = base.get_config()
    assert SplitSettings.from_config(config.split.to_dict(), config.data.use_unlabelled) == SplitSettings()


def test_an_official_split_is_used_where_there_is_one() -> None:
    entries = [*official(9), ScanEntry("u", "u", False), ScanEntry("v", "v", False, split="test")]
    for method in ("auto", "official"):
        splits = make(entries, method=method)
        for number, part in enumerate(PARTS):
            assert getattr(splits, part) == tuple(f"s{i:04d}" for i in range(number, 9, 3))
        assert splits.unlabelled == ("u",)  # v is an unlabelled test subject
    assert make(entries, method="fractions").test != splits.test
    assert make(entries, method="fractions").unlabelled == ("u", "v")
    without = [replace(entry, split="") for entry in entries]
    assert make(without).test == make(without, method="fractions").test


def test_a_file_wins_over_the_official_split(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"train": ["s0002"], "validation": ["s0001"], "test": ["s0000"]}))
    assert make(official(3), file=str(file), method="official").train == ("s0002",)


def test_official_splits_that_do_not_fit() -> None:
    entries = official(9)
    two = [replace(entry, split="train" if entry.split == "validation" else entry.split) for entry in entries]
    assert "for all of train, validation, test (it has test, train)" in message(make, two, method="official")
    assert "(it has none)" in message(make, entries_of(9), method="official")
    twice = [*entries, ScanEntry("again", "s0000", True, split="test")]
    text = message(make, twice)
    assert "subject s0000 in 'train' (scan s0000) and in 'test' (scan again)" in text
    assert "scan new is labelled but in no part" in message(make, [*entries, ScanEntry("new", "new", True)])
    assert "split.method is 'random'" in message(make, entries, method="random")


@pytest.mark.parametrize(("n", "folds"), [(9, 3), (17, 5), (23, 10), (40, 4)])
def test_every_subject_is_tested_in_exactly_one_fold(n: int, folds: int) -> None:
    entries = entries_of(n, 2)
    tests: list[str] = []
    for fold in range(folds):
        splits = make(entries, method="k_fold", folds=folds, fold=fold, split_seed=3)
        assert sorted((*splits.train, *splits.validation, *splits.test)) == [f"s{i:04d}" for i in range(n)]
        assert len(splits.test) in (n // folds, -(-n // folds))
        rest = n - len(splits.test)
        assert len(splits.validation) == max(1, round(0.2 * rest)) and splits.train  # 0.15 / (0.6 + 0.15)
        assert splits.unlabelled == ("u0000", "u0001")
        tests += splits.test
    assert sorted(tests) == [f"s{i:04d}" for i in range(n)]
    assert make(entries, method="k_fold", folds=folds, split_seed=4).test != tuple(tests[: len(tests) // folds])


def test_the_first_fold_follows_the_hash_order() -> None:
    # The command b2sum orders "split/0/s000i" as i = 1 7 6 0 3 2 5 4.
    assert make(entries_of(8), method="k_fold", folds=4, fold=0).test == ("s0001", "s0007")
    assert make(entries_of(8), method="k_fold", folds=4, fold=3).test == ("s0004", "s0005")


def test_folds_that_cannot_be_made() -> None:
    assert "split.folds is 5, expected 2 or more and at most the 4" in message(make, entries_of(4), method="k_fold")
    assert "split.fold is 5, expected 0 to 4" in message(make, entries_of(40), method="k_fold", fold=5)
    assert "leave 1 for training and validation" in message(make, entries_of(2), method="k_fold", folds=2)


@settings(max_examples=50, deadline=None)
@given(n=st.integers(5, 120), more=st.integers(0, 200), draw=st.integers(0, 5), used=st.floats(0.01, 5))
def test_pretraining_sets_are_nested_and_hold_nobody_who_validates_or_tests(
    n: int, more: int, draw: int, used: float
) -> None:
    visits = [ScanEntry(f"visit{i}", f"s{i:04d}", False) for i in range(0, n, 2)]  # of labelled subjects
    entries = [*entries_of(n, more), *visits]
    extents = (0.25, 1.0, 0.5)
    plain = make(entries, subset_draw=draw)
    largest = (len(plain.train) + more) / len(plain.train)
    used = min(used, largest)
    splits = make(entries, subset_draw=draw, pretraining_extents=extents, pretraining_extent=used)
    assert list(splits.pretraining_subsets) == [*extents, *([used] if used not in extents else [])]
    ordered = [set(splits.pretraining_subsets[extent]) for extent in sorted(splits.pretraining_subsets)]
    assert all(small <= large for small, large in pairwise(ordered))
    assert splits.pretraining == splits.pretraining_subsets[used]
    assert set(splits.pretraining_subsets[1.0]) == set(splits.train)
    # The smaller sets hold the label subsets of the same size.
    assert set(splits.pretraining_subsets[0.25]) == set(splits.label_subsets[0.25])
    for extent, subjects in splits.pretraining_subsets.items():
        expected = max(1, round(Fraction(repr(extent)) * len(splits.train)))
        assert len(set(subjects)) == len(subjects) == expected
    held_out = {*splits.validation, *splits.test}
    assert set(plain.pretraining) == {*plain.train, *(f"u{i:04d}" for i in range(more))}
    for subjects in (*splits.pretraining_subsets.values(), splits.unlabelled, plain.pretraining):
        assert not held_out & set(subjects)
    assert all(getattr(splits, part) == getattr(plain, part) for part in (*PARTS, "unlabelled", "label_subsets"))


def test_the_sets_of_the_paper() -> None:
    mri = make(
        entries_of(88, 86), fractions=(86 / 88, 1 / 88, 1 / 88), pretraining_extents=(1, 1.5, 2), pretraining_extent=2.0
    )
    assert {extent: len(subjects) for extent, subjects in mri.pretraining_subsets.items()} == {1: 86, 1.5: 129, 2: 172}
    assert len(mri.pretraining) == 172
    ct = make(entries_of(711, 7800), fractions=(709 / 711, 1 / 711, 1 / 711), pretraining_extents=(1, 6.5, 12))
    assert [len(subjects) for subjects in ct.pretraining_subsets.values()] == [709, 4608, 8508]
    assert len(ct.pretraining) == 709 + 7800


def test_pretraining_sets_that_cannot_be_drawn() -> None:
    entries = entries_of(10, 3)
    text = message(make, entries, pretraining_extents=(1.0, 2.0))
    assert "2 asks for 12 subjects, 6 train and 3 unlabelled ones are there; use at most 1.5," in text
    assert make(entries, pretraining_extents=(1.5,)).pretraining_subsets[1.5] == make(entries).pretraining
    assert "data.use_unlabelled is off" in message(make, entries, use_unlabelled=False, pretraining_extent=1.5)
    assert make(entries, use_unlabelled=False, pretraining_extent=1.0).pretraining == make(entries).train
    assert "different numbers above 0" in message(make, entries, pretraining_extents=(1.0, 1.0))
    assert "different numbers above 0" in message(make, entries, pretraining_extents=(-1.0,))


def test_pretraining_sets_are_kept(tmp_path: Path) -> None:
    path, entries = tmp_path / "splits.json", entries_of(20, 30)
    asked = SplitSettings(pretraining_extents=(1.0, 2.0), pretraining_extent=1.5)
    splits = make_splits(entries, asked)
    write_splits(path, splits)
    assert read_splits(path) == splits == load_or_make_splits(path, entries, asked)
    assert "pretraining_extent" in message(load_or_make_splits, path, entries, replace(asked, pretraining_extent=2.0))


def test_subjects_with_a_scan_of_equal_voxels_are_dropped() -> None:
    entries = [*entries_of(20, 6), ScanEntry("u0002_again", "u0002", False)]
    splits = make(entries, pretraining_extents=(1.25,))
    content = {entry.scan_id: f"hash of {entry.scan_id}" for entry in entries}
    assert drop_leaks(splits, content, entries) == (splits, ())
    content["u0002_again"] = content[splits.test[0]]
    content["u0004"] = content[splits.validation[0]]
    content["u0005"] = content["u0003"] = content["u0001"]  # of each other: no leak
    dropped = "u0002", "u0004"
    result, notes = drop_leaks(splits, content, entries)
    assert result.unlabelled == ("u0000", "u0001", "u0003", "u0005")
    assert not {*dropped} & {*result.pretraining, *result.pretraining_subsets[1.25]}
    assert len(result.pretraining_subsets[1.25]) == 15 and len(result.pretraining) == 16
    assert all(getattr(result, part) == getattr(splits, part) for part in (*PARTS, "label_subsets", "settings"))
    assert len(notes) == 2
    assert f"u0002 is not pretrained on: its scan u0002_again has the same voxels as {splits.test[0]}" in notes[0]
    assert f"u0004 is not pretrained on: its scan u0004 has the same voxels as {splits.validation[0]}" in notes[1]
    assert drop_leaks(result, content, entries) == (result, notes)  # as said when the study goes on
    del content["u0004"], content["u0002_again"]
    assert drop_leaks(splits, content, entries) == (splits, ())


def test_too_few_subjects_after_leaks() -> None:
    entries = entries_of(10, 3)
    splits = make(entries, pretraining_extents=(1.5,))
    content = {entry.scan_id: entry.scan_id for entry in entries} | {"u0001": splits.test[0]}
    assert "1.5 asks for 9 subjects, 6 train and 2 unlabelled" in message(drop_leaks, splits, content, entries)


def test_a_training_scan_of_equal_voxels_is_an_error() -> None:
    entries = entries_of(10)
    splits = make(entries)
    train, test = splits.train[2], splits.test[0]
    content = {entry.scan_id: entry.scan_id for entry in entries} | {train: test}
    text = message(drop_leaks, splits, content, entries)
    assert f"scan {train} of training subject {train} has the same voxels as test scan {test}" in text
    # An unlabelled scan of a training subject counts only where such scans are pretrained on.
    visits = [*entries, ScanEntry("visit", train, False)]
    content = {entry.scan_id: entry.scan_id for entry in visits} | {"visit": splits.validation[0]}
    assert "scan visit of training subject" in message(drop_leaks, make(visits), content, visits)
    alone = make(visits, use_unlabelled=False)
    assert drop_leaks(alone, content, visits) == (alone, ())
