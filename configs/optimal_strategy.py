"""The optimal pretraining strategy (paper, section 2.5.3): table 3.

python -m experiments.main --config=configs/optimal_strategy.py --config.study.from=runs/mri_grid,runs/ct_grid
python -m experiments.main --config=configs/optimal_strategy.py --config.scale=tiny

With --config.study.from it ranks the strategies of finished pretraining grids, of one data set or several, and trains
nothing; without, it runs the grid of one data set itself, as configs/pretraining_grid.py does.
"""

from ml_collections import ConfigDict

from configs import scales


def get_config(spec: str = "") -> ConfigDict:
    c = scales.at_scale(spec, "optimal_strategy")
    return c
