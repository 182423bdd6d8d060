"""Holm's step-down correction of p-values for the number of tests (Holm 1979, Scand. J. Statist. 6, 65-70)."""

from collections.abc import Iterable

import numpy as np

from inpaint_ssl.errors import InputError


def holm(p_values: Iterable[float]) -> tuple[float, ...]:
    """Adjusted p-values in the order given; rejecting those below alpha keeps the family-wise error at alpha.

    Valid whatever the dependence of the tests, as those of a study share their subjects. Raises InputError for a value
    that is no probability: a test that is missing counts as 1, which keeps what is significant so once it is there.
    """
    p = np.array(list(p_values), dtype=np.float64)
    if not np.all((p >= 0.0) & (p <= 1.0)):
        raise InputError(f"got p-values {p.tolist()}, expected numbers from 0 to 1; give 1 for a test that is missing")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(np.arange(p.size, 0, -1) * p[order]), 1.0)
    return tuple(adjusted.tolist())
