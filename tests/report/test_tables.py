"""The numbers of results.csv and tables/ against NumPy and SciPy on the values that the files were made from."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from example_study import ExampleStudy
from scipy import stats

from inpaint_ssl.files import read_csv, write_csv_atomic
from inpaint_ssl.report import write_report


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> ExampleStudy:
    options = {"fractions": [0.05, 0.25, 1.0], "seeds": [3, 5], "subjects": 9, "channels": ["soft", "bone"]}
    example = ExampleStudy(tmp_path_factory.mktemp("study"), **options)
    write_report(example.write())
    return example


def _dice(study: ExampleStudy, arm: str, fraction: float) -> np.ndarray:
    """Dice (seed, scan, class)."""
    values = [
        [[study.dice(arm, fraction, c, seed, scan) for c in study.classes] for scan in study.scans()]
        for seed in study.seeds
    ]
    return np.array(values)


def test_results_against_numpy_and_scipy(study: ExampleStudy) -> None:
    rows = read_csv(study.root / "results.csv")
    assert [(float(r["label_fraction"]), r["class"]) for r in rows] == list(
        itertools.product(study.fractions, ["average", *study.classes])
    )
    for row in rows:
        fraction, k = float(row["label_fraction"]), [*study.classes, "average"].index(row["class"])
        per_scan = {}
        for arm in ("from_scratch", "pretrained"):
            values = _dice(study, arm, fraction).mean(0)
            per_scan[arm] = values.mean(-1) if row["class"] == "average" else values[:, k]
            assert float(row[f"{arm}_mean"]) == pytest.approx(per_scan[arm].mean())
            assert float(row[f"{arm}_sd"]) == pytest.approx(per_scan[arm].std(ddof=1))
        d = per_scan["pretrained"] - per_scan["from_scratch"]
        expected = stats.wilcoxon(d, alternative="greater", method="exact")
        assert float(row["difference"]) == pytest.approx(d.mean())
        assert float(row["p_value"]) == pytest.approx(expected.pvalue)
        assert float(row["statistic"]) == expected.statistic
        ends = stats.bootstrap((d,), np.mean, n_resamples=10_000, rng=np.random.default_rng(0)).confidence_interval
        found = (float(row["difference_lower"]), float(row["difference_upper"]))
        assert found == pytest.approx((ends.low, ends.high), abs=0.01 * d.std())
        ranks = stats.rankdata(abs(d))
        assert float(row["rank_biserial"]) == pytest.approx((ranks * np.sign(d)).sum() / ranks.sum())
        assert (row["n"], row["n_zero"], row["method"], row["compared_subjects"]) == ("9", "0", "exact", "9")
        assert int(row["labelled_subjects"]) == round(120 * fraction)


def test_only_planned_tests_are_adjusted(study: ExampleStudy) -> None:
    rows = read_csv(study.root / "results.csv")
    average = [row for row in rows if row["class"] == "average"]
    p = [float(row["p_value"]) for row in average]
    sets = [s for k in (1, 2, 3) for s in itertools.combinations(range(3), k)]  # closed testing with Bonferroni
    closed = [max(min(1.0, len(s) * min(p[j] for j in s)) for s in sets if i in s) for i in range(3)]
    assert [float(row["p_holm"]) for row in average] == pytest.approx(closed) != p
    assert {row["p_holm"] for row in rows if row["class"] != "average"} == {""}


def test_a_single_subject_has_no_interval(tmp_path: Path) -> None:
    page = write_report(ExampleStudy(tmp_path, fractions=[0.5], subjects=1).write()).read_text(encoding="utf-8")
    row = read_csv(tmp_path / "results.csv")[0]
    assert row["difference"] and (row["difference_lower"], row["difference_upper"]) == ("", "")
    assert "nan" not in page.split("<h2>Methods")[0].split("<body>")[1].split("<svg")[0]


def test_dice_table_has_every_seed(study: ExampleStudy) -> None:
    rows = read_csv(study.root / "tables/dice.csv")
    assert len(rows) == 3 * 3 * 2 * 3  # fractions, average and classes, arms, both seeds and all
    for row in rows:
        if row["class"] == "average" and row["seed"] != "all":
            values = _dice(study, row["arm"], float(row["label_fraction"]))[study.seeds.index(int(row["seed"]))]
            assert float(row["mean"]) == pytest.approx(values.mean())


def test_inpainting_table_averages_seeds_for_each_slice(study: ExampleStudy) -> None:
    rows = read_csv(study.root / "per_slice.csv")
    found = {row["channel"]: row for row in read_csv(study.root / "tables/inpainting.csv")}
    assert list(found) == ["soft", "bone"]
    for channel, row in found.items():
        values = [[float(r["value"]) for r in rows if r["class"] == channel and r["seed"] == s] for s in "35"]
        slices = np.mean(values, axis=0)  # both seeds list the slices in the same order
        assert float(row["mean"]) == pytest.approx(slices.mean())
        assert float(row["sd"]) == pytest.approx(slices.std(ddof=1))
        assert int(row["slices"]) == slices.size == 15


def test_undefined_values_are_dropped_counted_and_shown(tmp_path: Path) -> None:
    example = ExampleStudy(tmp_path, fractions=[0.5], subjects=6)
    rows = read_csv(example.write() / "per_scan.csv")
    for row in rows:
        if (row["arm"], row["scan"], row["class"]) == ("pretrained", "case_002", "posterior"):
            row["value"], row["flag"] = "nan", "absent"
    write_csv_atomic(tmp_path / "per_scan.csv", list(rows[0]), rows)
    page = write_report(tmp_path).read_text(encoding="utf-8")
    average, _, posterior = read_csv(tmp_path / "results.csv")
    gains = []
    for scan in example.scans():
        kept = ["anterior"] if scan == "case_002" else example.classes
        p, s = (np.mean([example.dice(a, 0.5, c, 0, scan) for c in kept]) for a in ("pretrained", "from_scratch"))
        gains.append(p - s)
    assert float(average["difference"]) == pytest.approx(np.mean(gains))
    assert float(average["p_value"]) == pytest.approx(stats.wilcoxon(gains, alternative="greater").pvalue)
    assert (average["pretrained_excluded"], average["from_scratch_excluded"]) == ("1", "0")
    assert (posterior["n"], posterior["compared_excluded"], posterior["pretrained_subjects"]) == ("5", "1", "5")
    assert "1 undefined" in page and "(1 values left out)" in page
