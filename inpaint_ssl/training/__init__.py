"""The one training loop of pretraining and fine-tuning, and what it keeps and shows of a run."""

from inpaint_ssl.training.loop import train
from inpaint_ssl.training.run import LoopSettings, SeedRun, TrainingRun, TrainResult, last_step

__all__ = ["LoopSettings", "SeedRun", "TrainResult", "TrainingRun", "last_step", "train"]
