"""Exit codes of several workers as one."""

from collections.abc import Iterable

from inpaint_ssl.signals import EXIT_STOPPED

_MILDEST_FIRST = (0, EXIT_STOPPED, 1, 2)  # all done, saved and to go on, a run failed, something given is wrong


def worst(codes: Iterable[int]) -> int:
    """The exit code that says most of what went wrong: any other code is a crash, which is worse than those we know."""
    order = {code: place for place, code in enumerate(_MILDEST_FIRST)}
    return max(codes, key=lambda code: order.get(code, len(order)), default=0)
