"""The state of a training between two steps, on disk: what it goes on from, to the same bit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datastore.atomic import atomic_path
from infers.unet import UNet

CHECKPOINT_FILE = "checkpoint.pt"


@dataclass
class TrainingState:
    """Everything that changes in the course of a training.

    Attributes:
        network: That learns.
        optimizer: Of its weights.
        scaler: Of float16 gradients.
        step: Minibatches done.
        epochs_ended: Epochs that have been measured.
        loss_sum: Of the losses since the last of those.
        best_dice: Of the epochs so far; None before the first.
        best_epoch: Where that was.
        best_weights: The network's, there; empty where they are the last ones or not kept.
        parts: Pieces that a minibatch is computed in.
    """

    network: UNet
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    step: int = 0
    epochs_ended: int = 0
    loss_sum: float = 0.0
    best_dice: float | None = None
    best_epoch: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    parts: int = 1

    def end_epoch(self, dice: float | None, keep_best: bool) -> None:
        """Count an epoch, and remember its watched Dice, and its weights, where it is the best so far."""
        self.epochs_ended += 1
        self.loss_sum = 0.0
        if dice is None or (self.best_dice is not None and dice <= self.best_dice):
            return
        self.best_dice, self.best_epoch = dice, self.epochs_ended
        if keep_best:
            self.best_weights = {name: tensor.cpu().clone() for name, tensor in self.network.state_dict().items()}

    def best_network(self) -> UNet:
        """The network with the best weights, in evaluation mode; the last ones where none were kept."""
        if self.best_weights:
            self.network.load_state_dict(self.best_weights)
        return self.network.eval()

    def save(self, folder: Path, training: Mapping[str, Any]) -> None:
        """Write it atomically in place of an older one.

        Args:
            folder: Gets `checkpoint.pt`.
            training: What tells this training from others, as JSON can hold it.
        """
        content = {
            "training": json.dumps(training, sort_keys=True),
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "best_weights": self.best_weights,
            **{name: getattr(self, name) for name in COUNTS},
        }
        with atomic_path(folder / CHECKPOINT_FILE, overwrite=True) as temporary:
            torch.save(content, temporary)

    def resume(self, folder: Path, training: Mapping[str, Any]) -> bool:
        """Go on from the checkpoint in a folder, if there is one; whether there was.

        Raises:
            ValueError: If it belongs to another training, or cannot be read.
        """
        path = folder / CHECKPOINT_FILE
        if not path.is_file():
            return False
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            made_by = json.loads(content["training"])
        except Exception as error:  # torch raises whatever its readers raise
            raise ValueError(f"{path}: is no checkpoint of a training: {str(error).splitlines()[0]}") from error
        if made_by != json.loads(json.dumps(training)):
            raise ValueError(f"{path}: belongs to another training: {_difference(training, made_by)}")
        self.network.load_state_dict(content["network"])
        self.optimizer.load_state_dict(content["optimizer"])
        if content["scaler"]:  # of float16; without one, and on other devices, there is none
            self.scaler.load_state_dict(content["scaler"])
        self.best_weights = content["best_weights"]
        for name in COUNTS:
            setattr(self, name, content[name])
        return True


COUNTS = "step", "epochs_ended", "loss_sum", "best_dice", "best_epoch", "parts"


def _difference(expected: Mapping[str, Any], found: Mapping[str, Any], prefix: str = "") -> str:
    """The first values that differ, by name."""
    plain = json.loads(json.dumps(expected))
    for name in sorted({*plain, *found}):
        one, other = plain.get(name), found.get(name)
        if isinstance(one, dict) and isinstance(other, dict) and one != other:
            return _difference(one, other, f"{prefix}{name}.")
        if one != other:
            return f"expected {prefix}{name} {one!r}, got {other!r}"
    return "expected the same"
