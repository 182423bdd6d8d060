r"""Design choices for pretraining (paper, section 2.5.2): table 2, figures 3, 4, 8 and 9.

python -m experiments.main --config=configs/pretraining_grid.py --config.scale=tiny
python -m experiments.main --config=configs/pretraining_grid.py:hippocampus --config.scale=reduced \
    --config.data.root=<folder>

Both tasks, four patch sizes (scaled to the images), both samplings, every label fraction, beside training from scratch.
--config.study.from=<folder of a transfer_grid> takes over how weights are transferred.
"""

from ml_collections import ConfigDict

from configs import scales


def get_config(spec: str = "") -> ConfigDict:
    c = scales.at_scale(spec, "pretraining_grid")
    return c
