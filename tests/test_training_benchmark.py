"""The training benchmark: a rival that computes what ours does, counted operations, and the command with its table."""

import importlib.util
import io
import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from experiments.benchmark import BENCHMARKS, main
from experiments.benchmarks import training, training_ours, training_tables
from experiments.benchmarks.tables import number
from experiments.benchmarks.training import Size
from inpaint_ssl.files import write_json_atomic
from inpaint_ssl.losses import batch_dice_loss
from inpaint_ssl.models import UNet

pytestmark = pytest.mark.usefixtures("full_precision")
needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="PyTorch is missing; it is in the extra `bench`"
)
SIZE = Size(16, 2, (16, 16, 32))


def scattered(params: dict) -> dict:
    """Parameters of which none is at its special starting value, such as biases of 0."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(7), len(leaves))
    moved = [leaf + 0.1 * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(tree, moved)


@pytest.fixture(scope="module")
def ours() -> training_ours.Training:
    """Compiled once for all tests: compiling is most of their time."""
    result = training_ours.Training(SIZE, steps_per_call=1)
    result.state = result.state.replace(params=scattered(result.state.params))
    return result


@pytest.fixture(scope="module")
def dice(ours):
    """Parameters -> ((loss, logits), gradients) of our network."""

    def loss(params):
        logits = ours.model.apply({"params": params}, ours.images)
        return batch_dice_loss(jax.nn.sigmoid(logits), target_of(ours.labels)), logits

    return jax.jit(jax.value_and_grad(loss, has_aux=True))


def target_of(labels: np.ndarray) -> np.ndarray:
    return (labels[..., None] == np.arange(1, 5)).astype(np.float32)


@needs_torch
def test_the_rival_computes_the_same(ours, dice) -> None:
    import torch

    from experiments.benchmarks import training_torch

    rival = training_torch.UNet(SIZE.filters, 1, 4, ours.groups)
    paths = ours.params_by_path()
    training_torch.load(rival, paths)
    assert sum(p.numel() for p in rival.parameters()) == sum(value.size for value in paths.values())

    params, target = ours.state.params, target_of(ours.labels)
    (value, logits), gradients = dice(params)
    turned = torch.from_numpy(ours.images[:, ::-1, ::-1].transpose(0, 3, 1, 2).copy())
    output = rival(turned)
    np.testing.assert_allclose(output.detach().permute(0, 2, 3, 1).numpy()[:, ::-1, ::-1], logits, atol=1e-4)
    rival_loss = training_torch.dice_loss(output, torch.from_numpy(target[:, ::-1, ::-1].transpose(0, 3, 1, 2).copy()))
    rival_loss.backward()
    assert float(rival_loss.detach()) == pytest.approx(float(value), abs=1e-5)
    for module, ours_of in ((rival.encoder[0]["conv_1"], "encoder"), (rival.decoder[-1]["conv"], "decoder")):
        leaf = gradients[ours_of]["level_0"]["conv_1" if ours_of == "encoder" else "conv"]["kernel"]
        gradient = module.weight.grad.permute(2, 3, 1, 0).numpy()[::-1, ::-1]
        np.testing.assert_allclose(gradient, leaf, atol=1e-4 * float(jnp.abs(leaf).max()))
    upsampling = rival.decoder[0]["upsample"].weight.grad.permute(2, 3, 0, 1).numpy()
    leaf = gradients["decoder"]["level_1"]["upsample"]["kernel"]
    np.testing.assert_allclose(upsampling, leaf, atol=1e-4 * float(jnp.abs(leaf).max()))


@needs_torch
def test_the_rival_learns_as_ours_does(ours, dice) -> None:
    from experiments.benchmarks import training_torch

    images, labels = (part[:, ::-1, ::-1].copy() for part in (ours.images, ours.labels))
    before, losses = jax.tree.map(jnp.copy, ours.state), {}
    for dtype in ("float32", "bfloat16"):
        rival = training_torch.UNet(SIZE.filters, 1, 4, ours.groups)
        training_torch.load(rival, ours.params_by_path())
        train = training_torch.trainer(rival, images, labels, training.ADAM, dtype, compiled=False)
        losses[dtype] = [train(1) for _ in range(4)]
    ours.run(range(3))
    value = float(dice(ours.state.params)[0][0])
    ours.state = before
    assert losses["float32"][3] < losses["float32"][0]
    assert losses["float32"][3] == pytest.approx(value, abs=1e-3)
    assert losses["bfloat16"][3] == pytest.approx(value, abs=1e-2)


def test_operations_are_those_of_the_compiled_network() -> None:
    size = Size(32, 3, (16, 32, 64))
    model = UNet(size.filters, 4)
    images = jnp.zeros((3, 32, 32, 1))
    params = jax.eval_shape(model.init, jax.random.key(0), images)
    counted = jax.jit(model.apply).lower(params, images).cost_analysis()["flops"]
    whole, first = training.forward_flops(size)
    assert first == 2 * 3 * 32 * 32 * 9 * 16
    # XLA counts the sixteen taps of the sub-pixel form (seven are zero), what lies outside the image not at all,
    # and the few operations that are no convolution.
    subpixel = 2 * 3 * 7 * (8 * 8 * 64 * 32 + 16 * 16 * 32 * 16)
    assert counted == pytest.approx(whole + subpixel, rel=0.1)
    assert training.step_flops(size) == 3 * whole - first


def test_sizes_of_the_platforms() -> None:
    assert {(s.side, s.batch, s.dtype, s.compiled) for s in training.sizes(True, False, False)} == {
        (512, 9, "bfloat16", True),
        (512, 32, "bfloat16", True),
    }
    on_cpu = training.sizes(False, False, False)
    assert [(s.side, s.batch, s.filters[-1], s.compiled) for s in on_cpu] == [
        (64, 8, 128, False),
        (64, 16, 256, False),
        (128, 9, 512, False),
        (256, 4, 512, False),
    ]
    assert all(s.compiled for s in training.sizes(False, False, True))


def test_shares_of_a_card() -> None:
    size = Size(512, 9, training.WIDE, "bfloat16")
    result = training.shares(size, 4.8e9, 2.0 / 9, "NVIDIA H200")  # two milliseconds a step
    assert result["share_of_bandwidth"] == pytest.approx(0.5)
    assert result["share_of_peak"] == pytest.approx(training.step_flops(size) / 2e-3 / 989e12)
    assert "share_of_peak" not in training.shares(size, 1.0, 1.0, "NVIDIA T4")


@pytest.fixture(scope="module")
def quick_run(tmp_path_factory) -> tuple[dict, str]:
    """What the command writes and prints with --quick; in this process, where jax and torch have started already."""
    output, text = tmp_path_factory.mktemp("training"), io.StringIO()
    path = BENCHMARKS["training"](output, True, Console(file=text))
    assert path == output / "training.json"
    return json.loads(path.read_text()), text.getvalue()


def test_the_command_from_end_to_end(quick_run) -> None:
    result, printed = quick_run
    assert (result["benchmark"], result["quick"], result["format_version"]) == ("training", True, 1)
    assert result["complete"] and result["rounds"] == 2
    assert result["device"] and result["processor"] and {"jax", "python"} <= set(result["versions"])
    (row,) = result["rows"]
    assert row["ours"]["images_per_second"] == 1e3 / np.median(row["ours"]["samples_ms"])
    assert row["ours"]["flops_per_second"] == pytest.approx(
        row["step_flops"] / row["batch"] * row["ours"]["images_per_second"]
    )
    assert "16 x 16" in printed and "Numbers:" in printed and "…" not in printed
    if "rival" in row:
        assert row["ratio"] == row["ours"]["images_per_second"] / row["rival"]["images_per_second"]


def test_what_was_measured_is_kept_when_the_rest_is_stopped(ours, tmp_path: Path, monkeypatch) -> None:
    """The file after every round, here seen at the end of each by the second size that never comes to its end."""
    sizes = [SIZE, Size(16, 4, SIZE.filters)]
    seen = []

    def stopping(size: Size) -> training_ours.Training:
        if size is sizes[1]:
            raise KeyboardInterrupt
        return ours

    def written(path: Path, value: dict) -> None:
        seen.append((value["complete"], [len(row["ours"]["samples_ms"]) for row in value["rows"]]))
        write_json_atomic(path, value)

    monkeypatch.setattr(training, "sizes", lambda *given: sizes)
    monkeypatch.setattr(training_ours, "Training", stopping)
    monkeypatch.setattr(training, "has_torch", lambda: True)
    monkeypatch.setattr(training, "_rival", lambda size, ours: lambda calls: time.sleep(0.01 * len(calls)))
    monkeypatch.setattr(training.metadata, "version", lambda name: name)
    monkeypatch.setattr(training, "write_json_atomic", written)
    text = io.StringIO()
    with pytest.raises(KeyboardInterrupt):
        training.run(tmp_path, True, Console(file=text), rounds=3, only=("16x2", "16x4/ours"))
    assert seen == [(False, [1]), (False, [2]), (False, [3])]
    result = json.loads((tmp_path / "training.json").read_text())
    assert result["complete"] is False and result["rounds"] == 3
    assert [row["batch"] for row in result["rows"]] == [2] and result["rows"][0]["rival"]["median_ms"] >= 5
    speed = result["rows"][0]["ours"]["images_per_second"]
    assert f"ours {number(speed)} images/s" in text.getvalue() and "16 x 16, batch of 4" in text.getvalue()


def test_without_torch_ours_is_measured_alone(ours, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(training_ours, "Training", lambda size: ours)
    monkeypatch.setattr(training, "has_torch", lambda: False)
    assert main(["experiments.benchmark", "training", "--quick", f"--output={tmp_path}"]) == 0
    printed = capsys.readouterr().out
    assert 'pip install "inpaint-ssl[bench]"' in printed and "missing" in printed
    (row,) = json.loads((tmp_path / "training.json").read_text())["rows"]
    assert "rival" not in row and "ratio" not in row


def test_a_gpu_shows_shares_or_says_that_the_card_is_unknown(quick_run) -> None:
    result = {**quick_run[0], "backend": "gpu", "device": "NVIDIA H200", "card": training.card_of("NVIDIA H200")}
    row = result["rows"][0]
    ours = {**row["ours"], "share_of_peak": 0.123, "share_of_bandwidth": 0.456}
    goal = {"rival": row["ours"], "ratio": 1.25, "goal_ratio": 1.3}
    for card, words in ((result["card"], ("12.3", "45.6", ">= 1.3x: missed")), (None, ("unknown card",))):
        text = io.StringIO()
        shown = {**result, "card": card, "rows": [{**row, **goal, "ours": ours}]}
        training_tables.show(shown, Console(file=text, width=60))
        assert [word for word in words if word not in text.getvalue()] == []
