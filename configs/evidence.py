r"""The study behind RESULTS.md: does pretraining help on real scans, and what makes it pay?

python -m experiments.main --config=configs/evidence.py:hippocampus,tuning --config.data.root=<folder> \
    --workdir=runs/evidence/hippocampus_tuning --config.workers=2

configs/evidence.py:<data set>,<part>[,wide]: <data set> is the file of this folder that describes it; <part> is
tuning (what makes pretraining pay; on validation scans, at 5 % of the labels, test scans stay untouched),
recipe (what raises Dice in both arms; on validation scans), primary (the comparison on test scans), extent (how
much unlabelled data) or best (the best recipe, once, on test scans). wide: for a GPU, filters 32..512, and more
runs in primary and tuning, which asks for the learning rate then.
"""

import importlib

from ml_collections import ConfigDict

from configs import base
from inpaint_ssl.errors import InputError

DATA_SETS = ("hippocampus", "headneck_ct")
PARTS = ("tuning", "recipe", "primary", "extent", "best")
WIDE = "wide"
RATE = 1e-2  # of fine-tuning, in both arms; the arms of "tuning" try others
PRETRAINING_RATE = 3e-3

# Images are 64 pixels high or wide, so that the paper's 16 pixels of 512 are 2.
_PREDICTION = "corruption.task=context_prediction"
_WARMUP = "finetune.warmup_steps=100"
_TUNING = (
    "scratch_rate_3e-3: start=fresh finetune.learning_rate=0.003",
    "restoration_k8: corruption.task=context_restoration",
    f"prediction_k8: {_PREDICTION}",
    f"paper_k2: {_PREDICTION} corruption.patch_size=2",
    "restoration_k16: corruption.patch_size=16",
    f"prediction_k16: {_PREDICTION} corruption.patch_size=16",
    "restoration_k4: corruption.patch_size=4",
    f"prediction_k4: {_PREDICTION} corruption.patch_size=4",
    "restoration_k8_encoder_rate_0.1: transfer.learning_rate_factor=0.1",
    "restoration_k8_frozen_250: transfer.freeze_steps=250",
    "restoration_k8_both: transfer.parts=('encoder','decoder')",
    f"prediction_k8_both: {_PREDICTION} transfer.parts=('encoder','decoder')",
    f"prediction_k8_encoder_rate_0.3: {_PREDICTION} transfer.learning_rate_factor=0.3",
    f"prediction_k8_scan: {_PREDICTION} corruption.region=scan",
    f"prediction_k8_frozen_250: {_PREDICTION} transfer.freeze_steps=250",
    f"prediction_k8_long: {_PREDICTION} pretrain.max_steps=6000",
    "scratch_rate_2e-2: start=fresh finetune.learning_rate=0.02",
    f"prediction_k8_random: {_PREDICTION} corruption.sampling=random",
    f"scratch_warmup: start=fresh {_WARMUP}",
    f"prediction_k8_warmup: {_PREDICTION} {_WARMUP} against=scratch_warmup",
    f"restoration_k8_both_warmup: transfer.parts=('encoder','decoder') {_WARMUP} against=scratch_warmup",
    f"restoration_k8_warmup: {_WARMUP} against=scratch_warmup",
    f"prediction_k8_scan_warmup: {_PREDICTION} corruption.region=scan {_WARMUP} against=scratch_warmup",
)
_RECIPE = (
    "augmented: start=fresh finetune.augmentation=light",
    "longer: start=fresh finetune.max_steps=2500",
    "cross_entropy: start=fresh finetune.cross_entropy_weight=1.0",
    "flips: start=fresh evaluate.flips=('rows','columns')",
)
# "best" is what helped in hippocampus,recipe, trained for longer as there are more labels to learn from; "ours" is what
# was best in hippocampus,tuning,wide at its best rate, "frozen" what was best in hippocampus,tuning.
_BEST = ("best: start=fresh finetune.augmentation=light finetune.cross_entropy_weight=1.0 finetune.max_steps=2500",)
_OURS = "ours: corruption.patch_size=8 transfer.parts=('encoder','decoder')"
_FROZEN = f"{_PREDICTION} corruption.patch_size=8 transfer.freeze_steps=250"
_PAPER = f"paper: {_PREDICTION} corruption.patch_size=2"
_WIDE_RATE = "0.003"  # of the study; its tuning tries those beside it
_WIDE_RATES = ("0.01", _WIDE_RATE, "0.001")
_WIDE_PRETRAINED = {
    "paper_k2": f"{_PREDICTION} corruption.patch_size=2",
    "prediction_k8_scan": f"{_PREDICTION} corruption.region=scan",
    "restoration_k8_both": "transfer.parts=('encoder','decoder')",
}


