"""The tables of a benchmark in the terminal, from what is in its JSON file."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

_PLAIN_WIDTH = 150  # a pipe or file has no width; wide enough for the tables
NAMES = {"context_prediction": "prediction", "context_restoration": "restoration", "poisson_disc": "Poisson-disc"}


def number(value: float, digits: int = 3) -> str:
    """The value with that many significant digits, or all those before the decimal point."""
    if value == 0 or not math.isfinite(value):
        return str(value)
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"


def spread(timing: Mapping[str, float]) -> str:
    """Median and, in brackets, 10th to 90th percentile, in milliseconds."""
    return f"{number(timing['median_ms'])} ({number(timing['p10_ms'], 2)}-{number(timing['p90_ms'], 2)})"


def verdict(text: str, met: bool) -> str:
    """A goal and whether the measurement reaches it."""
    return f"{text}: {'met' if met else 'missed'}"


def empty_table(title: str, texts: Sequence[str], numbers: Sequence[str]) -> Table:
    """A table with columns of texts, of numbers, and one for the goal."""
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    table.padding, table.show_edge = (0, 1, 0, 0), False
    for name in texts:
        table.add_column(name, no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("goal", no_wrap=True)
    return table


def mask_table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """Masks or whole corruption: milliseconds per image, single calls and batches, beside the rivals if there are any.

    ratio: the plain rival's median over ours; to tuned: the tuned one's. Goals are held against the plain one.
    """
    names = ("task", "sampling") if "task" in rows[0] else ()
    table = empty_table(
        title, (*names, "calls"), ("K", "NumPy ms", "tuned NumPy", "ours ms", "ratio", "to tuned", "compile s")
    )
    for row in rows:
        for side in ("single", "batch"):
            if side not in row:
                continue
            ours, goal = row[side], ""
            if row.get("goal_ratio"):
                goal = verdict(f">= {row['goal_ratio']:g}x", ours["ratio"] >= row["goal_ratio"])
            if row.get("goal_ms"):
                goal = verdict(f"<= {row['goal_ms']:g} ms", ours["median_ms"] <= row["goal_ms"])
            table.add_row(
                *(NAMES.get(row[name], row[name]) for name in names),
                "single" if side == "single" else f"batch of {row['batch_size']}",
                str(row["patch_size"]),
                *(spread(row[name]) if name in row else "" for name in ("rival", "tuned_rival")),
                spread(ours),
                *(f"{number(ours[name])}x" if name in ours else "" for name in ("ratio", "ratio_to_tuned")),
                f"{ours['compile_seconds']:.1f}",
                goal,
            )
    return table


def _within(limit: float, low: float, high: float) -> str:
    if low <= limit < high:
        return f"<= {limit:.0%}: open"
    return verdict(f"<= {limit:.0%}", high <= limit)


def step_table(step: Mapping[str, Any]) -> Table:
    """Corruption's share of a training step: median difference over the median step, with its 95 % interval."""
    height, width = step["image_size"]
    title = (
        f"Corruption's share of a training step, {step['backend']}: {height} x {width}, batch of {step['batch_size']}, "
        f"filters {', '.join(map(str, step['filters']))}"
    )
    numbers = ("K", "step ms", "without", "difference", "share %")
    table = empty_table(title, ("masks", "task", "sampling", "type"), numbers)
    for row in step["rows"]:
        share, low, high = (f"{100 * row[name]:.1f}" for name in ("share", "share_low", "share_high"))
        limit = row["goal_share"]
        table.add_row(
            *(NAMES.get(row[name], row[name]) for name in ("masks", "task", "sampling", "dtype")),
            str(row["patch_size"]),
            spread(row["with_corruption"]),
            number(row["without_corruption"]["median_ms"]),
            number(row["difference_median_ms"]),
            f"{share} ({low} to {high})",
            _within(limit, row["share_low"], row["share_high"]) if limit else "",
        )
    return table


def widen(console: Console) -> None:
    """Give a pipe or file room for the tables."""
    if not console.is_terminal:
        console.width = max(console.width, _PLAIN_WIDTH)
