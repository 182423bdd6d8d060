"""Loss curves of a study of many arms: one panel for pretraining and one for each label fraction."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from inpaint_ssl.report.drawing import INK, MUTED, Drawing, file_name
from inpaint_ssl.report.figures import tidy_log_scale
from inpaint_ssl.report.load import History, StudyFiles
from inpaint_ssl.report.text import percent

NAMED = 6  # with more arms than this in a panel only the best and the worst are named
# Okabe and Ito's colours that can be told apart on light and on dark paper
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_MANY = (
    "Validation loss of every run. With many arms in a panel, in colour: the one with the lowest and the one with the "
    "highest best validation loss; grey: all others."
)
_FEW = "Thin: training; thick: validation; ringed point: the weights that were kept."


def arm_losses(files: StudyFiles) -> list[Drawing]:
    """Loss against step of every run with rows in metrics.csv; runs of one arm have one colour."""
    drawings = []
    pretraining = [h for h in files.histories if h.cell["phase"] == "pretrain"]
    if pretraining:
        drawings.append(_panel("loss_pretraining", "Pretraining", "loss (mean L2 norm)", pretraining))
    finetuning = [h for h in files.histories if h.cell["phase"] == "finetune"]
    for fraction in sorted({float(h.cell["label_fraction"] or 0) for h in finetuning}):
        group = [h for h in finetuning if float(h.cell["label_fraction"] or 0) == fraction]
        title = f"Fine-tuning, {percent(fraction)} of the labels"
        drawings.append(_panel(f"loss_finetuning_{file_name(f'{100 * fraction:g}')}", title, "Dice loss", group))
    return drawings


def losses_note(files: StudyFiles) -> str:
    """How the panels are to be read."""
    phases = ((h.cell["phase"], h.cell["label_fraction"]) for h in files.histories)
    groups = [[h for h in files.histories if (h.cell["phase"], h.cell["label_fraction"]) == p] for p in set(phases)]
    return _MANY if any(len(_arms(group)) > NAMED for group in groups) else _FEW


def _arm(history: History) -> str:
    """What a line is named after; pretraining without an arm is one arm of many seeds."""
    return str(history.cell["arm"] or "pretraining")


def _arms(histories: Sequence[History]) -> list[str]:
    return list(dict.fromkeys(map(_arm, histories)))


def _best(history: History) -> float:
    return min(history.validation[1], default=float("inf"))


def _panel(name: str, title: str, label: str, histories: Sequence[History]) -> Drawing:
    arms = _arms(histories)
    coloured = dict(zip(arms, COLOURS, strict=False))
    many = len(arms) > NAMED
    if many:
        known = [h for h in histories if h.validation[1]] or list(histories)
        extremes = (_arm(max(known, key=_best)), _arm(min(known, key=_best)))
        coloured = {arm: COLOURS[1 - k] for k, arm in enumerate(extremes)}
    figure = Figure(figsize=(4.4, 3.1 + 0.19 * len(coloured)), layout="constrained")
    axes = figure.add_subplot()
    for history in histories:
        colour = coloured.get(_arm(history), MUTED)
        front = 4 if _arm(history) in coloured else 2
        if not many:
            axes.plot(*history.train, color=colour, lw=0.9, alpha=0.55, zorder=front)
        axes.plot(*history.validation, color=colour, lw=1.9 if front == 4 else 0.8, zorder=front)
        best = (history.cell["best_step"], history.cell["best_validation_loss"])
        if None not in best and front == 4:
            axes.plot(*best, "o", color=colour, ms=5.5, mec=INK, mew=0.8, zorder=5)
    tidy_log_scale(axes, histories)
    axes.set_title(title, loc="left")
    axes.set_xlabel("step")
    axes.set_ylabel(label)
    words = ("highest: ", "lowest: ") if many else ("",) * len(coloured)
    handles = [Line2D([], [], color=colour, lw=3) for colour in coloured.values()]
    names = [word + arm for word, arm in zip(words, coloured, strict=False)]
    if many:
        handles.append(Line2D([], [], color=MUTED, lw=0.8))
        names.append(f"{len(arms) - len(coloured)} others")
    figure.legend(handles, names, loc="outside lower left", fontsize=8)
    last = [f"{h.cell['name']} {_best(h):.4g}" for h in histories if h.validation[1]]
    return Drawing(name, figure, f"{title}: loss against step. Smallest validation loss: {'; '.join(last)}", "")
