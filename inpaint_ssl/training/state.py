"""What a run remembers of each seed beside its arrays: early stopping, best step, rows of metrics.csv. JSON-able."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from clu.metrics import Average

METRICS_COLUMNS = (
    *("step", "epoch", "split", "loss", "gradient_norm", "learning_rate"),
    *("images_per_second", "waiting_share", "seconds"),
)
AVERAGED = ("loss", "gradient_norm")


def _average(total: float, count: float) -> Average:
    return Average(total=np.float64(total), count=np.float64(count))


@dataclasses.dataclass
class SeedState:
    """One seed of a run. `reference` is the loss that early stopping measures against; `stopped` says why it ended.

    pending: (sum, number) of each averaged metric since the last row, so that a run that was stopped between two rows
    goes on to the same rows.
    """

    best_loss: float = math.inf
    best_step: int = 0
    reference: float = math.inf
    waited: int = 0
    stopped: str = ""
    steps: int = 0
    error: str = ""
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    pending: dict[str, list[float]] = dataclasses.field(default_factory=dict)

    def add(self, metrics: Mapping[str, float]) -> None:
        """Count one training step."""
        self.steps += 1
        for name in AVERAGED:
            before = _average(*self.pending.get(name, (0.0, 0.0)))
            after = before.merge(_average(metrics[name], 1.0))
            self.pending[name] = [float(after.total), float(after.count)]

    def averages(self) -> dict[str, float]:
        """Means over the steps since the last call."""
        means = {name: float(_average(*sums).compute()) for name, sums in self.pending.items()}
        self.pending = {}
        return means

    def judge(self, loss: float, *, patience: int, min_delta: float) -> bool:
        """Note a validation loss and apply the stopping rule; True when it is the lowest so far."""
        if loss < self.reference - min_delta:
            self.reference, self.waited = loss, 0
        else:
            self.waited += 1
        if patience and self.waited >= patience:
            self.stopped = "early_stopping"
        if loss >= self.best_loss:
            return False
        self.best_loss, self.best_step = loss, self.steps
        return True


@dataclasses.dataclass
class LoopState:
    """All seeds of a run; `position`: steps done; seconds spent, and of these waiting for batches."""

    seeds: list[SeedState]
    position: int = 0
    seconds: float = 0.0
    waiting: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """For a checkpoint."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> "LoopState":
        """What to_json gave."""
        return cls(**{**saved, "seeds": [SeedState(**seed) for seed in saved["seeds"]]})

    @property
    def waiting_share(self) -> float:
        """Share of the time in which the loop waited for a batch."""
        return self.waiting / self.seconds if self.seconds else 0.0
