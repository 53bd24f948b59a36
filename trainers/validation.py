"""Dice of a network on whole validation slices, while it trains."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from infers.unet import UNet
from trainers.distributed import Group
from trainers.slices import SliceSet

AT_ONCE = 8  # slices


def mean_dice(
    network: UNet,
    slices: SliceSet,
    *,
    group: Group = Group(),
    between: Callable[[], None] = lambda: None,
) -> float:
    """Dice of each class over all the slices together, then their mean; the network's mode stays as it was.

    Slices without lung count through what is found in them. Classes that are neither there nor found are left out;
    1 if that is all of them.

    Args:
        network: In float32, on any device.
        slices: All of them are measured as they are.
        group: Processes that share the slices.
        between: Called before each few slices, as often in each process; may raise.

    Source: Hofmanninger et al. 2020, section II-D, here over slices in place of volumes.
    """
    device = next(network.parameters()).device
    counts = torch.zeros(2, network.classes - 1, dtype=torch.float64)  # pixels in both, and in one plus in the other
    training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            for start in range(0, len(slices), AT_ONCE * group.size):
                between()
                first = start + group.rank * AT_ONCE
                counts += _counts(network, slices, np.arange(first, min(first + AT_ONCE, len(slices))), device)
    finally:
        network.train(training)
    shared = counts.to(device)
    group.add_up(shared)
    both, either = shared.cpu().numpy()
    known = either > 0
    return float(np.mean(2 * both[known] / either[known])) if known.any() else 1.0


def _counts(network: UNet, slices: SliceSet, places: np.ndarray, device: torch.device) -> torch.Tensor:
    if not len(places):
        return torch.zeros(2, network.classes - 1, dtype=torch.float64)
    images, labels = slices.read(places)
    inputs = torch.from_numpy(images)[:, None].to(device).contiguous(memory_format=torch.channels_last)
    found, truth = network(inputs).argmax(dim=1).cpu(), torch.from_numpy(labels)
    counts = [
        (((found == label) & (truth == label)).sum(), (found == label).sum() + (truth == label).sum())
        for label in range(1, network.classes)
    ]
    return torch.tensor(counts, dtype=torch.float64).T
