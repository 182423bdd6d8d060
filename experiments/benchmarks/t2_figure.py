"""The picture of the T2 benchmark: bias over the signal-to-noise ratio, tissue by tissue."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from inpaint_ssl.report.drawing import INK, MUTED, STYLE, Drawing, save

MEASURED = "#0072b2"


def draw_bias(rows: Sequence[dict[str, Any]], folder: Path) -> None:
    """Write t2_bias.png and t2_bias.svg into `folder` from the rows of `t2.bias_rows`."""
    names = list(dict.fromkeys(row["tissue"] for row in rows))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.0 * len(names), 3.1), layout="constrained")
        for place, name in enumerate(names, start=1):
            some = sorted((row for row in rows if row["tissue"] == name), key=lambda row: row["snr"])
            snrs, bias, expected = ([row[key] for row in some] for key in ("snr", "bias_ms", "expected_bias_ms"))
            errors = [2 * row["standard_error_ms"] for row in some]
            axes = figure.add_subplot(1, len(names), place)
            axes.axhline(0.0, color=INK, lw=0.8)
            axes.plot(snrs, expected, "-", color=MUTED, label="Rician noise alone")
            axes.errorbar(
                snrs, bias, errors, fmt="o", ms=5, color=MEASURED, lw=1.2, capsize=3, label="measured ± 2 s.e."
            )
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(FixedLocator([5, 10, 20, 50, 100]))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_title(f"{name.replace('_', ' ')}\nknown mean {some[0]['truth_ms']:.1f} ms")
            axes.set_xlabel("SNR of femoral cartilage, echo 1")
            if place == 1:
                axes.set_ylabel("mean T2 minus known T2 (ms)")
                axes.legend(loc="best")
        alt = "Bias of the mean T2 against the signal-to-noise ratio, measured and as Rician noise alone makes it."
        save(Drawing("t2_bias", figure, alt, ""), folder)
