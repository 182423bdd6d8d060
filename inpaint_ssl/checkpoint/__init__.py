"""Checkpoints of runs, which survive kills and damage, and weights alone; both written by Orbax."""

from inpaint_ssl.checkpoint.best import best_weights
from inpaint_ssl.checkpoint.runs import RunCheckpoints
from inpaint_ssl.checkpoint.storage import crc32
from inpaint_ssl.checkpoint.weights import load_weights, save_weights

__all__ = ["RunCheckpoints", "best_weights", "crc32", "load_weights", "save_weights"]
