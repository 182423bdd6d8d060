"""Settings: their ranges, checked before anything is written, and the config.json of a study. No jax here.

Defaults, units and meanings live in configs/base.py alone; ranges live in config/rules.py.
"""

from inpaint_ssl.config.resolve import flatten, resolve
from inpaint_ssl.config.rules import PARTS, RULES, STAGES
from inpaint_ssl.config.saved import (
    check_same_study,
    evaluated_with,
    fingerprint,
    length_of,
    load,
    study_settings,
    to_json,
)

__all__ = [
    "PARTS",
    "RULES",
    "STAGES",
    "check_same_study",
    "evaluated_with",
    "fingerprint",
    "flatten",
    "length_of",
    "load",
    "resolve",
    "study_settings",
    "to_json",
]
