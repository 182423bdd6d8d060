"""Training, validation and test subjects, and nested subsets of the training subjects that keep their labels."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from inpaint_ssl.data.scan import ScanEntry
from inpaint_ssl.errors import InputError
from inpaint_ssl.files import read_json, sha256_of, write_json_atomic

PARTS = ("train", "validation", "test")
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Splits:
    """Subject ids of each part (paper, section 2.1).

    unlabelled: subjects with unlabelled scans that pretraining may use beside train. label_subsets: label fraction ->
    the training subjects whose labels are used, each subset inside the next larger. settings: what was drawn from.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    unlabelled: tuple[str, ...]
    label_subsets: Mapping[float, tuple[str, ...]]
    settings: Mapping[str, Any]

    def content(self) -> dict[str, Any]:
        """JSON-able content, without the checksum."""
        parts = {part: list(getattr(self, part)) for part in (*PARTS, "unlabelled")}
        subsets = [{"label_fraction": f, "subjects": list(s)} for f, s in self.label_subsets.items()]
        return {"format_version": FORMAT_VERSION, "settings": dict(self.settings), **parts, "label_subsets": subsets}

    @property
    def sha256(self) -> str:
        """SHA-256 of the content."""
        return sha256_of(self.content())


def make_splits(
    entries: Iterable[ScanEntry],
    *,
    fractions: Sequence[float],
    split_seed: int,
    subset_draw: int,
    label_fractions: Sequence[float],
    label_counts: Sequence[int],
    use_unlabelled: bool,
    file: str = "",
) -> Splits:
    """Draw (or take from `file`) the subjects of each part and the nested label subsets (paper, section 2.1).

    fractions: of the labelled subjects for training, validation, test (sum 1; validation and test are rounded half to
    even, at least 1, the rest trains). label_counts: subjects of each subset in the order of label_fractions; empty =
    fractions of the training subjects, rounded half to even, at least 1. file: JSON with lists of subject or scan ids.
    The order of `entries` does not matter, and subset_draw changes the subsets alone.
    Raises InputError when there are too few subjects or the file does not fit.
    """
    entries = tuple(entries)
    labelled = sorted({entry.subject_id for entry in entries if entry.has_label})
    settings = _settings(fractions, split_seed, subset_draw, label_fractions, label_counts, use_unlabelled, file)
    given: Mapping[str, tuple[str, ...]] = {}
    if file:
        given = _parts_from_file(file, entries)
        train, validation, test = (given[part] for part in PARTS)
    else:
        train, validation, test = _draw_parts(labelled, fractions, split_seed)
    others = {entry.subject_id for entry in entries if not entry.has_label}
    unlabelled = tuple(sorted(set(given.get("unlabelled", others)) - {*validation, *test})) if use_unlabelled else ()
    subsets = _label_subsets(train, label_fractions, label_counts, subset_draw)
    return Splits(train, validation, test, unlabelled, subsets, settings)


def write_splits(path: Path, splits: Splits) -> None:
    """Write splits.json with its SHA-256."""
    write_json_atomic(Path(path), {**splits.content(), "sha256": splits.sha256})


