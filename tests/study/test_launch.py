"""Workers side by side on this machine: the command each gets, its device, its output, signals, and who does what."""

import io
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from ml_collections import ConfigDict
from rich.console import Console

from inpaint_ssl.signals import Stopped, Stops
from inpaint_ssl.study import launch
from inpaint_ssl.study.claims import Claims
from inpaint_ssl.study.launch import devices, local
from inpaint_ssl.study.launch.codes import worst
from inpaint_ssl.study.launch.command import worker_command, worker_flags
from inpaint_ssl.study.launch.logs import Display, Log

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


@pytest.fixture(autouse=True)
def _paths(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers find cell_worker, and no GPU."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{HERE}")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")


def settings(workers: int, launcher: str = "local") -> ConfigDict:
    return ConfigDict({"launcher": launcher, "workers": workers})


def console() -> Console:
    return Console(file=io.StringIO(), width=200)


def printed(to: Console) -> str:
    assert isinstance(to.file, io.StringIO)
    return to.file.getvalue()


def wait_until(happened) -> None:
    deadline = time.monotonic() + 200  # starting a worker takes seconds, on a busy machine a minute
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def events(workdir: Path) -> list[list[str]]:
    path = workdir / "events.txt"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def test_the_flags_of_a_worker(tmp_path: Path) -> None:
    argv = [
        "main",
        "--config=configs/base.py",
        "--config.launcher=slurm",
        "--config.workers",
        "3",
        "--workdir",
        "runs/x",
    ]
    ours = [f"--workdir={tmp_path}", "--config.launcher=local", "--config.workers=1"]
    assert worker_flags([*argv, "--config.seeds=(0,)"], tmp_path) == [
        "--config=configs/base.py",
        "--config.seeds=(0,)",
        *ours,
    ]
    assert worker_flags(["main", "-workdir=x", "--config.slurm.jobs=2"], tmp_path) == ["--config.slurm.jobs=2", *ours]


@pytest.mark.parametrize(
    ("gpus", "config", "groups", "expected"),
    [
        ("", settings(0), 5, False),  # this process does it
        ("0", settings(0), 5, False),
        ("0,1", settings(0), 5, True),
        ("0,1", settings(0), 1, False),  # one group may have both GPUs
        ("0,1", settings(1), 5, False),
        ("", settings(3), 5, True),
        ("", settings(3), 0, False),
        ("", settings(1, "slurm"), 1, True),
        ("", settings(1, "slurm"), 0, False),
    ],
)
def test_when_workers_are_wanted(monkeypatch: pytest.MonkeyPatch, gpus, config, groups: int, expected: bool) -> None:
    monkeypatch.delenv("JAX_PLATFORMS")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    assert launch.wanted(config, groups) is expected


@pytest.mark.parametrize(
    ("variable", "gpus"),
    [("", []), ("0", ["0"]), ("2,GPU-8a5f", ["2", "GPU-8a5f"]), ("1,-1,0", ["1"]), ("-1", [])],
)
def test_visible_gpus(monkeypatch: pytest.MonkeyPatch, variable: str, gpus: list[str]) -> None:
    monkeypatch.delenv("JAX_PLATFORMS")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert devices.visible_gpus() == gpus
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert devices.visible_gpus() == []


