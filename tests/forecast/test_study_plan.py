"""The plan of a study: counted by hand, and beside what the study really left once it was run."""

import contextlib
import io
import json
import math
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from ml_collections import ConfigDict
from rich.console import Console

from configs import pretraining_grid, transfer_grid, unlabelled_extent
from experiments.main import main
from inpaint_ssl.forecast import words
from inpaint_ssl.forecast.disk import Room, bytes_in, existing
from inpaint_ssl.forecast.lengths import validations_of
from inpaint_ssl.forecast.runs import PlannedRun, Program, makespan, planned, roles_of
from inpaint_ssl.forecast.study_plan import StudyPlan, show_plan
from inpaint_ssl.study.cells import Cell, Group, grouped
from inpaint_ssl.study.designs import cells_of
from inpaint_ssl.study.launch import side_by_side
from inpaint_ssl.study.prepare import prepare

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quickly_compiled")]

FACTOR = 1.5  # within which the bytes that were predicted are what a study left
FLAGS = (
    "scale=tiny",
    "seeds=0,1",
    "data.prepare_processes=1",
    "split.label_fractions=(0.34,)",
    "pretrain.max_steps=6",
    "pretrain.validate_every_steps=3",
    "finetune.max_steps=6",
    "finetune.validate_every_steps=3",
    "engine.devices=1",
)


def command(workdir: Path, *more: str) -> list[str]:
    flags = [f"--config.{flag}" for flag in FLAGS]
    return ["main", "--config=configs/clinical.py", *flags, f"--workdir={workdir}", *more]


