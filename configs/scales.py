"""What the files of the paper's studies share: a data set's config at the size that --config.scale asks for.

configs/<study>.py[:<config>[,<scale>]]: <config> is the file of this folder that says which data, network and training
(quickstart, the generated knees, without); <scale> is tiny (to see that it works: minutes, numbers mean nothing),
reduced (hours on two cores) or full (the paper's grid).
"""

import importlib
import importlib.util

from ml_collections import ConfigDict

from configs import base
from inpaint_ssl.errors import InputError

SCALES = ("tiny", "reduced", "full")
STUDIES = ("transfer_grid", "pretraining_grid", "optimal_strategy", "unlabelled_extent", "clinical")
OTHERS = ("base", "scales", *STUDIES)  # files of this folder that describe no data set


def at_scale(spec: str, kind: str) -> ConfigDict:
    """The config of a study of `kind` for the words of `spec`; InputError for a word that is none of them."""
    data, scale = "quickstart", "full"
    for word in filter(None, (spec or "").split(",")):
        if word in SCALES:
            scale = word
        elif word.isidentifier() and word not in OTHERS and importlib.util.find_spec(f"configs.{word}"):
            data = word
        else:
            raise InputError(
                f"--config=configs/{kind}.py:{spec}: {word!r} is neither a scale ({', '.join(SCALES)}) nor a file of "
                "configs/ that describes a data set, such as hippocampus"
            )
    c = importlib.import_module(f"configs.{data}").get_config()
    c.study.kind, c.study.name, c.scale = kind, f"{data}_{kind}", scale
    if kind not in ("clinical", "unlabelled_extent"):
        c.split.pretraining_extent = 1.0  # "pretrained on all of the training data" (section 6.1.2), and nothing else
    if scale == "reduced":
        _reduce(c)
    if scale == "tiny":
        _shrink(c)
    return c


def _reduce(c: ConfigDict) -> None:
    """Enough to see the effects of small data sets; the paper's grid in part (see the files of the studies)."""
    c.grid.learning_rates = (1e-2, 1e-3)
    c.grid.patch_sizes = (64, 32)
    counts = dict(zip(c.split.label_fractions, c.split.label_counts, strict=False))
    c.split.label_fractions = (0.05, 0.25)
    c.split.label_counts = tuple(counts[fraction] for fraction in c.split.label_fractions) if counts else ()
    grid = c.study.kind in ("pretraining_grid", "optimal_strategy")  # of many pretrainings
    for phase, steps in ((c.pretrain, 600 if grid else 1000), (c.finetune, 500 if grid else 600)):
        if not phase.max_steps or phase.max_steps > steps:
            base.count_in_steps(phase, max_steps=steps, validate_every=steps // 4)


def _shrink(c: ConfigDict) -> None:
    """So small that a whole study ends in a minute or two."""
    c.data.phantom.subjects = 12
    c.data.phantom.unlabelled_subjects = 6
    c.data.phantom.size = (32, 32)
    c.data.phantom.slices = 8
    c.data.image_size = (32, 32)
    c.split.fractions = (0.5, 0.2, 0.3)
    c.split.label_fractions = (0.34, 1.0)
    c.split.label_counts = ()
    c.model.filters = (16, 32)
    c.corruption.patch_size = 4
    c.grid.learning_rates = (1e-2, 1e-3)
    c.grid.patch_sizes = (64, 32)
    for phase in (c.pretrain, c.finetune):
        base.count_in_steps(phase, max_steps=12, validate_every=6)
        phase.batch_size = 8
        phase.learning_rate = 1e-2
    c.evaluate.inpainting_examples = 2
    c.evaluate.corruption_gallery = False  # compiling all corruptions takes longer than the rest
    c.clinical.surface_distances = False
    c.statistics.bootstrap_resamples = 1000
