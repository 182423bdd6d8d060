"""Damaged files of every format end in a whole scan or one line that names a file; anything else is noticed."""

import os
import random
import shutil
import signal
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import fuzz_case
import numpy as np
import pytest
from fuzz_case import ALLOWED, Broken, Outcome, check_scan, files_of, run_case
from fuzz_sets import FOREIGN, KINDS, Kind, msd, reader_of
from fuzzing import build_sets, fuzz, mixed, summary

from inpaint_ssl.errors import InputError, Problems

FEW = ("msd", "dicom_rle", "skm_tea", "skm_tea_json")


@pytest.fixture(scope="module")
def few_sets(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("few")
    build_sets(FEW, folder, real_data)
    return folder


def failures(outcomes: list[Outcome]) -> list[Outcome]:
    return [one for one in outcomes if one.result not in ALLOWED]


def test_files_that_are_whole_are_read_and_some_that_are_not_are_refused(few_sets: Path) -> None:
    outcomes = list(fuzz([*mixed(FEW, 4, first=-1), *mixed(FEW, 12)], few_sets, processes=1))
    assert failures(outcomes) == []
    assert [one.result for one in outcomes[:4]] == ["read"] * 4
    assert Counter(one.result for one in outcomes[4:])["refused"] >= 4


def test_a_case_can_be_repeated_and_leaves_everything_as_it_was(few_sets: Path, tmp_path: Path) -> None:
    shutil.copytree(few_sets, tmp_path / "sets")
    for name in FEW:
        folder = tmp_path / "sets" / name
        before = {path: path.read_bytes() for path in files_of(folder)}
        for seed in range(2):
            first, second = (run_case(name, seed, folder) for _ in range(2))
            assert (first.mutation, first.result, first.detail) == (second.mutation, second.result, second.detail)
        assert {path: path.read_bytes() for path in files_of(folder)} == before


# Readers that fail, as what a test of its own must notice


def raises_another_error(root: Path, rng: random.Random) -> object:
    raise KeyError("echo1")


def warns(root: Path, rng: random.Random) -> object:
    warnings.warn("odd header", stacklevel=1)
    return None


def names_no_file(root: Path, rng: random.Random) -> object:
    raise InputError("something is wrong; mend it")


def names_the_patient(root: Path, rng: random.Random) -> object:
    raise InputError("file.bin of Miller is damaged; copy it again")


def fills_memory(root: Path, rng: random.Random) -> object:
    return np.ones(2**30, np.uint8).sum()


def asks_for_too_much(root: Path, rng: random.Random) -> object:
    return np.zeros(2**40, np.uint8).sum()


def is_slow(root: Path, rng: random.Random) -> object:
    fuzz_case.SECONDS = 0.05
    return sum(range(10**7))


def hangs(root: Path, rng: random.Random) -> object:
    return time.sleep(1000)


def crashes(root: Path, rng: random.Random) -> object:
    os.kill(os.getpid(), signal.SIGSEGV)
    return None


def refuses(root: Path, rng: random.Random) -> object:
    raise InputError(f"{root / 'file.bin'} is damaged; copy it again")


def works(root: Path, rng: random.Random) -> object:
    return 1


PLANTED: dict[str, tuple[Callable[[Path, random.Random], object], str]] = {
    "works": (works, "read"),
    "error": (raises_another_error, "exception"),
    "warning": (warns, "exception"),
    "nameless": (names_no_file, "message"),
    "patient": (names_the_patient, "message"),
    "memory": (fills_memory, "memory"),
    "address": (asks_for_too_much, "exception"),
    "hang": (hangs, "hung"),
    "crash": (crashes, "died"),
    "refuses": (refuses, "refused"),
    "slow": (is_slow, "slow"),
}


def planted_case(name: str, seed: int, folder: Path) -> Outcome:
    KINDS.update((name, Kind(msd, ("file.bin",), (), use=use)) for name, (use, _) in PLANTED.items())
    return run_case(name, seed, folder)


@pytest.mark.slow
def test_every_kind_of_failure_is_noticed_and_attributed(tmp_path: Path) -> None:
    for name in PLANTED:
        (tmp_path / name / "set").mkdir(parents=True)
        (tmp_path / name / "set" / "file.bin").write_bytes(bytes(100))
    (tmp_path / FOREIGN).mkdir()
    outcomes = list(fuzz(((name, -1) for name in PLANTED), tmp_path, 3, planted_case, hangs_after=10.0))
    assert {one.kind: one.result for one in outcomes} == {name: result for name, (_, result) in PLANTED.items()}
    found = summary(outcomes)
    assert found["results"] == dict(sorted(Counter(result for _, result in PLANTED.values()).items()))
    assert len(found["failures"]) == len(PLANTED) - 2 and found["most_memory"]["kind"] == "memory"
    details = {one.kind: one.detail for one in outcomes}
    assert "KeyError: 'echo1'" in details["error"] and "raises_another_error" in details["error"]
    assert "exit code -11" in details["crash"]


def test_scans_that_break_a_promise_are_noticed(few_sets: Path) -> None:
    reader = reader_of(few_sets / "msd" / "set", KINDS["msd"], Problems())
    entry = reader.entries[0]
    scan = reader.read(entry)
    check_scan(scan, entry, reader)
    assert scan.label is not None
    for change in (
        {"image": scan.image[..., 0]},
        {"image": scan.image.astype(np.float64)},
        {"image": np.full_like(scan.image, np.nan, dtype=np.float32)},
        {"label": None},
        {"label": scan.label.astype(int)},
        {"label": scan.label[1:]},
        {"spacing_mm": (1.0, 1.0, 0.0)},
        {"spacing_mm": (1.0, 1.0, 2.0)},
        {"affine": np.zeros((4, 4))},
        {"original_affine": np.full((4, 4), np.nan)},
        {"original_shape": (1, 2, 3)},
        {"acquisition": {"tr_ms": np.inf}},
    ):
        with pytest.raises(Broken):
            check_scan(replace(scan, **change), entry, reader)


# The fuzzing itself


def fuzzed(count: int, sets: Path, data: Path) -> list[Outcome]:
    build_sets(KINDS, sets, data)
    outcomes = list(fuzz(mixed(list(KINDS), count), sets, processes=max(2, min(os.cpu_count() or 2, 8))))
    for one in failures(outcomes):
        print(f"python tests/data/fuzzing.py {one.kind} {one.seed}  [{one.mutation}] {one.result}: {one.detail}")
    assert [f"{one.kind} {one.seed} {one.result}" for one in failures(outcomes)] == []
    return outcomes


@pytest.mark.slow
def test_damaged_files_of_every_format(real_data: Path, tmp_path: Path) -> None:
    outcomes = fuzzed(12 * len(KINDS), tmp_path, real_data)
    results = Counter(one.result for one in outcomes)
    assert results["read"] > 20 and results["refused"] > len(outcomes) / 2


@pytest.mark.full
@pytest.mark.timeout(7200)
def test_10000_damaged_files(real_data: Path, tmp_path: Path, keep_summary) -> None:
    outcomes = fuzzed(10_000, tmp_path, real_data)
    found = summary(outcomes)
    never = {kind for kind, counts in found["by_kind"].items() if "refused" not in counts}
    assert never == {"store_checked"}  # that file is passed over when it is damaged
    keep_summary("fuzz_10000", found)
