r"""The impact of the extent of unlabelled data (paper, sections 2.6 and 3.4): figure 5.

python -m experiments.main --config=configs/unlabelled_extent.py --config.scale=tiny
python -m experiments.main --config=configs/unlabelled_extent.py:headneck_ct --config.data.root=<folder> \
    --config.split.pretraining_extents=1.0,1.25 --config.study.from=runs/optimal_strategy

Pretraining on 100, 150 and 200 % of the training subjects, of which those above 100 % are unlabelled; any list of
extents can be asked for. From scratch is 0 %.
"""

from ml_collections import ConfigDict

from configs import scales


def get_config(spec: str = "") -> ConfigDict:
    c = scales.at_scale(spec, "unlabelled_extent")
    c.split.pretraining_extents = (1.0, 1.5, 2.0)
    c.data.phantom.unlabelled_subjects = max(c.data.phantom.unlabelled_subjects, c.data.phantom.subjects)
    return c
