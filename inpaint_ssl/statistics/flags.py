"""How many test scans carry which flag, from the rows of per_scan.csv. A flag removes nothing."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from inpaint_ssl.statistics.rows import Key, key_and_case


@dataclass(frozen=True)
class FlagCount:
    """One kind of flag on the rows of one metric, class, arm and label fraction."""

    metric: str
    label_fraction: float
    class_name: str
    arm: str
    flag: str
    scans: tuple[str, ...]  # flagged in at least one run
    n_scans: int  # evaluated
    n_values: int  # flagged rows, over scans and runs
    n_defined: int  # of these, rows with a value


@dataclass(frozen=True)
class Flags:
    """All flags of the test scans, and how many test scans there are: in all, and by (class, arm)."""

    counts: tuple[FlagCount, ...]
    n_scans: int
    n_evaluated: Mapping[tuple[str, str], int]  # over metrics, label fractions and runs; not there: not evaluated

    @property
    def scans(self) -> tuple[str, ...]:
        """Scans with any flag."""
        return tuple(sorted({scan for count in self.counts for scan in count.scans}))


def count_flags(rows: Iterable[Mapping[str, str]]) -> Flags:
    """Count the flags of the test scans' rows, of every metric in the file; a row may carry several, joined by ";".

    InputError for a row whose label fraction or run is no number.
    """
    evaluated: dict[Key, set[str]] = {}
    flagged: dict[tuple[Key, str], list[tuple[str, bool]]] = {}
    for row in rows:
        if row["split"] != "test":
            continue
        key, case = key_and_case(row)
        evaluated.setdefault(key, set()).add(case[2])
        for flag in filter(None, (row["flag"] or "").split(";")):
            has_value = (row["value"] or "nan").strip().lower() not in ("nan", "-nan")
            flagged.setdefault((key, flag), []).append((case[2], has_value))
    counts = []
    for (key, flag), found in flagged.items():
        scans = tuple(sorted({scan for scan, _ in found}))
        defined = sum(has_value for _, has_value in found)
        counts.append(FlagCount(*key, flag, scans, len(evaluated[key]), len(found), defined))
    by_class_and_arm: dict[tuple[str, str], set[str]] = {}
    for (_, _, name, arm), scans_of_key in evaluated.items():
        by_class_and_arm.setdefault((name, arm), set()).update(scans_of_key)
    n_evaluated = {where: len(scans_of) for where, scans_of in by_class_and_arm.items()}
    return Flags(tuple(counts), len(set().union(*evaluated.values())), n_evaluated)
