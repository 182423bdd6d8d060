"""Every corruption of one slice: both tasks, both samplings, patches of 64, 32, 16 and 8 pixels (as in figure 1).

python -m experiments.main --config=configs/gallery.py

Draws runs/gallery/figures/corruption_gallery.png and trains nothing. Shows a generated knee. For the middle slice of
the first scan of a data set in the Decathlon or nnU-Net layout add --config.data.format=auto,
--config.data.root=<folder> and the size of its slices, --config.data.image_size="(64, 64)", since smaller ones would
be padded; patches become smaller alike. CT also needs --config.data.modality=ct. A data set with a config of its own
is better shown by that:

python -m experiments.main --config=configs/headneck_ct.py --config.stage=gallery --config.data.root=<folder>
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    c = base.get_config()
    c.study.name = "gallery"
    c.stage = "gallery"
    c.seeds = (0,)

    c.data.format = "phantom"
    c.data.phantom.size = (512, 512)
    c.data.phantom.slices = 8  # only the middle one is shown

    c.model.filters = (16, 32)  # nothing is trained: two levels, so that any even image size will do
    return c
