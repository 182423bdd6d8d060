"""The benchmark: rivals that are right, timings that are what the clock says, and the command from end to end."""

import io
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from experiments.benchmark import BENCHMARKS, main
from experiments.benchmarks import bridson, tables
from experiments.benchmarks.chosen import chosen
from experiments.benchmarks.corruption import show
from experiments.benchmarks.machine import available_cores, on_one_core
from experiments.benchmarks.settings import QUICK, Settings
from experiments.benchmarks.timing import Contender, Timing, interleaved, left_out, spread
from inpaint_ssl.corruption import PatchSpec
from inpaint_ssl.corruption.spec import patch_count
from inpaint_ssl.errors import InputError

ROOT = Path(__file__).resolve().parent.parent


def ones(height: int, width: int) -> np.ndarray:
    return np.ones((height, width, 2), np.float32)


@pytest.mark.parametrize("bridson_of", [bridson.bridson_plain, bridson.bridson])
@pytest.mark.parametrize(("size", "patch_size"), [((96, 96), 8), ((64, 100), 16), ((40, 33), 5)])
def test_bridson_keeps_the_distance_inside_the_image(bridson_of, size: tuple[int, int], patch_size: int) -> None:
    places = np.stack(np.meshgrid(*(np.arange(s - patch_size + 1) for s in size), indexing="ij"), -1)
    free = []
    for seed in range(10):
        corners = bridson_of(np.random.default_rng(seed), size, patch_size)
        assert corners.min() >= 0 and (corners <= np.array(size) - patch_size).all()
        squares = ((corners[:, None] - corners[None]) ** 2).sum(-1)
        assert squares[~np.eye(len(corners), dtype=bool)].min() >= 2 * patch_size**2
        free.append((((places[:, :, None] - corners) ** 2).sum(-1) >= 2 * patch_size**2).all(-1).mean())
    assert np.mean(free) < 0.1  # hardly a place is left where a further patch could be


@pytest.mark.parametrize("plain", [False, True])
def test_poisson_disc_patches_are_as_many_as_the_original_and_ours(plain: bool) -> None:
    rng = np.random.default_rng(0)
    drawn = [bridson.poisson_disc_patches(rng, (96, 96), 8, 0.25, plain) for _ in range(2)]
    assert [len(corners) for corners in drawn] == [36, 36] == [patch_count((96, 96), PatchSpec(8), "")] * 2
    assert not np.array_equal(*drawn)
    assert len(bridson.poisson_disc_patches(rng, (96, 96), 7, 0.25, plain)) == math.floor(0.25 * 96**2 / 49) == 47


def test_bridson_runs_again_while_it_finds_too_few(monkeypatch) -> None:
    results = [np.zeros((5, 2), int), np.zeros((35, 2), int), np.arange(80).reshape(40, 2)]
    monkeypatch.setattr(bridson, "bridson", lambda *arguments: results.pop(0))
    corners = bridson.poisson_disc_patches(np.random.default_rng(0), (96, 96), 8, 0.25, False)
    assert len(results) == 0 and len({tuple(c) for c in corners.tolist()}) == 36
    assert not np.array_equal(corners, np.arange(72).reshape(36, 2))  # a random choice, not the first ones
    monkeypatch.setattr(bridson, "bridson", lambda *arguments: np.zeros((35, 2), int))
    with pytest.raises(RuntimeError, match="100 runs"):
        bridson.poisson_disc_patches(np.random.default_rng(0), (96, 96), 8, 0.25, False)


@pytest.mark.parametrize("patches_of", [bridson.random_patches_plain, bridson.random_patches])
@pytest.mark.parametrize("pairs", [False, True])
def test_random_patches_stop_at_the_draw_that_reaches_the_fraction(patches_of, pairs: bool) -> None:
    step = 2 if pairs else 1
    for seed in range(20):
        corners = patches_of(np.random.default_rng(seed), (48, 40), 8, 0.25, pairs)
        assert corners.min() >= 0 and (corners <= [40, 32]).all()
        without_last, whole = (
            np.mean(bridson.zero(ones(48, 40), some, 8)[..., 0] == 0) for some in (corners[:-step], corners)
        )
        assert without_last < 0.25 <= whole
        if pairs:
            assert (np.abs(corners[::2] - corners[1::2]) >= 8).any(axis=1).all()


