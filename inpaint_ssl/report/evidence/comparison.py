"""Comparisons on test scans: primary, extent of unlabelled data, and the best recipe, as tables of every arm."""

from inpaint_ssl.report.evidence.figures import figure_of
from inpaint_ssl.report.evidence.markdown import bullets, folded, picture, view
from inpaint_ssl.report.evidence.missing import missing_words, not_run
from inpaint_ssl.report.evidence.read import Evidence, EvidenceStudy
from inpaint_ssl.report.evidence.tuning import recipe
from inpaint_ssl.report.evidence.words import arm_words
from inpaint_ssl.report.kinds.arm_tables import class_table, dice_table, hd95_table, labels_table, volume_table
from inpaint_ssl.report.kinds.extent_worth import labels_words
from inpaint_ssl.report.kinds.lost_runs import lost_words
from inpaint_ssl.report.kinds.strategy_text import capital
from inpaint_ssl.report.text import enumeration, ratio
from inpaint_ssl.statistics import AVERAGE

_HIDDEN = ("compared_runs",)
PUBLISHED = {  # by data set: Dice by class, and where it was published
    "hippocampus": (
        (("anterior", 0.8975), ("posterior", 0.8807)),
        "nnU-Net, 3D, 5-fold cross-validation over all 260 volumes",
    )
}


def primary(evidence: Evidence, figures: str) -> str:
    """The primary comparison, by data set; figures: the folder of figures as seen from RESULTS.md."""
    parts = [_study(study, figures) for study in evidence.of("primary")]
    return "\n\n".join(part for part in (*parts, not_run(evidence, "primary")) if part)


def extent(evidence: Evidence, figures: str) -> str:
    """How much unlabelled data, by data set."""
    parts = [_study(study, figures) for study in evidence.of("extent")]
    return "\n\n".join(part for part in (*parts, not_run(evidence, "extent")) if part)


def best(evidence: Evidence, figures: str) -> str:
    """What raises Dice (validation scans), and the best recipe on test scans beside published numbers."""
    parts = [recipe(evidence)]
    for study in evidence.of("best"):
        parts += [_study(study, figures), published(study)]
    return "\n\n".join(part for part in (*parts, not_run(evidence, "best")) if part)


def _study(study: EvidenceStudy, figures: str) -> str:
    results = study.results
    parts = [f"### {study.title}: {results.split} scans", missing_words(study), lost_words(results)]
    if not results.evaluated:
        return "\n\n".join(part for part in (*parts, "No arm has been measured yet.") if part)
    parts.append(bullets(f"**{arm.label}**: {arm_words(study, arm)}" for arm in results.arms))
    drawing = figure_of(study)
    if drawing is not None:
        parts.append(picture(f"{figures}/{drawing.name}.png", drawing.alt, drawing.caption))
    parts.append(view(dice_table(results), _HIDDEN))
    parts.append(view(class_table(results)) if len(results.classes) > 1 else "")
    parts += [view(shown) for shown in (hd95_table(results), volume_table(results)) if shown.rows]
    if results.labels:
        parts.append(_labels(study))
    return "\n\n".join(part for part in parts if part)


def _labels(study: EvidenceStudy) -> str:
    """What pretraining is worth in labelled subjects: in words, the table folded."""
    results, sentences = study.results, []
    for arm, curves in results.labels.items():
        control = results.from_scratch_of(arm)
        sentences.append(
            capital(labels_words(results.label(arm), curves, control.label if control else "from scratch"))
        )
    shown = labels_table(results)
    hidden = folded(shown.title, view(shown)) if shown.rows else ""
    return "\n\n".join(part for part in ("**Labels saved**", bullets(sentences), hidden) if part)


def published(study: EvidenceStudy) -> str:
    """The published 3D figures beside the best of ours at the largest label fraction; "" where there are none."""
    known = PUBLISHED.get(study.name.data)
    if known is None or not study.results.evaluated:
        return ""
    values, source = known
    fraction = study.fractions[-1]
    arms = study.results.statistics.entry(fraction, AVERAGE)
    assert arms is not None  # of a study with results
    arm = max(arms.arms, key=lambda name: arms.arms[name].mean)
    ours = [f"{name} {ratio(study.dice(arm, fraction, name))}" for name in study.results.classes]
    theirs = enumeration([f"{name} {dice:.4f}" for name, dice in values])
    return (
        f"Published ({source}): {theirs}. Ours ({study.results.label(arm)}): {enumeration(ours)}, on {study.n_scans} "
        f"held-out {study.results.split} scans. The two are not measured alike: the published figure is an average "
        "over all volumes, each predicted by a network trained on most of the others; ours is a held-out set of "
        "another size, and its networks see single slices."
    )
