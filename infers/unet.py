"""The paper's U-net: Ronneberger's, with batch normalisation after each layer.

The modules carry the names that lungmask's published state dicts use, so those load unchanged.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class ConvBlock(nn.Module):
    """Two 3 x 3 convolutions, each followed by ReLU, then batch normalisation."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.BatchNorm2d(out_channels),
            nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.BatchNorm2d(out_channels),
        )

    def forward(self, images: Tensor) -> Tensor:
        """(batch, in_channels, y, x) to (batch, out_channels, y, x)."""
        return self.block(images)

    def layers(self) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
        """Both convolutions, each with the normalisation that follows its ReLU."""
        convolutions = [layer for layer in self.block if isinstance(layer, nn.Conv2d)]
        norms = [layer for layer in self.block if isinstance(layer, nn.BatchNorm2d)]
        return list(zip(convolutions, norms, strict=True))


class UpBlock(nn.Module):
    """Bilinear upsampling, 1 x 1 convolution, concatenation with the level's features, two convolutions."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.up = nn.Sequential(
            nn.Upsample(mode="bilinear", scale_factor=2),
            nn.Conv2d(in_channels, out_channels, kernel_size=1),
        )
        self.conv_block = ConvBlock(in_channels, out_channels)

    def forward(self, images: Tensor, level: Tensor) -> Tensor:
        """(batch, in_channels, y, x) and (batch, out_channels, 2y, 2x) to the latter's shape."""
        return self.conv_block(torch.cat([self.up(images), level], dim=1))

    def pointwise(self) -> nn.Conv2d:
        """The 1 x 1 convolution. It commutes with the upsampling before it."""
        layer = self.up[1]
        assert isinstance(layer, nn.Conv2d)
        return layer


class UNet(nn.Module):
    """U-net for slices (Hofmanninger et al. 2020, sec. II-A).

    Attributes:
        classes: Number of classes, background included.
        base_channels: Channels of the first level; each of the four levels below doubles them. The paper's
            network has 64.
    """

    depth = 5

    def __init__(self, classes: int = 3, base_channels: int = 64) -> None:
        super().__init__()
        self.classes = classes
        self.base_channels = base_channels
        channels = [base_channels * 2**level for level in range(self.depth)]
        self.down_path = nn.ModuleList(
            ConvBlock(before, after) for before, after in zip([1, *channels], channels, strict=False)
        )
        self.up_path = nn.ModuleList(
            UpBlock(below, above) for below, above in zip(channels[:0:-1], channels[-2::-1], strict=True)
        )
        self.last = nn.Conv2d(base_channels, classes, kernel_size=1)
        self.register_load_state_dict_pre_hook(_drop_unused)

    def down_blocks(self) -> list[ConvBlock]:
        """From the top level to the bottom."""
        return [block for block in self.down_path if isinstance(block, ConvBlock)]

    def up_blocks(self) -> list[UpBlock]:
        """From the level above the bottom to the top."""
        return [block for block in self.up_path if isinstance(block, UpBlock)]

    def forward(self, images: Tensor) -> Tensor:
        """Logarithms of the class probabilities.

        Args:
            images: (batch, 1, y, x) float32 in 0..1; y and x are multiples of 16.

        Returns:
            (batch, classes, y, x).
        """
        levels = []
        for number, down in enumerate(self.down_path, start=1):
            images = down(images)
            if number < self.depth:
                levels.append(images)
                images = functional.avg_pool2d(images, 2)
        for up in self.up_path:
            images = up(images, levels.pop())
        return functional.log_softmax(self.last(images), dim=1)


def scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Batch normalisation with its running statistics as one multiplication and one addition for each channel."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def bias_of(convolution: nn.Conv2d) -> Tensor:
    """What a convolution adds to each channel."""
    return torch.zeros_like(convolution.weight[:, 0, 0, 0]) if convolution.bias is None else convolution.bias


def _drop_unused(_module: nn.Module, state: dict[str, Any], _prefix: str, *_rest: Any) -> None:
    """lungmask's modules carry the layers of a residual variant that its U-net never runs."""
    for name in [name for name in state if ".residual_" in name]:
        del state[name]
