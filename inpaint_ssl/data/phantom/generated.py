"""What readers of generated scans share: how subjects are listed, numbered and drawn."""

from collections.abc import Mapping

import numpy as np

from inpaint_ssl.data.scan import Scan, ScanEntry, ScanReader
from inpaint_ssl.errors import InputError


class GeneratedDataset(ScanReader):
    """Subjects <prefix>_0000, <prefix>_0001, ... of one scan each; the unlabelled ones come last.

    A subject depends on (seed, its number) alone. counts: further numbers to check, by name, with their lowest value.
    Raises InputError for values out of range.
    """

    notes: tuple[str, ...] = ()

    def __init__(
        self,
        prefix: str,
        *,
        subjects: int,
        unlabelled_subjects: int,
        size: tuple[int, int],
        seed: int,
        snr: float,
        counts: Mapping[str, tuple[int, int]],
    ) -> None:
        known = {"subjects": (subjects, 0), "unlabelled_subjects": (unlabelled_subjects, 0), "seed": (seed, 0)}
        for key, (value, low) in {**known, **counts}.items():
            if value < low:
                raise InputError(f"phantom.{key} {value}: expected at least {low}; set data.phantom.{key}")
        if subjects + unlabelled_subjects < 1:
            raise InputError("phantom.subjects 0: expected at least 1 subject; set data.phantom.subjects")
        if len(size) != 2 or min(size) < 16:
            raise InputError(f"phantom.size {tuple(size)}: expected 2 numbers of at least 16; set data.phantom.size")
        if not snr > 0.0:
            raise InputError(f"phantom.snr {snr}: expected a positive number; set data.phantom.snr")
        ids = [f"{prefix}_{i:04d}" for i in range(subjects + unlabelled_subjects)]
        self.entries = tuple(ScanEntry(name, name, i < subjects) for i, name in enumerate(ids))
        self._number = {entry: i for i, entry in enumerate(self.entries)}
        self._size = (int(size[0]), int(size[1]))
        self._seed = int(seed)
        self._snr = float(snr)

    def _generator(self, entry: ScanEntry) -> np.random.Generator:
        """That of the entry's subject, at its start."""
        if entry not in self._number:
            raise InputError(f"scan {entry.scan_id}: not in this phantom of {len(self.entries)}; use its entries")
        return np.random.default_rng([self._seed, self._number[entry]])

    def _person(self, entry: ScanEntry) -> dict[str, float | str]:
        """Age and sex, of a stream of their own: they have no bearing on what is drawn."""
        rng = np.random.default_rng([self._seed, self._number[entry], 1])
        return {"age_years": float(rng.integers(18, 81)), "sex": "FM"[int(rng.integers(2))]}


def centred_scan(
    entry: ScanEntry,
    image: np.ndarray,
    label: np.ndarray | None,
    spacing_mm: tuple[float, float, float],
    acquisition: Mapping[str, float | str],
) -> Scan:
    """A scan on an RAS grid whose middle is the origin."""
    shape = (image.shape[0], image.shape[1], image.shape[2])
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = [-(n - 1) / 2.0 * step for n, step in zip(shape, spacing_mm, strict=True)]
    return Scan(
        entry=entry,
        image=image,
        label=label,
        spacing_mm=spacing_mm,
        affine=affine,
        original_affine=affine.copy(),
        original_orientation="RAS",
        original_shape=shape,
        acquisition=acquisition,
    )