def test_random_patches_reach_every_place() -> None:
    for patches_of, side in ((bridson.random_patches, 200), (bridson.random_patches_plain, 20)):
        corners = patches_of(np.random.default_rng(0), (side, side), 1, 0.9, False)
        assert corners.min() == 0 and corners.max() == side - 1


def test_zeroing_covers_the_patches_exactly() -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(size=(96, 96, 2)).astype(np.float32)
    result = bridson.corrupt(rng, image, "context_prediction", "poisson_disc", 8, 0.25, plain=True)
    gone = result == 0
    assert gone.sum() == 2 * 36 * 64 and (gone[..., 0] == gone[..., 1]).all()
    np.testing.assert_array_equal(result[~gone], image[~gone])
    assert (image != 0).all()  # the image itself is untouched


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("sampling", ["poisson_disc", "random"])
def test_swapping_moves_values_and_loses_none(sampling: str, plain: bool) -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(size=(96, 96, 2)).astype(np.float32)
    result = bridson.corrupt(rng, image, "context_restoration", sampling, 8, 0.25, plain)
    assert 0.2 < np.mean((result != image).any(-1)) < 0.4
    np.testing.assert_array_equal(*(np.sort(x.reshape(-1, 2), axis=0) for x in (result, image)))


def test_swapping_goes_pair_after_pair() -> None:
    image = np.arange(16).reshape(4, 4, 1)
    corners = np.array([[0, 0], [0, 2], [0, 0], [2, 0], [2, 2]])  # the last one has no partner
    expected = [[8, 9, 0, 1], [12, 13, 4, 5], [2, 3, 10, 11], [6, 7, 14, 15]]
    np.testing.assert_array_equal(bridson.swap(image, corners, 2)[..., 0], expected)


def test_turns_are_timed_without_their_preparation() -> None:
    now, order = [0.0], []

    def contender(name: str, seconds: float, images: int) -> Contender:
        def prepare(calls: int) -> range:
            now[0] += 1000.0
            return range(calls)

        def run(inputs) -> None:
            now[0] += seconds * len(inputs) + (7.0 if name not in order else 0.0)  # the first call compiles
            order.append(name)

        return Contender(prepare, run, images)

    both = {"a": contender("a", 0.003, 1), "b": contender("b", 0.25, 5)}
    timings = interleaved(both, rounds=3, min_round_ms=10.0, clock=lambda: now[0])
    assert {name: t.calls_per_round for name, t in timings.items()} == {"a": 4, "b": 1}
    assert {name: t.first_call_seconds for name, t in timings.items()} == pytest.approx({"a": 7.003, "b": 7.25})
    assert timings["a"].samples_ms == pytest.approx([3.0] * 3)
    assert timings["b"].samples_ms == pytest.approx([50.0] * 3)
    assert order[-6:] == ["a", "b", "b", "a", "a", "b"]


def test_first_calls_and_rounds_are_told_as_they_come() -> None:
    now, told = [0.0], []

    def contender(seconds: float) -> Contender:
        return Contender(range, lambda inputs: now.__setitem__(0, now[0] + seconds * len(inputs)))

    def on_first(name: str, seconds: float, milliseconds: float) -> None:
        now[0] += 50.0  # what is done in between is not timed
        told.append((name, round(seconds, 6), round(milliseconds, 6)))

    def on_round(timings: dict[str, Timing]) -> None:
        now[0] += 50.0
        told.append({name: timing.samples_ms for name, timing in timings.items()})

    given = {"a": contender(0.5), "b": contender(0.25)}
    timings = interleaved(given, 2, 1.0, clock=lambda: now[0], on_first=on_first, on_round=on_round)
    assert told[:2] == [("a", 0.5, 500.0), ("b", 0.25, 250.0)]
    assert [{n: pytest.approx(s) for n, s in t.items()} for t in told[2:]] == [
        {"a": (500.0,) * count, "b": (250.0,) * count} for count in (1, 2)
    ]
    assert timings["a"].samples_ms == told[-1]["a"]


def test_only_names_rows_and_contenders() -> None:
    listed = {"seeds": {"in_turn": 1, "vmap": 2}, "feeding": {"resident": 3, "streamed": 4}}
    assert chosen(listed, ()) == listed
    assert chosen(listed, ("feeding", "seeds/vmap")) == {"seeds": {"vmap": 2}, "feeding": listed["feeding"]}
    with pytest.raises(
        InputError, match=r"--only: got vmap, expected some of seeds, seeds/in_turn, seeds/vmap, feeding"
    ):
        chosen(listed, ("vmap", "seeds"))


