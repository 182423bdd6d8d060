"""Drawing subjects by hashes of their ids: parts, folds, label subsets and pretraining sets."""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

from inpaint_ssl.data.scan import ScanEntry
from inpaint_ssl.errors import InputError
from inpaint_ssl.files import read_json, sha256_of

PARTS = ("train", "validation", "test")
Subjects = tuple[str, ...]


def shuffled(ids: Iterable[str], purpose: str) -> list[str]:
    """An order that depends on the ids and `purpose` alone, the same on every platform and with every NumPy."""
    return sorted(ids, key=lambda name: (hashlib.blake2b(f"{purpose}/{name}".encode()).digest(), name))


def parts_by_fractions(labelled: Sequence[str], fractions: Sequence[float], seed: int) -> tuple[Subjects, ...]:
    """Training, validation and test subjects; the latter two rounded half to even, at least 1, the rest trains."""
    _check_fractions(fractions)
    n_validation, n_test = (_rounded(_exact(fraction), len(labelled)) for fraction in fractions[1:])
    n_train = len(labelled) - n_validation - n_test
    if n_train < 1:
        raise InputError(
            f"{len(labelled)} labelled subjects are too few for training, validation and test (validation takes"
            f" {n_validation}, test {n_test}); add labelled scans or change split.fractions"
        )
    order = shuffled(labelled, f"split/{seed}")
    parts = order[:n_train], order[n_train : n_train + n_validation], order[n_train + n_validation :]
    return tuple(tuple(sorted(part)) for part in parts)


