"""Pretraining strategies and their numbers in words, for the reports of pretraining_grid and optimal_strategy."""

from collections.abc import Iterable

from inpaint_ssl.report.parts import Entry
from inpaint_ssl.report.text import METHOD_NAMES, p_text, ratio, signed
from inpaint_ssl.statistics.strategies import SAMPLINGS, TASKS, Strategy
from inpaint_ssl.statistics.wilcoxon import WilcoxonResult

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_SMALLEST_PLAIN = 0.001  # p-values below are written with a power of ten


def capital(text: str) -> str:
    """The first letter as a capital, the rest as it is."""
    return text[:1].upper() + text[1:]


def task_name(task: str) -> str:
    """For example "context restoration"."""
    return TASKS.get(task, task.replace("_", " "))


def sampling_name(sampling: str) -> str:
    """For example "Poisson-disc"."""
    return SAMPLINGS.get(sampling, sampling.replace("_", " "))


def square(side: int) -> str:
    """A patch of so many pixels: "32 × 32", unbroken."""
    return f"{side} × {side}".replace(" ", "\N{NO-BREAK SPACE}")


def patch_name(strategy: Strategy) -> str:
    """The patch size in pixels, and in brackets the paper's where the images are smaller than the paper's."""
    own, paper = square(strategy.patch_size), square(strategy.paper_patch_size)
    return own if own == paper else f"{own} ({paper})"


def is_scaled(strategies: Iterable[Strategy]) -> bool:
    """Do the images have another size than the paper's, so that patch sizes are scaled?"""
    return any(s.patch_size != s.paper_patch_size for s in strategies)


def strategy_name(strategy: Strategy) -> str:
    """For example "context restoration, 4 × 4 (32 × 32), Poisson-disc"."""
    return f"{task_name(strategy.task)}, {patch_name(strategy)}, {sampling_name(strategy.sampling)}"


def p_scientific(p: float) -> str:
    """A p-value as in Table 3: three decimals, or below 0.001 three digits and a power of ten."""
    if p >= _SMALLEST_PLAIN:
        return p_text(p)
    if p <= 0.0:
        return "< 10⁻³⁰⁰"  # smaller than a float can hold
    digits, exponent = f"{p:.2e}".split("e")
    return f"{digits} × 10{str(int(exponent)).translate(_SUPERSCRIPTS)}".replace(" ", "\N{NO-BREAK SPACE}")


def text_entry(text: str) -> Entry:
    """A cell of words."""
    return Entry(text, text)


def count_entry(count: int) -> Entry:
    """A whole number."""
    return Entry(f"{count:,}", count)


def p_entry(p: float) -> Entry:
    """A p-value with all its digits in the file."""
    return Entry(p_scientific(p), p)


def ratio_entry(value: float) -> Entry:
    """A ratio with three decimals."""
    return Entry(ratio(value), value)


def signed_entry(value: float) -> Entry:
    """A difference with its sign."""
    return Entry(signed(value), value)


def method_entry(test: WilcoxonResult) -> Entry:
    """The null distribution of a test."""
    return text_entry(METHOD_NAMES[test.method])


def plural(count: int, one: str, many: str = "") -> str:
    """ "1 strategy", "3 strategies": `many` where adding an s does not do."""
    return f"{count} {one if count == 1 else many or one + 's'}"
