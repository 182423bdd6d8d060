"""Tables as LaTeX and CSV: escaped, complete, and compiled where there is a LaTeX."""

import re
import shutil
import subprocess
from pathlib import Path

import made_up_kind
import pytest
from example_study import ExampleStudy

from inpaint_ssl.files import read_csv
from inpaint_ssl.report import write_report
from inpaint_ssl.report.latex import LONGEST, escape, latex
from inpaint_ssl.report.parts import Column, Entry, TableView
from inpaint_ssl.report.views import sort_value, write_views

AWKWARD = "\\ & % $ # _ { } ~ ^ < > | \" ` ' -- --- [x] − ± × ∞ ≥ ≤ α µ ² ³ – \N{NO-BREAK SPACE} é Ł ß °\x07\n…"


def compiled(folder: Path, tables: list[Path], fonts: str = "\\usepackage[T1]{fontenc}") -> None:
    """Run pdfLaTeX on a document of all these tables; skipped without one."""
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex on this machine")
    inputs = "".join(f"\\input{{{path}}}\\clearpage\n" for path in tables)
    head = f"\\documentclass[a4paper,landscape]{{article}}{fonts}\\usepackage{{booktabs,longtable}}\n"
    (folder / "all.tex").write_text(f"{head}\\begin{{document}}\n{inputs}\\end{{document}}\n", encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    assert run.returncode == 0 and "Missing character" not in run.stdout, run.stdout[-2000:]
    assert (folder / "all.pdf").stat().st_size > 1000


def table(n: int = 2) -> TableView:
    columns = (Column("name", AWKWARD, numeric=False), Column("value", "[1] value"))
    rows = tuple((Entry(AWKWARD), Entry(f"[{k}] 1.0", 1.0 + k)) for k in range(n))
    return TableView("awkward_1", f"A title: {AWKWARD}", columns, rows, AWKWARD, frozenset({1}))


def test_every_special_character_is_a_command() -> None:
    text = escape(AWKWARD)
    assert not re.search(r"(?<!\\)[&%$#_]|\x07|\n|--(?!-? )", text.replace(r"\ensuremath", "").replace("{}", "")[:60])
    depth = [0]
    for c in re.sub(r"\\[{}]", "", text):
        depth.append(depth[-1] + (c == "{") - (c == "}"))
    assert min(depth) == 0 == depth[-1]
    assert (
        escape("50 % of a_b") == r"50 \% of a\_b"
        and escape("a--b---c") == "a-{}-b-{}-{}-c"
        and escape("−1–2") == (r"\ensuremath{-}1--2")
    )


def test_a_table_has_all_rows_and_columns() -> None:
    lines = latex(made_up_kind.table()).splitlines()
    body = lines[lines.index(r"\midrule") + 1 : lines.index(r"\bottomrule")]
    assert len(body) == len(made_up_kind.ROWS) and {len(re.findall(r"(?<!\\)&", line)) for line in body} == {3}
    assert r"\begin{tabular}{lrrl}" in lines and r"\caption{All arms \& their Dice}\label{tab:arms}" in lines
    assert [r"\textbf{" in line for line in body] == [False, False, False, True]
    long = latex(table(LONGEST + 1))
    assert r"\begin{longtable}{lr}" in long and r"\begin{table}" not in long and long.count(r"\\") == LONGEST + 1 + 3


def test_csv_has_the_values_and_the_page_sorts_by_them(tmp_path: Path) -> None:
    write_views(tmp_path, [made_up_kind.table()])
    rows = read_csv(tmp_path / "arms.csv")
    assert [row["dice"] for row in rows] == ["0.8123456", "", "0.79", "0.9"]
    assert [row["of"] for row in rows] == ["9 arms", "10 arms", "11 arms", "12 arms"]
    values = (Entry("x", 0.1 + 0.2), Entry("–", float("nan")), Entry("inf", float("inf")), Entry("–"), Entry("b"))
    assert [sort_value(e) for e in values] == ["0.30000000000000004", "", "Infinity", "", "b"]


@pytest.mark.parametrize("fonts", ["", "\\usepackage[T1]{fontenc}"])
def test_tables_compile(tmp_path: Path, fonts: str) -> None:
    paths = []
    for n, view in enumerate((table(), table(LONGEST + 5), made_up_kind.table())):
        paths.append(tmp_path / f"{n}.tex")
        paths[-1].write_text(latex(view), encoding="utf-8")
    compiled(tmp_path, paths, fonts)


def test_every_table_of_a_comparison_is_there_as_csv_and_latex(tmp_path: Path) -> None:
    root = tmp_path / "study"
    options = {"clinical": True, "subjects": 6, "size": (24, 24), "classes": ["a_b & c", "meniscus"]}
    write_report(ExampleStudy(root, fractions=[0.05, 0.25, 1.0], **options).write())
    names = {path.stem for path in (root / "tables").glob("*.tex")}
    assert names == {path.stem for path in (root / "tables").glob("*.csv")}
    assert names == {
        "dice", "inpainting", "label_curve", "runs", "settings", "volume_mm3", "area_mm2", "mean_t2_ms", "flags",
        "surface_distances",
    }  # fmt: skip
    dice = (root / "tables/dice.tex").read_text(encoding="utf-8")
    row = next(r for r in read_csv(root / "results.csv") if r["class"] == "average")
    assert f"{float(row['pretrained_mean']):.3f} \\ensuremath{{\\pm}} {float(row['pretrained_sd']):.3f}" in dice
    assert len(read_csv(root / "tables/runs.csv")) == 1 + 2 * 3 and r"a\_b \& c" in dice
    compiled(tmp_path, sorted((root / "tables").glob("*.tex")))
