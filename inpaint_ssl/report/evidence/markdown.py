"""Tables, figures and folded parts in GitHub's Markdown."""

from collections.abc import Iterable, Sequence

from inpaint_ssl.report.parts import TableView

_SPECIAL = str.maketrans({"|": "\\|", "\n": " ", "\r": " ", "<": "&lt;", ">": "&gt;"})


def cell(text: str) -> str:
    """A cell of a table: no pipe, line break or tag."""
    return str(text).translate(_SPECIAL)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], numeric: Iterable[int] = ()) -> str:
    """A table with one line a row; columns in `numeric` are aligned to the right."""
    right = set(numeric)
    rule = ["---:" if k in right else "---" for k in range(len(headings))]
    lines = [[cell(h) for h in headings], rule, *([cell(c) for c in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def view(shown: TableView, hidden: Iterable[str] = ()) -> str:
    """A table of the report with its title and note, emphasised rows bold; columns with a key in `hidden` left out."""
    kept = [k for k, column in enumerate(shown.columns) if column.key not in set(hidden)]
    rows = []
    for number, row in enumerate(shown.rows):
        texts = [row[k].shown for k in kept]
        bold = number in shown.emphasised
        rows.append([f"**{text}**" if bold and text not in ("", "–") else text for text in texts])
    right = [place for place, k in enumerate(kept) if shown.columns[k].numeric]
    note = f"\n\n{shown.note}" if shown.note else ""
    return f"**{shown.title}**\n\n{table([shown.columns[k].heading for k in kept], rows, right)}{note}"


def picture(path: str, alt: str, caption: str) -> str:
    """A figure with its description and caption."""
    alt = " ".join(alt.replace("[", "(").replace("]", ")").split())
    return f"![{alt}]({path})\n\n{caption}"


def folded(summary: str, text: str) -> str:
    """A part that a reader unfolds."""
    return f"<details>\n<summary>{cell(summary)}</summary>\n\n{text}\n\n</details>"


def bullets(lines: Iterable[str]) -> str:
    """A list, one line an item."""
    return "\n".join(f"- {line}" for line in lines)