def test_statistics_of_samples() -> None:
    assert spread(range(11), "x_{}_ms") == {"x_median_ms": 5.0, "x_p10_ms": 1.0, "x_p90_ms": 9.0}
    pair = Timing((10.0, 20.0, 40.0), 1, 0.0), Timing((8.0, 19.0, 30.0), 1, 0.0)
    result = left_out(*pair)
    assert result["difference_median_ms"] == 2.0  # of the pairs; the medians differ by 1
    assert result["share"] == 0.1
    assert (result["share_low"], result["share_high"]) == (0.05, 0.5)  # too few rounds to leave any out
    whole = Timing(tuple(100.0 + i for i in range(60)), 1, 0.0)
    many = left_out(whole, Timing((100.0,) * 60, 1, 0.0))
    assert (many["share_low"], many["share_high"]) == (22 / 129.5, 37 / 129.5)  # binomial: 22 of 60 on either side
    assert result["difference_p90_ms"] == pytest.approx(8.4)


def test_one_core_in_a_process_of_its_own(monkeypatch) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", "cuda,cpu")
    assert on_one_core(os.getenv, "JAX_PLATFORMS") == "cpu"
    assert on_one_core(os.getpid) != os.getpid()
    if hasattr(os, "sched_getaffinity"):
        before = available_cores()
        assert on_one_core(available_cores) == 1
        assert available_cores() == before


def test_importing_the_command_leaves_jax_alone() -> None:
    code = "import sys, experiments.benchmark; print('jax' in sys.modules, 'jaxlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.fixture(scope="module")
def quick_run(tmp_path_factory) -> tuple[dict, str]:
    """What the command writes and prints with --quick."""
    output = tmp_path_factory.mktemp("benchmark") / "new" / "folder"
    command = [sys.executable, "-m", "experiments.benchmark", "corruption", "--quick", f"--output={output}"]
    environment = {**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}  # compiling is most of it
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads((output / "corruption.json").read_text()), done.stdout


@pytest.mark.slow
def test_the_command_from_end_to_end(quick_run) -> None:
    result, printed = quick_run
    assert (result["benchmark"], result["quick"], result["format_version"]) == ("corruption", True, 1)
    assert result["settings"]["rounds"] == QUICK.rounds and result["date"].endswith("+00:00")
    assert result["processor"] and result["cores"] >= 1 and result["seconds"] > 0
    assert {"jax", "jaxlib", "numpy", "python", "inpaint_ssl"} <= set(result["versions"])
    if hasattr(os, "sched_getaffinity"):
        assert result["mask_cores"] == 1
    assert [row["patch_size"] for row in result["masks"]] == [8]
    kinds = [(row["task"], row["sampling"]) for row in result["corruption"]]
    assert kinds == [("context_prediction", "random"), ("context_restoration", "poisson_disc")]
    assert [row["masks"] for row in result["training_step"]["rows"]] == ["fresh", "bank"]
    for words in (
        "masks on one cpu core: K = 8",
        "Poisson-disc masks of 64 x 64",
        "share of a training step",
        "Numbers:",
    ):
        assert words in printed
    assert "…" not in printed


@pytest.mark.slow
def test_the_numbers_follow_from_the_samples(quick_run) -> None:
    result, _ = quick_run
    for row in result["masks"] + result["corruption"]:
        for side in ("rival", "tuned_rival", "single", "batch"):
            samples = row[side]["samples_ms"]
            assert len(samples) == QUICK.rounds and min(samples) > 0
            assert row[side]["median_ms"] == np.median(samples)
            assert row[side]["p10_ms"] <= row[side]["median_ms"] <= row[side]["p90_ms"]
        for side in ("single", "batch"):
            assert row[side]["ratio"] == row["rival"]["median_ms"] / row[side]["median_ms"]
            assert row[side]["ratio_to_tuned"] == row["tuned_rival"]["median_ms"] / row[side]["median_ms"]
            assert row[side]["compile_seconds"] * 1e3 > row[side]["median_ms"]
    (row,) = result["masks"]
    assert row["batch_masks"] == QUICK.rounds * QUICK.mask_batch * row["batch"]["calls_per_round"]
    assert 0 <= row["batch_masks_from_lattice"] <= row["batch_masks"]
    for row in result["training_step"]["rows"]:
        whole, without = (np.array(row[name]["samples_ms"]) for name in ("with_corruption", "without_corruption"))
        assert len(whole) == QUICK.step_pairs
        assert row["difference_median_ms"] == np.median(whole - without)
        assert row["share"] == row["difference_median_ms"] / np.median(whole)


