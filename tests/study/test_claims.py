"""Claims on the groups of a study: one holder at a time, and a dead one is followed by exactly one."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from inpaint_ssl.study import claims as module
from inpaint_ssl.study.claims import Claims

ROOT = Path(__file__).resolve().parent.parent.parent
GROUP = "finetune/pretrained_labels-5pct_draw-0_seed-0"

HOLD = """
import sys, time
from pathlib import Path
from inpaint_ssl.study.claims import Claims
assert Claims(Path(sys.argv[1])).take(sys.argv[2]) is not None
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def other(tmp_path):
    """A real process that holds a group; killed at the end."""
    command = [sys.executable, "-c", HOLD, str(tmp_path), GROUP]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def newest(workdir: Path) -> Path:
    return max((workdir / "claims" / GROUP).glob("*.json"), key=lambda path: int(path.stem))


def elsewhere(workdir: Path, age_s: float, **changes) -> None:
    """As if another machine had taken the group and given its last sign of life `age_s` ago."""
    claim = Claims(workdir).take(GROUP)
    assert claim is not None
    claim._end.set()  # no heartbeat any more
    claim._thread.join()
    path = newest(workdir)
    path.write_text(json.dumps({**json.loads(path.read_text()), "machine": "another", "host": "another", **changes}))
    then = time.time() - age_s
    os.utime(path, (then, then))


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    mine, yours = Claims(tmp_path), Claims(tmp_path)
    assert mine.holder(GROUP) == ""
    with mine.take(GROUP) as claim:
        assert claim.directory == GROUP
        assert mine.take(GROUP) is None
        assert yours.take(GROUP) is None
        assert f"process {os.getpid()} on " in yours.holder(GROUP)
        assert yours.take("pretrain/seed-0") is not None, "another group"
    assert yours.holder(GROUP) == ""
    claim.release()  # once more does nothing
    again = yours.take(GROUP)
    assert again is not None
    claim.release()
    assert mine.take(GROUP) is None, "the release of an earlier claim is none of the present one"


@pytest.mark.parametrize("directory", ["", ".", "../other", "/tmp/other"])
def test_only_directories_of_the_study(tmp_path: Path, directory: str) -> None:
    with pytest.raises(ValueError, match="inside the study"):
        Claims(tmp_path).take(directory)


def test_a_suspended_holder_lives_and_a_killed_one_is_followed_at_once(tmp_path: Path, other: subprocess.Popen) -> None:
    claims = Claims(tmp_path)
    assert claims.take(GROUP) is None
    assert claims.holder(GROUP).startswith(f"process {other.pid} on ")
    other.send_signal(signal.SIGSTOP)
    os.utime(newest(tmp_path), (1, 1))
    assert claims.take(GROUP) is None
    other.send_signal(signal.SIGKILL)
    claim, begun = None, time.monotonic()
    while claim is None and time.monotonic() - begun < 5:
        claim = claims.take(GROUP)
    assert claim is not None
    assert other.returncode is None, "it has ended and nobody has asked for its exit code, as when its parent is killed"


def test_a_process_with_the_id_of_a_dead_one_is_no_holder(tmp_path: Path) -> None:
    claim = Claims(tmp_path).take(GROUP)
    assert claim is not None
    path = newest(tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "start": "1"}))
    assert Claims(tmp_path).holder(GROUP) == ""
    assert Claims(tmp_path).take(GROUP) is not None


def test_a_holder_of_another_user_lives_by_its_heartbeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = Claims(tmp_path).take(GROUP)
    assert claim is not None
    monkeypatch.setattr(module, "_start_of", lambda pid: "")  # what a system that hides processes shows of it
    monkeypatch.setattr(module, "_is_hidden", lambda pid: True)
    assert Claims(tmp_path).take(GROUP) is None
    os.utime(newest(tmp_path), (1, 1))
    assert Claims(tmp_path).take(GROUP) is not None


@pytest.mark.parametrize(("age_s", "is_free"), [(0.0, False), (100.0, False), (140.0, True)])
def test_a_holder_on_another_machine(tmp_path: Path, age_s: float, is_free: bool) -> None:
    elsewhere(tmp_path, age_s)
    assert ("on another" in Claims(tmp_path).holder(GROUP)) is not is_free
    assert (Claims(tmp_path).take(GROUP) is not None) is is_free


def test_a_wrong_clock_of_this_machine_matters_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere(tmp_path, 0.0)
    monkeypatch.setattr(module.time, "time", lambda: 1e10)
    assert Claims(tmp_path).take(GROUP) is None


def test_a_claim_of_which_nothing_is_written_yet(tmp_path: Path) -> None:
    path = tmp_path / "claims" / GROUP / "0.json"
    path.parent.mkdir(parents=True)
    path.touch()
    assert Claims(tmp_path).take(GROUP) is None
    assert Claims(tmp_path).holder(GROUP) == "a process that has just begun"
    os.utime(path, (1, 1))
    assert Claims(tmp_path).take(GROUP) is not None


def wait_until(happened) -> bool:
    deadline = time.monotonic() + 5
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.01)
    return happened()


def test_the_heartbeat(tmp_path: Path) -> None:
    claim = Claims(tmp_path, stale_s=0.4).take(GROUP)
    assert claim is not None
    path = newest(tmp_path)
    os.utime(path, (1, 1))
    assert wait_until(lambda: path.stat().st_mtime > 1)
    claim.release()
    os.utime(path, (1, 1))
    time.sleep(0.15)
    assert path.stat().st_mtime == 1, "no heartbeat after the release"


def test_a_holder_learns_that_it_was_taken_for_dead(tmp_path: Path) -> None:
    mine = Claims(tmp_path, stale_s=0.4)
    claim = mine.take(GROUP)
    assert claim is not None and mine.lost() == ""
    theirs = newest(tmp_path).with_name("1.json")
    theirs.write_text(json.dumps({"machine": "another", "host": "another", "pid": 1, "start": "1", "released": False}))
    assert wait_until(lambda: mine.lost() != "")
    assert GROUP in mine.lost()
    claim.release()
    assert Claims(tmp_path).holder(GROUP) == "process 1 on another"


def test_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_POLL_S", 0.01)
    first = Claims(tmp_path).take(GROUP)
    assert first is not None
    asked = iter(["", "", "SIGTERM"])
    assert Claims(tmp_path).wait(GROUP, lambda: next(asked)) is None
    timer = threading.Timer(0.1, first.release)
    timer.start()
    second = Claims(tmp_path).wait(GROUP)
    assert second is not None and first.is_released
    timer.join()


def test_old_claims_are_cleared_away_and_never_taken_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claims, folder = Claims(tmp_path), tmp_path / "claims" / GROUP
    for _ in range(20):
        with claims.take(GROUP):
            pass
    assert len(list(folder.iterdir())) == 8
    current = claims.take(GROUP)
    assert current is not None
    numbers, calls = module._numbers, []

    def old_list_first(path):
        calls.append(path)
        return [2] if len(calls) == 1 else numbers(path)

    monkeypatch.setattr(module, "_numbers", old_list_first)
    assert claims.take(GROUP) is None, "the third claim is free, but others came after it"
    current.release()
    calls.clear()
    assert claims.take(GROUP) is not None
    assert newest(tmp_path).stem == "21"
    assert min(numbers(folder)) > 2


def test_of_many_that_find_a_dead_holder_one_follows(tmp_path: Path) -> None:
    rounds = 25
    command = [
        sys.executable,
        "-W",
        "ignore",
        str(Path(__file__).with_name("claim_race.py")),
        str(tmp_path),
        str(rounds),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [1] * rounds
