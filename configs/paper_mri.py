"""The paper's optimal strategy on knee MRI: 86 / 33 / 36 scans, label subsets of 86, 43, 22, 9 and 5 (section 2.1.1).

python -m experiments.main --config=configs/paper_mri.py --config.data.root=<folder> --workdir=runs/paper_mri

Needs the release folder of SKM-TEA, of which image_files, annotations and all_metadata.csv are read, and a GPU: 13,760
slices of 512 x 512 pixels train. The split is the official one; the classes are patellar, femoral and tibial cartilage
and meniscus, --config.data.classes can tell medial from lateral ("tibial_medial=3", "tibial_lateral=4").
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    c = base.get_config()
    c.study.name = "paper_mri"
    c.data.format = "skm_tea"
    c.split.method = "official"
    c.split.label_fractions = (0.05, 0.1, 0.25, 0.5, 1.0)
    c.split.label_counts = (5, 9, 22, 43, 86)  # the paper's counts follow no single rounding
    return c
