"""The metrics card against means by hand and SciPy's own bootstrap."""

import json
from pathlib import Path

import bundled_run
import numpy as np
import pytest
import small_model
from scipy import stats

from inpaint_ssl.bundle.card import MetricsCard, card_of_run
from inpaint_ssl.data import ClassMap
from inpaint_ssl.errors import InputError
from inpaint_ssl.files import write_csv_atomic


@pytest.fixture(scope="module")
def segmenter():
    return small_model.model()


@pytest.fixture(scope="module")
def restorer():
    about = small_model.record(
        channels=2, task="inpainting", outputs=2, classes=ClassMap((), ()), arm="", label_fraction=0.0
    )
    return small_model.model(about)


def card_of(folder: Path, model) -> MetricsCard | None:
    return card_of_run(folder, model.record.task, model.record.dataset, model.record.splits_sha256)


def bca(values: np.ndarray) -> tuple[float, float]:
    found = stats.bootstrap((values,), np.mean, method="BCa", n_resamples=20_000, rng=np.random.default_rng(1))
    return tuple(found.confidence_interval)


def test_dice_by_class_and_average(tmp_path: Path, segmenter) -> None:
    dice = np.random.default_rng(0).beta(4, 2, (24, 2))
    dice[3, 1] = np.nan
    rows = bundled_run.dice_rows(segmenter, dice) + bundled_run.dice_rows(segmenter, dice * 0, "validation")
    card = card_of(bundled_run.write_run(tmp_path / "run", segmenter, rows), segmenter)
    assert (card.metric, card.unit, card.part, card.level) == ("dice", "ratio", "test", 0.95)
    assert (card.dataset, card.splits_sha256) == ("a data set", "1" * 64)
    assert (card.subjects, card.scans) == (12, 24)
    assert [score.name for score in card.scores] == ["average", "bright", "dim"]
    scans = {"average": np.nanmean(dice, axis=1), "bright": dice[:, 0], "dim": dice[:, 1]}
    for score in card.scores:
        by_subject = np.nanmean(scans[score.name].reshape(12, 2), axis=1)
        assert score.subjects == 12 and score.mean == pytest.approx(by_subject.mean(), abs=1e-12)
        assert (score.lower, score.upper) == pytest.approx(bca(by_subject), abs=0.004)
    assert MetricsCard.from_dict(json.loads(json.dumps(card.to_dict())), "x") == card


def test_norms_are_means_over_slices(tmp_path: Path, restorer) -> None:
    norms = np.random.default_rng(0).gamma(3, 2, (9, 5, 2))
    card = card_of(bundled_run.write_run(tmp_path / "run", restorer, bundled_run.norm_rows(restorer, norms)), restorer)
    assert (card.metric, card.unit, card.subjects) == ("inpainting_l2_norm", "normalised intensity", 9)
    assert [score.name for score in card.scores] == ["average", "input 0", "input 1"]
    assert card.scores[2].mean == pytest.approx(norms[..., 1].mean())
    by_subject = norms.mean(axis=(1, 2))
    assert (card.scores[0].lower, card.scores[0].upper) == pytest.approx(bca(by_subject), abs=0.1)


def test_a_single_subject_has_no_interval(tmp_path: Path, segmenter) -> None:
    rows = bundled_run.dice_rows(segmenter, np.array([[0.5, np.nan], [0.7, np.nan]]))
    average, bright, dim = card_of(bundled_run.write_run(tmp_path / "run", segmenter, rows), segmenter).scores
    assert (average.mean, bright.mean) == (pytest.approx(0.6), pytest.approx(0.6))
    assert (bright.lower, bright.upper, dim.mean, dim.subjects) == (None, None, None, 0)


def test_no_card_of_a_run_that_was_not_evaluated(tmp_path: Path, segmenter) -> None:
    assert card_of(bundled_run.write_run(tmp_path / "run", segmenter), segmenter) is None
    rows = bundled_run.dice_rows(segmenter, np.ones((2, 2)))
    half = bundled_run.write_run(tmp_path / "half", segmenter, rows)
    (half / "evaluation.json").unlink()  # the rows may be those of other weights
    assert card_of(half, segmenter) is None
    rows = bundled_run.dice_rows(segmenter, np.ones((2, 2)), "validation")
    only = bundled_run.write_run(tmp_path / "only", segmenter, rows)
    assert card_of(only, segmenter) is None


def test_rows_that_are_no_numbers(tmp_path: Path, segmenter, restorer) -> None:
    rows = bundled_run.dice_rows(segmenter, np.ones((2, 2)))
    run = bundled_run.write_run(tmp_path / "run", segmenter, [{**rows[0], "value": "much"}])
    with pytest.raises(InputError, match=r"evaluate the (study|run) again"):
        card_of(run, segmenter)
    run = bundled_run.write_run(tmp_path / "other", restorer, bundled_run.norm_rows(restorer, np.ones((2, 2, 2))))
    write_csv_atomic(run / "per_slice.csv", ["metric"], [{"metric": "inpainting_l2_norm"}])
    with pytest.raises(InputError, match=r"per_slice\.csv cannot be used"):
        card_of(run, restorer)


@pytest.mark.parametrize(
    "values", [None, [], {}, {"scores": 3}, {"scores": [{"name": 1}]}, {"scores": [], "metric": "beauty"}]
)
def test_another_card(values) -> None:
    with pytest.raises(InputError, match=r"model\.json: the metrics card cannot be read"):
        MetricsCard.from_dict(values, "model.json")
