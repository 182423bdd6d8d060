"""One look for all figures, their files, and their inline form that follows the page's light or dark colours."""

import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape
from matplotlib.figure import Figure

from inpaint_ssl.files import write_bytes_atomic
from inpaint_ssl.statistics import FROM_SCRATCH, PRETRAINED

INK, MUTED, RULE, PAPER = "#1c2024", "#5c6571", "#dadfe5", "#fefefe"
# Okabe and Ito's blue and vermilion stay apart for every common kind of colour blindness; markers differ as well.
ARM_COLOURS = {FROM_SCRATCH: "#0072b2", PRETRAINED: "#d55e00"}
ARM_MARKERS = {FROM_SCRATCH: "s", PRETRAINED: "o"}
_VARIABLES = {
    INK: "--ink", MUTED: "--muted", RULE: "--rule", PAPER: "--paper",
    ARM_COLOURS[FROM_SCRATCH]: "--scratch", ARM_COLOURS[PRETRAINED]: "--pretrained",
}  # fmt: skip

STYLE: Any = {
    "font.family": ["DejaVu Sans"], "font.size": 9.5, "text.parse_math": False, "text.color": INK,
    "axes.edgecolor": MUTED, "axes.labelcolor": INK, "axes.facecolor": PAPER, "figure.facecolor": PAPER,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
    "axes.titlesize": 10.5, "axes.titleweight": "bold", "grid.color": RULE,
    "grid.linewidth": 0.8, "xtick.color": MUTED, "ytick.color": MUTED, "xtick.labelcolor": INK,
    "ytick.labelcolor": INK, "legend.frameon": False, "legend.fontsize": 9, "lines.linewidth": 2,
    "savefig.facecolor": PAPER, "svg.fonttype": "none", "svg.hashsalt": "inpaint_ssl",
}  # fmt: skip


@dataclass(frozen=True)
class Drawing:
    """A figure with what is said about it: `name` names its files, `alt` describes it in words."""

    name: str
    figure: Figure
    alt: str
    caption: str


@dataclass(frozen=True)
class Picture:
    """A drawing as the page needs it."""

    name: str
    svg: Markup
    caption: str


def file_name(text: str) -> str:
    """Letters, digits, dot and dash of a name; everything else becomes an underscore."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", text).strip("_") or "unnamed"


def save(drawing: Drawing, folder: Path) -> Picture:
    """Write <name>.svg and <name>.png (180 dpi) and return the figure for the page."""
    svg, png = _svg(drawing), io.BytesIO()
    drawing.figure.savefig(png, format="png", dpi=180)
    write_bytes_atomic(folder / f"{drawing.name}.svg", svg)
    write_bytes_atomic(folder / f"{drawing.name}.png", png.getvalue())
    return Picture(drawing.name, _inline(svg.decode("utf-8"), drawing), drawing.caption)


def picture(drawing: Drawing) -> Picture:
    """The figure for the page, without files of its own."""
    return Picture(drawing.name, _inline(_svg(drawing).decode("utf-8"), drawing), drawing.caption)


def _svg(drawing: Drawing) -> bytes:
    no_metadata: dict[str, Any] = {"Date": None, "Creator": None, "Format": None, "Type": None}
    svg = io.BytesIO()
    drawing.figure.savefig(svg, format="svg", metadata=no_metadata)
    return svg.getvalue()


def _inline(svg: str, drawing: Drawing) -> Markup:
    """The body of an SVG file for use inside HTML: own ids, colours by CSS variable, described in words."""
    box = re.search(r'viewBox="([^"]*)"', svg)
    assert box is not None  # Matplotlib always writes one
    body = svg[svg.index(">", svg.index("<svg")) + 1 :]
    body = re.sub(r"<style[^>]*>.*?</style>", "", body, count=1, flags=re.DOTALL)  # global rules, page.css has them
    body = re.sub(r' id="image[0-9a-f]+"', "", body)  # equal pictures get equal ids, and nothing refers to them
    body = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{drawing.name}-", body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, f"var({variable})")
    width = float(box.group(1).split()[2])
    tag = f'viewBox="{box.group(1)}" role="img" aria-label="{escape(drawing.alt)}"'
    # safe: Matplotlib escapes the text it writes, and the label is escaped here
    return Markup(f'<svg {tag} style="--natural: {width * 96 / 72:.0f}px; max-width: {width * 96 / 72:.0f}px">{body}')
