"""Settings: their ranges, checked before anything is written, and the config.json of a study. No jax here.

Defaults, units and meanings live in configs/base.py alone; ranges live in config/rules.py and config/together.py.
"""

from inpaint_ssl.config.arms import ArmSpec, read_arms
from inpaint_ssl.config.inherit import SELECTION, inherit, inherited_settings, pixels_of, read_selection
from inpaint_ssl.config.resolve import flatten, resolve
from inpaint_ssl.config.rules import OUTPUT, PARTS, RULES, STAGES
from inpaint_ssl.config.saved import (
    PHASES,
    SELECTING,
    check_same_study,
    evaluated_parts,
    evaluated_with,
    fingerprint,
    length_of,
    load,
    study_settings,
    to_json,
)

__all__ = [
    "OUTPUT",
    "PARTS",
    "PHASES",
    "RULES",
    "SELECTING",
    "SELECTION",
    "STAGES",
    "ArmSpec",
    "check_same_study",
    "evaluated_parts",
    "evaluated_with",
    "fingerprint",
    "flatten",
    "inherit",
    "inherited_settings",
    "length_of",
    "load",
    "pixels_of",
    "read_arms",
    "read_selection",
    "resolve",
    "study_settings",
    "to_json",
]
