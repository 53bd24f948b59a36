"""Dice of both lungs over all validation slices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from training_boxes import boxes

from infers.unet import UNet
from trainers.slices import SliceSet, TrainingSlices, VolumeSlices
from trainers.validation import mean_dice


def always(label: int) -> UNet:
    """Finds one class everywhere."""
    network = UNet(base_channels=2)
    with torch.no_grad():
        network.last.weight.zero_()
        network.last.bias[:] = torch.eye(3)[label]
    return network.train()


def one_label(label: int) -> SliceSet:
    labels = np.full((3, 32, 32), label, np.uint8)
    return SliceSet([VolumeSlices(TrainingSlices(labels.astype(np.float16), labels, labels.any(axis=(1, 2))), "p")])


def test_it_is_the_mean_of_both_lungs_over_all_slices() -> None:
    slices = boxes()
    share = float(np.mean(slices.read(range(32))[1] == 1))
    network = always(1)
    assert mean_dice(network, slices) == pytest.approx((2 * share / (1 + share) + 0) / 2)
    assert network.training
    mean_dice(network.eval(), slices)
    assert not network.training


def test_a_lung_that_is_neither_there_nor_found_is_left_out() -> None:
    assert mean_dice(always(1), one_label(1)) == 1
    assert mean_dice(always(0), one_label(0)) == 1
    assert mean_dice(always(1), one_label(0)) == 0
    assert mean_dice(always(1), one_label(2)) == 0


def test_measuring_can_be_broken_off_and_leaves_the_network_in_training() -> None:
    asked: list[int] = []

    def between() -> None:
        asked.append(1)
        if len(asked) == 3:
            raise InterruptedError

    network = always(1)
    with pytest.raises(InterruptedError):
        mean_dice(network, boxes(), between=between)
    assert network.training and len(asked) == 3
