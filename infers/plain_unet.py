"""The U-net layer by layer as lungmask runs it: slow, and the measure of what the other backends give."""

from __future__ import annotations

import threading

import numpy as np
import torch

from infers.torch_unet import keep_freed_memory
from infers.unet import UNet

NO_DOUBT = 2e-6  # of the slice's largest score; twice the most that backends were seen to differ by


class PlainUNet:
    """A U-net run by torch as it stands, on the CPU.

    Args:
        network: In evaluation mode.
    """

    name = "torch-plain"
    batch = 1
    workers = 2

    def __init__(self, network: UNet) -> None:
        self._network = network
        self._turn = threading.Lock()
        keep_freed_memory()

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Logarithms of the probabilities.

        Args:
            images: (slices, size, size) float32 in 0..1.

        Returns:
            (slices, classes, size, size) float32.
        """
        with self._turn, torch.inference_mode():
            return self._network(torch.from_numpy(images[:, np.newaxis])).numpy()


def doubtful(scores: np.ndarray) -> np.ndarray:
    """Slices in which rounding could decide a pixel: the two highest scores lie closer than backends differ.

    Args:
        scores: (slices, classes, y, x) float32.

    Returns:
        (slices,) bool.
    """
    highest = scores.max(axis=1)
    runner_up = np.partition(scores, -2, axis=1)[:, -2]
    limits = NO_DOUBT * np.abs(scores).max(axis=(1, 2, 3))
    return (highest - runner_up).min(axis=(1, 2)) <= limits
