"""The record of a study names the weights from elsewhere that it began with."""

from pathlib import Path

import pytest
from made_up_kind import register, write_kind
from test_page import Page

from inpaint_ssl.files import write_json_atomic
from inpaint_ssl.report import write_report

BUNDLE = {
    "kind": "bundle", "name": "knee <1>.zip", "sha256": "ef" * 32, "study": "knee_mri", "dataset": "phantom",
    "task": "segmentation",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch)


def text_with(root: Path, manifest: object) -> str:
    write_json_atomic(write_kind(root) / "manifest.json", manifest)
    p = Page(write_report(root).read_text(encoding="utf-8"))
    assert p.problems == [] and p.open == []
    return p.text


def test_a_bundle_is_named(tmp_path: Path) -> None:
    text = text_with(tmp_path, {"pretrained_from": BUNDLE})
    words = "Not pretrained here: every seed starts from the bundle knee <1>.zip ( knee_mri , phantom, a network that"
    assert words in text and "SHA-256 of the bundle " + "ef" * 32 in text


def test_an_earlier_study_is_named(tmp_path: Path) -> None:
    text = text_with(tmp_path, {"pretrained_from": {**BUNDLE, "kind": "study", "name": "first", "task": "inpainting"}})
    assert "Not pretrained here: taken from the study in first ( knee_mri , phantom)." in text
    assert "SHA-256 of the weights efef" in text and "trained on labels" not in text


@pytest.mark.parametrize("manifest", [{}, {"pretrained_from": {}}, {"pretrained_from": None}, []])
def test_nothing_is_said_of_a_study_that_pretrains_itself(tmp_path: Path, manifest: object) -> None:
    assert "Pretrained weights" not in text_with(tmp_path, manifest)
