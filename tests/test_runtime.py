"""The cache of compiled programs in processes of their own: same bits, no noise, no harm from a kill."""

import json
import logging
import os
import platform
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest

from configs import base
from inpaint_ssl.runtime import configure

ROOT = Path(__file__).resolve().parent.parent
CACHE_SETTINGS = (
    "jax_compilation_cache_dir",
    "jax_compilation_cache_max_size",
    "jax_enable_compilation_cache",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_min_entry_size_bytes",
)

# Trains a little with donated arguments, a loop, random numbers and hand-written gradients; prints hits, misses, bits.
CHILD = """
import hashlib, os, sys
import jax, jax.numpy as jnp, numpy as np
from configs import base
from inpaint_ssl import runtime

runtime.MIN_SECONDS = 0.0
config = base.get_config()
config.engine.compilation_cache = sys.argv[1]
config.deterministic = len(sys.argv) > 2
runtime.configure(config)
events = []
jax.monitoring.register_event_listener(lambda name, **_: events.append(name))

@jax.custom_vjp
def convolve(x, w):
    return jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

def forward(x, w):
    return convolve(x, w), (x, w)

convolve.defvjp(forward, lambda kept, g: (kept[0] * jnp.mean(g), kept[1] * jnp.sum(g)))

def step(w, key):
    def loss(w):
        x = jax.random.normal(key, (4, 32, 32, 8))
        x = jax.lax.fori_loop(0, 3, lambda i, x: jnp.tanh(x * 1.1), x)
        return jnp.mean(jnp.square(convolve(x, w)))
    value, gradient = jax.value_and_grad(loss)(w)
    return w - 0.1 * gradient, value

step = jax.jit(step, donate_argnums=0)
w = jnp.ones((3, 3, 8, 8))
for number in range(3):
    w, value = step(w, jax.random.key(number))
count = lambda name: events.count(f"/jax/compilation_cache/{name}")
print(count("cache_hits"), count("cache_misses"), hashlib.sha256(np.asarray(w).tobytes()).hexdigest())
"""


