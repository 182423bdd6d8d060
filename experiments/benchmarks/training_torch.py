"""The rival of the training benchmark: the same U-Net, Dice loss and Adam in PyTorch. Imports torch and no jax.

Written as one writes it in PyTorch, transposed convolutions with padding 1 and output padding 1 among them. These
continue the image at its other end than ours: with kernels turned by 180 degrees (`load`) the network gives for the
turned image the turned output of ours.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

EPSILON = 1e-5  # of weight standardisation and GroupNorm


class StandardisedConv(nn.Conv2d):
    """3x3 convolution whose kernel has zero mean and unit deviation in every output channel."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        centred = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        std = centred.square().mean((1, 2, 3), keepdim=True).sqrt()
        return functional.conv2d(images, centred / (std + EPSILON), self.bias, padding=self.padding)


class UNet(nn.Module):
    """inpaint_ssl.models.UNet for segmentation: (N, C, H, W) images to logits (N, classes, H, W)."""

    def __init__(self, filters: Sequence[int], channels: int, classes: int, groups: int):
        super().__init__()
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        for width in filters:
            level = {
                "conv_0": nn.Conv2d(channels, width, 3, padding=1),
                "conv_1": StandardisedConv(width, width, 3, padding=1),
                "norm": nn.GroupNorm(groups, width, EPSILON),
            }
            self.encoder.append(nn.ModuleDict(level))
            channels = width
        for width in reversed(filters[:-1]):
            level = {
                "upsample": nn.ConvTranspose2d(channels, width, 3, stride=2, padding=1, output_padding=1),
                "conv": StandardisedConv(2 * width, width, 3, padding=1),
                "norm": nn.GroupNorm(groups, width, EPSILON),
            }
            self.decoder.append(nn.ModuleDict(level))
            channels = width
        self.post_processing = nn.Conv2d(channels, classes, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: list[torch.Tensor] = []
        for level in self.encoder:
            if features:
                images = functional.max_pool2d(images, 2)
            images = functional.relu(level["conv_0"](images))
            images = level["norm"](functional.relu(level["conv_1"](images)))
            features.append(images)
        for level, skip in zip(self.decoder, reversed(features[:-1]), strict=True):
            images = torch.cat([level["upsample"](images), skip], 1)
            images = level["norm"](functional.relu(level["conv"](images)))
        return self.post_processing(images)


def _module(model: UNet, path: str) -> nn.Module:
    """The module of a path in our parameters, such as decoder/level_0/conv; our decoder counts from the top."""
    part, *rest = path.split("/")
    if not rest:
        return model.post_processing
    level = int(rest[0].removeprefix("level_"))
    levels = model.encoder if part == "encoder" else model.decoder
    return levels[level if part == "encoder" else len(levels) - 1 - level][rest[1]]


def load(model: UNet, params: Mapping[str, np.ndarray]) -> None:
    """Copy our parameters into `model`: arrays by path, such as encoder/level_0/conv_0/kernel."""
    with torch.no_grad():
        for path, value in params.items():
            owner, _, name = path.rpartition("/")
            module = _module(model, owner)
            array = np.asarray(value)
            if name == "kernel":  # height, width, in, out
                upsampling = isinstance(module, nn.ConvTranspose2d)
                array = array.transpose(2, 3, 0, 1) if upsampling else array[::-1, ::-1].transpose(3, 2, 0, 1)
            tensor = module.bias if name == "bias" else module.weight
            tensor.copy_(torch.from_numpy(array.copy()))


def dice_loss(logits: torch.Tensor, target: torch.Tensor, epsilon: float = 1e-7) -> torch.Tensor:
    """Equation 2 of the paper; both (N, K, H, W)."""
    probability = torch.sigmoid(logits.float())
    intersection, total = (probability * target).sum((0, 2, 3)), (probability + target).sum((0, 2, 3))
    return (1 - (2 * intersection + epsilon) / (total + epsilon)).mean()


def trainer(
    model: UNet, images: np.ndarray, labels: np.ndarray, adam: Mapping[str, float], dtype: str, compiled: bool
) -> Callable[[int], float]:
    """steps -> loss of the last one: trains `model` on one batch, (N, H, W, C) images and (N, H, W) labels 0 to K.

    On the GPU if there is one; channels_last; another dtype than float32 by autocast; class k is the label k + 1.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True  # as XLA, it tries its kernels out
    model = model.to(device, memory_format=torch.channels_last)
    classes = model.post_processing.out_channels
    x = torch.from_numpy(images).permute(0, 3, 1, 2).to(device).contiguous(memory_format=torch.channels_last)
    y = torch.from_numpy(labels).to(device)
    rates = {"lr": adam["learning_rate"], "betas": (adam["b1"], adam["b2"]), "eps": adam["eps"]}
    optimizer = torch.optim.Adam(model.parameters(), fused=True, **rates)
    low = dtype != "float32"

    def loss_of(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device, dtype=getattr(torch, dtype) if low else torch.bfloat16, enabled=low):
            logits = model(x)
        target = y[:, None] == torch.arange(1, classes + 1, device=device, dtype=y.dtype)[:, None, None]
        return dice_loss(logits, target.float())

    loss_function: Any = torch.compile(loss_of) if compiled else loss_of

    def train(steps: int) -> float:
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            loss = loss_function(x, y)
            loss.backward()
            optimizer.step()
        return float(loss.detach())  # waits for the device

    return train