def get_config(spec: str = "hippocampus,tuning") -> ConfigDict:
    data, _, rest = spec.partition(",")
    part, *variant = rest.split(",")
    if data not in DATA_SETS or part not in PARTS or variant not in ([], [WIDE]):
        raise InputError(
            f"--config=configs/evidence.py:{spec}: expected <data set>,<part> or <data set>,<part>,{WIDE} of "
            f"{', '.join(DATA_SETS)} and {', '.join(PARTS)}, such as hippocampus,tuning"
        )
    c = importlib.import_module(f"configs.{data}").get_config()
    c.study.kind, c.study.name = "arms", f"{data}_{part}"
    c.study.one_pretraining = True
    c.split.draw_by_seed = True
    c.evaluate.corruption_gallery = False
    c.finetune.learning_rate = RATE
    c.pretrain.batch_size = 9
    c.pretrain.learning_rate = PRETRAINING_RATE
    base.count_in_steps(c.pretrain, max_steps=2000, validate_every=500)
    if part in ("tuning", "recipe"):
        _on_validation_scans(c)
        c.arms = _TUNING if part == "tuning" else _RECIPE
    else:
        base.count_in_steps(c.finetune, max_steps=1500, validate_every=250)
        c.study.measure_on = "test"
    if part == "primary":
        c.seeds, c.study.one_seed_from = (0, 1, 2), 0.25
        c.split.label_fractions = (0.05, 0.1, 0.25, 1.0)
        c.arms = (_PAPER, _OURS)
    if part == "extent":
        c.seeds, c.split.draw_by_seed = (0, 1, 2), False  # so that the labels of a run are what is pretrained on
        c.split.label_fractions = (0.05,)
        c.split.pretraining_extents = (0.05, 1.0)
        # With the Dice loss alone a class of four is at times missed, whatever a run began with (primary).
        c.finetune.learning_rate, c.finetune.warmup_steps, c.finetune.cross_entropy_weight = 3e-3, 100, 1.0
        extents = {"labelled": 0.05, "training": 1.0, "training_and_unlabelled": 0.0}
        c.arms = tuple(f"{name}: {_FROZEN} split.pretraining_extent={e}" for name, e in extents.items())
    if part == "best":
        c.seeds, c.split.label_fractions = (0,), (1.0,)
        c.arms = _BEST
    if variant:
        _widen(c, part)
    return c


def _on_validation_scans(c: ConfigDict) -> None:
    """Short runs at 5 % of the labels that leave the test scans alone."""
    c.seeds = (0, 1)
    c.study.measure_on = "validation"
    c.split.label_fractions = (0.05,)
    c.clinical.surface_distances = False
    base.count_in_steps(c.finetune, max_steps=1000, validate_every=250)


def _widen(c: ConfigDict, part: str) -> None:
    """The paper's network, in float32 on a GPU too as on a CPU, and more runs where results are to be read."""
    c.study.name += f"_{WIDE}"
    c.model.filters, c.model.dtype = (32, 64, 128, 256, 512), "float32"
    c.finetune.learning_rate, c.finetune.warmup_steps = float(_WIDE_RATE), 100
    if part == "tuning":
        c.seeds, c.arms = (0, 1, 2), _wide_tuning()
    if part == "primary":
        c.seeds, c.study.one_seed_from = (0, 1, 2), 0.5
        c.split.label_fractions = (0.05, 0.1, 0.25, 0.5, 1.0)


def _wide_tuning() -> tuple[str, ...]:
    """Every strategy and training from scratch at each learning rate, compared with from scratch at the same one."""
    arms = list[str]()
    for rate in (rate for rate in _WIDE_RATES if rate != _WIDE_RATE):
        arms.append(f"scratch_rate_{rate}: start=fresh finetune.learning_rate={rate}")
    for rate in _WIDE_RATES:
        against = "" if rate == _WIDE_RATE else f" against=scratch_rate_{rate}"
        arms += [f"{n}_rate_{rate}: {s} finetune.learning_rate={rate}{against}" for n, s in _WIDE_PRETRAINED.items()]
    return tuple(arms)
