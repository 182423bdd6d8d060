"""Image corruption for inpainting pretext tasks (paper, sections 2.4 and 2.5.2): sample patches, zero or swap them."""

from inpaint_ssl.corruption.apply import context_prediction, context_restoration, sample_patches
from inpaint_ssl.corruption.spec import Patches, PatchSpec

__all__ = ["PatchSpec", "Patches", "context_prediction", "context_restoration", "sample_patches"]
