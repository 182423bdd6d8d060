"""Head-and-neck planning CT (OpenKBP, nnU-Net v2 raw layout), axial slices, four small structures, three HU windows.

python -m experiments.main --config=configs/headneck_ct.py --config.data.root=<folder> --workdir=runs/headneck_ct

The unlabelled scans of imagesUl join the pretraining. Slices are cropped to 80 x 64 pixels about their centre, which
holds every labelled voxel of this data set. Departs from the paper as configs/hippocampus.py does.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    c = base.get_config()
    c.study.name = "headneck_ct"
    c.seeds = (0,)

    c.data.format = "nnunet"
    c.data.modality = "ct"
    c.data.slice_axis = "axial"
    c.data.image_size = (80, 64)
    c.data.channels = "all"
    c.split.fractions = (0.6, 0.15, 0.25)
    c.split.label_fractions = (0.05, 1.0)

    c.corruption.patch_size = 8
    c.model.filters = (16, 32, 64, 128)

    for phase in (c.pretrain, c.finetune):
        base.count_in_steps(phase, max_steps=2500, validate_every=250)
    return c
