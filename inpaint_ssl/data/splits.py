"""Training, validation and test subjects, nested subsets that keep their labels, and sets to pretrain on."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from inpaint_ssl.data.scan import ScanEntry
from inpaint_ssl.data.split_draw import (
    PARTS,
    check_sha256,
    label_subsets,
    official_parts,
    parts_by_fractions,
    parts_from_file,
    parts_of_fold,
    pretraining_subsets,
)
from inpaint_ssl.errors import InputError
from inpaint_ssl.files import read_json, sha256_of, write_json_atomic

FORMAT_VERSION = 2
METHODS = ("auto", "fractions", "official", "k_fold")


@dataclass(frozen=True)
class SplitSettings:
    """The keys of config.split, explained in configs/base.py, and config.data.use_unlabelled."""

    fractions: Sequence[float] = (0.6, 0.15, 0.25)
    split_seed: int = 0
    subset_draw: int = 0
    label_fractions: Sequence[float] = (0.05, 0.1, 0.25, 0.5, 1.0)
    label_counts: Sequence[int] = ()
    use_unlabelled: bool = True
    file: str = ""
    method: str = "auto"
    folds: int = 5
    fold: int = 0
    pretraining_extents: Sequence[float] = ()
    pretraining_extent: float = 0.0

    @classmethod
    def from_config(cls, split: Mapping[str, Any], use_unlabelled: bool) -> "SplitSettings":
        """From config.split.to_dict() and config.data.use_unlabelled."""
        values = {one.name: split[one.name] for one in fields(cls) if one.name != "use_unlabelled"}
        return cls(**values, use_unlabelled=use_unlabelled)

    def extents(self) -> list[float]:
        """The pretraining sets to draw, with the one that is used."""
        given = [float(extent) for extent in self.pretraining_extents]
        used = float(self.pretraining_extent)
        return given + [used] * (used > 0 and used not in given)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; of a split file the content matters, not where it lies."""
        return {
            "fractions": [float(f) for f in self.fractions],
            "split_seed": int(self.split_seed),
            "subset_draw": int(self.subset_draw),
            "label_fractions": [float(f) for f in self.label_fractions],
            "label_counts": [int(n) for n in self.label_counts],
            "use_unlabelled": bool(self.use_unlabelled),
            "file": sha256_of(read_json(Path(self.file), "lists of subjects")) if self.file else "",
            "method": self.method,
            "folds": int(self.folds),
            "fold": int(self.fold),
            "pretraining_extents": self.extents(),
            "pretraining_extent": float(self.pretraining_extent),
        }


