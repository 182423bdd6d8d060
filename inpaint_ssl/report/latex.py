"""Tables as LaTeX: what a paper can \\input, with the packages booktabs and, for long tables, longtable."""

import unicodedata

from inpaint_ssl.report.drawing import file_name
from inpaint_ssl.report.parts import Entry, TableView

LONGEST = 40  # rows of a table that fits on one page
_WIDE = (7, 11)  # columns from which on the type is smaller
_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\ensuremath{<}", ">": r"\ensuremath{>}",
    "|": r"\textbar{}", '"': r"\char34{}", "`": r"\textasciigrave{}", "'": r"\textquotesingle{}",
    "\N{MINUS SIGN}": r"\ensuremath{-}", "\N{PLUS-MINUS SIGN}": r"\ensuremath{\pm}",
    "\N{MULTIPLICATION SIGN}": r"\ensuremath{\times}", "\N{INFINITY}": r"\ensuremath{\infty}",
    "\N{GREATER-THAN OR EQUAL TO}": r"\ensuremath{\geq}", "\N{LESS-THAN OR EQUAL TO}": r"\ensuremath{\leq}",
    "\N{ALMOST EQUAL TO}": r"\ensuremath{\approx}", "\N{SQUARE ROOT}": r"\ensuremath{\surd}",
    "\N{RIGHTWARDS ARROW}": r"\ensuremath{\rightarrow}", "\N{GREEK SMALL LETTER ALPHA}": r"\ensuremath{\alpha}",
    "\N{MICRO SIGN}": r"\ensuremath{\mu}", "\N{GREEK SMALL LETTER MU}": r"\ensuremath{\mu}",
    "\N{EN DASH}": "--", "\N{EM DASH}": "---", "\N{NON-BREAKING HYPHEN}": "-", "\N{HORIZONTAL ELLIPSIS}": r"\ldots{}",
    "\N{WORD JOINER}": "{}", "\N{NO-BREAK SPACE}": "~", "\N{THIN SPACE}": r"\,", "\N{NARROW NO-BREAK SPACE}": r"\,",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'", "\N{LEFT SINGLE QUOTATION MARK}": "`", "\N{DEGREE SIGN}": r"\textdegree{}",
    "\N{LEFT DOUBLE QUOTATION MARK}": "``", "\N{RIGHT DOUBLE QUOTATION MARK}": "''",
    "\N{SUPERSCRIPT MINUS}": r"\textsuperscript{\ensuremath{-}}",
}  # fmt: skip
_SPECIAL |= {raised: rf"\textsuperscript{{{k}}}" for k, raised in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")}


def escape(text: str) -> str:
    """`text` as LaTeX shows it word by word: special characters escaped, mathematical signs as commands.

    pdfLaTeX knows the letters of Latin 1 and Latin Extended-A. Other scripts are left as they are and need LuaLaTeX or
    XeLaTeX; control characters are left out and line breaks become spaces.
    """
    found = []
    for character in text.replace("--", "-\N{WORD JOINER}-").replace("--", "-\N{WORD JOINER}-"):  # no ligatures
        if character in _SPECIAL:
            found.append(_SPECIAL[character])
        elif character.isspace():
            found.append(" ")
        elif unicodedata.category(character)[0] != "C":
            found.append(character)
    return "".join(found)


def _cell(entry: Entry, bold: bool) -> str:
    text = escape(entry.shown)
    return rf"\textbf{{{text}}}" if bold and text else text


def latex(view: TableView) -> str:
    """The table as LaTeX: a float, or a longtable of several pages with more than LONGEST rows; emphasised rows bold.

    Columns of numbers are set to the right. Every other one is to the left. Ends with a newline.
    """
    columns = "".join("r" if column.numeric else "l" for column in view.columns)
    # a group in braces: a heading in square brackets would otherwise be read as an argument of the line above
    heading = " & ".join("{" + escape(column.heading) + "}" for column in view.columns) + r" \\"
    rows = [
        " & ".join("{" + _cell(entry, k in view.emphasised) + "}" for entry in row) + r" \\"
        for k, row in enumerate(view.rows)
    ]
    caption, label = rf"\caption{{{escape(view.title)}}}", rf"\label{{tab:{file_name(view.name)}}}"
    note = rf"\footnotesize {escape(view.note)}\par" if view.note else ""
    wide = sum(len(view.columns) > limit for limit in _WIDE)
    size = (r"\small", r"\footnotesize\setlength{\tabcolsep}{3.5pt}", r"\scriptsize\setlength{\tabcolsep}{2.5pt}")[wide]
    comment = r"% needs \usepackage{booktabs}, and textcomp with a LaTeX from before 2020"
    if len(view.rows) > LONGEST:
        lines = [
            comment.replace("booktabs", "booktabs,longtable"), f"{{{size}", rf"\begin{{longtable}}{{{columns}}}",
            rf"{caption}{label} \\", r"\toprule", heading, r"\midrule", r"\endfirsthead",
            r"\toprule", heading, r"\midrule", r"\endhead", r"\bottomrule", r"\endfoot", *rows,
            r"\end{longtable}", note + "}",
        ]  # fmt: skip
    else:
        lines = [
            comment, r"\begin{table}", rf"\centering{size}", caption + label, rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule", heading, r"\midrule", *rows, r"\bottomrule", r"\end{tabular}",
            *([r"\par\smallskip", note] if note else []), r"\end{table}",
        ]  # fmt: skip
    return "\n".join(lines) + "\n"
