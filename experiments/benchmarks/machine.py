"""Where and with what a benchmark ran, and how to run a part of it on one core."""

import contextlib
import datetime
import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from inpaint_ssl.versions import versions


def processor() -> str:
    """The processor's name as Linux reports it, elsewhere what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def available_cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def now() -> str:
    """Date and time in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def about(benchmark: str, date: str, began: float, quick: bool) -> dict[str, Any]:
    """The head of every file of results. date: of the beginning; began: time.monotonic() then."""
    return {
        "format_version": 1,
        "benchmark": benchmark,
        "date": date,
        "seconds": time.monotonic() - began,
        "quick": quick,
        "processor": processor(),
        "cores": available_cores(),
        "versions": versions(),
    }


def _bind_to_one_core() -> None:
    os.environ["JAX_PLATFORMS"] = "cpu"
    if hasattr(os, "sched_setaffinity"):
        with contextlib.suppress(OSError):  # not allowed everywhere; the result says how many cores there were
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def on_one_core(function: Callable[..., Any], *arguments: Any) -> Any:
    """The value of function(*arguments) in a new process that has one core and sees only the CPU.

    `function` must be found by its name in a module that does not import jax, since jax counts cores when it is
    imported. On platforms that cannot bind a process to a core it runs on all of them (`available_cores` tells).
    """
    # A spawned process starts without what this one has imported; a forked one would share its jax.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_bind_to_one_core) as pool:
        return pool.submit(function, *arguments).result()
