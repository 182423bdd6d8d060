"""The paper's CT experiment on generated abdomens at L3, in about ten minutes on two cores.

python -m experiments.main --config=configs/abdomen_phantom.py --workdir=runs/abdomen_phantom

60 labelled slices (36 training, 9 validation, 15 test) and 400 unlabelled ones, one a subject, 96 x 96 pixels, in the
three HU windows; a small U-Net, schedules counted in steps. At this size the mean HU of every label lies at least 15 HU
from 0, so that percent errors of HU mean something.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    c = base.get_config()
    c.study.name = "abdomen_phantom"
    c.seeds = (0,)

    c.data.format = "phantom"
    c.data.modality = "ct"
    c.data.slice_axis = "axial"
    c.data.image_size = (96, 96)
    c.data.phantom.anatomy = "abdomen"
    c.data.phantom.subjects = 60
    c.data.phantom.unlabelled_subjects = 400
    c.data.phantom.size = (96, 96)
    c.data.phantom.snr = 12.0  # 12.5 HU of noise in the middle of an average body
    c.split.fractions = (0.6, 0.15, 0.25)
    c.split.label_fractions = (0.1, 1.0)

    c.corruption.patch_size = 8
    c.model.filters = (16, 32, 64, 128)

    base.count_in_steps(c.pretrain, max_steps=400, validate_every=200)
    base.count_in_steps(c.finetune, max_steps=600, validate_every=150)
    for phase in (c.pretrain, c.finetune):
        phase.batch_size = 8
        phase.learning_rate = 1e-2  # few steps, as in configs/quickstart.py
    return c
