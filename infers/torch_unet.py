"""The U-net by torch alone, on a CPU or a GPU: batch normalisation folded away, layers in the order that costs least.

On a CPU most of the time that torch loses goes into returning the memory of each activation to the system and mapping
it anew; `keep_freed_memory` stops that.
"""

from __future__ import annotations

import ctypes
import functools
import sys
import threading
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from infers.unet import ConvBlock, UNet, bias_of, scale_and_shift

CPU_BATCH = 2  # slices whose widest activations still fit in ordinary caches
GPU_BATCH = 64
GPU_SLICE_BYTES = 200e6  # of activations of one 256 x 256 slice in single precision, generously


@dataclass(frozen=True, eq=False)
class _Convolution:
    """A 3 x 3 convolution with the scale of its batch normalisation in its weights, and bounds for what comes out.

    ReLU, then `scale * x + shift`, is the same as scaling first and cutting at `shift`: from below where the scale is
    above 0, from above where it is below.
    """

    weight: Tensor
    bias: Tensor
    low: Tensor
    high: Tensor | None

    def __call__(self, images: Tensor) -> Tensor:
        scores = functional.conv2d(images, self.weight, self.bias, padding=1)
        if self.high is None:
            return torch.maximum(scores, self.low, out=scores)
        return torch.clamp(scores, self.low, self.high, out=scores)


class TorchUNet:
    """A U-net run by torch. Several threads may call it: one runs the network, others prepare their slices.

    Args:
        network: In evaluation mode; its weights are copied.
        size: Pixels along each side of the input.
        device: Where it runs.
        half: Whether a GPU computes in half precision.
    """

    def __init__(self, network: UNet, size: int, device: torch.device, *, half: bool = False) -> None:
        on_gpu = device.type != "cpu"
        self.name = f"torch-{device.type}{'-half' if half and on_gpu else ''}"
        self.workers = 2
        self.batch = _gpu_batch(size, device) if on_gpu else CPU_BATCH
        self._device = device
        self._dtype = torch.float16 if half and on_gpu else torch.float32
        self._turn = threading.Lock()
        with torch.no_grad():
            self._down = [self._folded(block) for block in network.down_blocks()]
            self._up = [(*self._pointwise(up.pointwise()), self._folded(up.conv_block)) for up in network.up_blocks()]
            self._last = self._pointwise(network.last)
        if not on_gpu:
            keep_freed_memory()

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Scores of the classes before the softmax.

        Args:
            images: (slices, size, size) float32 in 0..1.

        Returns:
            (slices, classes, size, size) float32.
        """
        with self._turn, torch.inference_mode():
            return np.concatenate(
                [self._run(images[start : start + self.batch]) for start in range(0, len(images), self.batch)]
            )

    def _run(self, images: np.ndarray) -> np.ndarray:
        on_host = torch.from_numpy(images[:, np.newaxis])
        if self._device.type == "cuda":
            on_host = on_host.pin_memory()
        features = on_host.to(self._device, self._dtype, non_blocking=True, memory_format=torch.channels_last)
        levels: list[Tensor] = []
        for one, two in self._down:
            if levels:
                features = functional.avg_pool2d(features, 2)
            features = two(one(features))
            levels.append(features)
        levels.pop()
        for weight, bias, (one, two) in self._up:
            features = functional.conv2d(features, weight, bias)  # before the upsampling, with which it commutes
            features = functional.interpolate(features, scale_factor=2, mode="bilinear")
            features = two(one(torch.cat([features, levels.pop()], dim=1)))
        return functional.conv2d(features, *self._last).float().cpu().contiguous().numpy()

    def _folded(self, block: ConvBlock) -> tuple[_Convolution, _Convolution]:
        one, two = block.layers()
        return self._fold(*one), self._fold(*two)

    def _fold(self, convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> _Convolution:
        scale, shift = scale_and_shift(norm)
        unbounded = torch.full_like(shift, torch.inf)
        by_channel = (1, -1, 1, 1)
        low = torch.where(scale > 0, shift, -unbounded).reshape(by_channel)
        high = torch.where(scale > 0, unbounded, shift).reshape(by_channel)
        weight = convolution.weight * scale.reshape(-1, 1, 1, 1)
        bias = bias_of(convolution) * scale + shift
        return _Convolution(
            self._placed(weight),
            self._placed(bias),
            self._placed(low),
            None if (scale > 0).all() else self._placed(high),
        )

    def _pointwise(self, convolution: nn.Conv2d) -> tuple[Tensor, Tensor]:
        return self._placed(convolution.weight), self._placed(bias_of(convolution))

    def _placed(self, tensor: Tensor) -> Tensor:
        placed = tensor.detach().to(self._device, self._dtype, copy=True)
        return placed.contiguous(memory_format=torch.channels_last) if placed.ndim == 4 else placed


def _gpu_batch(size: int, device: torch.device) -> int:
    """Slices that fit in half of the memory that is free."""
    if device.type != "cuda":
        return CPU_BATCH
    free, _ = torch.cuda.mem_get_info(device)
    return int(min(max(free / 2 / (GPU_SLICE_BYTES * (size / 256) ** 2), 1), GPU_BATCH))


@functools.cache
def keep_freed_memory() -> None:
    """Have this process keep the memory of freed arrays for the next ones (glibc; elsewhere nothing happens).

    `give_back_memory` returns it to the system after a volume.
    """
    libc = _glibc()
    if libc is not None:
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(M_MMAP_MAX, 0)


def give_back_memory() -> None:
    """Return to the system what `keep_freed_memory` kept."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "malloc_trim") and hasattr(library, "mallopt") else None
