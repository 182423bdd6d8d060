"""A part of a benchmark: what --only names, and what is said while the rest takes its time."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from inpaint_ssl.errors import InputError

Maker = TypeVar("Maker")


def chosen(listed: Mapping[str, Mapping[str, Maker]], only: Sequence[str]) -> dict[str, dict[str, Maker]]:
    """The contenders, by row and name, that `only` names: "row" for all of a row, "row/contender" for one; () for all.

    The order is that of `listed`. InputError for a name that is not there.
    """
    names = {row: [row, *(f"{row}/{name}" for name in contenders)] for row, contenders in listed.items()}
    known = [name for of_row in names.values() for name in of_row]
    unknown = [name for name in only if name not in known]
    if unknown:
        raise InputError(f"--only: got {', '.join(unknown)}, expected some of {', '.join(known)}, with commas between")
    found = {
        row: {name: make for name, make in contenders.items() if not only or row in only or f"{row}/{name}" in only}
        for row, contenders in listed.items()
    }
    return {row: contenders for row, contenders in found.items() if contenders}


def first_call(report: Callable[[str], None]) -> Callable[[str, float, float], None]:
    """(contender, seconds of its first call, milliseconds per image after it) -> said by `report`."""
    return lambda name, seconds, ms: report(f"  {name}: first call {seconds:.1f} s, then about {1e3 / ms:.4g} images/s")
