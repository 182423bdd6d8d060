"""The table of the training benchmark, from what is in training.json."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from experiments.benchmarks.tables import empty_table, number, verdict, widen


def _rate(timing: Mapping[str, float]) -> str:
    """Images a second: median and, in brackets, 10th to 90th percentile of the rounds."""
    low, high = (number(1e3 / timing[name], 2) for name in ("p90_ms", "p10_ms"))
    return f"{number(timing['images_per_second'])} ({low}-{high})"


def _use(ours: Mapping[str, float]) -> tuple[str, str]:
    """How much of the device is used, in per cent of a known card and else as it is."""
    if "share_of_peak" in ours:
        return f"{100 * ours['share_of_peak']:.1f}", f"{100 * ours['share_of_bandwidth']:.1f}"
    return number(ours["flops_per_second"] / 1e12), ""


def training_table(result: Mapping[str, Any]) -> Table:
    """Ours beside PyTorch's, and on a known card how much of its peak and of its memory bandwidth ours reaches."""
    use = ("bf16 peak %", "bandwidth %") if result["card"] else ("TFLOP/s", "")
    numbers = ("images/s ours", "PyTorch", "ratio", *use, "compile s")
    title = f"Training steps on the {result['backend']}: {result['device']}"
    rows = empty_table(title, ("size", "batch", "filters", "type", "PyTorch is"), numbers)
    for row in result["rows"]:
        ours, rival = row["ours"], row.get("rival")
        goal = ""
        if row.get("goal_ratio"):
            goal = verdict(f">= {row['goal_ratio']:g}x", row["ratio"] >= row["goal_ratio"])
        rows.add_row(
            f"{row['side']} x {row['side']}",
            str(row["batch"]),
            f"{row['filters'][0]}..{row['filters'][-1]}",
            row["dtype"],
            ("compiled" if row["compiled"] else "eager") if rival else "missing",
            _rate(ours),
            _rate(rival) if rival else "",
            f"{number(row['ratio'])}x" if rival else "",
            *_use(ours),
            f"{ours['compile_seconds']:.1f}",
            goal,
        )
    return rows


def show(result: Mapping[str, Any], console: Console) -> None:
    """The table of a result, as it is in training.json, with what it was measured on."""
    widen(console)
    console.print(f"\n{result['processor']}, {result['cores']} cores", markup=False, highlight=False)
    console.print(f"Medians (10th-90th percentile) of {result['rounds']} rounds", highlight=False)
    if result["quick"]:
        console.print("--quick shows that the command runs; these numbers mean nothing", highlight=False)
    if result["backend"] != "cpu" and not result["card"]:
        console.print("unknown card: no shares of its peak and bandwidth", highlight=False)
    console.print()
    console.print(training_table(result))