@pytest.mark.slow
def test_a_gpu_adds_tables_of_batches_alone(quick_run) -> None:
    from experiments.benchmarks import masks, step_share

    tiny = Settings(image_size=16, image_batch=2, rounds=2, min_round_ms=0.0)
    row = masks.corruption_row(tiny, "context_prediction", "random", 4, batch=2, on_one_core=False)
    assert "rival" not in row and "single" not in row and "ratio" not in row["batch"] and row["goal_ratio"] is None
    text = io.StringIO()
    show({**quick_run[0], "corruption_on_device": [row]}, Console(file=text, width=60))
    assert text.getvalue().count("Corruption of a 64 x 64 image") == 2
    listed = step_share.variants(32, on_gpu=True, quick=False)
    assert {(v.patch_size, v.dtype) for v in listed} == {
        (size, dtype) for size in (64, 32, 16, 8) for dtype in ("float32", "bfloat16")
    }
    goals, others = listed[:8], listed[8:]
    assert {v.goal for v in goals} == {0.02} and {v.goal for v in others} == {None}
    assert all((v.masks, v.task, v.sampling) == ("fresh", "context_restoration", "poisson_disc") for v in goals)
    assert len(others) == 6


@pytest.mark.parametrize(("ratio", "word"), [(99.9, "missed"), (100.0, "met")])
def test_goals_are_printed_beside_the_results(ratio: float, word: str) -> None:
    times = {"median_ms": 0.0123, "p10_ms": 0.01, "p90_ms": 1234.5}
    row = {"patch_size": 8, "batch_size": 4, "goal_ratio": 100.0, "rival": times}
    row["single"] = {**times, "ratio": ratio, "compile_seconds": 1.0}
    console = Console(file=io.StringIO(), width=120)
    console.print(tables.mask_table("masks", [row]))
    assert f">= 100x: {word}" in console.file.getvalue() and "0.0123 (0.010-1234)" in console.file.getvalue()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "required: benchmark"),
        (["no_such"], "invalid choice: 'no_such'"),
        (["corruption", "--qick"], "unrecognized arguments: --qick"),
        (["corruption", "--root=x"], "--root: corruption reads no scans"),
        (["corruption", "--rounds=3"], "--rounds: corruption has its own; expected it with engine, training"),
        (["corruption", "--only=masks"], "--only: corruption has its own; expected it with engine, training"),
        (["training", "--rounds=-1"], "--rounds: got -1, expected 1 or more"),
        (["training", "--rounds=few"], "argument --rounds: invalid int value: 'few'"),
        (["training", "--quick", "--only=512x9,16x2"], "--only: got 512x9, expected some of 16x2, 16x2/ours"),
        (["prepare", "--root=x"], "--root: no dataset.json in x"),
        (["corruption", "--out=x"], "unrecognized arguments: --out=x"),
        (["corruption", "--output=FILE"], "is a file, expected a folder"),
        (["corruption", "--output=FILE/below"], "Not a directory"),
    ],
)
def test_a_wrong_command_is_one_line(tmp_path: Path, arguments: list[str], complaint: str, capsys, monkeypatch) -> None:
    monkeypatch.setitem(BENCHMARKS, "corruption", lambda *given: pytest.fail("it runs"))
    (tmp_path / "file").touch()
    arguments = [word.replace("FILE", str(tmp_path / "file")) for word in arguments]
    assert main(["benchmark", *arguments]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ") and complaint in line


@pytest.mark.slow
def test_preparing_is_measured_by_its_command(tmp_path: Path, capsys) -> None:
    command = [sys.executable, "-m", "experiments.benchmark", "prepare", "--quick", f"--output={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    sets = json.loads((tmp_path / "prepare.json").read_text())["sets"]
    assert {name: one["scans"] for name, one in sets.items()} == {"generated_3": 3, "generated_10": 10}
    for one in sets.values():
        assert one["again_seconds"] < one["seconds"] and one["stored_bytes"] > 0
        assert 5e7 < one["plain_peak_bytes"] < one["peak_bytes"] < 2e9
    assert "memory with 3.33333 times as many scans" in done.stdout
