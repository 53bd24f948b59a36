"""Networks with weights that exercise every term: batch normalisation of any sign, statistics that are not 0 and 1."""

from __future__ import annotations

import torch
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
