"""The U-Net of the paper."""

from inpaint_ssl.models.unet import UNet

__all__ = ["UNet"]
