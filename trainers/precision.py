"""Half precision in the network where the device gains by it; sums, loss and weights stay float32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from trainers.recipe import Recipe


@dataclass(frozen=True)
class Precision:
    """What the network computes in.

    Attributes:
        device: Where it runs.
        kind: Half-precision type of its products; None for float32.
    """

    device: torch.device
    kind: torch.dtype | None

    def __call__(self) -> AbstractContextManager[object]:
        """For the network's forward pass."""
        return torch.autocast(self.device.type, self.kind) if self.kind else nullcontext()

    def scaler(self) -> torch.amp.GradScaler:
        """Keeps small gradients of float16 above 0; does nothing for the other types."""
        return torch.amp.GradScaler(self.device.type, enabled=self.kind == torch.float16)


def precision_for(recipe: Recipe, device: torch.device) -> Precision:
    """`auto`: half precision on a GPU; `on`: bfloat16 on a CPU too.

    A GPU computes in bfloat16 if it can, whose range is that of float32, otherwise in float16.
    """
    on_gpu = device.type == "cuda"
    if recipe.mixed_precision == "off" or (recipe.mixed_precision == "auto" and not on_gpu):
        return Precision(device, None)
    can = not on_gpu or torch.cuda.is_bf16_supported(including_emulation=False)
    return Precision(device, torch.bfloat16 if can else torch.float16)
