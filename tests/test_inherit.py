"""What a study takes over from earlier ones."""

import json
from pathlib import Path

import pytest

from configs import base
from experiments.main import parse
from inpaint_ssl.config import inherit, inherited_settings, pixels_of, resolve
from inpaint_ssl.errors import InputError


def selection(folder: Path, selected: dict, **more) -> Path:
    folder.mkdir(exist_ok=True)
    content = {"format_version": 1, "kind": "transfer_grid", "selected": selected, "reason": "because", "warnings": []}
    (folder / "selection.json").write_text(json.dumps(content | more))
    return folder


def config_from(*folders: Path, more: tuple[str, ...] = ()):
    argv = ["main", "--config=configs/clinical.py", f"--config.study.from={','.join(map(str, folders))}", *more]
    return resolve(parse(argv)[0], base.get_config())


def test_selected_settings_replace_those_of_the_config(tmp_path: Path) -> None:
    first = selection(tmp_path / "a", {"transfer.parts": ["encoder", "decoder"], "finetune.learning_rate": 0.001})
    second = selection(tmp_path / "b", {"split.pretraining_extent": 1.0, "finetune.learning_rate": 0.001})
    config = config_from(first, second)
    changed, notes = inherit(config)
    assert changed.transfer.parts == ("encoder", "decoder") and changed.split.pretraining_extent == 1.0
    assert changed.finetune.learning_rate == 0.001 and config.finetune.learning_rate == 0.01
    assert len(notes) == 3 and any("finetune.learning_rate is 0.001, selected by" in note for note in notes)
    assert inherit(changed)[1] == []  # going on with what was taken over says nothing
    resolve(changed, base.get_config())


@pytest.mark.parametrize(("size", "pixels"), [((64, 64), 4), ((128, 128), 8), ((512, 640), 32), ((8, 8), 1)])
def test_patches_are_scaled_to_the_images_of_the_new_study(tmp_path: Path, size, pixels: int) -> None:
    chosen = {"corruption.task": "context_restoration", "grid.selected_patch_size": 32}
    config = config_from(selection(tmp_path / "a", chosen), more=(f"--config.data.image_size={size}",))
    assert inherit(config)[0].corruption.patch_size == pixels == pixels_of(32, size)


def test_studies_that_disagree_are_named(tmp_path: Path) -> None:
    folders = [selection(tmp_path / name, {"finetune.learning_rate": rate}) for name, rate in (("a", 0.1), ("b", 0.2))]
    with pytest.raises(InputError, match=r"a selected finetune.learning_rate = 0.1 and .*b 0.2"):
        inherit(config_from(*folders))


def test_a_study_that_selected_nothing_says_why(tmp_path: Path) -> None:
    folder = selection(tmp_path / "a", {}, reason="none is better")
    with pytest.raises(InputError, match=r"nothing was selected .*none is better"):
        inherit(config_from(folder))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, "has no selection.json"),
        ("{", "selection.json"),
        ("[]", "format_version 1"),
        ('{"format_version": 2, "selected": {}}', "format_version 1"),
        ('{"format_version": 1}', "expected what a study selected"),
        (
            '{"format_version": 1, "selected": {"grid.selected_patch_size": "big"}}',
            "'big' was selected",
        ),
        ('{"format_version": 1, "selected": {"use_gpu": true}}', "use_gpu was selected, which is no setting"),
        ('{"format_version": 1, "selected": {"finetune.learning_rate": "high"}}', "config.finetune.learning_rate"),
        ('{"format_version": 1, "selected": {"finetune.learning_rate": -1.0}}', "above 0"),
    ],
)
def test_damaged_selections(tmp_path: Path, text: str | None, expected: str) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    if text is not None:
        (folder / "selection.json").write_text(text)
    with pytest.raises(InputError, match=expected):
        resolve(inherit(config_from(folder))[0], base.get_config())


def test_a_ranking_reads_selections_by_itself(tmp_path: Path) -> None:
    argv = ["main", "--config=configs/optimal_strategy.py", f"--config.study.from={tmp_path}"]
    config = resolve(parse(argv)[0], base.get_config())
    assert inherit(config) == (config, [])
    assert inherited_settings(()) == {}
