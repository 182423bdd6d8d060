"""Pretraining with the paper's bank of masks, within the scan, and validation with fresh or fixed ones."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny
from rich.console import Console

from configs import base
from experiments.main import parse
from inpaint_ssl import config as cfg
from inpaint_ssl.study.cells import Cell, Group
from inpaint_ssl.study.phases import make_corruptor
from inpaint_ssl.study.prepare import prepare
from inpaint_ssl.study.record import departures
from inpaint_ssl.study.training import Trainer

pytestmark = pytest.mark.usefixtures("quickly_compiled")

QUIET = Console(quiet=True)


def settings(workdir: Path, *more: str):
    return cfg.resolve(parse(tiny.arguments(workdir, *more))[0], base.get_config())


@pytest.mark.slow
def test_a_bank_serves_the_whole_pretraining(tmp_path: Path) -> None:
    bank = ("corruption.masks=bank", "corruption.bank_size=1", "evaluate.inpainting_examples=3")
    assert tiny.run(tmp_path / "study", *bank, "stage=pretrain") == 0
    study = json.loads((tmp_path / "study" / "study.json").read_text())
    assert [cell["status"] for cell in study["cells"]] == ["trained", *["missing"] * 4]
    config = settings(tmp_path / "study", *bank)
    trainer = Trainer(config, prepare(config, tmp_path / "study", QUIET), tmp_path / "study", {}, QUIET)
    trainer.evaluator.evaluate(Cell("pretrain", 0))
    examples = [np.load(path) for path in sorted((tmp_path / "study" / "pretrain").rglob("examples/*.npz"))]
    touched = [(example["original"] != example["corrupted"]).any(axis=-1) for example in examples]
    # One mask of 16 patches of 4 x 4, turned at random: turned back, all examples touch the same pixels.
    turns = [{np.rot90(mask, k).tobytes() for k in range(4)} for mask in touched]
    assert len(touched) == 3 and set.intersection(*turns)


def test_patches_lie_in_the_scan_where_its_region_is_set(tmp_path: Path) -> None:
    image, box = np.random.default_rng(0).normal(size=(64, 64, 1)).astype(np.float32), np.array([20, 8, 50, 40])
    keys, outside = jax.random.split(jax.random.key(0), 4), np.ones((64, 64), bool)
    outside[20:50, 8:40] = False
    for region in ("image", "scan"):
        corrupt = make_corruptor(settings(tmp_path, f"corruption.region={region}", "data.image_size=(64,64)"))
        changed = (jax.vmap(corrupt, (0, None, None))(keys, image, box) != image).any(axis=(0, 3))
        assert np.asarray(changed)[~outside].any()
        assert np.asarray(changed)[outside].any() == (region == "image")


def test_validation_masks(tmp_path: Path) -> None:
    config, cell = settings(tmp_path), Cell("pretrain", 0)
    trainer = Trainer(config, prepare(config, tmp_path, QUIET), tmp_path, {}, QUIET)
    for validation, same in (("fixed", True), ("fresh", False)):
        trainer.config = settings(tmp_path, f"corruption.validation={validation}")
        keys = [trainer._validation_keys(Group((cell,)), step) for step in (3, 6, 3)]
        first, second, again = (np.asarray(jax.random.key_data(key)) for key in keys)
        assert (first == again).all()  # a function of the step, so that a resumed run sees the same
        assert (first == second).all() == same


def test_departures_name_only_what_differs_from_the_paper(tmp_path: Path) -> None:
    fresh = departures(settings(tmp_path), base.get_config())
    assert any("100 masks made beforehand" in text for text in fresh) and any("same masks" in text for text in fresh)
    paper = settings(tmp_path, "corruption.masks=bank", "corruption.validation=fresh", "corruption.bank_seed=3")
    texts = departures(paper, base.get_config())
    assert not any("masks" in text or "bank" in text or "validation" in text for text in texts)
    more = departures(settings(tmp_path, "corruption.masks=bank", "corruption.bank_size=7"), base.get_config())
    assert any("corruption.bank_size is 7 (paper: 100)" in text for text in more)
