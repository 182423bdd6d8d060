"""What more unlabelled scans are worth, in words and as a table (inpaint_ssl.statistics.unlabelled_curve)."""

from collections.abc import Mapping

from inpaint_ssl.report.parts import MISSING, Column, Entry, TableView
from inpaint_ssl.report.text import enumeration, percent, signed
from inpaint_ssl.statistics.label_curve import Equivalent, LabelCurves
from inpaint_ssl.statistics.label_statement import FARTHEST as FARTHEST_LABELS
from inpaint_ssl.statistics.label_statement import labels_amount
from inpaint_ssl.statistics.unlabelled_curve import FARTHEST, UnlabelledCurve, UnlabelledCurves


def number(value: float | int | None) -> Entry:
    """A count with separators."""
    return MISSING if value is None else Entry(f"{value:,}", value)


def _reasons(found: list[tuple[float, str]]) -> str:
    """For example "at 5 % and 10 % no statement, as ...", label fractions of one reason together."""
    by_reason: dict[str, list[str]] = {}
    for fraction, reason in found:
        by_reason.setdefault(reason, []).append(percent(fraction))
    return "; ".join(f"at {enumeration(at)} no statement, as {reason}" for reason, at in by_reason.items())


def worth_statements(curves: UnlabelledCurves, labels: Mapping[float, LabelCurves]) -> list[str]:
    """What twice the largest number of pretraining scans would add, and what pretraining is worth in labels."""
    return [_doubling(curves), *(labels_words(f"{percent(x)} pretraining data", found) for x, found in labels.items())]


def _doubling(found: UnlabelledCurves) -> str:
    if found.reason:
        return f"What more unlabelled scans would bring cannot be said: {found.reason}."
    groups: dict[float, list[UnlabelledCurve]] = {}
    for c in found.curves:
        if not c.unsupported:
            groups.setdefault(float(c.n.max()), []).append(c)
    parts = []
    for largest, some in groups.items():
        gains = [f"{signed(c.doubling)} at {percent(c.label_fraction)}" for c in some]
        parts.append(
            f"{FARTHEST * largest:,.0f} pretraining {found.unit} instead of {largest:,.0f} would add to Dice "
            f"{enumeration(gains)} of the labels (extrapolated)"
        )
    if reasons := _reasons([(c.label_fraction, c.unsupported) for c in found.curves if c.unsupported]):
        parts.append(reasons)
    return f"More unlabelled scans: {'; '.join(parts)}."


def labels_words(what: str, found: LabelCurves, control: str = "from scratch") -> str:
    """What `what` is worth in labelled subjects at each label fraction, one sentence; `control`: compared with what."""
    start = f"{what} in labelled subjects, compared with {control}"
    if found.reason:
        return f"{start}: no statement, as {found.reason}."
    stated = [
        f"{_gained(e)} at {percent(e.label_fraction)}{' (extrapolated)' * e.extrapolated}"
        for e in found.equivalents
        if not e.unsupported
    ]
    parts = [f"worth {enumeration(stated)} of the labels"] if stated else []
    if reasons := _reasons([(e.label_fraction, e.unsupported) for e in found.equivalents if e.unsupported]):
        parts.append(reasons)
    return f"{start}: {'; '.join(parts)}."


def _gained(e: Equivalent) -> str:
    return f"+{labels_amount(e.more)}"


def worth_table(curves: UnlabelledCurves, labels: Mapping[float, LabelCurves]) -> TableView | None:
    """A row a label fraction: its curve's exponent, scatter and doubling, and the labels that each extent is worth.

    None where there is neither a curve of unlabelled scans nor one of labels.
    """
    level, twice = percent(curves.level), f"twice the {curves.unit or 'scans'}"
    columns = [
        Column("label_fraction", "labels"), Column("exponent", "exponent"), Column("exponent_lower", f"{level} from"),
        Column("exponent_upper", "to"), Column("scatter", "scatter, %"), Column("doubling", twice),
        Column("doubling_lower", f"{level} from"), Column("doubling_upper", "to"), Column("stated", "stated", False),
    ]  # fmt: skip
    for extent in labels:
        key = f"labels_{100 * extent:g}pct"
        columns += [Column(key, f"labels gained, {percent(extent)}"), Column(f"{key}_lower", f"{level} from")]
        columns.append(Column(f"{key}_upper", "to"))
    of = {c.label_fraction: c for c in curves.curves}
    fractions = sorted({*of, *(e.label_fraction for found in labels.values() for e in found.equivalents)})
    gained = {f: [entry for found in labels.values() for entry in gain_entries(found, f)] for f in fractions}
    rows = [(Entry(percent(f), f), *_curve(of.get(f)), *gained[f]) for f in fractions]
    if not rows:
        return None
    note = (
        "Power laws of the Dice error on the test scans against the number of pretraining scans. Exponent: slope on "
        "logarithmic axes; scatter: deviation of the points from the curve in per cent of the error; then what twice "
        "the largest number would add to Dice, stated only where the error falls within its interval and the points "
        "scatter little. Labels gained: how many more labelled subjects from scratch would equal pretraining on that "
        "extent; a dash where that cannot be said. Intervals are percentiles over resamples of the test subjects."
    )
    return TableView("unlabelled_worth", "What more unlabelled scans are worth", tuple(columns), tuple(rows), note)


def _exponent(value: float) -> str:
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}")


def _curve(c: UnlabelledCurve | None) -> list[Entry]:
    if c is None:
        return [*[MISSING] * 7, Entry("no", "no: there is no curve")]
    row = [Entry(_exponent(v), v) for v in (c.mean_exponent, *c.mean_exponent_interval)]
    row += [Entry(f"{100 * c.scatter:.2f}", 100 * c.scatter)]
    row += [Entry(signed(v), v) for v in (c.doubling, *c.doubling_interval)]
    return [*row, Entry("no", f"no: {c.unsupported}") if c.unsupported else Entry("yes")]


def gain_entries(found: LabelCurves, fraction: float) -> list[Entry]:
    """Labelled subjects gained at a label fraction and both ends of the interval; dashes where none may be stated."""
    e = next((e for e in found.equivalents if e.label_fraction == fraction), None)
    if e is None or e.unsupported:
        return [MISSING, MISSING, MISSING]
    farthest = FARTHEST_LABELS * max(other.n_labels for other in found.equivalents) - e.n_labels
    lower, upper = e.more_interval
    ends = [
        Entry(labels_amount(v), v) if v <= farthest else Entry(f"> {labels_amount(farthest)}", v)
        for v in (lower, upper)
    ]
    return [Entry(_gained(e), e.more), *ends]
