"""The shipped configs on real scans, for a few steps: configs/hippocampus.py (MRI) and configs/headneck_ct.py (CT)."""

import csv
import json
from pathlib import Path

import pytest

from experiments.main import main

SHORT = (
    "split.label_fractions=(0.05,)",
    *(f"{phase}.max_steps=10" for phase in ("pretrain", "finetune")),
    *(f"{phase}.validate_every_steps=10" for phase in ("pretrain", "finetune")),
    "evaluate.inpainting_examples=1",
    "evaluate.corruption_gallery=False",  # test_gallery.py draws one
    "engine.devices=1",  # the tests show jax four
)


# Surfaces of what a network of ten steps predicts take as long as all the rest, and hippocampus has them.
QUICKER = ("clinical.surface_distances=False", "model.filters=(16, 32)")


@pytest.mark.slow
@pytest.mark.timeout(900)  # evaluating 45 CT scans three times takes minutes on a busy machine
@pytest.mark.parametrize(
    ("config", "data_set", "classes", "splits", "channels"),
    [
        ("hippocampus", "hippocampus", ["Anterior", "Posterior"], (120, 30, 50, 0, 120), ["MRI"]),
        (
            "headneck_ct",
            "headneck_ct",
            ["brainstem", "spinal_cord", "right_parotid", "left_parotid"],
            (108, 27, 45, 42, 150),
            ["window 400/50 HU", "window 1800/40 HU", "window 500/50 HU"],
        ),
    ],
)
def test_a_short_study(real_data: Path, tmp_path: Path, config, data_set, classes, splits, channels) -> None:
    more = QUICKER if config == "headneck_ct" else ()
    flags = [f"--config.{setting}" for setting in (f"data.root={real_data / data_set}", *SHORT, *more)]
    assert main(["main", f"--config=configs/{config}.py", f"--workdir={tmp_path / 'study'}", *flags]) == 0
    study = json.loads((tmp_path / "study" / "study.json").read_text())
    names = ("train", "validation", "test", "unlabelled", "pretraining_scans")
    assert study["classes"] == classes and tuple(study["splits"][name] for name in names) == splits
    assert json.loads((tmp_path / "study" / "manifest.json").read_text())["input_channels"] == channels
    with open(tmp_path / "study" / "per_scan.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    metrics = {"dice", "voe", "cv", "volume_mm3", "area_mm2"}
    metrics |= {"mean_hu"} if config == "headneck_ct" else {"assd_mm", "hd95_mm"}
    assert {row["metric"] for row in rows} == metrics
    assert len(rows) == 2 * splits[2] * len(classes) * len(metrics)
    assert all(float(row["truth"]) > 0 for row in rows if row["metric"] != "mean_hu")
