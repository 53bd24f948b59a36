"""What computes a network: compiled kernels on a CPU that has the instructions for them, torch everywhere else.

The rule was measured on two cores (`benchmarks/inference.py` for AVX-512): with the paper's widths the kernels take a
third of torch's time with AVX-512 and nine tenths with AVX2, with a quarter of the widths a third and seven tenths.
"""

from __future__ import annotations

import os
from typing import Protocol

import numpy as np
import torch

from infers.native import kernels
from infers.native_unet import NativeUNet, can_run
from infers.options import Backend, Options
from infers.torch_unet import TorchUNet
from infers.unet import UNet

MOST_THREADS = 16  # beyond, memory for activations costs more than the cores bring


class NetworkBackend(Protocol):
    """Runs a network over slices.

    Attributes:
        name: For people and reports.
        batch: Slices that it takes at a time.
        workers: Threads that may usefully call it at once.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def batch(self) -> int: ...  # noqa: D102

    @property
    def workers(self) -> int: ...  # noqa: D102

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Scores of the classes before the softmax.

        Args:
            images: (slices, size, size) float32 in 0..1.

        Returns:
            (slices, classes, size, size) float32.
        """
        ...


def backend_for(network: UNet, size: int, device: torch.device, options: Options) -> NetworkBackend:
    """The fastest that runs this network here, or the one that is asked for.

    Args:
        network: In evaluation mode.
        size: Pixels along each side of its input.
        device: Where torch would run it; the kernels are for the CPU.
        options: Of the caller.

    Raises:
        ValueError: If the compiled kernels are asked for and cannot run it here.
    """
    compiled = kernels() if device.type == "cpu" else None
    fits = compiled is not None and can_run(network, size, compiled)
    if options.backend == Backend.NATIVE and not fits:
        raise ValueError(
            "the native backend needs a CPU with AVX2, its compiled part and a network with 16 channels or more: "
            "use `torch`, or `auto`"
        )
    if fits and options.backend != Backend.TORCH:
        threads = options.threads or min(len(os.sched_getaffinity(0)), MOST_THREADS)
        return NativeUNet(network, size, workers=threads, batch=4 if threads <= 4 else 2, compiled=compiled)
    return TorchUNet(network, size, device, half=options.half)
