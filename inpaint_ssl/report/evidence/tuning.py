"""What was tried on validation scans: every arm with its gain and the L2 norm of its pretraining, and each factor."""

from inpaint_ssl.report.evidence.factors import factor_sentences
from inpaint_ssl.report.evidence.figures import figure_of
from inpaint_ssl.report.evidence.markdown import bullets, picture, table
from inpaint_ssl.report.evidence.missing import missing_words, not_run
from inpaint_ssl.report.evidence.read import Evidence, EvidenceStudy
from inpaint_ssl.report.evidence.rules import MARGIN
from inpaint_ssl.report.evidence.words import arm_words
from inpaint_ssl.report.kinds.arm_results import Arm
from inpaint_ssl.report.kinds.arm_tables import BETTER, DISAGREE, UNDECIDED, WORSE, verdict_of
from inpaint_ssl.report.kinds.lost_runs import lost_words
from inpaint_ssl.report.kinds.strategy_text import plural
from inpaint_ssl.report.text import enumeration, interval, percent, ratio, signed

_HEADINGS = ("Labels", "Arm", "What it is", "Dice", "Compared with", "Difference", "Interval", "Verdict", "Higher in",
             "Runs", "Late best", "L2 norm")  # fmt: skip
_VERDICTS = {v: v for v in (BETTER, WORSE, UNDECIDED)} | {DISAGREE: "with runs that disagree"}
_NUMERIC = (0, 3, 5, 6, 8, 9, 10, 11)


def tuning(evidence: Evidence, figures: str) -> str:
    """What makes pretraining pay, by study; figures: the folder of figures as seen from RESULTS.md."""
    parts = [_study(study, figures, with_factors=True) for study in evidence.of("tuning")]
    return "\n\n".join(part for part in (*parts, not_run(evidence, "tuning")) if part)


def recipe(evidence: Evidence) -> str:
    """What raises Dice, with and without pretraining, on validation scans."""
    parts = [_study(study, "", with_factors=True) for study in evidence.of("recipe")]
    return "\n\n".join(part for part in (*parts, not_run(evidence, "recipe")) if part)


def _study(study: EvidenceStudy, figures: str, *, with_factors: bool) -> str:
    results, parts = study.results, [f"### {study.title}: validation scans, for choosing settings, not evidence"]
    if results.split != "validation":
        parts = [f"### {study.title}: {results.split} scans"]
    parts += [missing_words(study), lost_words(results)]
    if not results.evaluated:
        return "\n\n".join(part for part in (*parts, "No arm has been measured yet.") if part)
    rows = [_row(study, arm, fraction) for fraction in study.fractions for arm in results.arms]
    parts += [_summary(study), table(_HEADINGS, rows, _NUMERIC), _note(study)]
    drawing = figure_of(study) if figures else None
    if drawing is not None:
        parts.append(picture(f"{figures}/{drawing.name}.png", drawing.alt, drawing.caption))
    if with_factors and (sentences := factor_sentences(study)):
        parts.append(
            "Each factor, between arms that differ in it alone: Dice of each level, its difference to the first one "
            f"named with interval, and what that means (undecided: the interval holds 0 and goes beyond ±{MARGIN:g})."
        )
        parts.append(bullets(sentences))
    return "\n\n".join(part for part in parts if part)


def _summary(study: EvidenceStudy) -> str:
    """How many arms are better, worse and undecided at each label fraction, and the highest one."""
    results, lines = study.results, []
    for fraction in study.fractions:
        for kind, these in ((True, "pretrained arms"), (False, "other arms from scratch")):
            arms = [arm for arm in results.arms if arm.pretrained is kind and arm.control]
            verdicts = [v for arm in arms if (v := verdict_of(results, arm.name, fraction))]
            if not verdicts:
                continue
            counts = enumeration([f"{verdicts.count(v)} {words}" for v, words in _VERDICTS.items() if v in verdicts])
            measured = [arm for arm in arms if verdict_of(results, arm.name, fraction)]
            highest = max(measured, key=lambda arm: study.dice(arm.name, fraction))
            lines.append(
                f"{percent(fraction)} of the labels, {these}: {counts} (see the column Verdict); highest Dice "
                f"{ratio(study.dice(highest.name, fraction))} ({highest.label})"
            )
    return bullets(f"{line}." for line in lines)


def _runs(study: EvidenceStudy, arm: Arm, fraction: float) -> list[str]:
    """Complete of planned runs, and of those that have a best step how many are late."""
    cells = [
        c
        for c in study.info["cells"]
        if (c["phase"], c["arm"], c["label_fraction"]) == ("finetune", arm.name, fraction)
    ]
    done = sum(cell["status"] == "complete" for cell in cells)
    late = study.results.late.get((arm.name, fraction))
    failed = sum(cell["status"] == "failed" for cell in cells)
    words = f"{done} of {len(cells)}" + (f", {failed} failed" if failed else "")
    return [words, "–" if late is None else f"{late.late} of {late.total}"]


def _row(study: EvidenceStudy, arm: Arm, fraction: float) -> list[str]:
    results, gain, norm = study.results, study.results.gains.of(arm.name, fraction), study.norm(arm.name)
    control = results.label(arm.control) if arm.control else "–"
    compared = ["–"] * 4
    if gain is not None:
        paired = gain.paired
        verdict = verdict_of(results, arm.name, fraction)
        higher = f"{gain.n_higher} of {gain.n_runs}"
        compared = [signed(paired.mean_difference), interval(paired.lower, paired.upper), verdict, higher]
    return [
        percent(fraction), arm.label, arm_words(study, arm), ratio(study.dice(arm.name, fraction)), control, *compared,
        *_runs(study, arm, fraction), "–" if norm is None or not arm.pretrained else f"{norm.mean:.1f}",
    ]  # fmt: skip


def _note(study: EvidenceStudy) -> str:
    results = study.results
    norms = [norm for arm in study.pretrained if (norm := study.norm(arm.name)) is not None]
    restored = f" L2 norm: of restored slices, mean over {norms[0].slices:,} {norms[0].split} slices." if norms else ""
    return (
        f"Class-averaged Dice, means over {study.n_subjects} {results.split} subjects ({study.n_scans} scans). "
        "Difference: to the arm compared with, on the scans and runs that both have; interval: "
        f"{percent(1 - results.alpha)}, over subjects, not over training runs. Better: p < {results.alpha:g} of the "
        f"one-sided signed-rank test, adjusted for {plural(results.gains.n_planned, 'test')} (Holm), and the mean "
        "higher; worse: the interval wholly below 0. Higher in: how many of the runs of both; where over a tenth of "
        "them goes against the mean, runs disagree. Late best: runs whose best validation "
        "lies in the last tenth of the steps."
        f"{restored}"
    )
