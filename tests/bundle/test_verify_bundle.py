"""Comparing a bundle with its run: they agree, and whatever differs is told."""

import zipfile
from dataclasses import replace
from pathlib import Path

import bundled_run
import jax
import numpy as np
import pytest

from inpaint_ssl.bundle import verify_bundle, write_bundle
from inpaint_ssl.bundle.verify import sample_scan


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundled_run.written(tmp_path_factory.mktemp("written"))


OF_ALL_TASKS = pytest.mark.parametrize(
    "task", ["ct", pytest.param("mri", marks=pytest.mark.slow), pytest.param("inpainting", marks=pytest.mark.slow)]
)


@OF_ALL_TASKS
def test_bundle_and_run_agree(folder: Path, task: str) -> None:
    agreement = verify_bundle(folder / task, folder / f"{task}.zip")
    assert agreement.agrees and agreement.pixels == 4 * 16 * 16 + 4 * 12 * 12
    assert (agreement.same_as_run, agreement.run_difference, agreement.unexplained) == (1.0, 0.0, 0)
    assert agreement.same_as_program == 1.0 and agreement.lines()[-1] == "they agree"
    assert (agreement.labelled > 0) == (task != "inpainting") and "finds nothing" not in agreement.lines()[0]


def test_a_network_that_finds_nothing_is_hardly_tested(tmp_path: Path) -> None:
    model = bundled_run.model_of("mri")
    last = model.params["post_processing"]
    params = {**model.params, "post_processing": {**last, "bias": last["bias"] - 1000}}
    run = bundled_run.write_run(tmp_path / "run", replace(model, params=params))
    agreement = verify_bundle(run, write_bundle(run, tmp_path / "model.zip").path)
    assert agreement.agrees and agreement.labelled == 0
    assert "0 of them in a class: it finds nothing in them, so its StableHLO is hardly tested" in agreement.lines()[0]


@OF_ALL_TASKS
def test_other_weights_do_not_agree(folder: Path, tmp_path: Path, task: str) -> None:
    """A bundle of another run of the same study, whose record says the same."""
    run = bundled_run.write_run(tmp_path / "run", bundled_run.model_of(task, seed=4))
    agreement = verify_bundle(run, folder / f"{task}.zip")
    assert not agreement.agrees and not agreement.records
    assert agreement.same_as_run < 0.99 and agreement.run_difference > 0.01
    assert agreement.same_as_program == 1.0 and "differ" in agreement.lines()[-1]


@pytest.mark.slow
def test_weights_that_differ_by_little_do_not_agree(folder: Path, tmp_path: Path) -> None:
    model = bundled_run.model_of("mri")
    params = jax.tree.map(lambda leaf: leaf * 1.001, model.params)
    agreement = verify_bundle(
        bundled_run.write_run(tmp_path / "run", replace(model, params=params)), folder / "mri.zip"
    )
    assert 0 < agreement.run_difference < 0.1 and not agreement.agrees


@pytest.mark.slow
def test_another_program_does_not_agree(folder: Path, tmp_path: Path) -> None:
    """The StableHLO of other weights in a bundle whose hashes are right."""
    write_bundle(bundled_run.write_run(tmp_path / "run", bundled_run.model_of("ct", seed=7)), tmp_path / "other.zip")
    program = zipfile.ZipFile(tmp_path / "other.zip").read("network.stablehlo")
    agreement = verify_bundle(
        folder / "ct", bundled_run.repacked(folder / "ct.zip", tmp_path, network_stablehlo=program)
    )
    assert (agreement.same_as_run, agreement.run_difference) == (1.0, 0.0)
    assert agreement.same_as_program < 0.99 and agreement.unexplained > 0 and not agreement.agrees


def test_other_records_do_not_agree(folder: Path, tmp_path: Path) -> None:
    model = bundled_run.model_of("ct")
    run = bundled_run.write_run(tmp_path / "run", replace(model, record=replace(model.record, seed=4)))
    agreement = verify_bundle(run, folder / "ct.zip")
    assert agreement.records == ("seed",) and agreement.run_difference == 0 and not agreement.agrees
    agreement = verify_bundle(folder / "ct", folder / "mri.zip")
    assert "preprocessing" in agreement.records and agreement.pixels == 0 and not agreement.agrees
    assert "records of run and bundle differ: preprocessing" in agreement.lines()[0]


@pytest.mark.parametrize("task", ["mri", "ct", "inpainting"])
def test_the_sample_is_within_the_training_range(task: str) -> None:
    record = bundled_run.model_of(task).record
    image, spacing = sample_scan(record, 3, 0.75)
    assert image.shape == (12, 12, 4, 1) and image.dtype == np.float32 and spacing == (1.0, 1.0, 1.0)
    low, high = record.trained_on.ranges["hu_min"][0] if task == "ct" else 0, image.max()
    assert image.min() == pytest.approx(low) and image.std() > 0.1 * (high - low)
    np.testing.assert_array_equal(image, sample_scan(record, 3, 0.75)[0])
    assert not np.array_equal(image, sample_scan(record, 4, 0.75)[0])
