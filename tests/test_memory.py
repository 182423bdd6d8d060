"""Memory: predictions against arrays of known size, limits of control groups, the search for the largest batch."""

import json
import math
import os
import resource
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import psutil
import pytest

from experiments.benchmark import main
from inpaint_ssl.errors import InputError
from inpaint_ssl.memory import (
    CPU_SHARE,
    check_fits,
    check_free,
    control_group_bytes,
    free_bytes,
    largest_batch,
    limit_bytes,
    predicted_peak_bytes,
)

ROOT = Path(__file__).resolve().parent.parent
MIB = 2**20
CONFIG = """
from configs import base

def get_config():
    c = base.get_config()
    c.data.image_size, c.corruption.patch_size, c.model.filters = (128, 128), 16, (32, 64)
    return c
"""


def test_prediction_of_arrays_of_known_size() -> None:
    array = jax.ShapeDtypeStruct((MIB,), jnp.float32)  # 4 MiB

    def add(state: jax.Array, batch: jax.Array) -> jax.Array:
        return state + batch

    plain = predicted_peak_bytes(jax.jit(add).lower(array, array).compile())
    donated = predicted_peak_bytes(jax.jit(add, donate_argnums=0).lower(array, array).compile())
    assert plain == pytest.approx(12 * MIB, rel=0.01)  # two arguments, one result
    assert donated == pytest.approx(8 * MIB, rel=0.01)

    def sort_of_square(state: jax.Array) -> jax.Array:
        square = state[:, None] * state[None]
        return jnp.sort(square, axis=1)[:, 0]

    small = jax.ShapeDtypeStruct((1024,), jnp.float32)
    needed = predicted_peak_bytes(jax.jit(sort_of_square).lower(small).compile())
    assert 4 * MIB <= needed <= 13 * MIB  # the 1024 x 1024 map in between, once or a few times


def test_the_limit_of_a_cpu_is_shared_by_its_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    if jax.default_backend() != "cpu":
        pytest.skip("a GPU has a memory of its own")
    memory = psutil.virtual_memory()._replace(available=4000 * MIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr("inpaint_ssl.memory.control_group_bytes", lambda: math.inf)
    assert jax.local_device_count() == 4
    assert limit_bytes() == int(4000 * MIB * CPU_SHARE) // 4
    monkeypatch.setattr("inpaint_ssl.memory.control_group_bytes", lambda: 400 * MIB)
    assert limit_bytes() == int(400 * MIB * CPU_SHARE) // 4


def test_the_limit_of_a_gpu_is_what_jax_may_allocate(monkeypatch: pytest.MonkeyPatch) -> None:
    class Device:
        def memory_stats(self) -> dict[str, int]:
            return {"bytes_limit": 123, "bytes_in_use": 7}

    monkeypatch.setattr(jax, "local_devices", lambda: [Device()])
    assert limit_bytes() == 123


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text + "\n")


def test_control_groups_of_version_2(tmp_path: Path) -> None:
    membership, mounts = tmp_path / "cgroup", tmp_path / "mounts"
    membership.write_text("0::/batch/job/step\n")
    stat = "anon 700\ninactive_file 30"
    write(mounts / "batch" / "job" / "step", memory__max="max", memory__current="800", memory__stat=stat)
    assert control_group_bytes(membership, mounts) == math.inf
    write(mounts / "batch" / "job", memory__max="1000", memory__current="800", memory__stat=stat)
    assert control_group_bytes(membership, mounts) == 230  # the group above the process's own
    write(mounts / "batch", memory__max="900", memory__current="850", memory__stat="inactive_file 0")
    assert control_group_bytes(membership, mounts) == 50
    write(mounts / "batch", memory__max="900", memory__current="950", memory__stat="inactive_file 0")
    assert control_group_bytes(membership, mounts) == 0
    membership.write_text("0::/\n")
    write(mounts, memory__max="500", memory__current="100", memory__stat="inactive_file 1")
    assert control_group_bytes(membership, mounts) == 401  # a container sees its own group as the root
    write(tmp_path, memory__max="3", memory__current="1", memory__stat="inactive_file 1")  # beyond the mount
    assert control_group_bytes(membership, mounts) == 401


def test_control_groups_of_version_1(tmp_path: Path) -> None:
    membership, mounts = tmp_path / "cgroup", tmp_path / "mounts"
    membership.write_text("5:cpu,cpuacct:/job\n4:hugetlb,memory:/job\n0::/\n")
    for folder, limit in ((mounts / "memory" / "job", "1000"), (mounts / "memory", str(2**63 - 4096))):
        stat = "inactive_file 5\ntotal_inactive_file 10"
        write(folder, memory__limit_in_bytes=limit, memory__usage_in_bytes="400", memory__stat=stat)
    assert control_group_bytes(membership, mounts) == 610
    membership.write_text("4:memory:/not/visible/in/here\n")
    assert control_group_bytes(membership, mounts) == math.inf
    assert control_group_bytes(tmp_path / "no such file", mounts) == math.inf


