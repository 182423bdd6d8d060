"""A tiny study of arms, trained whole from its command: who begins with what, who learns how, and what is measured."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from experiments.main import main
from inpaint_ssl.checkpoint import load_weights

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quickly_compiled")]
CONFIG = """
from configs import scales


def get_config():
    c = scales.at_scale("tiny", "arms")
    c.seeds, c.study.one_pretraining, c.split.draw_by_seed, c.study.one_seed_from = (0, 1), True, True, 1.0
    c.study.measure_on = "validation"
    c.data.scans_per_subject = 1
    for phase in (c.pretrain, c.finetune):
        phase.max_steps, phase.validate_every_steps = 4, 2
    c.arms = (
        "frozen: transfer.freeze_steps=4",
        "fresh_short: start=fresh finetune.max_steps=2",
        "light: finetune.augmentation=light finetune.cross_entropy_weight=1 evaluate.flips=('rows',)",
        "box: corruption.region=scan against=fresh_short",
    )
    return c
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("arms")
    (root / "arms.py").write_text(CONFIG)
    assert main(["main", f"--config={root / 'arms.py'}", f"--workdir={root / 'study'}"]) == 0
    return root / "study"


def result(study: Path, cell: str) -> dict:
    return json.loads((study / cell / "result.json").read_text())


def test_the_runs_are_those_that_were_asked_for_and_each_has_its_own_length(study: Path) -> None:
    assert sorted(path.name for path in (study / "pretrain").iterdir()) == ["box_seed-0", "frozen_seed-0"]
    names = {path.name for path in (study / "finetune").iterdir()}
    arms = ("from_scratch", "frozen", "fresh_short", "light", "box")
    ends = ("labels-34pct_draw-0_seed-0", "labels-100pct_draw-0_seed-0", "labels-34pct_draw-1_seed-1")
    assert names == {f"{arm}_{end}" for arm in arms for end in ends}
    for name in names:
        assert result(study, f"finetune/{name}")["steps"] == (2 if name.startswith("fresh_short") else 4)


def test_frozen_steps_leave_the_pretrained_encoder_as_it_was(study: Path) -> None:
    pretrained = load_weights(study / "pretrain/frozen_seed-0/best")["encoder"]
    kernel = np.asarray(pretrained["level_0"]["conv_0"]["kernel"])
    for arm, same in (("frozen", True), ("light", False), ("from_scratch", False)):
        for end in ("draw-0_seed-0", "draw-1_seed-1"):
            own = load_weights(study / f"finetune/{arm}_labels-34pct_{end}/best")["encoder"]
            assert np.array_equal(own["level_0"]["conv_0"]["kernel"], kernel) is same


def test_only_validation_scans_are_measured_and_seeds_have_label_subsets_of_their_own(study: Path) -> None:
    with open(study / "per_scan.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["split"] for row in rows} == {"validation"}
    splits = json.loads((study / "splits.json").read_text())
    assert {row["subject"] for row in rows} == set(splits["validation"])
    manifests = [
        json.loads((study / f"finetune/frozen_labels-34pct_{end}/manifest.json").read_text())
        for end in ("draw-0_seed-0", "draw-1_seed-1")
    ]
    subsets = [manifest["training_subjects"] for manifest in manifests]
    assert len(subsets[0]) == len(subsets[1]) and subsets[0] != subsets[1]
    assert all(set(subset) < set(splits["train"]) for subset in subsets)
    info = json.loads((study / "study.json").read_text())
    assert (info["measured_on"], info["select_on"]) == (["validation"], "validation")
    assert [cell["status"] for cell in info["cells"]] == ["complete"] * 17
    assert "validation" in (study / "report.html").read_text()
