"""Image corruption for inpainting pretext tasks (paper, sections 2.4 and 2.5.2): sample patches, zero or swap them.

Everything here takes one image and one key, is jittable, and gives the same result for the same key inside and outside
jit, alone, in a batch (vmap) and on any number of devices; for batches this needs jax's default kind of key, threefry.
"""

from inpaint_ssl.corruption.apply import CORRUPTORS, Corruptor, context_prediction, context_restoration, sample_patches
from inpaint_ssl.corruption.mask_bank import MaskBank, corrupt_from_bank, make_mask_bank
from inpaint_ssl.corruption.spec import Patches, PatchSpec

__all__ = [
    "CORRUPTORS",
    "Corruptor",
    "MaskBank",
    "PatchSpec",
    "Patches",
    "context_prediction",
    "context_restoration",
    "corrupt_from_bank",
    "make_mask_bank",
    "sample_patches",
]
