"""Weights and checkpoints come back bit-equal or not at all, whatever happened to the disk."""

import collections
import gc
import itertools
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from inpaint_ssl.checkpoint import RunCheckpoints, load_weights, save_weights
from inpaint_ssl.errors import InputError
from inpaint_ssl.models import UNet
from inpaint_ssl.types import TrainState

LOOP = {"best_loss": [float("inf"), 0.5], "rows": [{"loss": "0.25"}], "stopped": ["", "max_steps"]}


def params_of(filters=(16, 32)):
    network = UNet(filters=filters, out_channels=2)
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 8, 8, 1)))["params"]
    random = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape), leaf.dtype), shapes)


def state_of(number: int, width: int = 400) -> TrainState:
    """Two seeds after `number` and 1 steps of Adam; -0, NaN and subnormal numbers among the parameters."""
    random = np.random.default_rng(number)
    kernel = random.normal(size=(2, 3, width)).astype(np.float32)
    kernel[0, 0, :4] = [-0.0, np.nan, 1e-42, -np.inf]
    params = {"encoder": {"kernel": kernel, "bias": np.zeros((2, 3))}, "decoder": random.normal(size=(2, 5))}
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    steps = jnp.array([number, 1], jnp.int32)
    moments = jax.tree.map(jnp.negative, params)
    opt_state = (optax.ScaleByAdamState(steps, moments, params), optax.ScaleByScheduleState(steps))
    return TrainState(params, opt_state, steps)


def same_bits(a, b) -> bool:
    def same(x, y) -> bool:
        return x.dtype == y.dtype and x.shape == y.shape and np.asarray(x).tobytes() == np.asarray(y).tobytes()

    return jax.tree.structure(a) == jax.tree.structure(b) and jax.tree.all(jax.tree.map(same, a, b))


def saved(folder: Path, *steps: int) -> Path:
    checkpoints = RunCheckpoints(folder)
    for step in steps:
        checkpoints.save(step, state_of(step), state_of(step + 100).params, {**LOOP, "step": step})
    checkpoints.close()
    return folder


def restored(folder: Path) -> tuple[int, list[str]]:
    """(step of the checkpoint that comes back, what was warned of); it must hold what was saved."""
    lines: list[str] = []
    checkpoints = RunCheckpoints(folder, warn=lines.append)
    found = checkpoints.restore(state_of(0))
    checkpoints.close()
    assert found is not None
    step = found[2]["step"]
    assert same_bits(found[:2], (state_of(step), state_of(step + 100).params)) and found[2] == {**LOOP, "step": step}
    return step, lines


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_weights_come_back(tmp_path: Path) -> None:
    params = params_of()
    save_weights(tmp_path / "best", params)
    save_weights(tmp_path / "best", params)  # a run that was killed here writes them again
    assert same_bits(load_weights(tmp_path / "best", params), params)
    assert same_bits(load_weights(tmp_path / "best"), params)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    save_weights(tmp_path / "best", params_of())
    for filters in ((16, 48), (16,), (16, 32, 64)):
        with pytest.raises(InputError, match=r"best: .*another shape"):
            load_weights(tmp_path / "best", params_of(filters))
    with pytest.raises(InputError, match="no weights at"):
        load_weights(tmp_path / "none", params_of())


def test_the_newest_checkpoint_comes_back(tmp_path: Path) -> None:
    assert restored(saved(tmp_path, 1, 2, 3)) == (3, [])
    assert names(tmp_path) == {"2", "3"}
    empty = RunCheckpoints(tmp_path / "empty")
    assert empty.restore(state_of(0)) is None
    empty.close()


def test_a_step_is_saved_once(tmp_path: Path) -> None:
    checkpoints = RunCheckpoints(saved(tmp_path, 1, 2))
    checkpoints.save(2, state_of(9), state_of(9).params, {})
    checkpoints.close()
    assert restored(tmp_path) == (2, [])


def test_a_background_save_keeps_what_it_was_given(tmp_path: Path) -> None:
    """The step donates the state's memory, and the next one writes there while the disk is still busy."""
    width = 400_000
    checkpoints = RunCheckpoints(tmp_path, asynchronous=True)
    for number in (1, 2, 3):
        state = jax.tree.map(np.array, state_of(number, width))
        checkpoints.save(number, state, state.params, {"number": number})
        for leaf in jax.tree.leaves(state):
            leaf[...] = -1
    checkpoints.wait()
    found = checkpoints.restore(state_of(0, width))
    checkpoints.close()
    assert found is not None and found[2] == {"number": 3}
    assert same_bits(found[:2], (state_of(3, width), state_of(3, width).params))
    assert names(tmp_path) == {"2", "3"}


