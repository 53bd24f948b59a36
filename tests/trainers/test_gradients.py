"""The gradient of a minibatch is the same whether it is computed at once or in parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import random_network
from torch import Tensor, nn
from training_boxes import boxes

from infers.unet import UNet
from trainers.gradients import whole_gradient
from trainers.losses import Loss, loss_named
from trainers.precision import Precision
from trainers.recipe import LOSSES

CPU = torch.device("cpu")
EXACT = Precision(CPU, None)
OFF = EXACT.scaler()


def minibatch(slices: int = 6) -> tuple[Tensor, Tensor]:
    images, labels = boxes().read(np.arange(slices))
    return torch.from_numpy(images)[:, None], torch.from_numpy(labels).long()


def gradient(network: UNet, loss: Loss, parts: int, precision: Precision = EXACT) -> tuple[float, Tensor]:
    value = whole_gradient(network, *minibatch(), loss, precision, OFF, parts=parts)
    return value, torch.cat([weight.grad.flatten() for weight in network.parameters() if weight.grad is not None])


@pytest.mark.parametrize("name", LOSSES)
def test_it_is_that_of_the_loss_in_any_number_of_parts(name: str) -> None:
    network, loss = random_network(2), loss_named(name)  # evaluating: without the statistics of parts
    images, labels = minibatch()
    expected = loss(network(images), labels)
    expected.backward()
    slopes = torch.cat([weight.grad.flatten() for weight in network.parameters() if weight.grad is not None])
    for parts in (1, 2, 4, 6):
        value, found = gradient(network, loss, parts)
        assert value == pytest.approx(float(expected.detach()), rel=1e-5)
        torch.testing.assert_close(found, slopes, rtol=1e-3, atol=1e-5 * float(slopes.abs().max()))


def test_at_once_it_is_that_of_torch_to_the_bit_in_training_too() -> None:
    loss, images, labels = loss_named("dice_ce"), *minibatch()
    first, second = random_network(2).train(), random_network(2).train()
    value, found = gradient(first, loss, 1)
    expected = loss(second(images), labels)
    expected.backward()
    assert value == float(expected.detach())
    assert torch.equal(found, torch.cat([weight.grad.flatten() for weight in second.parameters()]))  # type: ignore[union-attr]
    assert all(torch.equal(a, b) for a, b in zip(first.buffers(), second.buffers(), strict=True))


def test_gradients_do_not_add_up_over_steps() -> None:
    network, loss = random_network(2), loss_named("cross_entropy")
    assert torch.equal(gradient(network, loss, 2)[1], gradient(network, loss, 2)[1])


def test_each_part_has_slices_with_lung_and_without() -> None:
    """And counts once in the statistics for later, though it runs twice."""
    network, seen = random_network(2).train(), []
    handle = network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    images, labels = minibatch()
    order = torch.argsort(labels.flatten(1).any(dim=1), descending=True, stable=True)  # as minibatches are
    whole_gradient(network, images[order], labels[order], loss_named("cross_entropy"), EXACT, OFF, parts=2)
    handle.remove()
    assert [len(part) for part in seen] == [3, 3, 3, 3]
    expected = [images[order][0::2], images[order][1::2]] * 2
    assert all(torch.equal(part, whole) for part, whole in zip(seen, expected, strict=True))

    other = random_network(2).train()
    with torch.no_grad():
        for part in expected[:2]:
            other(part)
    norms = [(a, b) for a, b in zip(network.modules(), other.modules(), strict=True) if isinstance(a, nn.BatchNorm2d)]
    assert len(norms) == 18
    for one, another in norms:
        torch.testing.assert_close(one.running_mean, another.running_mean)
        torch.testing.assert_close(one.running_var, another.running_var)
        assert one.momentum == another.momentum == 0.1


def test_half_precision_is_near_and_the_loss_stays_single() -> None:
    network, loss = random_network(2), loss_named("cross_entropy")
    value, slopes = gradient(network, loss, 1)
    half_value, half = gradient(network, loss, 1, Precision(CPU, torch.bfloat16))
    assert half_value != value and half_value == pytest.approx(value, rel=0.05)
    assert half.dtype == torch.float32 and torch.nn.functional.cosine_similarity(half, slopes, dim=0) > 0.98
