"""Augmentation, cross-entropy and flips of a run are those of its own settings, and a study says that it uses them."""

from pathlib import Path

import jax
import numpy as np
import pytest
import tiny
from rich.console import Console

from configs import base
from experiments.main import parse
from inpaint_ssl import config as cfg
from inpaint_ssl.evaluate import Evaluation
from inpaint_ssl.rng import stream_key
from inpaint_ssl.steps import make_predict_step, segmentation_loss
from inpaint_ssl.study import evaluation
from inpaint_ssl.study.cells import Cell
from inpaint_ssl.study.prepare import prepare
from inpaint_ssl.study.record import departures
from inpaint_ssl.study.training import Trainer

pytestmark = pytest.mark.usefixtures("quickly_compiled")
EMPTY = Evaluation([], [], {})
QUIET = Console(quiet=True)
OWN = (("finetune.augmentation", "light"), ("finetune.cross_entropy_weight", 0.5), ("evaluate.flips", ("rows",)))


@pytest.mark.slow
def settings(workdir: Path, *more: str):
    return cfg.resolve(parse(tiny.arguments(workdir, *more))[0], base.get_config())


def test_a_run_is_trained_and_measured_by_its_own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = settings(tmp_path)
    trainer = Trainer(config, prepare(config, tmp_path, QUIET), tmp_path, {}, QUIET)
    phases, data, key = trainer.phases, trainer.data, stream_key(0, "finetune/corruption")
    plain, own = Cell("finetune", 0), Cell("finetune", 0, settings=OWN)
    params = jax.eval_shape(phases.init("finetune"), key)
    batch = phases.feed.fetch(phases.feed.data, phases.feed.assemble(np.arange(2), 2, slice(None)))

    def program(loss) -> str:
        return str(jax.make_jaxpr(lambda params: loss(params, batch, key, 2, None))(params))

    found = [program(phases._loss(cell.config(config), "finetune")[0]) for cell in (plain, own)]
    wanted = [
        program(segmentation_loss(phases.segmenter, phases._membership, **options))
        for options in ({}, {"augmentation": "light", "cross_entropy_weight": 0.5})
    ]
    assert found == wanted and found[0] != found[1]
    programs = [phases.get(cell.config(config), "finetune", 1, 5).programs for cell in (plain, own, plain)]
    assert programs[0] is programs[2] and programs[0] is not programs[1]

    used = []
    monkeypatch.setattr(evaluation, "evaluate_segmentation", lambda predict, *_, **__: used.append(predict) or EMPTY)
    for cell in (plain, own, plain):
        trainer.evaluator._segmentation(cell, params, data.test, {}, lambda done: None)
    assert used[0] is used[2]
    for predict, flips in zip(used[:2], ((), ("rows",)), strict=True):
        step = jax.jit(make_predict_step(phases.segmenter, flips))
        assert str(jax.make_jaxpr(predict)(params, batch.images)) == str(jax.make_jaxpr(step)(params, batch.images))


def test_a_study_says_that_it_departs_from_the_paper(tmp_path: Path) -> None:
    names = ("finetune.augmentation", "finetune.cross_entropy_weight", "evaluate.flips")
    assert not any(name in text for text in departures(settings(tmp_path), base.get_config()) for name in names)
    more = ("finetune.augmentation=light", "finetune.cross_entropy_weight=1.0", "evaluate.flips=('rows',)")
    texts = departures(settings(tmp_path, *more), base.get_config())
    for line in (
        "finetune.augmentation is light (paper: off).",
        "finetune.cross_entropy_weight is 1.0 (paper: 0.0).",
        "evaluate.flips is ('rows',) (paper: ()).",
    ):
        assert line in texts