def test_another_network_is_refused(tmp_path: Path) -> None:
    checkpoints = RunCheckpoints(saved(tmp_path, 1, 2))
    state = state_of(0)
    others = {
        r"\['best'\]\['encoder'\]\['kernel'\] is float32\(2, 3, 400\), expected float32\(2, 3, 41\)": state_of(0, 41),
        r"\['best'\]\['decoder'\] is float32\(2, 5\), expected no such array": state.replace(
            params={"encoder": state.params["encoder"]}
        ),
        r"\.count is missing, expected int32\(2,\)": state.replace(opt_state=(state.opt_state, jnp.zeros(1))),
        r"expected bfloat16\(2, 5\)": state.replace(params={**state.params, "decoder": jnp.ones((2, 5), jnp.bfloat16)}),
    }
    for message, like in others.items():
        with pytest.raises(InputError, match=message) as caught:
            checkpoints.restore(like)
        assert "use another --workdir" in str(caught.value) and str(tmp_path) in str(caught.value)
    checkpoints.close()
    assert names(tmp_path) == {"1", "2"}, "another network is no damage"


def largest(folder: Path) -> Path:
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def flip(path: Path, at: float = 0.5) -> None:
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 4
    path.write_bytes(content)


def cut(path: Path, share: float = 0.5) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


