"""What of a study is done and what may go on, from the files in its folder alone."""

import json
import os
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from configs import base
from experiments.main import parse
from inpaint_ssl.config import length_of, resolve
from inpaint_ssl.errors import InputError
from inpaint_ssl.study.cells import Cell
from inpaint_ssl.study.designs import cells_of
from inpaint_ssl.study.run import _check_starts, _is_done
from inpaint_ssl.study.selecting import is_selected


def config_of(*more: str) -> ConfigDict:
    argv = ["main", "--config=configs/transfer_grid.py", "--config.scale=tiny", *(f"--config.{one}" for one in more)]
    return resolve(parse(argv)[0], base.get_config())


def train(config: ConfigDict, workdir: Path, cell: Cell) -> None:
    folder = workdir / cell.directory
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    result = {"stopped": "max_steps", "length": length_of(config, cell.phase)}
    (folder / "result.json").write_text(json.dumps(result))


def test_a_stage_of_training_asks_for_no_evaluation(tmp_path: Path) -> None:
    config = config_of()
    cell = cells_of(config)[0]
    train(config, tmp_path, cell)
    assert _is_done(config_of("stage=pretrain"), tmp_path, cell) and not _is_done(config, tmp_path, cell)


def test_no_run_is_trained_longer_whose_weights_others_have_taken(tmp_path: Path) -> None:
    config, longer = config_of(), config_of("finetune.max_steps=20")
    cells = cells_of(config)
    second, first = next((c, c.start) for c in cells if c.start is not None and c.start.phase == "finetune")
    for cell in (cells[0], first):
        train(config, tmp_path, cell)
    _check_starts(longer, tmp_path, cells)
    (tmp_path / second.directory).mkdir()
    (tmp_path / second.directory / "config.json").write_text("{}")
    _check_starts(config, tmp_path, cells)
    with pytest.raises(InputError, match=f"{first.directory} would be trained longer .* {second.directory}"):
        _check_starts(longer, tmp_path, cells)
    with pytest.raises(InputError, match="pretrain/seed-0 would be trained longer"):
        _check_starts(config_of("pretrain.max_steps=20"), tmp_path, cells)


def test_a_selection_is_that_of_the_newest_summary_and_of_the_asked_scans(tmp_path: Path) -> None:
    config = config_of()
    assert is_selected(config, tmp_path)  # there is nothing to select from
    (tmp_path / "study.json").write_text("{}")
    assert not is_selected(config, tmp_path)
    (tmp_path / "selection.json").write_text('{"select_on": "validation"}')
    assert is_selected(config, tmp_path) and not is_selected(config_of("study.select_on=test"), tmp_path)
    newer = (tmp_path / "selection.json").stat().st_mtime_ns + 1
    (tmp_path / "study.json").write_text("{}")
    os.utime(tmp_path / "study.json", ns=(newer, newer))
    assert not is_selected(config, tmp_path)
