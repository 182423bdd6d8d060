"""Slices that evaluation kept: corruptions of one, inpainting examples, predictions beside the truth."""

import math
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from inpaint_ssl.errors import InputError
from inpaint_ssl.statistics import FROM_SCRATCH, PRETRAINED

TRUTH = "truth"  # beside the arms, in what is shown of a slice


@dataclass(frozen=True)
class Inpainting:
    """One test slice (H, W, C) before corruption, after it, and restored."""

    scan: str
    slice_index: int
    original: np.ndarray
    corrupted: np.ndarray
    restored: np.ndarray


@dataclass(frozen=True)
class Overlay:
    """One test slice (H, W) with the truth and the prediction of each arm; `rank` is best, median or worst.

    t2_ms: T2 inside the classes of the truth (TRUTH) and of each arm, NaN outside and where invalid; empty if unknown.
    """

    rank: str
    scan: str
    slice_index: int
    label_fraction: float
    seed: int
    image: np.ndarray
    truth: np.ndarray
    predictions: dict[str, np.ndarray]
    dice: dict[str, float]
    t2_ms: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Gallery:
    """One slice (H, W) and its corruptions (H, W, rows, columns); a panel that could not be made does not fit.

    rows: (task, sampling) of each row; patch_sizes: pixels, of each column; own: (task, sampling, patch size) that the
    configuration asks for.
    """

    scan: str
    slice_index: int
    original: np.ndarray
    corrupted: np.ndarray
    fits: np.ndarray
    rows: tuple[tuple[str, str], ...]
    patch_sizes: tuple[int, ...]
    area_fraction: float
    own: tuple[str, str, int]

    @property
    def shows_own(self) -> bool:
        """Is the configured setting one of the panels?"""
        return self.own[:2] in self.rows and self.own[2] in self.patch_sizes


def _arrays(
    path: Path,
    names: Iterable[str],
    expected: str = "examples; evaluate the study again",
    optional: Iterable[str] = (),
) -> dict[str, np.ndarray]:
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return {name: archive[name] for name in (*names, *(n for n in optional if n in archive))}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} cannot be read ({error}); expected {expected}") from None


def read_gallery(workdir: Path) -> Gallery:
    """The gallery of corruptions in gallery.npz. InputError when the file is missing or damaged."""
    names = ("scan", "slice", "original", "corrupted", "fits", "tasks", "samplings", "patch_sizes", "area_fraction")
    own = ("own_task", "own_sampling", "own_patch_size")
    remedy = "a gallery of corruptions; make it again with --config.stage=gallery"
    a = _arrays(workdir / "gallery.npz", (*names, *own), remedy)
    return Gallery(
        scan=str(a["scan"]),
        slice_index=int(a["slice"]),
        original=a["original"].astype(np.float32),
        corrupted=a["corrupted"].astype(np.float32),
        fits=a["fits"],
        rows=tuple(zip(a["tasks"].tolist(), a["samplings"].tolist(), strict=True)),
        patch_sizes=tuple(a["patch_sizes"].tolist()),
        area_fraction=float(a["area_fraction"]),
        own=(str(a["own_task"]), str(a["own_sampling"]), int(a["own_patch_size"])),
    )


def read_inpainting(cells: Sequence[Mapping[str, Any]]) -> tuple[Inpainting, ...]:
    """Examples of the first pretraining that has any: the same slices of every seed would only repeat themselves."""
    for cell in cells:
        if paths := sorted((cell["folder"] / "examples").glob("*.npz")):
            examples = []
            for path in paths:
                a = _arrays(path, ("original", "corrupted", "restored", "scan", "slice"))
                pictures = (a["original"], a["corrupted"], a["restored"])
                examples.append(Inpainting(str(a["scan"]), int(a["slice"]), *pictures))
            return tuple(examples)
    return ()


def read_overlays(cells: Sequence[Mapping[str, Any]]) -> tuple[Overlay, ...]:
    """Best, median and worst test scan of the pretrained arm's first seed at the smallest label fraction."""
    # pictures of a cell that is only trained were measured under another convention than the rows
    complete = [cell for cell in cells if cell.get("status", "complete") == "complete"]
    with_pictures = [cell for cell in complete if any((cell["folder"] / "examples").glob("*.npz"))]
    if not with_pictures:
        return ()
    leading = [cell for cell in with_pictures if cell["arm"] == PRETRAINED] or with_pictures
    chosen = min(leading, key=lambda cell: cell["label_fraction"])  # the first of equals: cells are in seed order
    same = ("label_fraction", "seed", "subset_draw")
    twins = {c["arm"]: c["folder"] for c in with_pictures if all(c[key] == chosen[key] for key in same)}
    folder = chosen["folder"] / "examples"
    scores = [(float(_arrays(path, ["dice"])["dice"]), path.name) for path in sorted(folder.glob("*.npz"))]
    ranked = sorted(score for score in scores if not math.isnan(score[0]))
    if not ranked:
        return ()
    places = {"best": len(ranked) - 1, "median": len(ranked) // 2, "worst": 0}
    unique = {place: rank for rank, place in reversed(places.items())}  # with few scans ranks coincide
    names = {rank: ranked[place][1] for place, rank in unique.items()}
    return tuple(_overlay(rank, names[rank], chosen, twins) for rank in places if rank in names)


def _overlay(rank: str, name: str, chosen: Mapping[str, Any], twins: Mapping[str, Path]) -> Overlay:
    keys = ("image", "truth", "prediction", "scan", "slice", "dice")
    paths = {arm: twins[arm] / "examples" / name for arm in (FROM_SCRATCH, PRETRAINED) if arm in twins}
    t2 = (f"t2_{TRUTH}_ms", "t2_prediction_ms")
    arms = {arm: _arrays(path, keys, optional=t2) for arm, path in paths.items() if path.is_file()}
    shown = arms[chosen["arm"]]
    # the arms may keep different slices of a scan; only pictures of the same slice can stand side by side
    same = {arm: a for arm, a in arms.items() if int(a["slice"]) == int(shown["slice"])}
    t2_ms = {TRUTH: shown[t2[0]]} if t2[0] in shown else {}
    t2_ms |= {arm: a[t2[1]] for arm, a in same.items() if t2_ms and t2[1] in a}
    return Overlay(
        rank=rank,
        scan=str(shown["scan"]),
        slice_index=int(shown["slice"]),
        label_fraction=float(chosen["label_fraction"]),
        seed=int(chosen["seed"]),
        image=shown["image"],
        truth=shown["truth"],
        predictions={arm: a["prediction"] for arm, a in same.items()},
        dice={arm: float(a["dice"]) for arm, a in arms.items()},
        t2_ms=t2_ms,
    )