def read_splits(path: Path) -> Splits:
    """Read splits.json; InputError when it is damaged or was changed after it was written."""
    values = read_json(Path(path), "splits of a study")
    remedy = "restore it, or remove it to draw new splits"
    try:
        train, validation, test, unlabelled = (tuple(values[part]) for part in (*PARTS, "unlabelled"))
        subsets = {float(item["label_fraction"]): tuple(item["subjects"]) for item in values["label_subsets"]}
        splits = Splits(train, validation, test, unlabelled, subsets, values["settings"])
        intact = values["format_version"] == FORMAT_VERSION and splits.sha256 == values["sha256"]
    except (KeyError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{path} is no splits.json of this version ({reason}); {remedy}") from None
    if not intact:
        raise InputError(f"{path} does not fit its own SHA-256, so it was changed after it was written; {remedy}")
    return splits


def load_or_make_splits(path: Path, entries: Iterable[ScanEntry], **settings: Any) -> Splits:
    """The splits in `path` when it exists and fits, else those that make_splits draws (not written).

    Raises InputError when the file was changed, names subjects without scans, or was drawn with other settings.
    """
    entries = tuple(entries)
    if not Path(path).exists():
        return make_splits(entries, **settings)
    splits = read_splits(path)
    labelled = {entry.subject_id for entry in entries if entry.has_label}
    unknown = sorted({s for part in PARTS for s in getattr(splits, part)} - labelled)
    unknown += sorted(set(splits.unlabelled) - {entry.subject_id for entry in entries})
    if unknown:
        raise InputError(
            f"{path} names subject {unknown[0]} ({len(unknown)} such subjects), which the data set lacks;"
            " restore the scans, or start in a new workdir"
        )
    wanted = _settings(**settings)
    changed = [key for key in wanted if splits.settings.get(key) != wanted[key]]
    if changed:
        raise InputError(
            f"{path} was drawn with {changed[0]} = {splits.settings.get(changed[0])!r}, now it is"
            f" {wanted[changed[0]]!r}; use the former value, or start in a new workdir"
        )
    return splits


def _settings(
    fractions: Sequence[float],
    split_seed: int,
    subset_draw: int,
    label_fractions: Sequence[float],
    label_counts: Sequence[int],
    use_unlabelled: bool,
    file: str = "",
) -> dict[str, Any]:
    return {
        "fractions": [float(f) for f in fractions],
        "split_seed": int(split_seed),
        "subset_draw": int(subset_draw),
        "label_fractions": [float(f) for f in label_fractions],
        "label_counts": [int(n) for n in label_counts],
        "use_unlabelled": bool(use_unlabelled),
        # The content of a split file matters, not where it lies.
        "file": sha256_of(read_json(Path(file), "lists of subjects")) if file else "",
    }


def _shuffled(ids: Iterable[str], purpose: str) -> list[str]:
    """An order that depends on the ids and `purpose` alone, the same on every platform and with every NumPy."""
    return sorted(ids, key=lambda name: (hashlib.blake2b(f"{purpose}/{name}".encode()).digest(), name))


def _rounded(fraction: float, n: int) -> int:
    """fraction * n rounded half to even, at least 1; in decimal, so that 0.35 * 10 is exactly 3.5."""
    return max(1, round(Fraction(repr(float(fraction))) * n))


def _draw_parts(labelled: list[str], fractions: Sequence[float], seed: int) -> tuple[tuple[str, ...], ...]:
    if len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise InputError(f"split.fractions is {tuple(fractions)}, expected three positive numbers with sum 1")
    n_validation, n_test = (_rounded(fraction, len(labelled)) for fraction in fractions[1:])
    n_train = len(labelled) - n_validation - n_test
    if n_train < 1:
        raise InputError(
            f"{len(labelled)} labelled subjects are too few for training, validation and test (validation takes"
            f" {n_validation}, test {n_test}); add labelled scans or change split.fractions"
        )
    order = _shuffled(labelled, f"split/{seed}")
    parts = order[:n_train], order[n_train : n_train + n_validation], order[n_train + n_validation :]
    return tuple(tuple(sorted(part)) for part in parts)


def _label_subsets(
    train: tuple[str, ...], label_fractions: Sequence[float], label_counts: Sequence[int], draw: int
) -> dict[float, tuple[str, ...]]:
    given = tuple(label_fractions)
    if not given or len(set(given)) < len(given) or not all(0 < f <= 1 for f in given):
        raise InputError(f"split.label_fractions is {given}, expected different numbers above 0 and up to 1")
    counts = [int(n) for n in label_counts] or [_rounded(fraction, len(train)) for fraction in given]
    got = f"split.label_counts is {tuple(counts)}"
    if len(counts) != len(given):
        raise InputError(f"{got}, expected one number for each of split.label_fractions {given}")
    if not all(1 <= n <= len(train) for n in counts):
        raise InputError(f"{got}, expected numbers from 1 to the {len(train)} training subjects")
    by_fraction = [n for _, n in sorted(zip(given, counts, strict=True))]
    if by_fraction != sorted(by_fraction):
        raise InputError(f"{got}: a larger one of split.label_fractions {given} has fewer subjects; reorder the counts")
    order = _shuffled(train, f"subset/{draw}")
    return {float(fraction): tuple(sorted(order[:n])) for fraction, n in zip(given, counts, strict=True)}


def _parts_from_file(file: str, entries: tuple[ScanEntry, ...]) -> dict[str, tuple[str, ...]]:
    """Subjects of each part, and "unlabelled" where the file has it; ids may be those of subjects or scans."""
    values = read_json(Path(file), "lists of subjects")
    if not isinstance(values, Mapping):
        raise InputError(f"split.file {file} is no JSON object with the lists {', '.join(PARTS)}; correct it")
    if "sha256" in values:
        read_splits(Path(file))
    subject_of = {entry.scan_id: entry.subject_id for entry in entries} | {e.subject_id: e.subject_id for e in entries}
    labelled = {entry.subject_id for entry in entries if entry.has_label}
    parts: dict[str, tuple[str, ...]] = {}
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
