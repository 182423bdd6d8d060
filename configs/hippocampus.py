"""Hippocampus MRI (Medical Segmentation Decathlon, Task04), sagittal slices, two classes.

python -m experiments.main --config=configs/hippocampus.py --config.data.root=<folder> --workdir=runs/hippocampus

Departs from the paper where the data set is small: images of 64 x 64 pixels, patches of 8 pixels, filters 16..128, and
cosine schedules counted in steps with the best validation weights, because 6 labelled volumes make an epoch of about 23
steps and the paper's schedule in epochs would end before the network has learnt.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    c = base.get_config()
    c.study.name = "hippocampus"
    c.seeds = (0,)

    c.data.format = "msd"
    c.data.image_size = (64, 64)
    c.data.channels = "all"
    c.data.scans_per_subject = 2  # volumes 2n-1 and 2n are the two sides of one head
    c.split.fractions = (0.57, 0.15, 0.28)  # of 144 heads 40 are test ones
    c.split.label_fractions = (0.05, 1.0)

    c.corruption.patch_size = 8
    c.model.filters = (16, 32, 64, 128)

    for phase in (c.pretrain, c.finetune):
        base.count_in_steps(phase, max_steps=2500, validate_every=250)
    c.pretrain.batch_size = 16
    return c
