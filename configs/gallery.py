"""Every corruption of one slice: both tasks, both samplings, patches of 64, 32, 16 and 8 pixels (paper, figure 1).

python -m experiments.main --config=configs/gallery.py

Draws runs/gallery/figures/corruption_gallery.png and trains nothing. Shows a generated knee, or with
--config.data.root=<folder> the middle slice of the first scan of a data set in the Decathlon or nnU-Net layout. Slices
smaller than 512 x 512 pixels would be padded, so give their size: --config.data.image_size="(64, 64)"; patches become
smaller alike. CT also needs --config.data.modality=ct. A data set with a config of its own is better shown by that:

python -m experiments.main --config=configs/headneck_ct.py --config.stage=gallery --config.data.root=<folder>
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    c = base.get_config()
    c.study = "gallery"
    c.stage = "gallery"
    c.seeds = (0,)

    c.data.phantom.size = (512, 512)
    c.data.phantom.slices = 8  # only the middle one is shown

    c.model.filters = (16, 32)  # nothing is trained: two levels, so that any even image size will do
    return c
