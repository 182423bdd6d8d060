"""Side-by-side timing: every contender takes its turn in every round, so that a noisy machine disturbs all alike."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Contender:
    """Something to be timed. `prepare(calls)` makes the inputs of that many calls and is not timed; `run(inputs)` makes
    the calls, waits for their results, and is timed. `images`: images (or masks) of one call."""

    prepare: Callable[[int], Sequence[Any]]
    run: Callable[[Sequence[Any]], None]
    images: int = 1


@dataclass(frozen=True)
class Timing:
    """Milliseconds per image, one sample a round; `first_call_seconds` includes tracing and compiling."""

    samples_ms: tuple[float, ...]
    calls_per_round: int
    first_call_seconds: float

    @property
    def median_ms(self) -> float:
        return float(np.median(self.samples_ms))

    def to_json(self) -> dict[str, Any]:
        """Median, 10th and 90th percentile, and the samples themselves, all in milliseconds per image."""
        return {
            **spread(self.samples_ms, "{}_ms"),
            "calls_per_round": self.calls_per_round,
            "samples_ms": list(self.samples_ms),
        }


def interleaved(
    contenders: Mapping[str, Contender],
    rounds: int,
    min_round_ms: float,
    clock: Callable[[], float] = time.perf_counter,
    on_first: Callable[[str, float, float], None] = lambda name, seconds, ms: None,
    on_round: Callable[[dict[str, Timing]], None] = lambda timings: None,
) -> dict[str, Timing]:
    """Time all contenders in `rounds` rounds. In a round each makes as many calls as last `min_round_ms` or longer.

    The order moves on by one from round to round. `clock` returns seconds. on_first: called with a contender's name,
    the seconds of its first call, which may compile for minutes, and the milliseconds per image of the next ones;
    on_round: with the timings so far, after each round.
    """

    def timed(contender: Contender, calls: int) -> float:
        inputs = contender.prepare(calls)
        began = clock()
        contender.run(inputs)
        return clock() - began

    first, calls = {}, {}
    for name, contender in contenders.items():
        first[name], calls[name] = timed(contender, 1), 1
        while (milliseconds := timed(contender, calls[name]) * 1e3) < min_round_ms:
            calls[name] *= 2
        on_first(name, first[name], milliseconds / (calls[name] * contender.images))
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    for turn in range(rounds):
        start = turn % len(names)
        for name in names[start:] + names[:start]:
            seconds = timed(contenders[name], calls[name])
            samples[name].append(seconds * 1e3 / (calls[name] * contenders[name].images))
        timings = {name: Timing(tuple(samples[name]), calls[name], first[name]) for name in names}
        on_round(timings)
    return timings


def spread(samples: Sequence[float], name: str) -> dict[str, float]:
    """Median, 10th and 90th percentile of samples under the names median, p10 and p90, put into the pattern `name`."""
    low, middle, high = np.percentile(np.asarray(samples, np.float64), [10, 50, 90])
    values = {"median": middle, "p10": low, "p90": high}
    return {name.format(key): float(value) for key, value in values.items()}


def left_out(whole: Timing, without: Timing) -> dict[str, float]:
    """What a part costs, from timing the whole and the whole without it in the same rounds.

    difference_*_ms: of the rounds' paired differences. share: median difference over the median of the whole;
    share_low and share_high: the same with the ends of the 95 % interval of the median difference (order statistics).
    """
    differences = sorted(one - other for one, other in zip(whole.samples_ms, without.samples_ms, strict=True))
    outside = max(0, math.floor(len(differences) / 2 - 0.98 * len(differences) ** 0.5))  # on either side
    result = spread(differences, "difference_{}_ms")
    shares = {
        "share": result["difference_median_ms"],
        "share_low": differences[outside],
        "share_high": differences[-1 - outside],
    }
    return {**result, **{name: value / whole.median_ms for name, value in shares.items()}}
