"""How the comparison was made fair, with which settings and on which data, read from the collected files."""

from collections.abc import Callable, Mapping
from typing import Any

from inpaint_ssl.report.evidence.markdown import bullets, table
from inpaint_ssl.report.evidence.read import Evidence, EvidenceStudy
from inpaint_ssl.report.kinds.strategy_text import plural, square, task_name
from inpaint_ssl.report.text import enumeration, percent, plain
from inpaint_ssl.statistics import FROM_SCRATCH

_Settings = Mapping[str, Any]


def _length(settings: _Settings, phase: str) -> str:
    limits = [(settings[f"{phase}.max_steps"], "steps"), (settings[f"{phase}.max_epochs"], "epochs")]
    return " or ".join(f"{limit:,} {unit}" for limit, unit in limits if limit) or "no limit"


def _training(settings: _Settings, phase: str) -> str:
    schedule = str(settings[f"{phase}.schedule"]).replace("_", " ")
    return (
        f"at most {_length(settings, phase)}, {schedule} from {settings[f'{phase}.learning_rate']:g}, batches of "
        f"{settings[f'{phase}.batch_size']}"
    )


def _validated(settings: _Settings) -> str:
    steps = settings["finetune.validate_every_steps"]
    return f"every {steps:,} steps" if steps else "every epoch"


def _seeds(settings: _Settings) -> str:
    one = settings["study.one_seed_from"]
    words = plural(len(settings["seeds"]), "seed")
    words += f"; one from {percent(one)} of the labels on" if one else ""
    return words + ("; each seed with labels of its own" if settings["split.draw_by_seed"] else "")


_ROWS: tuple[tuple[str, Callable[[_Settings], str]], ...] = (
    ("Fine-tuning", lambda s: _training(s, "finetune")),
    ("Pretraining", lambda s: _training(s, "pretrain")),
    ("Validated", _validated),
    ("Augmentation", lambda s: plain(s["finetune.augmentation"])),
    ("Label fractions", lambda s: enumeration([percent(x) for x in s["split.label_fractions"]])),
    ("Seeds", _seeds),
    ("Pretrainings", lambda s: "one for all seeds" if s["study.one_pretraining"] else "one for each seed"),
    ("Pretext task", lambda s: f"{task_name(s['corruption.task'])}, {square(s['corruption.patch_size'])} patches"),
    ("Transferred", lambda s: enumeration([str(x).replace("_", " ") for x in s["transfer.parts"]])),
    ("Filters", lambda s: plain(s["model.filters"])),
    ("Images", lambda s: f"{' × '.join(map(str, s['data.image_size']))} pixels, {s['data.slice_axis']}"),
    ("Tests", lambda s: f"level {s['statistics.alpha']:g}, {s['statistics.bootstrap_resamples']:,} resamples"),
)


def protocol(evidence: Evidence) -> str:
    """The rules of the comparison, its settings and its data; says so where nothing was run."""
    if not evidence.studies:
        return "Not run: no study was collected."
    headings = ["Setting", *(study.label for study in evidence.studies)]
    rows = [(name, *(_shown(words, study) for study in evidence.studies)) for name, words in _ROWS]
    return "\n\n".join(
        (
            bullets(_rules(evidence)),
            f"**Settings**\n\n{table(headings, rows)}\n\nSettings of single arms are named with the arms.",
            f"**Data**\n\n{_data(evidence)}",
        )
    )


def _shown(words: Callable[[_Settings], str], study: EvidenceStudy) -> str:
    try:
        return words(study.settings)
    except KeyError:  # of a study older than the setting
        return "–"


def _rules(evidence: Evidence) -> list[str]:
    lines = [line for study in evidence.studies for line in (_steps(study), _augmentation(study)) if line]
    return [
        "The weights of a run are those with the lowest validation loss. A run whose best validation lies in the last "
        "tenth of its steps is flagged as late: longer training might help it.",
        _equal(evidence),
        *lines,
        _effort(evidence),
        *_measured(evidence),
        *_splits(evidence),
    ]


def _allowed(study: EvidenceStudy) -> dict[str, set[tuple[int, int]]]:
    """By arm the (steps, epochs) that its fine-tunings were allowed, as far as they are recorded."""
    found: dict[str, set[tuple[int, int]]] = {}
    for cell in study.info["cells"]:
        if cell["phase"] == "finetune" and cell["length"]:
            length = cell["length"]
            found.setdefault(cell["arm"], set()).add((length.get("max_steps", 0), length.get("max_epochs", 0)))
    return found


def _differs(study: EvidenceStudy) -> dict[str, str]:
    """Arms whose runs were allowed another length than those from scratch, with that length."""
    allowed = _allowed(study)
    own = allowed.get(FROM_SCRATCH)
    return {
        study.results.label(arm): enumeration([f"{steps or epochs:,}" for steps, epochs in sorted(lengths)])
        for arm, lengths in allowed.items()
        if own is not None and lengths != own
    }


