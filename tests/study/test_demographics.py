"""Table 1: who belongs to which split, and ages over subjects, against the same numbers counted one by one."""

import json
import math
import statistics

import numpy as np
import pytest

from inpaint_ssl.data import ReaderSettings, ScanInfo, SplitSettings, make_splits, open_dataset
from inpaint_ssl.data.geometry import place
from inpaint_ssl.data.splits import Splits
from inpaint_ssl.study.demographics import demographics


def scan(name: str, subject: str, *, labelled: bool = True, slices: int = 3, **about) -> ScanInfo:
    placement = place((8, 8, slices), "axial", (8, 8))
    return ScanInfo(name, subject, labelled, slices, 0, (1.0, 1.0, 1.0), placement, about)


def splits_of(**parts: tuple[str, ...]) -> Splits:
    names = ("train", "validation", "test", "unlabelled")
    return Splits(**{name: parts.get(name, ()) for name in names}, label_subsets={}, pretraining=(),
                  pretraining_subsets={}, settings={})  # fmt: skip


def by_key(rows) -> dict[tuple[str, str], dict]:
    found = {(row["split"], row["sex"]): row for row in rows}
    assert len(found) == len(rows)
    return found


def test_counts_and_ages_of_a_split() -> None:
    scans = [
        scan("a", "a", age_years=20.0, sex="M"),
        scan("b", "b", age_years=50.0, sex="M", slices=5),
        scan("c1", "c", age_years=30.0, sex="F"),
        scan("c2", "c", age_years=34.0, sex="F", slices=4),  # counts once, at 32
        scan("d", "d", sex="F"),
        scan("e", "e", age_years=70.0),
    ]
    rows = demographics(splits_of(train=("a", "b", "c", "d", "e")), scans)
    assert [row["sex"] for row in rows] == ["M", "F", "unknown", "total"] and {row["split"] for row in rows} == {
        "train"
    }
    found = by_key(rows)
    assert found["train", "M"] == {
        "split": "train", "sex": "M", "scans": 2, "slices": 8, "subjects": 2, "unknown_age": 0, "unknown_sex": 0,
        "age_mean_years": 35.0, "age_sd_years": pytest.approx(30 / math.sqrt(2)), "age_min_years": 20.0,
        "age_max_years": 50.0,
    }  # fmt: skip
    women, total = found["train", "F"], found["train", "total"]
    assert (women["scans"], women["slices"], women["subjects"], women["unknown_age"]) == (3, 10, 2, 1)
    assert (women["age_mean_years"], women["age_sd_years"], women["age_min_years"]) == (32.0, None, 32.0)
    ages = [20.0, 50.0, 32.0, 70.0]
    assert total["age_mean_years"] == pytest.approx(statistics.fmean(ages))
    assert total["age_sd_years"] == pytest.approx(statistics.stdev(ages))
    assert (total["scans"], total["slices"], total["subjects"]) == (6, 21, 5)
    assert (total["unknown_age"], total["unknown_sex"]) == (1, 1)
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows


def test_a_scan_counts_in_the_split_that_uses_it() -> None:
    scans = [
        scan("a", "a", sex="M"),
        scan("a_more", "a", labelled=False, sex="M"),  # an unlabelled scan of a training subject
        scan("v", "v", sex="F"),
        scan("t", "t", sex="F"),
        scan("t_more", "t", labelled=False, sex="F"),  # held out: pretraining may not see it
        scan("u", "u", labelled=False, sex="O"),
        scan("other", "other", sex="M"),
    ]
    splits = splits_of(train=("a",), validation=("v",), test=("t",), unlabelled=("a", "u"))
    found = by_key(demographics(splits, scans))
    assert {key: row["scans"] for key, row in found.items() if key[1] == "total"} == {
        ("train", "total"): 1, ("validation", "total"): 1, ("test", "total"): 1, ("unlabelled", "total"): 2,
    }  # fmt: skip
    assert [key[1] for key in found if key[0] == "unlabelled"] == ["M", "O", "total"]


def test_what_is_not_known_is_not_made_up() -> None:
    scans = [scan("a", "a"), scan("b", "b", sex="X"), scan("c1", "c", sex="F"), scan("c2", "c", sex="M")]
    (row,) = demographics(splits_of(train=("a", "b", "c")), scans)
    assert (row["sex"], row["unknown_sex"], row["unknown_age"], row["subjects"]) == ("total", 3, 3, 3)
    assert {row[key] for key in row if key.startswith("age_")} == {None}
    assert demographics(splits_of(train=("a",)), []) == []


@pytest.mark.parametrize("anatomy", ["knee", "abdomen"])
def test_of_generated_scans(anatomy: str) -> None:
    phantom = {"anatomy": anatomy, "subjects": 30, "unlabelled_subjects": 6, "size": (32, 32), "slices": 2, "seed": 3,
               "snr": 20.0}  # fmt: skip
    reader = open_dataset(ReaderSettings(format="phantom", phantom=phantom))
    splits = make_splits(reader.entries, SplitSettings())
    about = {entry.scan_id: reader.read(entry).acquisition for entry in reader.entries}
    scans = [scan(e.scan_id, e.subject_id, labelled=e.has_label, slices=2, **about[e.scan_id]) for e in reader.entries]
    found = by_key(demographics(splits, scans))
    parts = {name: getattr(splits, name) for name in ("train", "validation", "test", "unlabelled")}
    assert {name for name, _ in found} == set(parts) and len(parts["unlabelled"]) == 6
    for name, subjects in parts.items():
        for sex in ("M", "F"):
            ages = [about[subject]["age_years"] for subject in subjects if about[subject]["sex"] == sex]
            row = found.get((name, sex), {"subjects": 0, "age_mean_years": None})
            assert row["subjects"] == len(ages)
            assert row["age_mean_years"] == (pytest.approx(np.mean(ages)) if ages else None)
        assert found[name, "total"]["slices"] == 2 * len(subjects)
    assert min(one["age_years"] for one in about.values()) >= 18 and len({one["sex"] for one in about.values()}) == 2
