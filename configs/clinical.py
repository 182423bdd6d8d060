r"""Clinical metrics of the optimally trained models beside training from scratch (paper, section 2.7): figure 6.

python -m experiments.main --config=configs/clinical.py --config.scale=tiny
python -m experiments.main --config=configs/clinical.py:hippocampus --config.study.from=runs/unlabelled_extent \
    --config.data.root=<folder>

A comparison of the two arms with what earlier studies selected; the report shows volume, area, HU and T2 too.
"""

from ml_collections import ConfigDict

from configs import scales


def get_config(spec: str = "") -> ConfigDict:
    c = scales.at_scale(spec, "clinical")
    return c