def test_gpus_that_nvidia_smi_lists(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(
        "#!/bin/sh\n[ \"$1\" = -L ] || exit 1\ncat <<'END'\n"
        "GPU 0: NVIDIA A100 (UUID: GPU-aa)\n"
        "  MIG 3g.20gb     Device  0: (UUID: MIG-bb)\n"
        "  MIG 4g.20gb     Device  1: (UUID: MIG-cc)\n"
        "GPU 1: NVIDIA A100 (UUID: GPU-dd)\nEND\n"
    )
    tool.chmod(0o755)
    monkeypatch.delenv("JAX_PLATFORMS")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert devices.visible_gpus() == ["MIG-bb", "MIG-cc", "GPU-dd"]
    tool.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'; exit 9\n")
    assert devices.visible_gpus() == []
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert devices.visible_gpus() == []


def test_each_worker_has_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XLA_PYTHON_CLIENT_MEM_FRACTION", raising=False)
    assert devices.environment_of(1, 2, []) == {}
    alone = [devices.environment_of(index, 2, ["3", "5"]) for index in range(2)]
    assert alone == [{"CUDA_VISIBLE_DEVICES": "3"}, {"CUDA_VISIBLE_DEVICES": "5"}]
    shared = [devices.environment_of(index, 3, ["3", "5"]) for index in range(3)]
    assert [own["CUDA_VISIBLE_DEVICES"] for own in shared] == ["3", "5", "3"]
    assert [own.get("XLA_PYTHON_CLIENT_MEM_FRACTION") for own in shared] == ["0.375", None, "0.375"]


@pytest.mark.parametrize(
    ("codes", "code"), [([], 0), ([0, 0], 0), ([75, 0], 75), ([0, 1, 75], 1), ([2, 1], 2), ([1, 137, 2], 137)]
)
def test_the_worst_exit_code(codes: list[int], code: int) -> None:
    assert worst(codes) == code


def test_a_log_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "1.log"
    path.write_text("of an earlier start\n")
    log, whole, missing = Log(path), Log(path, whole=True), Log(tmp_path / "2.log")
    assert (log.new_lines(), missing.new_lines(), missing.tail()) == ([], [], "")
    with path.open("ab") as stream:
        stream.write(b"\x1b[31mred\x1b[0m\n50 %\r100 %\nhal")
    assert log.new_lines() == ["red", "100 %"]
    assert log.last == "100 %"
    with path.open("ab") as stream:
        stream.write("f ü\n\n".encode())
    assert log.new_lines() == ["half ü", ""]
    assert (log.last, log.tail()) == ("half ü", "red\n100 %\nhalf ü")
    assert whole.tail().startswith("of an earlier start\nred")


def test_the_display_of_a_terminal(tmp_path: Path) -> None:
    path, terminal = tmp_path / "1.log", Console(file=io.StringIO(), force_terminal=True, width=60)
    path.write_text("")
    log = Log(path)
    with Display(terminal, lambda: 3) as display:
        path.write_text("pretrain seed 0  step 10/20\nfailed: seed 1\nstep 20/20 [bold]\n")
        display.count()
        display.show("worker 1", "running", log)
        display._live.refresh()  # type: ignore[union-attr]
    shown = printed(terminal)
    assert "worker 1: failed: seed 1" in shown
    assert "3 groups of runs to do" in shown and "step 20/20 [bold]" in shown
    assert "step 10/20" not in shown


def test_two_workers(tmp_path: Path) -> None:
    to = console()
    argv = ["main", "--groups=4", "--seconds=0.2"]
    left = lambda: sum(not (tmp_path / f"group-{n}").exists() for n in range(4))  # noqa: E731
    assert launch.run(settings(2), argv, tmp_path, to, Stops(), 4, left, program="cell_worker") == 0
    assert Counter(event[0] for event in events(tmp_path)) == {"begin": 4, "end": 4}
    logs = sorted((tmp_path / "workers").glob("*.log"))
    assert [path.name for path in logs] == ["1.log", "2.log"]
    assert all("--config.launcher=local --config.workers=1" in path.read_text() for path in logs)
    assert all("worker: --groups=4" in path.read_text() for path in logs) and not launch.is_worker()
    shown = printed(to)
    assert "4 groups of runs to do" in shown
    assert all(f"group-{n} on no GPU" in shown for n in range(4))
    assert {line.partition(":")[0] for line in shown.splitlines()[1:]} >= {"worker 1", "worker 2"}


def test_a_signal_is_passed_on(tmp_path: Path) -> None:
    argv = ["main", "--groups=2", "--seconds=600"]
    asked = Stops(here=lambda: "SIGUSR1" if len(events(tmp_path)) >= 2 else "")
    with pytest.raises(Stopped, match="SIGUSR1"):
        launch.run(settings(2), argv, tmp_path, console(), asked, 2, program="cell_worker")
    assert Counter(event[0] for event in events(tmp_path)) == {"begin": 2, "stop": 2}


@pytest.mark.parametrize(("asked", "code"), [("SIGTERM", 75), ("SIGINT", 143), ("", 143)])
def test_a_worker_that_a_signal_ends(tmp_path: Path, asked: str, code: int) -> None:
    """By the one that was passed on, it had not come so far as to save; by another, it has crashed."""
    place = Claims(tmp_path).take("workers/1")
    assert place is not None
    command = ["sh", "-c", "trap '' INT; echo ready; sleep 0.2; kill -TERM $$"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    worker = local.Worker("worker 1", process, Log(tmp_path / "1.log"), place)
    with Display(console()) as display:
        assert local._watch([worker], display, Stops(here=lambda: asked)) == [code]
    process.stdout.close()


def test_a_worker_that_fails_is_shown(tmp_path: Path) -> None:
    to = console()
    argv = ["main", "--groups=1", "--seconds=0", "--code=2"]
    assert launch.run(settings(1), argv, tmp_path, to, Stops(), 1, program="cell_worker") == 2
    assert "worker 1 ended with exit code 2" in printed(to)
    assert f"({tmp_path / 'workers' / '1.log'})" in printed(to)
    assert "error: as it was told" in printed(to).partition("its last lines")[2]


def test_a_worker_stops_when_its_launcher_dies(tmp_path: Path) -> None:
    command = worker_command("cell_worker", follow=True)
    command += [f"--workdir={tmp_path}", "--groups=1", "--seconds=600"]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: events(tmp_path))
        process.send_signal(signal.SIGUSR2)  # which a job of SLURM gets, and its worker is not to end by
        assert process.poll() is None
        assert "stopped by SIGINT" in process.communicate(timeout=200)[0]  # closes its standard input
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 75


def launcher(workdir: Path, workers: int) -> subprocess.Popen:
    command = [
        sys.executable,
        str(HERE / "launch_cells.py"),
        str(workdir),
        str(workers),
        "--groups=12",
        "--seconds=0.3",
    ]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_two_launchers_run_no_group_twice_whatever_is_killed(tmp_path: Path) -> None:
    """The first loses a worker by `kill -9` in the middle of a group; the second is killed itself."""
    first, second = launcher(tmp_path, 2), launcher(tmp_path, 2)
    try:
        wait_until(lambda: len({event[2] for event in events(tmp_path)}) == 4)
        victim = int(events(tmp_path)[-1][2])
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: len(events(tmp_path)) > 10)
        second.kill()
        output = first.communicate(timeout=200)[0]
    finally:
        for process in (first, second):
            process.kill()
            process.communicate()
    assert sorted(path.name for path in (tmp_path / "workers").glob("*.log")) == [f"{n}.log" for n in range(1, 5)]
    running: dict[str, str] = {}
    ended = Counter()
    for what, group, pid in events(tmp_path):
        if what == "begin":
            assert running.get(group) in (None, str(victim)), f"{group} runs twice"
            running[group] = pid
        else:
            assert running.pop(group) == pid
            ended[group] += what == "end"
    assert ended == {f"group-{n}": 1 for n in range(12)}
    assert set(running.values()) <= {str(victim)}
    assert first.returncode in (0, 137), output
