"""Table 1 of the paper: who was scanned, by split and sex, from the rows that a study wrote."""

from collections.abc import Mapping, Sequence
from typing import Any

from inpaint_ssl.report.parts import Column, Entry, TableView

SPLITS = {"train": "Train", "validation": "Validation", "test": "Test", "unlabelled": "Unlabelled"}
SEXES = {"M": "Male", "F": "Female", "O": "Other", "unknown": "Not known", "total": "Total"}


def demographics_table(rows: Sequence[Mapping[str, Any]]) -> TableView:
    """Table 1 (paper, section 3): volumes, slices, subjects and ages of each split, by sex and in all.

    rows: `demographics` of study.json, as inpaint_ssl.study.demographics makes them. Columns without a single value
    (ages of a data set that has none) are left out; the note says how many subjects have no age or sex.
    """
    columns = [
        Column("split", "Split", numeric=False),
        Column("sex", "Sex", numeric=False),
        Column("volumes", "Volumes"),
        Column("slices", "Slices"),
        Column("subjects", "Subjects"),
    ]
    has_ages = any(row["age_mean_years"] is not None for row in rows)
    if has_ages:
        columns += [
            Column("age_mean_years", "Age (years)"),
            Column("age_sd_years", "\N{PLUS-MINUS SIGN} sd"),
            Column("age_range_years", "Range (years)"),
        ]
    shown = []
    for row in rows:
        split, sex = str(row["split"]), str(row["sex"])
        entries = [Entry(SPLITS.get(split, split), split), Entry(SEXES.get(sex, sex), sex)]
        entries += [_count(row[key]) for key in ("scans", "slices", "subjects")]
        if has_ages:
            low, high = (_years(row[key]) for key in ("age_min_years", "age_max_years"))
            written = "" if row["age_min_years"] is None else f"{low}-{high}"
            span = Entry(f"{low} \N{EN DASH} {high}" if written else "\N{EN DASH}", written)
            entries += [_age(row["age_mean_years"]), _age(row["age_sd_years"]), span]
        shown.append(tuple(entries))
    return TableView(
        name="table_1_demographics",
        title="Subjects of the study, as Table 1 of the paper",
        columns=tuple(columns),
        rows=tuple(shown),
        note=_note(rows, has_ages),
        emphasised=frozenset(number for number, row in enumerate(rows) if row["sex"] == "total"),
    )


def _count(number: int) -> Entry:
    return Entry(str(number), number)


def _age(years: float | None) -> Entry:
    return Entry("\N{EN DASH}", "") if years is None else Entry(f"{years:.1f}", years)


def _years(years: float | None) -> str:
    """At most one decimal: most data sets hold whole years."""
    return "" if years is None else f"{years:.1f}".removesuffix(".0")


def _note(rows: Sequence[Mapping[str, Any]], has_ages: bool) -> str:
    """What the paper's caption says: how ages are shown and of how many subjects age or sex is not known."""
    sentences = ["Each subject counts once."]
    if has_ages:
        sentences = ["Age is mean and standard deviation over subjects; each subject counts once."]
    totals = [row for row in rows if row["sex"] == "total"]
    for key, what in (("unknown_age", "age"), ("unknown_sex", "sex")):
        missing = sum(row[key] for row in totals)
        if missing and missing == sum(row["subjects"] for row in totals):
            sentences.append(f"The data do not tell the {what} of any subject.")
        elif missing:
            parts = [f"{row[key]} in {row['split']}" for row in totals if row[key]]
            count = f"{missing} subject{'s have' if missing > 1 else ' has'}"
            sentences.append(f"{count} no known {what} ({', '.join(parts)}).")
    return " ".join(sentences)