def start(folder: Path | str, *words: str, warnings: str = "error", **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", warnings, "-c", CHILD, str(folder), *words]
    environment = {**os.environ, "XLA_FLAGS": "", **environment}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def outcome(process: subprocess.Popen[str], noise: str = "") -> tuple[int, int, str]:
    """(programs found, programs kept, bits of the result); fails when the process fails or has more to say."""
    printed, complaints = process.communicate(timeout=120)
    assert process.returncode == 0, complaints
    assert (noise in complaints) if noise else complaints == ""
    hits, misses, bits = printed.split()
    return int(hits), int(misses), bits


def test_a_second_start_finds_every_program_and_gives_the_same_bits(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "cache"
    without, cold = start("off"), start(folder)
    hits, programs, bits = outcome(cold)
    assert hits == 0 and programs > 3
    assert outcome(without) == (0, 0, bits)
    assert outcome(start(folder)) == (programs, 0, bits)

    (entry,) = folder.glob("jit_step-*-cache")
    entry.write_bytes(entry.read_bytes()[:1000])  # a kill while it was written
    Path(str(entry).removesuffix("cache") + "atime").unlink()
    assert outcome(start(folder)) == (programs - 1, 1, bits)

    other_flags = start(folder, "deterministic")  # other programs, and nobody complains
    entry.write_bytes(entry.read_bytes()[:-100])  # a fault of the disk, which shows only when the program is read
    noise = "Error reading persistent compilation cache entry"
    assert outcome(start(folder, warnings="default"), noise)[2] == bits
    assert outcome(other_flags)[2] == bits


@pytest.mark.slow
def test_processes_share_an_empty_cache(tmp_path: Path) -> None:
    results = [outcome(process) for process in [start(tmp_path), start(tmp_path)]]
    assert len({bits for _, _, bits in results}) == 1
    assert sum(misses for _, misses, _ in results) >= 4  # what one finds, another one has kept


@pytest.mark.slow
def test_killed_processes_leave_a_cache_that_works(tmp_path: Path) -> None:
    expected = outcome(start("off"))[2]
    draw = random.Random(0)
    for _ in range(8):
        process = start(tmp_path)
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("*-cache")) and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(draw.uniform(0.0, 0.8))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        for entry in list(tmp_path.glob("*-cache"))[:1]:  # so that the next one writes again
            entry.unlink()
    assert outcome(start(tmp_path))[2] == expected
    assert outcome(start(tmp_path))[1] == 0


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A configuration, with the settings of jax and the environment put back afterwards."""
    before = {name: getattr(jax.config, name) for name in CACHE_SETTINGS}
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false --xla_gpu_deterministic_ops=false")
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    yield base.get_config()
    for name, value in before.items():
        jax.config.update(name, value)


def test_the_folder_is_the_users_cache_folder(settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    configure(settings)
    folder = Path(jax.config.jax_compilation_cache_dir)
    assert folder.is_dir() and folder.name == "jax" and "inpaint_ssl" in folder.parts
    if sys.platform.startswith("linux"):
        assert folder == tmp_path / "cache" / "inpaint_ssl" / "jax"
    assert 0 < jax.config.jax_compilation_cache_max_size <= 4 * 1024**3


def test_a_folder_is_given_by_setting_or_environment(settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    settings.engine.compilation_cache = "~/programs"
    configure(settings)
    assert Path(jax.config.jax_compilation_cache_dir) == tmp_path / "programs"
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "mine"))
    settings.engine.compilation_cache = "auto"
    configure(settings)  # jax has read the variable itself: nothing is touched
    assert Path(jax.config.jax_compilation_cache_dir) == tmp_path / "programs"
    settings.engine.compilation_cache = "off"
    configure(settings)
    assert not jax.config.jax_enable_compilation_cache


def test_a_folder_that_cannot_be_used_is_a_warning(settings, tmp_path: Path, caplog) -> None:
    before = jax.config.jax_compilation_cache_dir
    (tmp_path / "file").write_text("")
    settings.engine.compilation_cache = str(tmp_path / "file" / "cache")
    with caplog.at_level(logging.WARNING, "inpaint_ssl"):
        configure(settings)
    assert "file/cache" in caplog.text and "config.engine.compilation_cache" in caplog.text
    assert jax.config.jax_compilation_cache_dir == before


def test_only_unfinished_programs_are_removed(settings, tmp_path: Path) -> None:
    whole, half, empty, orphan = (f"jit_step-{digit * 64}" for digit in "0123")
    for name, size in ((f"{whole}-cache", 5), (f"{whole}-atime", 8), (f"{half}-cache", 5), (f"{orphan}-atime", 8)):
        (tmp_path / name).write_bytes(bytes(size))
    for name, size in ((f"{empty}-cache", 0), (f"{empty}-atime", 8), ("thesis-cache", 5), ("notes.txt", 0)):
        (tmp_path / name).write_bytes(bytes(size))
    settings.engine.compilation_cache = str(tmp_path)
    configure(settings)
    kept = {path.name for path in tmp_path.iterdir()} - {".lockfile"}
    assert kept == {f"{whole}-cache", f"{whole}-atime", "thesis-cache", "notes.txt"}


def test_the_flag_for_determinism_keeps_other_flags(settings) -> None:
    settings.engine.compilation_cache = "off"
    configure(settings)
    given = "--xla_cpu_enable_fast_math=false --xla_gpu_deterministic_ops=false"
    assert os.environ["XLA_FLAGS"] == given
    settings.deterministic = True
    for _ in range(2):
        configure(settings)
        assert os.environ["XLA_FLAGS"] == f"{given} --xla_gpu_deterministic_ops=true"  # the last one counts


@pytest.mark.slow
def test_a_second_start_compiles_less_than_the_first(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "experiments.benchmark", "startup", "--quick", f"--output={tmp_path}"]
    environment = {**os.environ, "XLA_FLAGS": ""}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "startup.json").read_text())
    ((first,), (second,)) = result["first"], result["second"]
    assert 0 < second["compile_or_fetch"] < first["compile_or_fetch"] < first["seconds"]
    assert result["ratio"] == second["seconds"] / first["seconds"]
    assert "goal <= 0.5" in done.stdout


def test_processes_of_one_run_do_not_wait_for_each_others_kernels(settings, tmp_path: Path, monkeypatch) -> None:
    settings.engine.compilation_cache = str(tmp_path)
    configure(settings)
    assert "shard_autotuning" not in os.environ["XLA_FLAGS"]
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    configure(settings)
    assert os.environ["XLA_FLAGS"].endswith(" --xla_gpu_shard_autotuning=false")


FAULTS = """
import resource, sys
import numpy as np
from inpaint_ssl.runtime import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "keep" else None
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.ones(8_000_000)
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such setting")
def test_freed_memory_is_kept_for_what_comes_next() -> None:
    def faults(choice: str, **environment: str) -> tuple[str, int]:
        command = [sys.executable, "-c", FAULTS, choice]
        environment = os.environ | environment
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, env=environment)
        said, count = done.stdout.split()
        return said, int(count)

    (_, without), (said, kept) = faults("default"), faults("keep")
    assert said == "True" and kept < without / 5
    assert faults("keep", MALLOC_TRIM_THRESHOLD_="131072", MALLOC_MMAP_THRESHOLD_="131072")[0] == "False"