def test_what_a_process_may_use_bounds_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0 < free_bytes() <= psutil.virtual_memory().total
    used = psutil.Process().memory_info().vms
    monkeypatch.setattr(resource, "getrlimit", lambda which: (used + 1000 * MIB, resource.RLIM_INFINITY))
    assert 900 * MIB < free_bytes() <= 1100 * MIB
    monkeypatch.setattr("inpaint_ssl.memory.control_group_bytes", lambda: 300 * MIB)
    assert free_bytes() == 300 * MIB
    check_free(300 * MIB, "scan.nii")
    with pytest.raises(InputError, match=r"scan\.nii takes about 1\.0 GiB of memory to read, 0\.3 GiB are free"):
        check_free(1024 * MIB, "scan.nii")


def test_this_machine_has_memory() -> None:
    assert control_group_bytes() > 0 and 0 < limit_bytes() < psutil.virtual_memory().total


@pytest.mark.parametrize(
    "needs",
    [
        lambda n: 1000 + 100 * n,
        lambda n: 1000 + 3 * n**2,
        lambda n: 1000 + 100 * n + (5000 if n > 20 else 0),
        lambda n: 1000 + int(300 * math.sqrt(n)),
    ],
    ids=["line", "parabola", "jump", "root"],
)
@pytest.mark.parametrize("batch_size", [2, 3, 9, 32, 1000])
def test_the_largest_batch_is_found_in_few_calls(needs, batch_size: int) -> None:
    for limit in (1102, 1103, 1350, 1999, 2000, 5000):
        tried: list[int] = []

        def predict(size: int, tried: list[int] = tried) -> int:
            tried.append(size)
            return needs(size)

        by_hand = max((n for n in range(1, batch_size + 1) if needs(n) <= limit), default=0)
        assert largest_batch(predict, batch_size, limit) == by_hand
        assert len(tried) == len(set(tried)) <= 8 + math.log2(batch_size)
        assert all(1 <= n <= batch_size for n in tried)
        if needs(2) - needs(1) == 100 and batch_size <= 20:
            assert len(tried) <= 4


def test_a_batch_that_cannot_fit_is_refused_with_the_one_that_does() -> None:
    gib = 2**30
    check_fits(lambda n: n * gib, 9, 9 * gib, "config.pretrain.batch_size")
    with pytest.raises(InputError) as refused:
        check_fits(lambda n: n * gib, 9, int(6.5 * gib), "config.pretrain.batch_size")
    assert str(refused.value) == (
        "config.pretrain.batch_size: got 9, which needs 9.00 GiB of memory where 6.50 GiB can be used; "
        "the largest that fits is 6"
    )
    with pytest.raises(InputError, match=r"not even 1 fits; use fewer filters .* or smaller images"):
        check_fits(lambda n: n * gib, 9, gib // 2, "config.finetune.batch_size")
    with pytest.raises(InputError, match="not even 1 fits"):
        check_fits(lambda n: n * gib, 1, gib // 2, "config.finetune.batch_size")


def test_a_size_is_compiled_once() -> None:
    tried: list[int] = []

    def predict(size: int) -> int:
        tried.append(size)
        return size

    with pytest.raises(InputError, match="fits is 4"):
        check_fits(predict, 9, 4, "config.pretrain.batch_size")
    assert len(tried) == len(set(tried))


@pytest.mark.slow
def test_the_benchmark_predicts_what_is_measured(tmp_path: Path) -> None:
    (tmp_path / "config.py").write_text(CONFIG)
    options = (f"--config={tmp_path / 'config.py'}", f"--output={tmp_path / 'results'}")
    command = [sys.executable, "-m", "experiments.benchmark", "memory", *options]
    environment = {**os.environ, "XLA_FLAGS": ""}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "results" / "memory.json").read_text())
    assert [row["phase"] for row in result["rows"]] == ["pretrain", "finetune"]
    for row in result["rows"]:
        assert row["batch_size"] == 9 and row["filters"] == [32, 64]
        assert row["predicted_bytes"] > 9 * 128 * 128 * 4 * (32 + 32 + 64 + 32 + 32)  # what the way back needs at least
        if sys.platform == "linux":
            assert CPU_SHARE <= row["predicted_bytes"] / row["measured_bytes"] < 1.25
        room = row["limit_bytes"] - row["predicted_bytes"]
        assert row["largest_batch"] == pytest.approx(9 + room / row["bytes_per_image"], abs=1)
        assert f"about {row['largest_batch']} images would fit" in done.stdout


def test_the_benchmark_says_what_is_wrong_with_its_config(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    where = f"--output={tmp_path}"
    assert main(["benchmark", "memory", "--config=configs/no_such.py", where]) == 2
    assert main(["benchmark", "startup", "--config=configs/quickstart.py", where]) == 2
    missing, misplaced = capsys.readouterr().err.strip().splitlines()
    assert "no such file: configs/no_such.py" in missing and "memory alone" in misplaced
