"""The shipped configs on real scans, for a few steps: configs/hippocampus.py (MRI) and configs/headneck_ct.py (CT)."""

import csv
import json
from pathlib import Path

import pytest
from nifti_sets import every_nth

from experiments.main import main

SHORT = (
    "split.label_fractions=(0.05,)",
    *(f"{phase}.max_steps=10" for phase in ("pretrain", "finetune")),
    *(f"{phase}.validate_every_steps=10" for phase in ("pretrain", "finetune")),
    "evaluate.inpainting_examples=1",
    "evaluate.corruption_gallery=False",  # test_gallery.py draws one
    "engine.devices=1",  # the tests show jax four
)


# Compiling four levels takes longer than all the rest, and of a network of ten steps in CT so do surfaces.
QUICKER = {
    "hippocampus": ("model.filters=(16, 32)",),
    "headneck_ct": ("model.filters=(16, 32)", "clinical.surface_distances=False"),
}
CHANNELS = {
    "hippocampus": ["MRI"],
    "headneck_ct": ["window 400/50 HU", "window 1800/40 HU", "window 500/50 HU"],
}
CLASSES = {
    "hippocampus": ["Anterior", "Posterior"],
    "headneck_ct": ["brainstem", "spinal_cord", "right_parotid", "left_parotid"],
}


@pytest.mark.slow
@pytest.mark.timeout(1800)  # evaluating 45 CT scans takes minutes on a busy machine
@pytest.mark.parametrize(
    ("data_set", "every", "splits"),
    [
        ("hippocampus", 4, (28, 8, 14, 0, 28)),
        ("headneck_ct", 9, (12, 3, 5, 5, 17)),
        pytest.param("hippocampus", 1, (82, 22, 40, 0, 115), marks=pytest.mark.full),
        pytest.param("headneck_ct", 1, (108, 27, 45, 42, 150), marks=pytest.mark.full),
    ],
)
def test_a_short_study(real_data: Path, tmp_path: Path, data_set: str, every: int, splits: tuple[int, ...]) -> None:
    """Of a part of the scans, or of all by the config as it is but for its length."""
    more, classes = QUICKER[data_set] if every > 1 else (), CLASSES[data_set]
    root = every_nth(real_data / data_set, tmp_path / data_set, every)
    flags = [f"--config.{setting}" for setting in (f"data.root={root}", *SHORT, *more)]
    assert main(["main", f"--config=configs/{data_set}.py", f"--workdir={tmp_path / 'study'}", *flags]) == 0
    study = json.loads((tmp_path / "study" / "study.json").read_text())
    names = ("train", "validation", "test", "unlabelled", "pretraining_scans")
    assert study["classes"] == classes and tuple(study["splits"][name] for name in names) == splits
    assert json.loads((tmp_path / "study" / "manifest.json").read_text())["input_channels"] == CHANNELS[data_set]
    with open(tmp_path / "study" / "per_scan.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    metrics = {"dice", "voe", "cv", "volume_mm3", "area_mm2"}
    metrics |= {"mean_hu"} if data_set == "headneck_ct" else set()
    metrics |= {"assd_mm", "hd95_mm"} if "clinical.surface_distances=False" not in more else set()
    assert {row["metric"] for row in rows} == metrics
    assert len(rows) == 2 * splits[2] * len(classes) * len(metrics)
    assert all(float(row["truth"]) > 0 for row in rows if row["metric"] != "mean_hu")
