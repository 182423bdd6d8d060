"""Real processes killed at random moments: the same command goes on and ends with the same bits as one never killed."""

import collections
import random
import signal
import time
from pathlib import Path

import pytest
from killing import Study

from inpaint_ssl.signals import EXIT_AT_ONCE, EXIT_STOPPED

SETTINGS = (
    "split.label_fractions=(1.0,)",
    "corruption.sampling=random",
    "pretrain.max_steps=15",
    "finetune.max_steps=15",
    "engine.checkpoint_every_steps=4",
    "evaluate.inpainting_examples=0",
)


@pytest.mark.slow
def test_a_killed_study_ends_with_the_same_bits(tmp_path: Path) -> None:
    """Killed in pretraining, during a save in the background, and in fine-tuning."""
    whole = Study(tmp_path / "whole", tmp_path / "cache", *SETTINGS)
    whole.run()
    killed = Study(tmp_path / "killed", tmp_path / "cache", *SETTINGS, "engine.async_checkpoints=on")
    draw = random.Random(1)
    assert killed.kill("pretrain", draw)
    assert any(killed.kill("save", draw) and killed.is_saving() for _ in range(5))  # a save may end too soon
    assert killed.kill("finetune", draw)
    killed.run()
    assert killed.contents() == whole.contents()


@pytest.mark.full
@pytest.mark.timeout(4 * 3600)
def test_fifty_kills(tmp_path: Path, keep_summary) -> None:
    """Study after study, each killed until it is complete, or for good after 50 kills in all."""
    settings = (*SETTINGS, "seeds=(0, 1)", "pretrain.max_steps=30", "finetune.max_steps=30")
    whole = Study(tmp_path / "whole", tmp_path / "cache", *settings)
    whole.run()
    expected, draw = whole.contents(), random.Random(0)
    kills: collections.Counter[str] = collections.Counter()
    studies = during_a_save = 0
    while kills.total() < 50:
        killed = Study(tmp_path / f"killed-{studies}", tmp_path / "cache", *settings)
        studies += 1
        goes_on = True
        while goes_on and kills.total() < 50:
            pretrained = any(killed.workdir.glob("pretrain/*/result.json"))
            place = draw.choice(("start", "save", "finetune" if pretrained else "pretrain", "evaluation"))
            goes_on = killed.kill(place, draw)
            kills[place] += goes_on
            during_a_save += goes_on and killed.is_saving()
        if goes_on:
            killed.run()
        assert killed.contents() == expected, f"study {studies}"
    assert during_a_save >= 5 and all(kills[place] for place in ("start", "save", "pretrain", "finetune"))
    keep_summary(
        "killed_50", {"kills": dict(kills), "landed_in_a_save": during_a_save, "studies": studies, "equal": True}
    )


LONGER = (
    *("corruption.sampling=random", "stage=pretrain", "pretrain.max_steps=120", "pretrain.validate_every_steps=120"),
    "engine.checkpoint_every_steps=20",
)


@pytest.mark.slow
def test_signals_save_the_step_and_the_same_command_goes_on(tmp_path: Path) -> None:
    whole = Study(tmp_path / "whole", tmp_path / "cache", *LONGER)
    whole.run()
    stopped = Study(tmp_path / "stopped", tmp_path / "cache", *LONGER)
    before = 0
    for name in ("SIGTERM", "SIGUSR1", "SIGINT"):
        process = stopped.start()
        assert stopped.goes_on_to("pretrain", process)
        process.send_signal(getattr(signal, name))
        assert process.wait(60) == EXIT_STOPPED, stopped.output
        assert f"{name}: finishing the step and saving" in stopped.output
        step = max(int(path.name) for path in stopped.checkpoints("pretrain"))
        assert before < step < 120 and step % 20, "the step that was finished, not one whose checkpoint was due"
        before = step
    process = stopped.start()
    assert stopped.goes_on_to("pretrain", process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert process.wait(60) == EXIT_AT_ONCE and time.monotonic() - began < 2, stopped.output
    stopped.run()
    assert stopped.contents() == whole.contents()
