"""The paper's optimal strategy on abdominal CT (section 2.1.2): 709 / 133 / 44 slices, subsets 709/354/177/71/35.

python -m experiments.main --config=configs/paper_ct.py --config.data.root=<folder> --config.split.file=<splits.json>
    --workdir=runs/paper_ct

Needs axial slices at L3 in HU in the Decathlon or nnU-Net layout, a file with the lists train, validation and test,
and a GPU.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    c = base.get_config()
    c.study.name = "paper_ct"
    c.data.modality = "ct"
    c.data.slice_axis = "axial"
    c.split.label_fractions = (0.05, 0.1, 0.25, 0.5, 1.0)
    c.split.label_counts = (35, 71, 177, 354, 709)  # the paper's counts follow no single rounding
    return c
