"""Networks with random weights that exercise every term, ours and lungmask's own, and files of its state dict."""

from __future__ import annotations

from pathlib import Path

import torch
from lungmask.resunet import UNet as LungmaskUNet
from torch import nn

from infers.unet import UNet


def random_network(base_channels: int = 16, classes: int = 3, seed: int = 0) -> UNet:
    generator = torch.Generator().manual_seed(seed)

    def drawn(like: torch.Tensor, low: float, high: float) -> torch.Tensor:
        return torch.empty_like(like).uniform_(low, high, generator=generator)

    torch.manual_seed(seed)
    network = UNet(classes=classes, base_channels=base_channels).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.copy_(drawn(module.running_mean, -0.2, 0.2))
            module.running_var.copy_(drawn(module.running_var, 0.3, 2.0))
            module.weight.data.copy_(drawn(module.weight.data, -0.5, 1.5))
            module.bias.data.copy_(drawn(module.bias.data, -0.2, 0.2))
    return network


def lungmask_network(width: int = 3, classes: int = 3, seed: int = 7) -> LungmaskUNet:
    """lungmask's U-net with 2**width base channels (published: 6) and random weights, batch statistics included."""
    torch.manual_seed(seed)
    network = LungmaskUNet(
        n_classes=classes, padding=True, depth=5, up_mode="upsample", batch_norm=True, residual=False, wf=width
    )
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    return network.eval()


def lungmask_file(path: Path, classes: int = 3, seed: int = 7, width: int = 1) -> Path:
    """A .pth as lungmask publishes them."""
    torch.save(lungmask_network(width, classes, seed).state_dict(), path)
    return path
