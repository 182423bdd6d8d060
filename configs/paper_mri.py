"""The paper's optimal strategy on knee MRI: 86 / 33 / 36 scans, label subsets of 86, 43, 22, 9 and 5 (section 2.1.1).

python -m experiments.main --config=configs/paper_mri.py --config.data.root=<folder> --config.split.file=<splits.json>
    --workdir=runs/paper_mri

Needs two qDESS echoes per scan in the Decathlon or nnU-Net layout, a file with the lists train, validation and test,
and a GPU: 13,760 slices of 512 x 512 pixels.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    c = base.get_config()
    c.study = "paper_mri"
    c.split.label_fractions = (0.05, 0.1, 0.25, 0.5, 1.0)
    c.split.label_counts = (5, 9, 22, 43, 86)  # the paper's counts follow no single rounding
    return c
