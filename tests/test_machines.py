"""Several real processes on this machine: they meet, train as one, and end together when one of them is killed."""

import functools
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from killing import Study

from inpaint_ssl.errors import InputError
from inpaint_ssl.machines import LOST, start
from inpaint_ssl.machines.meeting import gather, reach
from inpaint_ssl.machines.place import Place, find_place

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
BATCH_SYSTEM = ("SLURM_", "OMPI_", "JAX_", "XLA_", "CUDA_VISIBLE_DEVICES")


@pytest.fixture(autouse=True)
def no_batch_system(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("SLURM_", "OMPI_", "CUDA_VISIBLE_DEVICES")):
            monkeypatch.delenv(name)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def connect(port: int) -> socket.socket:
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=20)
        except ConnectionRefusedError:
            time.sleep(0.02)


def launch(arguments: list[str], **more: str) -> subprocess.Popen:
    """A process with one CPU device; `more`: of its environment."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(BATCH_SYSTEM)}
    environment = inherited | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | more
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def launch_all(count: int, what: str) -> list[subprocess.Popen]:
    port = str(free_port())
    return [launch([str(TESTS / "one_of_several.py"), port, str(count), str(i), what]) for i in range(count)]


def finish(processes: list[subprocess.Popen], timeout: float = 60) -> list[tuple[int, str, str]]:
    """(exit code, output, errors) of each."""
    try:
        texts = [process.communicate(timeout=timeout) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    return [(process.returncode, *text) for process, text in zip(processes, texts, strict=True)]


def wait_until_ready(processes: list[subprocess.Popen]) -> None:
    for process in processes:
        while (line := process.stdout.readline()) != "ready\n":
            assert line, process.stderr.read()


def test_one_process_needs_no_others() -> None:
    machines = start()
    assert machines.is_writer() and machines.count == 1
    machines.barrier("alone")
    assert machines.any("flag", True) and not machines.any("flag", False)
    machines.settle()
    machines.end(1)
    assert start("10.0.0.1:29400", 1, 0).count == 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("", 2, 0), r"config\.distributed\.processes: got 2 without config\.distributed\.coordinator"),
        (("host", 2, 0), r"config\.distributed\.coordinator: got 'host', expected address:port"),
        (("host:port", 2, 0), r"got 'host:port', expected address:port"),
        (("host:99999", 2, 0), r"got 'host:99999', expected address:port"),
        (("host:29400", 2, 2), r"config\.distributed\.process: got 2 of 2 processes, expected 0 to 1"),
        (("host:29400", 0, 0), r"config\.distributed\.processes: got 0 with a coordinator"),
    ],
)
def test_impossible_places_are_refused(given: tuple[str, int, int], words: str) -> None:
    with pytest.raises(InputError, match=words):
        find_place(*given)


SLURM = {
    "SLURM_JOB_ID": "4097",
    "SLURM_STEP_NODELIST": "node[07-08]",
    "SLURM_NTASKS": "4",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
}
OPEN_MPI = {
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_RANK": "0",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "1",
}


def test_a_batch_system_says_the_place(monkeypatch) -> None:
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    place = find_place("", 0, 0)
    assert (place.host, place.port, place.count, place.index) == ("node07", 61441, 4, 3)
    assert place.local_devices == (1,)
    assert find_place("other:1234", 0, 0).host == "other"
    assert find_place("other:1234", 3, 1).index == 1  # what is given counts
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")  # each process sees its own device only
    assert find_place("", 0, 0).local_devices is None
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("SLURM_STEP_TASKS_PER_NODE", "1(x4)")  # one process a machine takes all its devices
    assert find_place("", 0, 0).local_devices is None
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")  # a lone python inside an allocation of four tasks
    assert find_place("", 0, 0) is None


def test_open_mpi_says_the_place(monkeypatch) -> None:
    for name, value in OPEN_MPI.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match="process 1 of 2, but the batch system does not say where process 0 is"):
        find_place("", 0, 0)
    assert find_place("node1:29400", 0, 0).index == 1
    monkeypatch.setenv("OMPI_MCA_orte_hnp_uri", "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911")
    place = find_place("", 0, 0)
    assert (place.host, place.count, place.index, place.local_devices) == ("10.96.0.1", 2, 1, None)


def test_a_process_that_nobody_meets_says_what_to_check() -> None:
    port = free_port()
    with pytest.raises(InputError, match=rf"did not come to 127\.0\.0\.1:{port} within 1 s: 1, 2; .*firewall"):
        start(f"127.0.0.1:{port}", 3, 0, timeout_s=1)
    with pytest.raises(InputError, match=rf"process 0 cannot be reached at 127\.0\.0\.1:{port}.*address"):
        start(f"127.0.0.1:{port}", 2, 1, timeout_s=0.5)
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(InputError, match=f"port {port} of this machine.*give another"),
    ):
        start(f"127.0.0.1:{port}", 2, 0)


def test_strangers_are_not_answered() -> None:
    port = free_port()
    places = [Place("127.0.0.1", port, 2, index) for index in range(2)]
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(gather, places[0], 20.0)
        with connect(port) as garbled, connect(port) as silent:
            garbled.sendall(b"GET / HTTP/1.1\n")
            second = pool.submit(reach, places[1], 20.0)
            (peers, told), (connection, heard) = first.result(), second.result()
            assert not garbled.recv(10) and not silent.recv(10)
    assert list(peers) == [1] and told == heard
    connection.close()
    peers[1].close()


@pytest.mark.slow
def test_processes_that_do_not_fit_are_refused() -> None:
    port = str(free_port())
    script = str(TESTS / "one_of_several.py")
    pair = [launch([script, port, "3", "0", "idle"]), launch([script, port, "2", "1", "idle"])]
    for code, _, errors in finish(pair):
        assert code == 2 and "process 1 says 2 and process 0 3; start every process with the same command" in errors
    port = str(free_port())
    trio = [launch([script, port, "3", index, "idle"]) for index in "011"]
    results = finish(trio)
    assert [code for code, _, _ in results] == [2, 2, 2]
    assert all("two processes say that they are number 1" in errors for _, _, errors in results)


@pytest.mark.slow
def test_processes_wait_and_agree_and_end_together() -> None:
    results = finish(launch_all(3, "wait"))
    assert [code for code, _, _ in results] == [0, 0, 0], results
    for index, (_, output, _) in enumerate(results):
        assert f"12.0 (True, False) {index == 0}\nend" in output
    results = finish(launch_all(2, "fail"))
    assert [code for code, _, _ in results] == [3, 3] and all("end" in output for _, output, _ in results)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "victim"),
    [
        *(("work", 0), ("idle", 1)),
        *(pytest.param(*other, marks=pytest.mark.full) for other in (("work", 1), ("idle", 0))),
    ],
)
def test_a_killed_process_ends_the_others_with_a_message(what: str, victim: int) -> None:
    processes = launch_all(3, what)
    wait_until_ready(processes)
    time.sleep(0.5)
    began = time.monotonic()
    processes[victim].send_signal(signal.SIGKILL)
    results = finish(processes)
    assert time.monotonic() - began < 30  # jax itself would notice after 100 s
    for index, (code, _, errors) in enumerate(results):
        if index != victim:
            assert code == LOST, errors
            last = errors.strip().splitlines()[-1]
            assert last.startswith(f"error: process {victim} of the run has ended or cannot be reached; ")
            assert "start all processes again with the same command" in last


@pytest.mark.slow
def test_an_error_of_one_process_ends_the_others() -> None:
    first, second = finish(launch_all(2, "fail alone"))
    assert second[0] == 1 and second[2].strip().endswith("ValueError: of process 1 alone")
    assert first[0] == LOST and "process 1 of the run has ended" in first[2]


@pytest.fixture(scope="module")
def of_one_process():
    """Task -> what one process measures."""
    from training_on_devices import measure

    from inpaint_ssl.parallel import make_mesh

    return functools.cache(lambda task: measure(make_mesh(1), "jit", (task,)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "driver", "task"),
    [
        (2, "jit", "inpainting"),
        pytest.param(2, "shard_map", "segmentation", marks=pytest.mark.full),
        pytest.param(2, "pmap", "segmentation", marks=pytest.mark.full),
        pytest.param(4, "jit", "segmentation", marks=pytest.mark.full),
    ],
)
def test_processes_train_as_one(of_one_process, tmp_path: Path, count: int, driver: str, task: str) -> None:
    from training_on_devices import largest_difference

    script, target = str(TESTS / "training_on_devices.py"), tmp_path / "values.npz"
    given = [f"127.0.0.1:{free_port()}", str(count)]
    processes = [launch([script, *given, str(index), driver, str(target), task]) for index in range(count)]
    results = finish(processes, timeout=240)
    assert [code for code, _, _ in results] == [0] * count, results
    gradients, parameters = largest_difference(dict(np.load(target)), of_one_process(task))
    assert gradients < 1e-5 and parameters < 1e-9


class PairOfStudy(Study):
    """The tiny study by two processes."""

    def start_pair(self) -> list[subprocess.Popen]:
        given = [f"--config.distributed.coordinator=127.0.0.1:{free_port()}", "--config.distributed.processes=2"]
        command, quickly = [*self.command[1:], *given], {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
        return [launch([*command, f"--config.distributed.process={index}"], **quickly) for index in range(2)]


def study_of_two(folder: Path, cache: Path) -> PairOfStudy:
    where = f"data.prepared={cache.parent / 'prepared'}"  # by two processes as well, once
    return PairOfStudy(folder / "study", cache, where, "split.label_fractions=(1.0,)", "engine.devices=0")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> PairOfStudy:
    """A finished study; the first process alone has written and spoken."""
    folder = tmp_path_factory.mktemp("undisturbed")
    study = study_of_two(folder, folder / "cache")
    first, second = finish(study.start_pair(), timeout=600)
    assert first[0] == second[0] == 0, (first, second)
    assert "Dice on the test scans" in first[1] and "pretrain" not in second[1]
    return study


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("victim", [0, pytest.param(1, marks=pytest.mark.full)])
def test_a_study_goes_on_after_a_process_was_killed(tmp_path: Path, undisturbed: PairOfStudy, victim: int) -> None:
    study = study_of_two(tmp_path, undisturbed.workdir.parent / "cache")
    pair = study.start_pair()
    study.wait_for(pair[victim], lambda: study.checkpoints("pretrain"))
    pair[victim].kill()
    code, _, errors = finish(pair)[1 - victim]
    assert code == LOST and f"process {victim} of the run has ended" in errors
    assert not (study.workdir / "study.json").exists()
    results = finish(study.start_pair(), timeout=600)
    assert [code for code, _, _ in results] == [0, 0], results
    assert study.contents() == undisturbed.contents()
