"""The benchmark of the engine's settings: the command from end to end, and that its ratios follow from its samples."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.benchmark import main


@pytest.mark.slow
def test_the_command_from_end_to_end(tmp_path: Path, capsys) -> None:
    assert main(["experiments.benchmark", "engine", "--quick", f"--output={tmp_path}"]) == 0
    printed, result = capsys.readouterr().out, json.loads((tmp_path / "engine.json").read_text())
    assert result["quick"] and set(result["feeding"]) == {"resident", "streamed"}
    assert list(result["seeds"]) == [
        "one after another",
        "in_turn",
        "unroll",
        "vmap",
        "devices",
    ]  # the tests show jax four devices
    for part in ("seeds", "steps_per_call", "feeding"):
        for timing in result[part].values():
            assert timing["median_ms"] == pytest.approx(np.median(timing["samples_ms"]))
            assert 0 <= timing["waiting_share"] < 1
    turn, vmap = result["seeds"]["one after another"], result["seeds"]["vmap"]
    assert f"2 seeds, vmap: {1e3 / vmap['median_ms']:.0f} images/s" in printed
    assert f", {turn['median_ms'] / vmap['median_ms']:.2f}x, waiting" in printed
