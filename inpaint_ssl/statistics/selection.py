"""What a study selects for the next one."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Selection:
    """selected: dotted setting -> value, {} when nothing qualifies; reason: one sentence with the numbers."""

    selected: Mapping[str, object]
    reason: str
    warnings: tuple[str, ...] = ()
