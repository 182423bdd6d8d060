"""A study small enough to run whole in a test: 10 generated subjects, 32 x 32 slices, two levels, a few steps."""

import os
from pathlib import Path

import pytest
from markupsafe import Markup

from experiments.main import main
from inpaint_ssl.report import frame
from inpaint_ssl.report.drawing import Picture

SETTINGS = (
    "study.name=tiny",
    "data.image_size=(32, 32)",
    "data.phantom.subjects=10",
    "data.phantom.unlabelled_subjects=1",
    "data.phantom.size=(32, 32)",
    "data.phantom.slices=8",
    "split.fractions=(0.5, 0.2, 0.3)",
    "split.label_fractions=(0.2, 1.0)",
    "corruption.patch_size=4",
    "model.filters=(16, 32)",
    "pretrain.max_steps=6",
    "pretrain.validate_every_steps=3",
    "finetune.max_steps=6",
    "finetune.validate_every_steps=3",
    "evaluate.inpainting_examples=2",
    "engine.devices=1",  # the tests show jax four, which take longer to compile for
    "evaluate.corruption_gallery=False",  # compiling all corruptions takes longer than the rest; see test_gallery.py
)


def arguments(workdir: Path, *more: str) -> list[str]:
    """The command line of the tiny study; its scans are prepared once for all tests unless `more` says where."""
    shared = f"data.prepared={os.environ['INPAINT_SSL_TEST_PREPARED']}"
    settings = dict(
        setting.split("=", 1) for setting in (*SETTINGS, shared, *more)
    )  # a later one replaces an earlier one
    flags = [f"--config.{name}={value}" for name, value in settings.items()]
    return ["main", "--config=configs/quickstart.py", f"--workdir={workdir}", *flags]


def run(workdir: Path, *more: str, drawn: bool = False) -> int:
    """Run it in this process; the exit code. Figures take longer than training: the report has none unless `drawn`."""
    with pytest.MonkeyPatch.context() as patch:
        if not drawn:
            patch.setattr(frame, "save", lambda drawing, folder: Picture(drawing.name, Markup(""), drawing.caption))
        return main(arguments(workdir, *more))
