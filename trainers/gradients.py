"""The gradient of a minibatch's loss, computed at once or in parts, by one process or by several."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from infers.unet import UNet
from trainers.distributed import Group
from trainers.losses import Loss
from trainers.precision import Precision


def whole_gradient(
    network: UNet,
    images: Tensor,
    labels: Tensor,
    loss: Loss,
    precision: Precision,
    scaler: torch.amp.GradScaler,
    group: Group = Group(),
    parts: int = 1,
) -> float:
    """Put the gradient of the whole minibatch's loss, times the scaler's scale, into the network.

    Losses such as Dice are no mean of the losses of parts. So the scores of all slices come first; the slope of the
    loss at each score then tells every part its share of the gradient. Where there are parts, each runs twice. What
    differs from one part is batch normalisation: its mean and variance are those of each part's slices.

    Slices go to processes and parts in turn, like cards: the minibatch has its slices with lung first.

    Args:
        network: In training.
        images: (batch, 1, y, x) float32; the whole minibatch, in each process.
        labels: (batch, y, x) int64.
        loss: Of the whole minibatch.
        precision: Of the network.
        scaler: Of the loss.
        group: The processes.
        parts: Into how many pieces each process cuts its share.

    Returns:
        The loss, the same in all processes.
    """
    for weight in network.parameters():
        weight.grad = None
    share = range(group.rank, len(images), group.size)
    pieces = [list(share[part::parts]) for part in range(parts)]

    def scores_of(piece: list[int]) -> Tensor:
        inputs = images if len(piece) == len(images) else images[piece]
        with precision():
            return network(inputs.contiguous(memory_format=torch.channels_last)).float()

    made = [scores_of(pieces[0])] if parts == 1 else []
    scores = torch.zeros(len(images), network.classes, *images.shape[2:], device=images.device)
    with torch.no_grad(), _statistics_kept(network, parts > 1):
        for number, piece in enumerate(pieces):
            scores[piece] = made[number] if made else scores_of(piece)
    group.add_up(scores)
    value = loss(scores.requires_grad_(), labels)
    (slopes,) = torch.autograd.grad(scaler.scale(value), scores)
    for piece in pieces:
        again = made.pop() if made else scores_of(piece)
        again.backward(slopes[piece])
    group.add_up_gradients(network)
    return float(value.detach())


@contextmanager
def _statistics_kept(network: nn.Module, keep: bool) -> Iterator[None]:
    """Within the block, batch normalisation takes no notice of the slices for the time after the training."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)] if keep else []
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