DAMAGES = {
    "flipped bit in an array": lambda folder: flip(largest(folder / "opt_state")),
    "flipped bit in the best parameters": lambda folder: flip(largest(folder / "best"), 0.4),
    "array cut short": lambda folder: cut(largest(folder / "params")),
    "array file empty": lambda folder: cut(largest(folder / "params"), 0),
    "array file missing": lambda folder: largest(folder / "params").unlink(),
    "index cut short": lambda folder: cut(folder / "params" / "manifest.ocdbt"),
    "item missing": lambda folder: shutil.rmtree(folder / "opt_state"),
    "loop missing": lambda folder: shutil.rmtree(folder / "loop"),
    "bad JSON": lambda folder: cut(folder / "loop" / "metadata"),
    "JSON of another kind": lambda folder: (folder / "loop" / "metadata").write_text("[]"),
    "another number in the loop": lambda folder: rewrite(folder / "loop" / "metadata", "0.25", "0.35"),
    "another step": lambda folder: rewrite(folder / "loop" / "metadata", '"step": [2, 1]', '"step": [3, 1]'),
    "empty folder": lambda folder: (shutil.rmtree(folder), folder.mkdir()),
    "a file": lambda folder: (shutil.rmtree(folder), folder.write_text("")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_used(tmp_path: Path, damage: str, caplog) -> None:
    DAMAGES[damage](saved(tmp_path, 1, 2) / "2")
    step, (line,) = restored(tmp_path)
    assert step == 1 and f"checkpoint 2 of {tmp_path} is damaged" in line and "checkpoint 1 before it is used" in line
    assert line in caplog.text and "\n" not in line
    assert names(tmp_path) == {"1", "2.damaged"}
    assert restored(saved(tmp_path, 2)) == (2, []), "the step can be saved again"
    DAMAGES[damage](tmp_path / "2")
    assert restored(tmp_path)[0] == 1
    assert names(tmp_path) == {"1", "2.damaged", "2.damaged-2"}


def test_no_restart_from_zero_when_all_are_damaged(tmp_path: Path) -> None:
    flip(largest(saved(tmp_path, 1, 2) / "2"))
    shutil.rmtree(tmp_path / "1" / "params")
    for _ in range(2):  # the same command again ends the same way
        checkpoints = RunCheckpoints(tmp_path)
        with pytest.raises(InputError, match=r"every checkpoint is damaged .*2: .*1: .*delete this folder") as caught:
            checkpoints.restore(state_of(0))
        checkpoints.close()
        assert str(tmp_path) in str(caught.value)
        assert names(tmp_path) == {"1", "2"}


def test_a_cut_off_save_is_named_and_removed(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2)
    shutil.copytree(tmp_path / "2" / "params", tmp_path / "3.orbax-checkpoint-tmp" / "params.orbax-checkpoint-tmp")
    step, (line,) = restored(tmp_path)
    assert step == 2 and "3.orbax-checkpoint-tmp was cut off" in line and "the checkpoint before it is used" in line
    assert names(tmp_path) == {"1", "2"}
    lines: list[str] = []
    (tmp_path / "first" / "1.orbax-checkpoint-tmp").mkdir(parents=True)
    checkpoints = RunCheckpoints(tmp_path / "first", warn=lines.append)
    assert checkpoints.restore(state_of(0)) is None and "the run begins anew" in lines[0]
    checkpoints.close()


@pytest.mark.slow
def test_no_damage_goes_unnoticed(tmp_path: Path) -> None:
    """Every file of a checkpoint damaged in every way: what comes back is what was saved, or the checkpoint before."""
    intact = saved(tmp_path / "intact", 1, 2)
    ways = {f"flipped at {at}": lambda path, at=at: flip(path, at) for at in (0.1, 0.3, 0.5, 0.7, 0.9)}
    ways |= {"cut": cut, "empty": lambda path: cut(path, 0), "missing": Path.unlink}
    counts: collections.Counter[int] = collections.Counter()
    files = [path.relative_to(intact) for path in (intact / "2").rglob("*") if path.is_file() and path.stat().st_size]
    for file, way in itertools.product(files, ways):
        folder = Path(shutil.copytree(intact, tmp_path / "damaged"))
        ways[way](folder / file)
        step, lines = restored(folder)  # checks all bits
        assert (step, len(lines)) in ((2, 0), (1, 1)), f"{file} {way}"
        counts[step] += 1
        shutil.rmtree(folder)
    assert counts[1] > 50 and len(files) > 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a disk that can be filled needs the right to mount one (root)")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


BIG = 40_000  # 1 MB of parameters: two such checkpoints of 4 MB do not fit, nor one


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_disk_too_small_is_found_before_writing(small_disk: Path, asynchronous: bool) -> None:
    folder = saved(small_disk / "checkpoints", 1)
    checkpoints = RunCheckpoints(folder, asynchronous=asynchronous)
    state = state_of(2, BIG)
    with pytest.raises(
        InputError, match=r"checkpoint 2 cannot be written .*4.* MB needed.* MB free.* is step 1"
    ) as caught:
        checkpoints.save(2, state, state.params, LOOP)
    assert str(folder) in str(caught.value) and "run the same command again" in str(caught.value)
    checkpoints.close()
    assert names(folder) == {"1"} and restored(folder) == (1, [])


@pytest.mark.parametrize("surfaces_in", ["save", "next save", "wait", "close"])
def test_a_disk_that_fills_up_while_writing(small_disk: Path, surfaces_in: str, monkeypatch, caplog) -> None:
    folder = saved(small_disk / "checkpoints", 1)
    checkpoints = RunCheckpoints(folder, asynchronous=surfaces_in != "save")
    state, free = state_of(2, BIG), shutil.disk_usage(folder).free
    with monkeypatch.context() as patch:  # another program takes the space after the check
        patch.setattr(shutil, "disk_usage", lambda path: collections.namedtuple("usage", "free")(10**12))
        with pytest.raises(InputError, match=r"cannot be written .*the disk is full.* is step 1") as caught:
            checkpoints.save(2, state, state.params, LOOP)
            assert surfaces_in != "save"
            {"next save": lambda: checkpoints.save(3, state, state.params, LOOP)}.get(
                surfaces_in, getattr(checkpoints, surfaces_in, None)
            )()
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)
    checkpoints.close()
    assert names(folder) == {"1"} and shutil.disk_usage(folder).free >= free
    assert restored(folder) == (1, [])
    assert restored(saved(folder, 2)) == (2, []), "the same command goes on once there is space"
    gc.collect()  # as it would happen at some time or other
    assert "Traceback" not in caplog.text, "one line is enough"


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    checkpoints = RunCheckpoints(tmp_path / "checkpoints")
    shutil.rmtree(tmp_path / "checkpoints")
    (tmp_path / "checkpoints").write_text("")
    with pytest.raises(InputError, match=r"checkpoint 1 cannot be written to .*there is no earlier checkpoint"):
        checkpoints.save(1, state_of(1), state_of(1).params, LOOP)
    checkpoints.close()


TWO_PROCESSES = """
import sys
from pathlib import Path
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
jax.config.update("jax_cpu_collectives_implementation", "gloo")
process, port, folder = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
jax.distributed.initialize(f"127.0.0.1:{port}", 2, process)
from inpaint_ssl.errors import InputError
from test_checkpoint import LOOP, RunCheckpoints, flip, largest, same_bits, state_of
from inpaint_ssl.checkpoint import load_weights, save_weights

folder = folder / str(process)  # not even the disk is shared
everywhere = NamedSharding(Mesh(np.array(jax.devices()), ("batch",)), PartitionSpec())
lines = []
checkpoints = RunCheckpoints(folder, asynchronous=True, warn=lines.append)
assert checkpoints.restore(state_of(0)) is None
for step in (1, 2):
    state = jax.tree.map(lambda x: jax.make_array_from_callback(x.shape, everywhere, np.asarray(x).__getitem__),
                         state_of(step))
    checkpoints.save(step, state, state.params, {**LOOP, "step": step})
checkpoints.wait()
assert folder.exists() == (process == 0)
for step in (2, 1):
    found = checkpoints.restore(state_of(0))
    assert same_bits(found[:2], (state_of(step), state_of(step).params)) and found[2] == {**LOOP, "step": step}
    if process == 0 and step == 2:
        flip(largest(folder / "2" / "params"))
assert len(lines) == (process == 0)
try:
    checkpoints.restore(state_of(0, 41))
except InputError as error:
    assert "expected float32(2, 3, 41)" in str(error)
else:
    raise SystemExit("another network was not refused")
checkpoints.close()
save_weights(folder / "best", state.params)
if process == 0:
    assert same_bits(load_weights(folder / "best"), state_of(2).params)
print("all is well")
"""


@pytest.mark.slow
def test_two_processes(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    here = Path(__file__).parent
    command = [sys.executable, "-c", TWO_PROCESSES]
    started = [
        subprocess.Popen(
            [*command, str(process), str(port), str(tmp_path)],
            cwd=here.parent,
            env={**os.environ, "PYTHONPATH": f"{here}:{here.parent}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for process in range(2)
    ]
    for process in started:
        output = process.communicate(timeout=120)[0]
        assert process.returncode == 0 and "all is well" in output, output
