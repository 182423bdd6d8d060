"""L2 norms of restored slices (Table 2) against NumPy and SciPy."""

import itertools
from typing import Any

import numpy as np
import pytest
from scipy import stats

from inpaint_ssl.errors import InputError
from inpaint_ssl.statistics import holm
from inpaint_ssl.statistics.restoration import rank_agreement, restorations

GRID = list(itertools.product(("context_prediction", "context_restoration"), (32, 16), ("poisson_disc", "random")))
SHAPE = (len(GRID), 2, 7, 2, 3, 2)  # strategy, seed, subject, scan, slice, channel


def arms() -> list[dict[str, Any]]:
    return [{"arm": "from_scratch", "label": "from scratch"}] + [
        {"arm": f"arm{k}", "label": "", "task": t, "sampling": s, "patch_size": p // 4, "paper_patch_size": p}
        for k, (t, p, s) in enumerate(GRID)
    ]


def rows_of(values: np.ndarray, split: str = "test") -> list[dict[str, str]]:
    return [
        {"arm": f"arm{a}", "seed": str(seed), "split": split, "subject": f"s{subject}", "scan": f"s{subject}-{scan}",
         "slice": str(k), "class": f"channel {c}", "metric": "inpainting_l2_norm", "unit": "normalised intensity",
         "value": repr(float(values[a, seed, subject, scan, k, c]))}
        for a, seed, subject, scan, k, c in itertools.product(*map(range, values.shape))
    ]  # fmt: skip


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    rng = np.random.default_rng(2)
    shared = rng.normal(0, 2, (1, 1, *SHAPE[2:]))
    level = np.array([p / 4 + 12 + 0.5 * (s == "random") for _, p, s in GRID]).reshape(-1, 1, 1, 1, 1, 1)
    return level + shared + rng.normal(0, 1, SHAPE)


def test_norms_and_tests_equal_numpy_and_scipy(values: np.ndarray) -> None:
    found = restorations(rows_of(values) + rows_of(values + 9, "validation"), arms())
    slices = values.mean(axis=(1, 5)).reshape(len(GRID), -1)  # seeds and channels
    subjects = values.mean(axis=(1, 3, 4, 5))
    assert found.channels == 2 and found.unit == "normalised intensity" and found.n_planned == 4
    for k, key in enumerate(GRID):
        norm = found.norm(key)
        assert norm is not None and (norm.n_slices, norm.n_subjects, norm.n_excluded) == (42, 7, 0)
        assert (norm.mean, norm.sd) == pytest.approx((slices[k].mean(), slices[k].std(ddof=1)))
    raw = []
    for k in range(0, len(GRID), 2):
        test = found.test(*GRID[k][:2])
        assert test is not None and test.n_slices == 42 and test.n_subjects == 7
        by_slice = stats.wilcoxon(slices[k], slices[k + 1], alternative="less", method="exact")
        by_subject = stats.wilcoxon(subjects[k], subjects[k + 1], alternative="less", method="exact")
        assert test.by_slice.p_value == pytest.approx(by_slice.pvalue, rel=1e-9)
        assert test.by_subject.p_value == pytest.approx(by_subject.pvalue, rel=1e-9)
        assert test.mean_difference == pytest.approx((subjects[k + 1] - subjects[k]).mean())
        raw.append(by_subject.pvalue)
    assert [t.p_holm for t in found.tests] == pytest.approx(holm(raw))
    assert min(raw) < 0.05


def test_values_that_are_not_finite_are_left_out_and_counted(values: np.ndarray) -> None:
    spoilt = values.copy()
    spoilt[0, :, 3, 1, 2] = np.inf
    found = restorations(rows_of(spoilt), arms())
    norm, test = found.norm(GRID[0]), found.test(*GRID[0][:2])
    assert norm is not None and (norm.n_slices, norm.n_excluded) == (41, 4)
    assert test is not None and test.n_slices == 41  # of both samplings
    kept = np.delete(values.mean(axis=(1, 5))[0].ravel(), 3 * 6 + 1 * 3 + 2)
    assert norm.mean == pytest.approx(kept.mean())


def test_scans_of_a_subject_count_alike_whatever_their_slices(values: np.ndarray) -> None:
    rows = [r for r in rows_of(values) if r["scan"] != "s1-1" or r["slice"] == "0"]
    by_scan = values.mean(axis=(1, 5))
    per_scan = by_scan.mean(axis=3)
    per_scan[:, 1, 1] = by_scan[:, 1, 1, 0]
    subjects = per_scan.mean(axis=2)
    test = restorations(rows, arms()).test(*GRID[0][:2])
    assert test is not None and test.mean_difference == pytest.approx((subjects[1] - subjects[0]).mean())


def test_missing_samplings_count_as_p_1(values: np.ndarray) -> None:
    found = restorations([r for r in rows_of(values) if r["arm"] != "arm1"], arms())
    assert found.n_planned == 4 and len(found.tests) == 3 and found.test(*GRID[0][:2]) is None
    assert found.norm(GRID[0]) is not None and found.norm(GRID[1]) is None
    raw = [t.by_subject.p_value for t in found.tests]
    assert [t.p_holm for t in found.tests] == pytest.approx(holm([*raw, 1.0])[:3])
    nothing = restorations([], arms())
    assert nothing.norms == () and nothing.tests == () and nothing.falls() == {}


def test_falls_with_the_patch_size(values: np.ndarray) -> None:
    assert restorations(rows_of(values), arms()).falls() == dict.fromkeys(
        itertools.product(("context_prediction", "context_restoration"), ("poisson_disc", "random")), True
    )
    risen = values.copy()
    risen[2] += 20  # context prediction, 16, Poisson-disc
    falls = restorations(rows_of(risen), arms()).falls()
    assert [key for key, does in falls.items() if not does] == [("context_prediction", "poisson_disc")]


def test_a_value_that_is_no_number_is_refused(values: np.ndarray) -> None:
    (first, *_), text = rows_of(values[:, :1, :1, :1, :1, :1]), "per_slice.csv: could not convert"
    with pytest.raises(InputError, match=text):
        restorations([{**first, "value": "x"}], arms())


def test_rank_agreement() -> None:
    keys = [("t", k, "s") for k in range(6)]
    norms = dict(zip(keys, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], strict=True))
    gains = dict(zip(keys[:5], [5.0, 4.0, 2.0, 3.0, 1.0], strict=True))
    assert rank_agreement(norms, gains) == pytest.approx(1 - 6 * (16 + 4 + 1 + 1 + 16) / (5 * 24))
    assert rank_agreement(norms, dict.fromkeys(keys, 0.1)) is None
    assert rank_agreement(norms, dict.fromkeys(keys[:4], 0.1)) is None
