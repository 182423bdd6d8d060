"""Workers as jobs of SLURM, which is played by a few small programs; tests/slurm/ has what runs with the real one."""

import io
import json
import os
import pickle
import subprocess
import sys
from collections import Counter
from pathlib import Path

import fake_slurm
import pytest
from ml_collections import ConfigDict
from rich.console import Console

from inpaint_ssl.errors import InputError
from inpaint_ssl.signals import Stopped, Stops
from inpaint_ssl.study import launch
from inpaint_ssl.study.claims import Claims
from inpaint_ssl.study.launch import queue, slurm

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a cluster that runs everything at once."""
    folder = tmp_path / "cluster"
    monkeypatch.setenv("PATH", str(fake_slurm.make(folder)), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{HERE}")
    monkeypatch.setattr(slurm, "_ASK_EVERY_S", 0.2)
    return folder


def settings(**changes) -> ConfigDict:
    given = dict(partition="", account="", jobs=2, time_minutes=30, gpus=0, cpus=1, memory_gb=1, setup=())
    return ConfigDict({"launcher": "slurm", "workers": 0, "slurm": given | changes})


def run(workdir: Path, *flags: str, groups: int = 3, **changes) -> tuple[int, str]:
    """(exit code, what was shown)."""
    shown = io.StringIO()
    to, argv = Console(file=shown, width=300), ["main", f"--groups={groups}", *flags]
    code = launch.run(settings(**changes), argv, workdir, to, Stops(), groups, program="cell_worker")
    return code, shown.getvalue()


def stopped(workdir: Path, *flags: str, stops: Stops) -> str:
    """What was shown until a signal came."""
    shown = io.StringIO()
    to, argv = Console(file=shown, width=300), ["main", "--groups=3", *flags]
    with pytest.raises(Stopped, match="SIGINT"):
        launch.run(settings(), argv, workdir, to, stops, 3, program="cell_worker")
    return shown.getvalue()


def noted(workdir: Path) -> Counter:
    path = workdir / "events.txt"
    return Counter(line.split()[0] for line in path.read_text().splitlines()) if path.exists() else Counter()


def test_jobs_that_are_left_running_are_watched_again(tmp_path: Path, cluster: Path) -> None:
    """Ctrl-C leaves them, the same command finds them and submits no other; all groups are done once."""
    work = tmp_path / "study"
    until_both_work = Stops(here=lambda: "SIGINT" if noted(work)["begin"] >= 2 else "")
    shown = stopped(work, "--seconds=2", stops=until_both_work)
    assert "2 jobs go on: 101, 102; the same command shows them again; cancel with: scancel 101 102" in shown
    kept = json.loads((work / "workers" / "jobs.json").read_text())
    assert [job["id"] for job in kept["jobs"]] == ["101", "102"]
    assert Path(kept["jobs"][0]["output"]).is_file()

    code, shown = run(work, "--seconds=2")
    assert (code, sorted(path.name for path in (cluster / "jobs").iterdir())) == (0, ["101", "102"])
    assert "job 101 of an earlier start: RUNNING" in shown and "job 102: completed" in shown
    assert noted(work) == {"begin": 3, "end": 3}
    assert json.loads((work / "workers" / "jobs.json").read_text())["jobs"] == []


def test_what_a_job_asks_for(tmp_path: Path, cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_CONF", "SBATCH_RESERVATION", "SLURM_MEM_PER_CPU", "SUBMITIT_EXECUTOR"):
        monkeypatch.setenv(name, "set")
    setup = ("echo from the setup $SRUN_CPUS_PER_TASK", "echo two")
    asked = dict(partition="long", account="lab", gpus=2, cpus=6, memory_gb=20, time_minutes=90, jobs=8, setup=setup)
    code, shown = run(tmp_path / "study", "--seconds=0", groups=1, **asked)
    assert code == 0
    assert "job 101: group-0 on no GPU" in shown
    script = (cluster / "jobs" / "101" / "script").read_text().splitlines()
    expected = ("partition=long", "account=lab", "gpus-per-node=2", "cpus-per-task=6", "mem=20GB", "time=90")
    assert {f"#SBATCH --{option}" for option in (*expected, "job-name=inpaint_ssl_study")} <= set(script)
    assert [path.name for path in (cluster / "jobs").iterdir()] == ["101"], "one group needs one job"
    seen = (cluster / "jobs" / "101" / "environment").read_text().splitlines()
    assert "SLURM_CONF=set" in seen and "SBATCH_RESERVATION=set" in seen
    assert "SLURM_MEM_PER_CPU=set" not in seen and os.environ["SLURM_MEM_PER_CPU"] == "set"
    assert (cluster / "jobs" / "101" / "output").read_text().splitlines() == ["from the setup 1", "two"]


def test_what_goes_wrong_in_a_job_is_shown(tmp_path: Path, cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "_PATIENCE_S", 100.0)  # a busy machine
    work = tmp_path / "study"
    code, shown = run(work, "--seconds=0", "--code=2", groups=1)
    assert code == 2
    assert "job 101 failed: its worker ended with exit code 2" in shown
    assert f"its errors: {work}/workers/slurm/101/101_0_log.err" in shown
    assert "error: as it was told" in shown


def test_a_job_that_slurm_ends(tmp_path: Path, cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "_PATIENCE_S", 0.3)
    (cluster / "jobs" / "55").mkdir()
    (cluster / "jobs" / "55" / "code").write_text("9")  # FAILED, without a result
    work = tmp_path / "study"
    jobs = [queue.Job(number, work / "workers" / "slurm" / number) for number in ("54", "55")]
    slurm._keep(work, jobs)
    jobs[1].folder.mkdir(parents=True)
    jobs[1].error_path.write_text("slurmstepd: error: Detected 1 oom_kill event\n")
    code, shown = run(work, "--seconds=0", groups=0)  # nothing to submit, but two jobs whose end nobody has seen
    assert code == 1
    assert "job 54 failed: it left no result" in shown
    assert "job 55 failed: SLURM ended it: FAILED" in shown and "oom_kill" in shown


def test_refusals(tmp_path: Path, cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = tmp_path / "study"
    with pytest.raises(InputError, match=r"refused the job \(.*invalid partition specified: none.*config.slurm"):
        run(work, "--seconds=0", partition="none")
    with Claims(work).take("workers/slurm"), pytest.raises(InputError, match=f"watched by process {os.getpid()} on"):
        run(work, "--seconds=0")
    slurm._keep(work, [queue.Job("77", work / "workers" / "slurm" / "77")])
    (cluster / "down").touch()
    with pytest.raises(InputError, match="Unable to contact slurm controller; try again"):
        run(work, "--seconds=0")
    (work / "workers" / "jobs.json").write_text("[1]")
    with pytest.raises(InputError, match=r"jobs\.json: expected"):
        run(work, "--seconds=0")
    (work / "workers" / "jobs.json").unlink()
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(InputError, match=r'needs submitit .*pip install "inpaint-ssl\[slurm\]"'):
        run(work, "--seconds=0")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="no sbatch"):
        run(work, "--seconds=0")


def test_a_cluster_that_does_not_answer_is_waited_for(tmp_path: Path, cluster: Path) -> None:
    job = queue.Job("101", tmp_path, "RUNNING")
    (cluster / "down").touch()
    assert "Unable to contact" in queue.refresh([job])
    assert job.state == "RUNNING" and not job.is_over()
    (cluster / "down").unlink()
    assert queue.refresh([job]) == ""
    assert job.state == "GONE" and job.is_over()


@pytest.mark.parametrize(
    ("content", "outcome"),
    [
        (pickle.dumps(("success", 75)), (75, "")),
        (pickle.dumps(("error", "Traceback\nValueError: bad\n")), (1, "ValueError: bad")),
        (b"", (1, "its result cannot be read: Ran out of input")),
    ],
)
def test_the_outcome_of_a_job(tmp_path: Path, content: bytes, outcome: tuple[int, str]) -> None:
    (tmp_path / "9_0_result.pkl").write_bytes(content)
    assert queue.Job("9", tmp_path, "COMPLETED").outcome() == outcome


CHECKPOINT = """
import sys
from pathlib import Path
import threading, time
from inpaint_ssl.study.launch.job import WorkerJob
job, events = WorkerJob(sys.argv[1:]), Path(sys.argv[2].partition("=")[2]) / "events.txt"
codes = []
thread = threading.Thread(target=lambda: codes.append(job()))
thread.start()
while not events.exists():
    time.sleep(0.01)
again = job.checkpoint().function
thread.join()
print(codes, again.command == job.command)
"""


def test_a_job_whose_time_is_up_saves_and_is_queued_again(tmp_path: Path, cluster: Path) -> None:
    command = [sys.executable, "-c", CHECKPOINT, "cell_worker", f"--workdir={tmp_path}", "--groups=1", "--seconds=600"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.stdout.splitlines()[-1] == "[75] True", done.stderr
    assert noted(tmp_path) == {"begin": 1, "stop": 1}
