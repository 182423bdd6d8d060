"""Subjects of each part, nested label subsets, and splits.json."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nifti_sets import message

from inpaint_ssl.data.scan import ScanEntry
from inpaint_ssl.data.splits import (
    Splits,
    SplitSettings,
    load_or_make_splits,
    make_splits,
    read_splits,
    write_splits,
)
from inpaint_ssl.files import sha256_of


def entries_of(n: int, unlabelled: int = 0) -> list[ScanEntry]:
    labelled = [ScanEntry(f"s{i:04d}", f"s{i:04d}", True) for i in range(n)]
    return labelled + [ScanEntry(f"u{i:04d}", f"u{i:04d}", False) for i in range(unlabelled)]


def make(entries: list[ScanEntry], **changes: Any) -> Splits:
    return make_splits(entries, SplitSettings(**changes))


def parts(splits: Splits) -> list[tuple[str, ...]]:
    return [splits.train, splits.validation, splits.test]


@settings(max_examples=50, deadline=None)
@given(n=st.integers(3, 300), seed=st.integers(0, 10), draw=st.integers(0, 10))
def test_parts_share_no_subject_and_subsets_are_nested(n: int, seed: int, draw: int) -> None:
    splits = make(entries_of(n, 3), split_seed=seed, subset_draw=draw)
    together = [subject for part in parts(splits) for subject in part]
    assert sorted(together) == [f"s{i:04d}" for i in range(n)]
    assert all(parts(splits))
    assert splits.unlabelled == ("u0000", "u0001", "u0002")
    subsets = [set(splits.label_subsets[fraction]) for fraction in SplitSettings().label_fractions]
    assert all(small <= large for small, large in pairwise(subsets))
    assert subsets[-1] == set(splits.train)
    assert subsets[0]


def test_counts_are_rounded_half_to_even() -> None:
    splits = make(entries_of(200))
    assert [len(part) for part in parts(splits)] == [120, 30, 50]
    splits = make(entries_of(86 + 2), fractions=(86 / 88, 1 / 88, 1 / 88))
    assert {f: len(s) for f, s in splits.label_subsets.items()} == {0.05: 4, 0.1: 9, 0.25: 22, 0.5: 43, 1.0: 86}
    splits = make(entries_of(14), fractions=(0.5, 0.25, 0.25))  # 3.5 and 3.5: 4 and 4, 6 remain
    assert [len(part) for part in parts(splits)] == [6, 4, 4]
    splits = make(entries_of(10), fractions=(0.3, 0.35, 0.35))  # 0.35 * 10 is 3.5, to even 4
    assert [len(part) for part in parts(splits)] == [2, 4, 4]


def test_explicit_counts_of_the_paper() -> None:
    splits = make(entries_of(88), fractions=(86 / 88, 1 / 88, 1 / 88), label_counts=(5, 9, 22, 43, 86))
    assert [len(subset) for subset in splits.label_subsets.values()] == [5, 9, 22, 43, 86]


def test_the_order_of_entries_does_not_matter() -> None:
    entries = entries_of(40, 5)
    assert make(entries) == make(entries[::-1])


def test_a_draw_is_the_same_everywhere() -> None:
    # The command b2sum orders "split/0/s000i" as i = 1 7 6 0 3 2 5 4 and "subset/0/s000i" as 7 2 3 4 0 1 6 5.
    splits = make(entries_of(8))
    assert splits.train == ("s0000", "s0001", "s0003", "s0006", "s0007")
    assert splits.validation == ("s0002",)
    assert splits.test == ("s0004", "s0005")
    assert splits.label_subsets[0.05] == ("s0007",)
    assert splits.label_subsets[0.5] == ("s0003", "s0007")


def test_the_seeds_are_separate() -> None:
    entries = entries_of(40)
    base, other_subsets, other_parts = make(entries), make(entries, subset_draw=1), make(entries, split_seed=1)
    assert parts(base) == parts(other_subsets)
    assert base.label_subsets[0.25] != other_subsets.label_subsets[0.25]
    assert base.test != other_parts.test
    assert len({base.sha256, other_subsets.sha256, other_parts.sha256}) == 3


def test_label_subsets_of_another_draw_are_those_that_would_have_been_drawn() -> None:
    entries = entries_of(40)
    first, second = make(entries, subset_draw=3), make(entries, subset_draw=4)
    for fraction, subjects in second.label_subsets.items():
        assert first.labelled(fraction, 4) == subjects and first.labelled(fraction, 3) == first.labelled(fraction)
    assert first.labelled(0.25, 4) != first.labelled(0.25, 3) and first.labelled(0.123, 4) == first.train


def test_scans_of_a_subject_stay_together_and_unlabelled_ones_do_not_leak() -> None:
    entries = [ScanEntry(f"{i}_{visit}", f"{i}", visit == 0) for i in range(12) for visit in range(2)]
    splits = make(entries)
    assert sorted(subject for part in parts(splits) for subject in part) == sorted(
        {entry.subject_id for entry in entries}
    )
    assert set(splits.unlabelled) == set(splits.train)  # each subject has an unlabelled scan too
    assert make(entries, use_unlabelled=False).unlabelled == ()


@pytest.mark.parametrize(
    ("n", "changes", "said"),
    [
        (2, {}, "2 labelled subjects are too few"),
        (0, {}, "0 labelled subjects are too few"),
        (10, {"label_counts": (1, 2, 3, 4, 7)}, "from 1 to the 6 training subjects"),
        (9, {"label_counts": (1, 2)}, "expected one number for each"),
        (40, {"label_counts": (9, 2, 3, 4, 5)}, "reorder"),
        (40, {"label_counts": (0, 2, 3, 4, 5)}, "from 1 to"),
        (40, {"label_fractions": ()}, "label_fractions is ()"),
        (40, {"label_fractions": (0.5, 0.5)}, "different numbers"),
        (40, {"label_fractions": (0.0, 0.5)}, "above 0"),
        (40, {"fractions": (0.5, 0.1, 0.1)}, "sum 1"),
        (40, {"fractions": (0.9, 0.1)}, "three positive numbers"),
    ],
)
def test_splits_that_cannot_be_made(n: int, changes: dict, said: str) -> None:
    assert said in message(make, entries_of(n), **changes)


def test_a_file_gives_the_parts_by_subject_or_scan(tmp_path: Path) -> None:
    entries = [ScanEntry(f"{i}_scan", f"{i}", i < 6) for i in range(8)]
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"train": ["3_scan", "0", "1"], "validation": ["2"], "test": ["5_scan"]}))
    splits = make(entries, file=str(file))
    assert parts(splits) == [("0", "1", "3"), ("2",), ("5",)]
    assert splits.unlabelled == ("6", "7")
    assert splits.label_subsets[1.0] == splits.train


def test_an_earlier_splits_json_gives_the_same_parts_and_subsets(tmp_path: Path) -> None:
    first = make(entries_of(30, 4), split_seed=3)
    write_splits(tmp_path / "splits.json", first)
    again = make(entries_of(30, 4), file=str(tmp_path / "splits.json"))
    assert parts(again) == parts(first)
    assert again.unlabelled == first.unlabelled
    assert again.label_subsets == first.label_subsets


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[]", "no JSON object"),
        ("{", "not valid JSON"),
        ('{"train": ["s0000"], "validation": ["s0001"]}', "'test' is missing"),
        ('{"train": ["s0000"], "validation": [], "test": ["s0002"]}', "'validation' is missing, empty"),
        ('{"train": ["s0000"], "validation": [1], "test": ["s0002"]}', "'validation'"),
        ('{"train": ["s0000"], "validation": ["who"], "test": ["s0002"]}', "'who' under 'validation' is not in"),
        ('{"train": ["s0000"], "validation": ["u0000"], "test": ["s0002"]}', "'u0000' under 'validation' has no label"),
        ('{"train": ["s0000"], "validation": ["s0001"], "test": ["s0000"]}', "'s0000' is under 'train' and 'test'"),
        ('{"train": ["s0000", "s0000"], "validation": ["s0001"], "test": ["s0002"]}', "'s0000' twice"),
    ],
)
def test_split_files_that_do_not_fit(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "mine.json"
    file.write_text(content)
    text = message(make, entries_of(5, 1), file=str(file))
    assert said in text
    assert str(file) in text
    assert "no such file" in message(make, entries_of(5), file=str(tmp_path / "none.json"))


def test_splits_json_is_read_back_and_used_again(tmp_path: Path) -> None:
    path, entries = tmp_path / "splits.json", entries_of(40, 3)
    splits = load_or_make_splits(path, entries, SplitSettings())
    assert not path.exists()
    write_splits(path, splits)
    assert json.loads(path.read_text())["sha256"] == splits.sha256
    assert read_splits(path) == splits
    more = [*entries, ScanEntry("new", "new", True)]
    assert load_or_make_splits(path, more, SplitSettings()) == splits  # a new scan moves nobody to another part


def test_a_changed_splits_json_is_refused(tmp_path: Path) -> None:
    path, entries = tmp_path / "splits.json", entries_of(40, 3)
    write_splits(path, make(entries))
    values = json.loads(path.read_text())
    values["test"], values["train"] = values["test"][1:], [*values["train"], values["test"][0]]
    path.write_text(json.dumps(values))
    for call in (lambda: load_or_make_splits(path, entries, SplitSettings()), lambda: make(entries, file=str(path))):
        text = message(call)
        assert str(path) in text
        assert "SHA-256" in text
    without = json.dumps(make(entries).content())
    path.write_text(without)
    assert "'sha256'" in message(load_or_make_splits, path, entries, SplitSettings())
    path.write_text(json.dumps({"train": []}))
    assert f"{path} is no splits.json of this version" in message(load_or_make_splits, path, entries, SplitSettings())
    path.write_text("{")
    assert str(path) in message(load_or_make_splits, path, entries, SplitSettings())
    path.write_text("[1]")
    assert str(path) in message(load_or_make_splits, path, entries, SplitSettings())


def test_splits_json_of_the_former_format_still_gives_its_parts(tmp_path: Path) -> None:
    path, entries = tmp_path / "splits.json", entries_of(40, 3)
    splits = make(entries, split_seed=5)
    content = splits.content() | {"format_version": 1}
    del content["pretraining"], content["pretraining_subsets"]
    path.write_text(json.dumps(content | {"sha256": sha256_of(content)}))
    text = message(load_or_make_splits, path, entries, SplitSettings(split_seed=5))
    assert f"{path} is splits.json of format 1, expected 2" in text and f"--config.split.file={path}" in text
    assert parts(make(entries, file=str(path))) == parts(splits)


def test_splits_json_of_other_settings_or_scans_is_refused(tmp_path: Path) -> None:
    path, entries = tmp_path / "splits.json", entries_of(40, 3)
    splits = make(entries)
    write_splits(path, splits)
    others: dict[str, Any] = {"split_seed": 1, "label_fractions": (0.5, 1.0), "use_unlabelled": False, "fold": 2}
    for key, value in others.items():
        text = message(load_or_make_splits, path, entries, SplitSettings(**{key: value}))
        assert f"{path} was drawn with {key} = " in text
    without = [entry for entry in entries if entry.subject_id != splits.test[0]]
    assert f"{path} names subject {splits.test[0]} " in message(load_or_make_splits, path, without, SplitSettings())
    assert f"{path} names subject u0000 (3 " in message(load_or_make_splits, path, entries[:40], SplitSettings())