def printed(argv: list[str]) -> str:
    """What the command prints; it must succeed."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(argv) == 0
    return out.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("planned") / "study"


@pytest.fixture(scope="module")
def before(folder: Path) -> str:
    """The plan of a study that is not there yet."""
    text = printed(command(folder, "--plan"))
    assert not folder.exists()
    return text


@pytest.fixture(scope="module")
def complete(folder: Path, before: str) -> Path:
    """The same study, run."""
    del before
    printed(command(folder))
    return folder


def line(text: str, start: str) -> str:
    (found,) = [one for one in text.splitlines() if one.startswith(start)]
    return found


def number_before(text: str, word: str) -> float:
    """The bytes that stand before a word."""
    value, unit = text[: text.index(word)].split()[-2:]
    return float(value.replace(",", "")) * {"kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[unit]


def test_a_plan_of_a_study_that_is_not_there(before: str) -> None:
    """One pretraining and two arms at one label fraction, each of two seeds that are trained together."""
    assert line(before, "Runs:") == "Runs: 1 pretraining, 2 fine-tunings; each of 2 seeds, trained together"
    assert line(before, "Shared:") == "Shared: 1 pretraining serves 1 run"
    assert line(before, "State:") == "State: 3 open"
    assert [one.split(maxsplit=1)[1] for one in before.splitlines() if one.startswith("  open")] == [
        "pretraining  seeds 0, 1",
        "fine-tuning  from_scratch 34 % labels seeds 0, 1",
        "fine-tuning  pretrained 34 % labels seeds 0, 1",
    ]
    assert line(before, "Pretraining:").startswith("Pretraining: 1 run of 6 steps of 8 slices, ")
    assert line(before, "Fine-tuning:").startswith("Fine-tuning: 2 runs of 6 steps of 8 slices, ")
    assert "2 runs of pretraining" in before and "4 runs of fine-tuning" in before  # one a seed
    assert line(before, "Time:").startswith("Time: about ") and "warning" not in before


def test_bytes_are_what_a_study_left(before: str, complete: Path) -> None:
    predicted, left = number_before(line(before, "Disk:"), "when"), bytes_in(complete)
    assert left / FACTOR < predicted < FACTOR * left
    kept = sum(bytes_in(path) for path in complete.glob("*/*/checkpoints"))
    assert len(list(complete.glob("*/*/checkpoints/*"))) == 2 * 3
    assert kept / FACTOR < number_before(line(before, "Disk:"), "of checkpoints") < FACTOR * kept
    best = sum(bytes_in(path) for path in complete.glob("*/*/best"))
    assert best / FACTOR < number_before(line(before, "Disk:"), "of weights") < FACTOR * best


def test_a_complete_study(complete: Path) -> None:
    text = printed(command(complete, "--plan"))
    assert line(text, "State:") == "State: 3 complete" and "Left: nothing, the study is complete" in text
    assert "Time:" not in text and "Disk:" not in text
    assert "Left: nothing to train" in printed(command(complete, "--plan", "--config.stage=report"))


def state_of_files(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def begun_again(complete: Path, tmp_path: Path) -> Path:
    """Pretraining lacks its evaluation, a pair of runs the second half of its training, and one has failed."""
    folder = tmp_path / "study"
    shutil.copytree(complete, folder)
    (tmp_path / "prepared").symlink_to(complete.parent / "prepared")
    (folder / "pretrain" / "seed-1" / "evaluation.json").unlink()
    for seed in (0, 1):
        for arm in ("from_scratch", "pretrained"):
            (folder / f"finetune/{arm}_labels-34pct_draw-0_seed-{seed}" / "result.json").unlink()
    shutil.rmtree(folder / "finetune/pretrained_labels-34pct_draw-0_seeds-0-1/checkpoints/6")
    error = json.dumps({"error": "it diverged", "seconds_since_1970": 0.0})
    (folder / "finetune/from_scratch_labels-34pct_draw-0_seed-1/failed.json").write_text(error)
    return folder


def test_what_is_left(complete: Path, tmp_path: Path) -> None:
    folder = begun_again(complete, tmp_path)
    config, files = settings_of(folder), state_of_files(folder)
    with config.unlocked():
        config.data.device_memory_fraction = 0.0  # slices are streamed
        config.workers = 2
    console = Console(file=io.StringIO(), width=300)
    plan = show_plan(config, folder, console)
    assert plan is not None and state_of_files(folder) == files
    assert [run.state for run in plan.runs] == ["trained", "failed", "open"]
    assert [run.trains for run in plan.runs] == [False, True, True]
    assert [(run.steps, run.steps_left, run.validations_left) for run in plan.runs] == [(6, 0, 0), (6, 0, 0), (6, 3, 1)]
    assert [run.unmeasured for run in plan.runs] == [1, 2, 2]
    check_sums(plan)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "with 2 workers, each with a device of its own" in text
    assert "State: 1 trained, 1 failed, 1 open" in text


def test_stages(complete: Path, tmp_path: Path) -> None:
    """What a stage leaves alone is not counted; a run of three of six steps, and a pretraining to be evaluated."""
    folder = begun_again(complete, tmp_path)
    config = settings_of(folder)
    data = prepare(config, folder, Console(quiet=True))
    groups = grouped(cells_of(config))
    found = {}
    for stage in ("all", "pretrain", "finetune", "evaluate"):
        with config.unlocked():
            config.stage = stage
        runs = [planned(config, folder, group, "", data) for group in groups]
        found[stage] = [(run.trains, run.steps_left, run.unmeasured) for run in runs]
    assert found == {
        "all": [(False, 0, 1), (True, 0, 2), (True, 3, 2)],
        "pretrain": [(False, 0, 0)] * 3,
        "finetune": [(False, 0, 0), (True, 0, 0), (True, 3, 0)],
        "evaluate": [(False, 0, 1), (False, 0, 0), (False, 0, 0)],
    }


def settings_of(folder: Path) -> ConfigDict:
    from configs import base
    from inpaint_ssl.config import load, resolve

    return resolve(load(folder / "config.json"), base.get_config())


def check_sums(plan: StudyPlan) -> None:
    """Seconds from the measured times, by hand; both fine-tunings use one program."""
    (kind,) = plan.training
    took = plan.training[kind]
    assert kind == ("finetune", ()) and took.step > 0 and took.validation > 0
    of = plan.evaluating.seconds
    wanted = [of["pretrain"], 2 * of["finetune"], 3 * took.step + took.validation + 2 * of["finetune"]]
    assert plan.seconds == pytest.approx(wanted)
    assert plan.compiling == took.compiling and plan.in_turn == pytest.approx(sum(wanted) + took.compiling)
    assert plan.together <= plan.in_turn + took.compiling and plan.room.present > 0
    assert 0 < plan.room.left < plan.room.total


@pytest.mark.parametrize(("rates", "first", "second"), [((1e-2, 1e-3), 8, 16), ((1e-2, 1e-3, 1e-4, 1e-5), 16, 64)])
def test_the_transfer_grid(rates: tuple[float, ...], first: int, second: int) -> None:
    config = transfer_grid.get_config("tiny")
    config.grid.learning_rates = rates
    groups = grouped(cells_of(config))
    assert Counter(roles_of(groups)) == {"pretraining": 1, "first run": first, "second run": second}
    heading = shown(config, groups)
    tunings = f"{first + second} fine-tunings: {first} first runs, {second} second runs"
    assert heading[1] == f"Runs: 1 pretraining, {tunings}"
    served = f"1 pretraining serves {first} runs; {first} first runs each serve {len(rates)} runs"
    assert heading[2] == f"Shared: {served}"


def shown(config: ConfigDict, groups: list[Group]) -> list[str]:
    console = Console(file=io.StringIO(), width=300)
    words.show_heading(config, Path("x"), groups, console)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_grids_of_pretrainings() -> None:
    """2 tasks, 2 patch sizes, 2 samplings; 2 label fractions, of which 1.0 has the runs from scratch too."""
    config = pretraining_grid.get_config("tiny")
    assert shown(config, grouped(cells_of(config)))[1:] == [
        "Runs: 8 pretrainings, 18 fine-tunings",
        "Shared: 8 pretrainings each serve 2 runs",
    ]
    config = unlabelled_extent.get_config("tiny")
    config.transfer.second_learning_rate = 1e-4
    assert shown(config, grouped(cells_of(config)))[1:] == [
        "Runs: 3 pretrainings, 16 fine-tunings: 8 first runs, 8 second runs",
        "Shared: 8 first runs each serve 1 run; 3 pretrainings each serve 2 runs",
    ]


def test_a_ranking_trains_nothing(tmp_path: Path) -> None:
    argv = ["main", "--config=configs/optimal_strategy.py", "--config.study.from=runs/a,runs/b", "--plan"]
    text = printed([*argv, f"--workdir={tmp_path / 'ranking'}"])
    assert "Runs: none, it ranks the strategies of runs/a and runs/b" in text and "Time:" not in text
    assert not (tmp_path / "ranking").exists()


@pytest.mark.parametrize(("done", "left"), [(0, 4), (9, 4), (10, 3), (29, 2), (30, 1), (34, 1), (35, 0)])
def test_validations_that_are_left(done: int, left: int) -> None:
    """After every 10 steps and after the last, the 35th."""
    section = transfer_grid.get_config("tiny").finetune
    section.max_steps, section.validate_every_steps = 35, 10
    assert validations_of(section, 100, done) == left


def run(name: str, start: str = "", phase: str = "finetune", trains: bool = True) -> PlannedRun:
    program = Program(phase, (), 0, ())
    group = Group((Cell(phase, 0, name),))
    begun = Group((Cell("pretrain", 0, start),)).directory if start else ""
    return PlannedRun(group, "", "open", program, trains, 1, 1, 1, 1, 0, begun)


KINDS = {("pretrain", ()): 3.0, ("finetune", ()): 1.0}


def test_workers_side_by_side() -> None:
    """One worker pretrains (3 + 10 s) while the other does what begins with fresh weights; then both share the rest."""
    runs = [run("p", phase="pretrain"), run("scratch"), run("a", "p"), run("b", "p"), run("c", "p")]
    seconds = [10.0, 5.0, 4.0, 4.0, 2.0]
    assert makespan(runs, seconds, KINDS, 1) == 3 + 1 + sum(seconds)
    # worker 2: scratch 1 + 5, waits for the pretraining until 13, a until 17, c until 19; worker 1: b until 13 + 1 + 4
    assert makespan(runs, seconds, KINDS, 2) in (19.0, 20.0)
    # worker 3 compiles for c: 13 + 1 + 2
    assert makespan(runs, seconds, KINDS, 3) == 18.0
    assert makespan(runs, seconds, KINDS, 9) == 18.0 and makespan([], [], KINDS, 2) == 0.0
    trained = [run("p", phase="pretrain", trains=False), *runs[1:]]
    assert makespan(trained, [0.0, 0.0, 4.0, 4.0, 4.0], KINDS, 3) == 5.0


def test_number_of_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    config = transfer_grid.get_config("tiny")
    assert side_by_side(config, 25) == 1
    config.workers = 4
    assert [side_by_side(config, groups) for groups in (25, 3, 0)] == [4, 3, 0]
    config.launcher, config.slurm.jobs = "slurm", 7
    assert side_by_side(config, 25) == 7


def test_a_disk_that_is_too_small(tmp_path: Path) -> None:
    room = Room(checkpoints=2 * 10**9, best=10**8, rest=10**6, present=0, left=2 * 10**9, free=10**9)
    for free, fits in ((room.left, True), (room.left - 1, False)):
        console = Console(file=io.StringIO(), width=300)
        words.show_room(tmp_path / "not" / "there", replace(room, free=free), console)
        text = console.file.getvalue()  # type: ignore[attr-defined]
        assert "about 2.1 GB when complete" in text and ("warning: " not in text) is fits
    assert str(tmp_path) in text and "2 GB are needed" in text
    assert existing(tmp_path / "not" / "there") == tmp_path


def test_sizes_and_times_in_words() -> None:
    sizes = [words.size_text(n) for n in (0, 999, 1000, 12_345, 999_900, 1.2345e9, 2.5e12, 1.5e16)]
    assert sizes == ["0 bytes", "999 bytes", "1 kB", "12.3 kB", "1 MB", "1.23 GB", "2.5 TB", "15,000 TB"]
    assert [words.seconds_text(s) for s in (0.0123, 0.9999, 59.0, 120.0)] == ["12 ms", "1.0 s", "59.0 s", "2 min"]
    assert math.isclose(number_before("about 3.5 MB when", "when"), 3.5e6)
