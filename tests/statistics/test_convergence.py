"""The flag of fine-tunings whose best validation lies in the last tenth of the steps."""

from typing import Any

import pytest

from inpaint_ssl.statistics.convergence import LateRuns, is_late, late_runs

STEPS = {"max_steps": 2500, "max_epochs": 0}


@pytest.mark.parametrize(
    ("cell", "late"),
    [
        ({"steps": 2500, "best_step": 2251, "length": STEPS}, True),
        ({"steps": 2500, "best_step": 2250, "length": STEPS}, False),  # nine tenths, not beyond
        ({"steps": 2500, "best_step": 2500, "length": STEPS}, True),
        ({"steps": 1200, "best_step": 1100, "length": STEPS, "stopped": "early_stopping"}, False),  # of those allowed
        ({"steps": 1200, "best_step": 1100, "length": {"max_steps": 0, "max_epochs": 9}}, True),  # of those taken
        ({"steps": 1200, "best_step": 1080, "length": {}}, False),
        ({"steps": 1200, "best_step": 1081}, True),
        ({"steps": 1200, "best_step": 1100, "length": STEPS, "stopped": "max_epochs"}, True),
        ({"steps": 1200, "best_step": None, "length": STEPS}, None),
        ({"steps": None, "best_step": None, "length": {}}, None),
        ({}, None),
    ],
)
def test_a_best_step_beyond_nine_tenths_of_the_steps_is_late(cell: dict[str, Any], late: bool | None) -> None:
    assert is_late(cell) is late


def test_fine_tunings_are_counted_by_arm_and_label_fraction() -> None:
    def run(arm: str, fraction: float | None, best: int | None, phase: str = "finetune") -> dict[str, Any]:
        about = {"phase": phase, "arm": arm, "label_fraction": fraction, "steps": 100, "best_step": best}
        return about | {"length": {"max_steps": 100}}

    cells = [run("paper", None, 100, "pretrain"), run("b", 0.05, 91), run("b", 0.05, 90), run("a", 0.05, 100)]
    cells += [run("b", 1.0, 10), run("b", 1.0, None)]
    assert late_runs(cells) == {("b", 0.05): LateRuns(1, 2), ("a", 0.05): LateRuns(1, 1), ("b", 1.0): LateRuns(0, 1)}
    assert late_runs([]) == {}