def parts_of_fold(
    labelled: Sequence[str], fractions: Sequence[float], seed: int, folds: int, fold: int
) -> tuple[Subjects, ...]:
    """Training, validation and test subjects of one of `folds` folds, whose tests are disjoint and hold every subject.

    The folds' sizes differ by 1 at most. Validation is fractions[1] / (fractions[0] + fractions[1]) of the rest.
    """
    _check_fractions(fractions)
    if not 0 <= fold < folds:
        raise InputError(f"split.fold is {fold}, expected 0 to {folds - 1} with split.folds={folds}")
    if not 2 <= folds <= len(labelled):
        raise InputError(
            f"split.folds is {folds}, expected 2 or more and at most the {len(labelled)} labelled subjects"
        )
    order = shuffled(labelled, f"split/{seed}")
    test = order[len(order) * fold // folds : len(order) * (fold + 1) // folds]
    rest = shuffled(set(order) - set(test), f"validation/{seed}/{fold}")
    train_share, validation_share = map(_exact, fractions[:2])
    n_validation = _rounded(validation_share / (train_share + validation_share), len(rest))
    if n_validation >= len(rest):
        raise InputError(
            f"{len(labelled)} labelled subjects in {folds} folds leave {len(rest)} for training and validation, of "
            f"which validation takes {n_validation}; add labelled scans, or change split.folds or split.fractions"
        )
    return tuple(tuple(sorted(part)) for part in (rest[n_validation:], rest[:n_validation], test))


def official_parts(entries: Iterable[ScanEntry]) -> tuple[Subjects, ...] | None:
    """Training, validation and test subjects as the data set says; None unless it names labelled ones of all three.

    Raises InputError when a subject is in two parts, or a labelled one in none.
    """
    part_of: dict[str, ScanEntry] = {}
    labelled = [entry for entry in entries if entry.has_label]
    if {entry.split for entry in labelled} & set(PARTS) != set(PARTS):
        return None
    for entry in labelled:
        remedy = "give split.file, or split.method='fractions'"
        if entry.split not in PARTS:
            raise InputError(f"scan {entry.scan_id} is labelled but in no part of the official split; {remedy}")
        other = part_of.setdefault(entry.subject_id, entry)
        if other.split != entry.split:
            raise InputError(
                f"the official split has subject {entry.subject_id} in {other.split!r} (scan {other.scan_id}) and in "
                f"{entry.split!r} (scan {entry.scan_id}); {remedy}"
            )
    return tuple(tuple(sorted(s for s, entry in part_of.items() if entry.split == part)) for part in PARTS)


def label_subsets(
    train: Subjects, label_fractions: Sequence[float], label_counts: Sequence[int], draw: int
) -> dict[float, Subjects]:
    """Label fraction -> training subjects whose labels are used, each subset inside the next larger."""
    given = tuple(label_fractions)
    if not given or len(set(given)) < len(given) or not all(0 < f <= 1 for f in given):
        raise InputError(f"split.label_fractions is {given}, expected different numbers above 0 and up to 1")
    counts = [int(n) for n in label_counts] or [_rounded(_exact(fraction), len(train)) for fraction in given]
    got = f"split.label_counts is {tuple(counts)}"
    if len(counts) != len(given):
        raise InputError(f"{got}, expected one number for each of split.label_fractions {given}")
    if not all(1 <= n <= len(train) for n in counts):
        raise InputError(f"{got}, expected numbers from 1 to the {len(train)} training subjects")
    by_fraction = [n for _, n in sorted(zip(given, counts, strict=True))]
    if by_fraction != sorted(by_fraction):
        raise InputError(f"{got}: a larger one of split.label_fractions {given} has fewer subjects; reorder the counts")
    order = shuffled(train, f"subset/{draw}")
    return {float(fraction): tuple(sorted(order[:n])) for fraction, n in zip(given, counts, strict=True)}


def pretraining_subsets(
    train: Subjects, unlabelled: Subjects, extents: Sequence[float], draw: int
) -> dict[float, Subjects]:
    """Extent -> subjects, each set inside the next larger; extent * training subjects, half to even and at least 1.

    Training subjects come first, in the order of the label subsets, then unlabelled ones. InputError when an extent is
    larger than the subjects allow.
    """
    if len(set(extents)) < len(extents) or not all(0 < extent < math.inf for extent in extents):
        raise InputError(f"split.pretraining_extents is {tuple(extents)}, expected different numbers above 0")
    order = shuffled(train, f"subset/{draw}") + shuffled(set(unlabelled) - set(train), f"unlabelled/{draw}")
    subsets = {}
    for extent in extents:
        n = _rounded(_exact(extent), len(train))
        if n > len(order):
            largest = math.floor(1000 * len(order) / len(train)) / 1000
            raise InputError(
                f"split.pretraining_extents: {extent:g} asks for {n} subjects, {len(train)} train and "
                f"{len(order) - len(train)} unlabelled ones are there; use at most {largest:g}, or add unlabelled scans"
            )
        subsets[float(extent)] = tuple(sorted(order[:n]))
    return subsets


def parts_from_file(file: str, entries: tuple[ScanEntry, ...]) -> dict[str, Subjects]:
    """Subjects of each part, and "unlabelled" where the file has it; ids may be those of subjects or scans."""
    values = read_json(Path(file), "lists of subjects")
    if not isinstance(values, Mapping):
        raise InputError(f"split.file {file} is no JSON object with the lists {', '.join(PARTS)}; correct it")
    check_sha256(Path(file), values)
    subject_of = {entry.scan_id: entry.subject_id for entry in entries} | {e.subject_id: e.subject_id for e in entries}
    labelled = {entry.subject_id for entry in entries if entry.has_label}
    parts: dict[str, Subjects] = {}
    used: dict[str, str] = {}
    for part in (*PARTS, *(("unlabelled",) if "unlabelled" in values else ())):
        ids = values.get(part)
        if not isinstance(ids, list) or not (ids or part == "unlabelled") or not all(isinstance(i, str) for i in ids):
            raise InputError(f"split.file {file}: key {part!r} is missing, empty or no list of ids; complete it")
        for name in ids:
            if name not in subject_of or (part in PARTS and subject_of[name] not in labelled):
                lacks = "is not in the data set" if name not in subject_of else "has no label"
                raise InputError(f"split.file {file}: {name!r} under {part!r} {lacks}; correct the file or data.root")
        subjects = {subject_of[name] for name in ids}
        for subject in sorted(subjects) if part in PARTS else ():
            if used.setdefault(subject, part) != part:
                raise InputError(
                    f"split.file {file}: {subject!r} is under {used[subject]!r} and {part!r}; keep one of them"
                )
        twice = sorted(name for name in set(ids) if ids.count(name) > 1)
        if twice:
            raise InputError(f"split.file {file}: key {part!r} names {twice[0]!r} twice; keep one of them")
        parts[part] = tuple(sorted(subjects))
    return parts


def check_sha256(path: Path, values: Mapping[str, object]) -> None:
    """InputError when splits.json, of any version, was changed after it was written; other files have no checksum."""
    content = {key: value for key, value in values.items() if key != "sha256"}
    if "sha256" in values and values["sha256"] != sha256_of(content):
        raise InputError(
            f"{path} does not fit its own SHA-256, so it was changed after it was written; restore it, or remove it to "
            "draw new splits"
        )


def _check_fractions(fractions: Sequence[float]) -> None:
    if len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise InputError(f"split.fractions is {tuple(fractions)}, expected three positive numbers with sum 1")


def _exact(number: float) -> Fraction:
    """The decimal number that was written, so that 0.35 * 10 is exactly 3.5."""
    return Fraction(repr(float(number)))


def _rounded(fraction: Fraction, n: int) -> int:
    """fraction * n rounded half to even, at least 1."""
    return max(1, round(fraction * n))
