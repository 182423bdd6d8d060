"""bfloat16 computes what float32 does: the Dice of a real task is the same within the spread of a run."""

import csv
from pathlib import Path

import numpy as np
import pytest

from experiments.main import main

DTYPES = ("float32", "bfloat16")


def mean_dice(folder: Path) -> dict[str, float]:
    with open(folder / "per_scan.csv", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["metric"] == "dice"]
    return {
        arm: float(np.mean([float(row["value"]) for row in rows if row["arm"] == arm]))
        for arm in ("from_scratch", "pretrained")
    }


@pytest.mark.full
@pytest.mark.timeout(7200)
def test_hippocampus_dice_in_bfloat16_is_that_of_float32(real_data: Path, tmp_path: Path, keep_summary) -> None:
    found = {}
    for dtype in DTYPES:
        folder = tmp_path / dtype
        settings = {
            "data.root": str(real_data / "hippocampus"),
            "split.label_fractions": "(1.0,)",
            "model.dtype": dtype,
            "pretrain.max_steps": 500,
            "finetune.max_steps": 2000,
            "seeds": "0,1,2",  # one seed moves by more than what is looked for
            "evaluate.corruption_gallery": False,
            "engine.devices": 1,
        }
        flags = [f"--config.{name}={value}" for name, value in settings.items()]
        assert main(["main", "--config=configs/hippocampus.py", f"--workdir={folder}", *flags]) == 0
        found[dtype] = mean_dice(folder)
    differences = {arm: found["bfloat16"][arm] - found["float32"][arm] for arm in ("from_scratch", "pretrained")}
    keep_summary("bfloat16_hippocampus", {"mean_dice_of_50_test_scans": found, "differences": differences})
    assert all(abs(difference) <= 0.005 for difference in differences.values()), found
