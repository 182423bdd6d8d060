"""A study pretrains on the set of the extent that it names, and fine-tunes on labels outside of it all the same."""

import json
from pathlib import Path

import pytest
import tiny

pytestmark = pytest.mark.usefixtures("quickly_compiled")


@pytest.mark.slow
@pytest.mark.parametrize(("extent", "count"), [(0.4, 2), (1.2, 6)])
def test_the_extent_decides_what_is_pretrained_on(tmp_path: Path, extent: float, count: int) -> None:
    settings = ("split.pretraining_extents=(0.4,1.0,1.2)", f"split.pretraining_extent={extent}")
    assert tiny.run(tmp_path / "study", *settings, "split.label_fractions=(1.0,)") == 0
    splits = json.loads((tmp_path / "study" / "splits.json").read_text())
    sets = [set(one["subjects"]) for one in splits["pretraining_subsets"]]
    assert [len(one) for one in sets] == [2, 5, 6] and sets[0] < sets[1] < sets[2]
    assert sets[1] == set(splits["train"])
    manifest = json.loads((tmp_path / "study" / "pretrain" / "seed-0" / "manifest.json").read_text())
    assert len(manifest["training_subjects"]) == count
    assert set(manifest["training_subjects"]) == set(splits["pretraining"]) == sets[0 if count == 2 else 2]
    study = json.loads((tmp_path / "study" / "study.json").read_text())
    assert study["splits"]["pretraining_scans"] == count
    for arm in ("from_scratch", "pretrained"):
        path = tmp_path / "study" / "finetune" / f"{arm}_labels-100pct_draw-0_seed-0" / "manifest.json"
        assert set(json.loads(path.read_text())["training_subjects"]) == set(splits["train"])
