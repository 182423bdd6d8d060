"""The whole study on generated knees, in a few minutes on two cores.

python -m experiments.main --config=configs/quickstart.py --workdir=runs/quickstart

40 generated subjects (24 training, 6 validation, 10 test), 64 x 64 slices, a small U-Net, schedules counted in steps.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    c = base.get_config()
    c.study.name = "quickstart"
    c.seeds = (0,)

    c.data.format = "phantom"
    c.data.image_size = (64, 64)
    c.data.phantom.subjects = 40
    c.data.phantom.size = (64, 64)
    c.data.phantom.slices = 20
    c.split.fractions = (0.6, 0.15, 0.25)
    c.split.label_fractions = (0.05, 1.0)

    c.corruption.patch_size = 8
    c.model.filters = (16, 32, 64, 128)

    base.count_in_steps(c.pretrain, max_steps=400, validate_every=200)
    base.count_in_steps(c.finetune, max_steps=600, validate_every=150)
    for phase in (c.pretrain, c.finetune):
        phase.batch_size = 8
        phase.learning_rate = 1e-2  # few steps: the paper's 1e-3 would leave the thin cartilages unlearnt
    return c
