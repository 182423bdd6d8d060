r"""Design choices for transfer learning (paper, sections 2.5.1 and 6.2): figure 7.

python -m experiments.main --config=configs/transfer_grid.py --config.scale=tiny
python -m experiments.main --config=configs/transfer_grid.py:hippocampus --config.scale=reduced \
    --config.data.root=<folder>

Encoder alone or with the decoder, fine-tuned at once or frozen first, four initial learning rates, and each of these
16 models trained a second time at each rate: 80 models. Context prediction, 16 x 16 patches, Poisson-disc sampling,
5 % of the labels. The word after the colon names the config of the data set (quickstart, the generated knees, without).
"""

from ml_collections import ConfigDict

from configs import scales
from inpaint_ssl.config import pixels_of


def get_config(spec: str = "") -> ConfigDict:
    c = scales.at_scale(spec, "transfer_grid")
    c.split.label_fractions = (0.34,) if c.scale == "tiny" else (0.05,)
    c.split.label_counts = c.split.label_counts[:1]
    c.corruption.task = "context_prediction"
    c.corruption.sampling = "poisson_disc"
    c.corruption.patch_size = pixels_of(16, c.data.image_size)
    return c
