"""The bootstrap interval against SciPy's; the effect size against pairs of pairs and all sign patterns."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from inpaint_ssl.statistics import AVERAGE, Bootstrap, mean_interval, summarise, wilcoxon_greater


def _scipy(d: np.ndarray, alpha: float, how: Bootstrap) -> tuple[float, float]:
    found = stats.bootstrap(
        (d,), np.mean, n_resamples=how.resamples, confidence_level=1 - alpha, method="BCa", vectorized=True,
        rng=np.random.default_rng(how.seed),
    ).confidence_interval  # fmt: skip
    return float(found.low), float(found.high)


@pytest.mark.parametrize(
    ("n", "alpha", "how"),
    [
        (2, 0.05, Bootstrap()),
        (5, 0.05, Bootstrap(seed=3)),
        (12, 0.1, Bootstrap(2000, 7)),
        (86, 0.01, Bootstrap()),
        (1500, 0.05, Bootstrap(1500, 1)),  # more numbers than are drawn at once
    ],
)
def test_interval_is_scipys_of_the_same_resamples(n: int, alpha: float, how: Bootstrap) -> None:
    skewed = np.round(np.random.default_rng(n).exponential(50, n) - 10) / 1024  # sums are exact, whatever their order
    assert mean_interval(skewed, alpha, how) == pytest.approx(_scipy(skewed, alpha, how), rel=1e-9, abs=1e-12)


def test_interval_does_not_depend_on_the_order_of_a_sum() -> None:
    whole = np.array([17.0, 101.0, 23.0, 4.0, 59.0])  # many resamples have the mean itself
    assert np.multiply(_scipy(whole, 0.05, Bootstrap()), 1e-3) == pytest.approx(
        mean_interval(whole / 1000, 0.05, Bootstrap()), rel=1e-9
    )


def test_interval_is_of_its_seed_and_of_nothing_else() -> None:
    d = list(np.random.default_rng(0).normal(0.02, 0.05, 20))
    first, again = mean_interval(d, 0.05, Bootstrap()), mean_interval(iter(d), 0.05, Bootstrap(10_000, 0))
    other = mean_interval(d, 0.05, Bootstrap(seed=1))
    assert first == again != other and other == pytest.approx(first, abs=0.002)


def test_interval_of_one_subject_and_of_equal_differences() -> None:
    assert all(math.isnan(end) for values in ([], [0.1]) for end in mean_interval(values, 0.05, Bootstrap()))
    equal = [0.3 - 0.2, 0.8 - 0.7, 0.9 - 0.8]  # on paper
    assert len(set(equal)) > 1 and mean_interval(equal, 0.05, Bootstrap()) == (0.1, 0.1)


@pytest.mark.parametrize(
    ("d", "alpha", "resamples"), [([0.1, 0.2], 0.05, 999), ([0.1, 0.2], 0.0, 1000), ([0.1, math.nan], 0.05, 1000)]
)
def test_what_gives_no_interval_is_refused(d: list[float], alpha: float, resamples: int) -> None:
    with pytest.raises(ValueError, match=r"config\.statistics"):
        mean_interval(d, alpha, Bootstrap(resamples))


def test_interval_of_a_study_rests_on_subjects_and_its_settings() -> None:
    rng = np.random.default_rng(5)
    gains = np.round(rng.gamma(1.5, 30, (7, 2))) / 1024  # subject, scan
    base = {"label_fraction": "0.1", "subset_draw": "0", "seed": "0", "split": "test", "metric": "dice", "class": "A"}
    rows = [
        base | {"arm": arm, "subject": f"s{i}", "scan": f"s{i}-{k}", "value": repr(0.5 + (arm == "pretrained") * gain)}
        for arm in ("pretrained", "from_scratch")
        for i, of_subject in enumerate(gains.tolist())
        for k, gain in enumerate(of_subject)
    ]
    how = Bootstrap(3000, 11)
    found = summarise(rows[::-1], 0.1, bootstrap=how)
    assert found.bootstrap == how and summarise(rows, 0.1).bootstrap == Bootstrap(10_000, 0)
    for name in (AVERAGE, "A"):
        entry = found.entry(0.1, name)
        assert entry is not None and entry.comparison is not None
        ends = (entry.comparison.difference_lower, entry.comparison.difference_upper)
        assert ends == pytest.approx(_scipy(gains.mean(1), 0.1, how), rel=1e-6)
        assert entry.comparison.rank_biserial == entry.comparison.wilcoxon.rank_biserial == 1.0


def _favourable(d: np.ndarray) -> float:
    """Mean sign of d_i + d_j over all pairs i <= j: what the rank sums count, without ranks."""
    return float(np.mean([np.sign(d[i] + d[j]) for i in range(d.size) for j in range(i, d.size)]))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-4, 4), min_size=1, max_size=8))
def test_effect_size_and_p_value_are_those_of_all_sign_patterns(values: list[int]) -> None:
    result, d = wilcoxon_greater(values, [0] * len(values)), np.array([v for v in values if v], float)
    if not d.size:
        assert math.isnan(result.rank_biserial)
        return
    assert result.rank_biserial == pytest.approx(_favourable(d), abs=1e-12)
    flipped = [_favourable(np.abs(d) * signs) for signs in itertools.product((-1, 1), repeat=d.size)]
    assert result.p_value == pytest.approx(np.mean([r >= result.rank_biserial - 1e-9 for r in flipped]))


def test_effect_size_by_hand() -> None:
    # ranks 1 to 5, the 2 is a loss: (13 - 2) / 15
    assert wilcoxon_greater([11.0, 8.0, 13.0, 14.0, 15.0], [10.0] * 5).rank_biserial == pytest.approx(11 / 15)
    assert wilcoxon_greater([1.0, 2.0, 3.0], [2.0, 4.0, 6.0]).rank_biserial == -1.0
