"""A study small enough to run whole in a test: 10 generated subjects, 32 x 32 slices, two levels, a few steps."""

from pathlib import Path

from experiments.main import main

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
    """The command line of the tiny study."""
    settings = dict(setting.split("=", 1) for setting in (*SETTINGS, *more))  # a later one replaces an earlier one
    flags = [f"--config.{name}={value}" for name, value in settings.items()]
    return ["main", "--config=configs/quickstart.py", f"--workdir={workdir}", *flags]


def run(workdir: Path, *more: str) -> int:
    """Run it in this process; the exit code."""
    return main(arguments(workdir, *more))
