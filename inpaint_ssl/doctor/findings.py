"""What the doctor says: findings in order of severity, and the exit code that follows from them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SEVERITIES = ("error", "warning", "info")
EXIT_CODES = {"error": 2, "warning": 1, "info": 0}
MIDDLE = -1  # of a scan, where no slice is named


@dataclass(frozen=True)
class Item:
    """A file or scan that a finding is about.

    path: relative to the data set's root. detail: what is wrong with this one. shown: (scan id, displayed slice or
    MIDDLE) of what a picture should show.
    """

    path: str
    detail: str = ""
    shown: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Finding:
    """severity: "error" (training refuses the data, or its results would be worth nothing), "warning" (looks wrong) or
    "info". kind: a stable short name. message and remedy: sentences for the user.
    """

    severity: str
    kind: str
    message: str
    remedy: str = ""
    items: tuple[Item, ...] = ()


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Errors first, then warnings, then the rest; within a severity as they were found."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def exit_code(findings: Iterable[Finding]) -> int:
    """2 with an error, 1 with a warning, else 0."""
    return max((EXIT_CODES[finding.severity] for finding in findings), default=0)


def count(number: int, thing: str, things: str = "") -> str:
    """ "1 scan", "2 scans"."""
    return f"{number} {thing if number == 1 else things or thing + 's'}"


def ranges(indices: Sequence[int]) -> str:
    """Sorted whole numbers as "0-4, 7"."""
    runs: list[list[int]] = []
    for index in indices:
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in runs)