@dataclass(frozen=True)
class Splits:
    """Subject ids of each part (paper, sections 2.1 and 2.6).

    unlabelled: subjects with unlabelled scans that pretraining may use beside train. label_subsets: label fraction ->
    the training subjects whose labels are used, each subset inside the next larger. pretraining_subsets: extent ->
    the subjects that are pretrained on, nested too; pretraining: those that this study pretrains on. settings: what was
    drawn from.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    unlabelled: tuple[str, ...]
    label_subsets: Mapping[float, tuple[str, ...]]
    pretraining: tuple[str, ...]
    pretraining_subsets: Mapping[float, tuple[str, ...]]
    settings: Mapping[str, Any]

    def content(self) -> dict[str, Any]:
        """JSON-able content, without the checksum."""
        parts = {part: list(getattr(self, part)) for part in (*PARTS, "unlabelled", "pretraining")}
        subsets = [{"label_fraction": f, "subjects": list(s)} for f, s in self.label_subsets.items()]
        extents = [{"extent": e, "subjects": list(s)} for e, s in self.pretraining_subsets.items()]
        about = {"format_version": FORMAT_VERSION, "settings": dict(self.settings)}
        return {**about, **parts, "label_subsets": subsets, "pretraining_subsets": extents}

    def labelled(self, fraction: float, draw: int | None = None) -> tuple[str, ...]:
        """The training subjects of a label subset; `draw` other than the settings' draws anew from the same subjects.

        All of them at a fraction that the splits do not have.
        """
        if fraction not in self.label_subsets:
            return self.train
        if draw is None or draw == self.settings["subset_draw"]:
            return self.label_subsets[fraction]
        given = {float(f): len(subjects) for f, subjects in self.label_subsets.items()}
        return label_subsets(self.train, tuple(given), tuple(given.values()), draw)[fraction]

    @property
    def sha256(self) -> str:
        """SHA-256 of the content."""
        return sha256_of(self.content())


def make_splits(entries: Iterable[ScanEntry], settings: SplitSettings) -> Splits:
    """Draw (or take from settings.file) the subjects of each part, nested label subsets and pretraining sets.

    The order of `entries` does not matter, and subset_draw changes the subsets alone. Method "auto" takes the official
    split where the data set names labelled subjects for all three parts, else fractions. Nothing that is pretrained on
    is of a subject that validates or tests. Raises InputError when there are too few subjects, the data set has no
    official split, or the file does not fit.
    """
    entries = tuple(entries)
    given: Mapping[str, tuple[str, ...]] = {}
    held_out: set[str] = set()
    if settings.file:
        given = parts_from_file(settings.file, entries)
        train, validation, test = (given[part] for part in PARTS)
    else:
        parts, official = _parts(entries, settings)
        train, validation, test = parts
        if official:  # their unlabelled scans are held out too
            held_out = {entry.subject_id for entry in entries if entry.split in ("validation", "test")}
    held_out |= {*validation, *test}
    others = {entry.subject_id for entry in entries if not entry.has_label}
    unlabelled = tuple(sorted(set(given.get("unlabelled", others)) - held_out)) if settings.use_unlabelled else ()
    splits = Splits(
        train=train,
        validation=validation,
        test=test,
        unlabelled=unlabelled,
        label_subsets=label_subsets(train, settings.label_fractions, settings.label_counts, settings.subset_draw),
        pretraining=(),
        pretraining_subsets={},
        settings=settings.to_dict(),
    )
    return _with_pretraining(splits)


def write_splits(path: Path, splits: Splits) -> None:
    """Write splits.json with its SHA-256."""
    write_json_atomic(Path(path), {**splits.content(), "sha256": splits.sha256})


def read_splits(path: Path) -> Splits:
    """Read splits.json; InputError when it is damaged, was changed after it was written, or is of another version."""
    values = read_json(Path(path), "splits of a study")
    try:
        if "sha256" not in values:
            raise KeyError("sha256")
        check_sha256(Path(path), dict(values))
        if values["format_version"] != FORMAT_VERSION:
            raise InputError(
                f"{path} is splits.json of format {values['format_version']}, expected {FORMAT_VERSION}; start in a "
                f"new workdir, with the same parts by --config.split.file={path}"
            )
        return Splits(
            **{part: tuple(values[part]) for part in (*PARTS, "unlabelled", "pretraining")},
            label_subsets={float(item["label_fraction"]): tuple(item["subjects"]) for item in values["label_subsets"]},
            pretraining_subsets={float(i["extent"]): tuple(i["subjects"]) for i in values["pretraining_subsets"]},
            settings=values["settings"],
        )
    except InputError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(
            f"{path} is no splits.json of this version ({reason}); restore it, or remove it to draw new splits"
        ) from None


def load_or_make_splits(path: Path, entries: Iterable[ScanEntry], settings: SplitSettings) -> Splits:
    """The splits in `path` when it exists and fits, else those that make_splits draws (not written).

    Raises InputError when the file was changed, names subjects without scans, or was drawn with other settings.
    """
    entries = tuple(entries)
    if not Path(path).exists():
        return make_splits(entries, settings)
    splits = read_splits(path)
    labelled = {entry.subject_id for entry in entries if entry.has_label}
    unknown = sorted({s for part in PARTS for s in getattr(splits, part)} - labelled)
    unknown += sorted(set(splits.unlabelled) - {entry.subject_id for entry in entries})
    if unknown:
        raise InputError(
            f"{path} names subject {unknown[0]} ({len(unknown)} such subjects), which the data set lacks;"
            " restore the scans, or start in a new workdir"
        )
    wanted = settings.to_dict()
    changed = [key for key in wanted if splits.settings.get(key) != wanted[key]]
    if changed:
        raise InputError(
            f"{path} was drawn with {changed[0]} = {splits.settings.get(changed[0])!r}, now it is"
            f" {wanted[changed[0]]!r}; use the former value, or start in a new workdir"
        )
    return splits


def drop_leaks(
    splits: Splits, content: Mapping[str, str], entries: Iterable[ScanEntry]
) -> tuple[Splits, tuple[str, ...]]:
    """Splits without the unlabelled subjects of whom a scan has the voxels of a validation or test scan, and notes.

    content: scan id -> hash of its voxels; scans without one are passed over. The pretraining sets are drawn again from
    the subjects that remain. Raises InputError when it is a scan of a training subject.
    """
    entries = sorted((entry for entry in entries if entry.scan_id in content), key=lambda entry: entry.scan_id)
    held_out = {*splits.validation, *splits.test}
    held = {content[entry.scan_id]: entry for entry in entries if entry.subject_id in held_out}
    train, pretrains = set(splits.train), splits.settings["use_unlabelled"]
    dropped: dict[str, str] = {}
    for entry in entries:
        twin = held.get(content[entry.scan_id])
        if twin is None or entry.subject_id in held_out or not (pretrains or entry.subject_id in train):
            continue
        if entry.subject_id in train and (entry.has_label or pretrains):
            part = "validation" if twin.subject_id in splits.validation else "test"
            raise InputError(
                f"scan {entry.scan_id} of training subject {entry.subject_id} has the same voxels as {part} scan "
                f"{twin.scan_id} of {twin.subject_id}; remove one of the two, or make them one subject "
                "(data.subject_pattern)"
            )
        if entry.subject_id in train:
            continue
        dropped.setdefault(
            entry.subject_id,
            f"subject {entry.subject_id} is not pretrained on: its scan {entry.scan_id} has the same voxels as "
            f"{twin.scan_id}, which validates or tests",
        )
    if not dropped.keys() & set(splits.unlabelled):  # none, or, in a study that goes on, dropped before
        return splits, tuple(dropped.values())
    remaining = replace(splits, unlabelled=tuple(s for s in splits.unlabelled if s not in dropped))
    return _with_pretraining(remaining), tuple(dropped.values())


def _parts(entries: tuple[ScanEntry, ...], settings: SplitSettings) -> tuple[tuple[tuple[str, ...], ...], bool]:
    """Training, validation and test subjects, and whether they are the official ones."""
    labelled = sorted({entry.subject_id for entry in entries if entry.has_label})
    if settings.method not in METHODS:
        raise InputError(f"split.method is {settings.method!r}, expected one of {', '.join(map(repr, METHODS))}")
    if settings.method == "k_fold":
        return parts_of_fold(labelled, settings.fractions, settings.split_seed, settings.folds, settings.fold), False
    official = None if settings.method == "fractions" else official_parts(entries)
    if official:
        return official, True
    if settings.method == "official":
        named = sorted({entry.split for entry in entries if entry.has_label and entry.split})
        raise InputError(
            "split.method is 'official', but the data set names no labelled subjects for all of "
            f"{', '.join(PARTS)} (it has {', '.join(named) or 'none'}); use 'fractions' or split.file"
        )
    return parts_by_fractions(labelled, settings.fractions, settings.split_seed), False


def _with_pretraining(splits: Splits) -> Splits:
    """With the pretraining sets that the settings ask for."""
    extents, used = splits.settings["pretraining_extents"], splits.settings["pretraining_extent"]
    if not splits.settings["use_unlabelled"] and any(extent > 1 for extent in extents):
        raise InputError(
            f"split.pretraining_extents: {max(extents):g} needs unlabelled scans, but data.use_unlabelled is off; turn "
            "it on, or use at most 1"
        )
    subsets = pretraining_subsets(splits.train, splits.unlabelled, extents, splits.settings["subset_draw"])
    everyone = tuple(sorted({*splits.train, *splits.unlabelled}))
    return replace(splits, pretraining=subsets[used] if used else everyone, pretraining_subsets=subsets)
