"""The benchmark of the engine's settings: the command from end to end, and that its ratios follow from its samples."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.benchmark import main
from experiments.benchmarks import engine
from inpaint_ssl.files import write_json_atomic


@pytest.mark.slow
def test_the_command_from_end_to_end(tmp_path: Path, capsys) -> None:
    assert main(["experiments.benchmark", "engine", "--quick", f"--output={tmp_path}"]) == 0
    printed, result = capsys.readouterr().out, json.loads((tmp_path / "engine.json").read_text())
    assert result["quick"] and set(result["feeding"]) == {"resident", "streamed"}
    of_several = ["devices"] if jax.device_count() > 1 else []
    assert list(result["seeds"]) == ["one after another", "in_turn", "unroll", "vmap", *of_several]
    for part in ("seeds", "steps_per_call", "feeding"):
        for timing in result[part].values():
            assert timing["median_ms"] == pytest.approx(np.median(timing["samples_ms"]))
            assert 0 <= timing["waiting_share"] < 1
    turn, vmap = result["seeds"]["one after another"], result["seeds"]["vmap"]
    assert f"2 seeds, vmap: {1e3 / vmap['median_ms']:.0f} images/s" in printed
    assert f", {turn['median_ms'] / vmap['median_ms']:.2f}x, waiting" in printed


@pytest.mark.slow
def test_a_single_contender_of_few_rounds(tmp_path: Path, capsys, monkeypatch) -> None:
    seen = []

    def written(path: Path, value: dict) -> None:
        seen.append((value["complete"], [len(timing["samples_ms"]) for timing in value["seeds"].values()]))
        write_json_atomic(path, value)

    monkeypatch.setattr(engine, "write_json_atomic", written)
    flags = ["--quick", "--rounds=3", "--only=seeds/in_turn", f"--output={tmp_path}"]
    assert main(["experiments.benchmark", "engine", *flags]) == 0
    assert seen == [(False, [1]), (False, [2]), (False, [3]), (True, [3])]
    result, printed = json.loads((tmp_path / "engine.json").read_text()), capsys.readouterr().out
    assert list(result["seeds"]) == ["in_turn"] and not {"steps_per_call", "feeding"} & set(result)
    assert "in_turn: first call" in printed and "2 seeds, in_turn:" in printed
