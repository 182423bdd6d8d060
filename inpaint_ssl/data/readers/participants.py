"""participants.tsv of BIDS in the root of a data set: age and sex of its subjects."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from inpaint_ssl.data.readers.skm_tea_tables import MISSING, SEXES
from inpaint_ssl.data.scan import ScanEntry
from inpaint_ssl.errors import InputError, Problems

PARTICIPANTS = "participants.tsv"
_KEY, _PREFIX = "participant_id", "sub-"
_OLDEST = "89+"  # what BIDS recommends for privacy
Acquisition = dict[str, float | str]


def read_participants(
    folder: Path, entries: Iterable[ScanEntry], problems: Problems
) -> tuple[dict[str, Acquisition], list[str]]:
    """age_years and sex by scan id, for `Scan.acquisition`, and notes; ({}, []) where the file is not there.

    Columns participant_id, age (years; "89+" is 89) and sex (or gender), in any order and case, beside others; empty
    and "n/a" are unknown. A row is of the scans whose subject, or scan, has its id, with or without "sub-"; rows of
    other ids are left out and noted. InputError (kind "listing") when the file is no such table, and one naming the
    line for a row that cannot be used.
    """
    path = folder / PARTICIPANTS
    if not path.is_file():
        return {}, []
    rows = _rows(path, problems)
    entries, used, found = tuple(entries), set(), dict[str, Acquisition]()
    for entry in entries:
        name = next((name for name in (entry.scan_id, entry.subject_id) if _bare(name) in rows), None)
        if name is not None:
            used.add(_bare(name))
            if rows[_bare(name)]:
                found[entry.scan_id] = rows[_bare(name)]
    return found, _notes(path, rows, used, entries)


def _notes(path: Path, rows: Mapping[str, Acquisition], used: set[str], entries: tuple[ScanEntry, ...]) -> list[str]:
    notes = []
    others = [name for name in rows if name not in used]
    if others:
        notes.append(
            f"{path.name}: {len(others)} of its {len(rows)} ids are no subject here (the first is {others[0]})"
        )
    subjects = {entry.subject_id for entry in entries}
    without = sorted(
        subjects - {entry.subject_id for entry in entries if used & {_bare(entry.scan_id), _bare(entry.subject_id)}}
    )
    if without:
        notes.append(
            f"{path.name} has no row for {len(without)} of {len(subjects)} subjects (the first is {without[0]}); their "
            "age and sex are unknown"
        )
    return notes


def _bare(name: str) -> str:
    return name.removeprefix(_PREFIX)


def _rows(path: Path, problems: Problems) -> dict[str, Acquisition]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read ({error}); restore it, or remove it to go without age and sex", "listing"
        ) from None
    columns = [name.strip().lower() for name in lines[0].split("\t")] if lines[0] else []
    if columns.count(_KEY) != 1:
        raise InputError(
            f"{path}, line 1: the columns are {', '.join(columns) or '(none)'}, expected {_KEY}, age and sex with tabs "
            "between; correct the file or remove it",
            "listing",
        )
    found: dict[str, Acquisition] = {}
    line_of: dict[str, int] = {}
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        try:
            name, row = _row(dict(_cells(line, columns)))
            if name in line_of:
                raise ValueError(f"{name} is on line {line_of[name]} too; keep one of the two")
        except ValueError as error:
            problems.add(InputError(f"{path}, line {number}: {error}", "listing"))
            continue
        found[name], line_of[name] = row, number
    return found


def _cells(line: str, columns: list[str]) -> Iterable[tuple[str, str]]:
    cells = [cell.strip() for cell in line.split("\t")]
    if len(cells) != len(columns):
        raise ValueError(f"{len(cells)} cells, expected {len(columns)} as in line 1, with tabs between; correct it")
    return zip(columns, cells, strict=True)


def _row(cells: Mapping[str, str]) -> tuple[str, Acquisition]:
    """Id without "sub-", and what is known of the participant; ValueError says what is wrong."""
    name, row = _bare(cells[_KEY]), Acquisition()
    if not name:
        raise ValueError(f"{_KEY} is {cells[_KEY]!r}, expected the id of a subject; complete it or remove the line")
    age, sex = cells.get("age", ""), cells.get("sex", cells.get("gender", ""))
    if age.lower() not in MISSING:
        row["age_years"] = _age(age)
    if sex.lower() not in MISSING:
        if sex.lower() not in SEXES:
            raise ValueError(
                f"sex is {sex!r}, expected one of {', '.join(sorted(set(SEXES.values())))} or n/a; correct it"
            )
        row["sex"] = SEXES[sex.lower()]
    return name, row


def _age(text: str) -> float:
    try:
        years = float(text.removesuffix("+") if text == _OLDEST else text)
    except ValueError:
        years = math.nan
    if not 0.0 <= years <= 150.0:
        raise ValueError(f"age is {text!r}, expected years from 0 to 150 or n/a; correct it")
    return years
