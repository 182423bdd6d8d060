"""Table 2 of the paper: how well each strategy restores images, and what follows for segmentation."""

from collections.abc import Iterable

from inpaint_ssl.report.kinds.strategy_tables import SCALED_NOTE
from inpaint_ssl.report.kinds.strategy_text import (
    capital,
    count_entry,
    is_scaled,
    p_entry,
    patch_name,
    sampling_name,
    task_name,
    text_entry,
)
from inpaint_ssl.report.parts import MISSING, Column, Entry, TableView
from inpaint_ssl.report.text import enumeration, percent
from inpaint_ssl.statistics.restoration import Restorations, StrategyNorm, rank_agreement
from inpaint_ssl.statistics.strategies import Strategy
from inpaint_ssl.statistics.strategy_gains import Gains

_CLEAR = 0.5  # a rank correlation beyond this is called a relation
_SAMPLINGS = ("poisson_disc", "random")  # columns, as in the paper


def _norm(value: float, smallest: float) -> str:
    """Rounded to whole numbers as in the paper, with decimals where the norms are small."""
    return f"{value:.0f}" if smallest >= 20 else f"{value:.1f}" if smallest >= 2 else f"{value:.3g}"


def _entries(found: StrategyNorm | None, smallest: float) -> tuple[Entry, Entry]:
    """Mean and standard deviation."""
    if found is None or not found.n_slices:
        return MISSING, MISSING
    sd = MISSING if found.n_slices < 2 else Entry(f"± {_norm(found.sd, smallest)}", found.sd)
    return Entry(_norm(found.mean, smallest), found.mean), sd


def _kinds(norms: Iterable[StrategyNorm]) -> list[Strategy]:
    """One strategy of every task and patch size: tasks as in the paper, larger patches first."""
    unique = {(n.strategy.task, n.strategy.paper_patch_size): n.strategy for n in norms}
    return [unique[key] for key in sorted(unique, key=lambda key: (key[0], -key[1]))]


def restoration_table(found: Restorations, alpha: float) -> TableView:
    """Table 2: rows are tasks and patch sizes, columns the samplings and both tests between them."""
    smallest = min((norm.mean for norm in found.norms if norm.n_slices), default=0.0)
    rows, significant = [], set()
    for k, kind in enumerate(_kinds(found.norms)):
        norms = [found.norm((kind.task, kind.paper_patch_size, sampling)) for sampling in _SAMPLINGS]
        test = found.test(kind.task, kind.paper_patch_size)
        tested = (MISSING,) * 3 if test is None else tuple(
            p_entry(p) for p in (test.by_slice.p_value, test.by_subject.p_value, test.p_holm)
        )  # fmt: skip
        if test is not None and test.p_holm < alpha:
            significant.add(k)
        cells = [entry for norm in norms for entry in _entries(norm, smallest)]
        counts = [n.n_slices for n in norms if n is not None]
        size = Entry(patch_name(kind), kind.patch_size)
        rows.append((text_entry(task_name(kind.task)), size, *cells, *tested, count_entry(max(counts))))
    return TableView(
        name="table_2_restoration",
        title="Table 2: L2 norm of restored test slices, mean ± standard deviation over slices",
        columns=(
            Column("task", "Pretext task", numeric=False), Column("patch_size", "Patch size"),
            *(column for s in _SAMPLINGS for column in
              (Column(f"{s}_mean", capital(sampling_name(s))), Column(f"{s}_sd", "SD"))),
            Column("p_slices", "p, over slices"), Column("p_subjects", "p, over subjects"),
            Column("p_holm", "p, subjects, adjusted"), Column("slices", "Slices"),
        ),
        rows=tuple(rows),
        note=_note(found),
        emphasised=frozenset(significant),
    )  # fmt: skip


def _note(found: Restorations) -> str:
    channels = f", averaged over the {found.channels} channels of a slice" if found.channels > 1 else ""
    excluded = sum(norm.n_excluded for norm in found.norms)
    left_out = f" {excluded} values that are not finite are left out." if excluded else ""
    scaled = f" {SCALED_NOTE}" if is_scaled(n.strategy for n in found.norms) else ""
    size = " It grows with the area of the image, so only equal images compare."
    unit = found.unit or "normalised intensity"
    return (
        f"Root of the summed squared differences of a slice in units of {unit}{channels}, seeds averaged.{size} "
        "p: one-sided Wilcoxon signed-rank test, Poisson-disc lower than random, over slices as in the paper (slices "
        "of one subject are no independent pairs), over subjects after averaging their slices, and that adjusted for "
        f"{found.n_planned} tests (Holm). Bold: significant once adjusted.{scaled}{left_out}"
    )


def restoration_statements(found: Restorations, gains: Gains, alpha: float) -> list[str]:
    """What Table 2 says: samplings, patch sizes, and whether better restoration went with better segmentation."""
    statements = []
    if found.tests:
        slices, subjects = (sum(p < alpha for p in of) for of in _p_values(found))
        statements.append(
            f"Poisson-disc sampling left lower L2 norms than random sampling in {slices} of {len(found.tests)} pairs "
            f"of task and patch size (p < {alpha:g} over slices), and in {subjects} with subjects as the unit and "
            "p adjusted."
        )
    if falls := found.falls():
        of = [f"{task_name(task)} with {sampling_name(s)} sampling" for (task, s), does in falls.items() if not does]
        statements.append(
            "The L2 norm falls with every smaller patch for "
            + ("every task and sampling." if not of else f"all but {enumeration(of)}." if len(of) < len(falls) else
               "no task and sampling.")
        )  # fmt: skip
    fractions = [f for f in gains.label_fractions if gains.at(f)]
    if fractions:
        own = {g.strategy.key: g.paired.mean_difference for g in gains.at(fractions[0])}
        norms = {n.strategy.key: n.mean for n in found.norms}
        if (r := rank_agreement(norms, own)) is not None:
            words = f"{r:+.2f}".replace("-", "\N{MINUS SIGN}")
            statements.append(
                f"Over the {len(own.keys() & norms.keys())} strategies the rank correlation of L2 norm and gain in "
                f"Dice with {percent(fractions[0])} of the labels is {words}: "
                + ("better restoration went with better segmentation." if r < -_CLEAR else
                   "better restoration went with worse segmentation." if r > _CLEAR else
                   "how well a strategy restores says little about how well it segments.")
            )  # fmt: skip
    return statements


def _p_values(found: Restorations) -> tuple[list[float], list[float]]:
    return [t.by_slice.p_value for t in found.tests], [t.p_holm for t in found.tests]
