"""Several processes that train one network, each on a share of every minibatch.

Each makes the same minibatches and keeps the same weights; sums over all of them make the outcome that of one process,
up to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn

from infers.unet import UNet


@dataclass(frozen=True)
class Group:
    """The processes of a training.

    Attributes:
        rank: Number of this one; only number 0 writes and tells.
        size: How many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def add_up(self, values: Tensor) -> None:
        """Put the sum over all processes in place of the values."""
        if self.size > 1:
            distributed.all_reduce(values)

    def any(self, here: bool, device: torch.device) -> bool:
        """Whether it is so in any process; all have to ask."""
        if self.size == 1:
            return here
        flag = torch.tensor(float(here), device=device)
        distributed.all_reduce(flag)
        return bool(flag > 0)

    def add_up_gradients(self, network: nn.Module) -> None:
        """Put the sum over all processes in place of each gradient."""
        if self.size == 1:
            return
        gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
        together = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(together)
        for gradient, total in zip(gradients, together.split([len(g.flatten()) for g in gradients]), strict=True):
            gradient.copy_(total.view_as(gradient))


def current_group() -> Group:
    """The processes that `torch.distributed` has joined with this one; otherwise this one alone."""
    if distributed.is_available() and distributed.is_initialized():
        return Group(distributed.get_rank(), distributed.get_world_size())
    return Group()


def share_normalisation(network: UNet) -> None:
    """Have batch normalisation use the mean and variance of all processes' slices, in place.

    What `torch.nn.SyncBatchNorm` does on GPUs alone. Names and shapes of the weights stay.
    """
    for module in [*network.down_blocks(), *(block.conv_block for block in network.up_blocks())]:
        for number, layer in enumerate(module.block):
            if isinstance(layer, nn.BatchNorm2d):
                shared = SharedBatchNorm(layer.num_features, layer.eps, layer.momentum).to(layer.weight.device)
                shared.load_state_dict(layer.state_dict())
                module.block[number] = shared


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation over the slices of all processes."""

    def forward(self, images: Tensor) -> Tensor:
        """(batch, channels, y, x) to the same shape; each process may have another batch."""
        if not self.training:
            return super().forward(images)
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        whole = images.float()
        mine = torch.full((1,), float(whole[:, 0].numel()), device=whole.device)
        sums: Tensor = _SumOfAll.apply(torch.cat([whole.sum(dim=(0, 2, 3)), mine]))
        count, mean = sums[-1].detach(), sums[:-1] / sums[-1].detach()
        centred = whole - mean[:, None, None]
        variance: Tensor = _SumOfAll.apply(centred.square().sum(dim=(0, 2, 3))) / count
        with torch.no_grad():
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(images.dtype)


class _SumOfAll(torch.autograd.Function):
    """The sum over all processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(_context: Any, values: Tensor) -> Tensor:
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_context: Any, *slopes: Tensor) -> Tensor:
        total = slopes[0].contiguous().clone()
        distributed.all_reduce(total)
        return total
