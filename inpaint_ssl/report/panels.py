"""Grids of panels with places in inches, so that panels line up and words beside them never meet."""

from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from inpaint_ssl.report.drawing import INK, MUTED

SMALL = 8.0  # points
_NARROWEST = 4.6  # inches: legends and words below a single panel need as much


@dataclass(frozen=True)
class Spaces:
    """Inches: of a panel, around all panels, and between them; `group_gap` is added after every `group` columns."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    column_gap: float
    row_gap: float
    group: int = 1
    group_gap: float = 0.0

    def x(self, column: int) -> float:
        """Left border of a column."""
        return self.left + column * (self.width + self.column_gap) + column // self.group * self.group_gap


@dataclass(frozen=True)
class Sheet:
    """A figure with a grid of axes; `write` places words in inches from the upper left corner."""

    figure: Figure
    axes: list[list[Axes]]
    spaces: Spaces

    def write(self, x: float, y: float, text: str, **style: Any) -> None:
        """Text of the small size; (x, y) in inches from the upper left corner of the figure."""
        width, height = self.figure.get_size_inches()
        looks: dict[str, Any] = {"fontsize": SMALL, "va": "baseline"} | style
        self.figure.text(x / width, 1 - y / height, text, **looks)

    def corner(self, row: int, column: int) -> tuple[float, float]:
        """Upper left corner of a panel, in inches from that of the figure."""
        s = self.spaces
        return s.x(column), s.top + row * (s.height + s.row_gap)


def sheet(rows: int, columns: int, s: Spaces) -> Sheet:
    """A figure with rows x columns axes of equal size, and what it takes for the words around a single one."""
    width = max(s.x(columns - 1) + s.width + s.right, _NARROWEST)
    height = s.top + rows * s.height + (rows - 1) * s.row_gap + s.bottom
    made = Sheet(Figure(figsize=(width, height)), [], s)
    for row in range(rows):
        made.axes.append([])
        for column in range(columns):
            x, y = made.corner(row, column)
            box = (x / width, 1 - (y + s.height) / height, s.width / width, s.height / height)
            axes = made.figure.add_axes(box)
            axes.tick_params(labelsize=SMALL)
            made.axes[row].append(axes)
    return made


def heading(made: Sheet, row: int, column: int, title: str, note: str) -> None:
    """A bold title, shortened where it would run into the next panel, and a muted note, above a panel."""
    x, y = made.corner(row, column)
    made.write(x, y - 0.27, shortened(title, made.spaces.width), fontsize=9.5, fontweight="bold", color=INK)
    made.write(x, y - 0.1, note, color=MUTED)


def shortened(text: str, inches: float, points: float = 9.5) -> str:
    """`text` with an ellipsis when it is likely wider than so many inches in bold."""
    room = max(int(inches * 72 / (0.66 * points)), 4)
    return text if len(text) <= room else f"{text[: room - 1].rstrip()}…"


def empty(axes: Axes, words: str) -> None:
    """Say in a panel why it shows nothing."""
    axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", fontsize=SMALL, color=MUTED)