def _equal(evidence: Evidence) -> str:
    uneven = [study for study in evidence.studies if _differs(study) or _augmented(study)]
    if not uneven:
        return "All arms of a study were allowed equally many steps, and training scans were augmented alike in all."
    names = enumeration([study.label for study in uneven])
    return (
        "All arms of a study were allowed equally many steps, and training scans were augmented alike in all, with the "
        f"exceptions of {names} that follow."
    )


def _steps(study: EvidenceStudy) -> str:
    differs = _differs(study)
    arms = "; ".join(f"{arm} {length}" for arm, length in differs.items())
    return f"{study.label}: other numbers of steps than from scratch: {arms}." if differs else ""


def _augmented(study: EvidenceStudy) -> list[str]:
    own = study.settings.get("finetune.augmentation")
    name = "finetune.augmentation"
    return [arm.label for arm in study.results.arms if study.effective(arm).get(name, own) != own]


def _augmentation(study: EvidenceStudy) -> str:
    arms = _augmented(study)
    what = "other augmentation than the rest"
    return f"{study.label}: {what}: {enumeration(arms)}." if arms else ""


def _effort(evidence: Evidence) -> str:
    """How many settings of both kinds were tried on validation scans."""
    arms = [arm for part in ("tuning", "recipe") for study in evidence.of(part) for arm in study.results.arms]
    fresh, pretrained = (sum(arm.pretrained is kind for arm in arms) for kind in (False, True))
    if not arms:
        return "Settings were not tuned on validation scans, as no such study was collected."
    words = (
        f"Settings tried on validation scans: {fresh} from scratch and {pretrained} pretrained (arms of the studies "
        '"tuning" and "recipe")'
    )
    if fresh == pretrained:
        return f"{words}."
    kind = "pretraining" if pretrained > fresh else "training from scratch"
    return f"{words}; more of {kind}, so that a choice among them favours it."


def _measured(evidence: Evidence) -> list[str]:
    on_test = [s.label for s in evidence.studies if "test" in s.info["measured_on"]]
    if not on_test:
        return ["Test scans were not touched so far: every study was measured on validation scans."]
    others = " The other studies saw validation scans only." if len(on_test) < len(evidence.studies) else ""
    return [f"On test scans were measured: {enumeration(on_test)}.{others}"]


def _splits(evidence: Evidence) -> list[str]:
    """Do the studies of a data set share their training, validation and test subjects?"""
    found: dict[str, list[Any]] = {}
    for study in evidence.studies:
        divided = [study.splits.get(name) for name in ("train", "validation", "test")]
        found.setdefault(study.data_name, []).append(divided)
    several = [name for name, splits in found.items() if any(other != splits[0] for other in splits)]
    return [f"The studies of {enumeration(several)} divide their subjects differently."] if several else []


def _number(study: EvidenceStudy, split: str) -> str:
    """Subjects of a split, with their scans in brackets where study.json counts them."""
    rows = [r for r in study.info["demographics"] or () if (r.get("split"), r.get("sex")) == (split, "total")]
    subjects = f"{study.info['splits'].get(split, '–')}"
    return f"{subjects} ({rows[0]['scans']})" if rows else subjects


def _counts(counts: Mapping[float, int]) -> str:
    return "; ".join(f"{percent(fraction)}: {n}" for fraction, n in sorted(counts.items()))


def _data(evidence: Evidence) -> str:
    headings = (
        "Data set", "Classes", "Training: subjects (scans)", "Validation", "Test", "Unlabelled", "Scans pretrained on",
        "Labelled subjects", "Splits (SHA-256)", "Data (SHA-256)",
    )  # fmt: skip
    rows: dict[tuple[str, ...], tuple[list[str], dict[float, int]]] = {}
    for study in evidence.studies:
        splits = study.info["splits"]
        shown = [_number(study, key) for key in ("train", "validation", "test", "unlabelled")]
        hashes = study.environment.get("sha256", {})
        row = (
            f"{study.data_name} ({str(study.info['modality']).upper()})", ", ".join(map(str, study.info["classes"])),
            *shown, f"{splits.get('pretraining_scans', '–')}",
            f"`{splits.get('sha256', '–')}`", f"`{hashes.get('SHA-256 of the data', '–')}`",
        )  # fmt: skip
        studies, counts = rows.setdefault(row, ([], {}))
        studies.append(" ".join(word for word in (study.name.part, study.name.variant) if word))
        counts.update(study.info["label_counts"])
    lines = [
        (f"{row[0]}: {enumeration(studies)}", *row[1:-2], _counts(counts), *row[-2:])
        for row, (studies, counts) in rows.items()
    ]
    return table(headings, lines, range(2, 7))
