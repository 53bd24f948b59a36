"""One step of a training: its minibatch, the gradient, the optimizer."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import nn

from trainers.augmentation import BatchAugment
from trainers.batches import StratifiedBatches
from trainers.checkpoints import TrainingState
from trainers.distributed import Group
from trainers.gradients import whole_gradient
from trainers.losses import Loss, loss_named
from trainers.memory import OutOfMemoryError, free_memory, is_short_of_memory
from trainers.optimization import learning_rate
from trainers.precision import Precision
from trainers.prefetching import Minibatch, Prefetching
from trainers.recipe import Recipe
from trainers.slices import SliceSet

AUGMENTATION = 1  # tells the random numbers of a step's augmentation from those of its choice of slices
log = logging.getLogger(__name__)


class DivergedError(ValueError):
    """The loss or its gradient is no number any more."""


@dataclass
class Learner:
    """Takes a training from step to step.

    Attributes:
        recipe: How to train.
        slices: To learn from.
        augments: What varies a minibatch, by whether it comes out at half the size; None where that is not wanted.
        state: That the steps change.
        precision: Of the network.
        group: Processes that share each minibatch.
        device: Of this process.
    """

    recipe: Recipe
    slices: SliceSet
    augments: Mapping[bool, BatchAugment | None]
    state: TrainingState
    precision: Precision
    group: Group
    device: torch.device
    batches: StratifiedBatches = field(init=False)
    loss: Loss = field(init=False)

    def __post_init__(self) -> None:
        recipe = self.recipe
        self.batches = StratifiedBatches(self.slices, recipe.seed, recipe.with_lung, recipe.without_lung)
        self.loss = loss_named(recipe.loss)

    def minibatch(self, step: int) -> Minibatch:
        """Augmented slices of a step; a function of recipe, slices and step alone.

        Returns:
            (batch, 1, y, x) float32 in 0..1 and (batch, y, x) int64, on the device.

        Raises:
            ValueError: If a label is none of the network's classes, or the augmentation gives another shape.
        """
        half_size = self.recipe.stage_at(step)[0].half_size
        augment = self.augments[half_size]
        if augment is None:
            raise ValueError("expected an augmentation to half the size for stages of half the size")
        images, labels = self.slices.read(self.batches.draw(step))
        if labels.max() >= self.recipe.classes:
            raise ValueError(f"expected labels below {self.recipe.classes}, the number of classes, got {labels.max()}")
        inputs, truth = augment(
            torch.from_numpy(images)[:, None].to(self.device),
            torch.from_numpy(labels).to(self.device),
            np.random.default_rng([self.recipe.seed, step, AUGMENTATION]),
        )
        side = self.slices.size // (2 if half_size else 1)
        if inputs.shape != (len(images), 1, side, side):
            raise ValueError(f"expected {len(images)} augmented slices of {side} x {side}, got {tuple(inputs.shape)}")
        return inputs, truth.long()

    def learn(self, coming: Prefetching) -> None:
        """One step of the optimizer on the coming minibatch.

        Raises:
            DivergedError: If loss or gradient is no number; the weights are then as they were.
            OutOfMemoryError: If not even one slice at a time fits into memory.
        """
        state, step = self.state, self.state.step
        value = self._gradient(coming)
        state.scaler.unscale_(state.optimizer)
        # without a limit the gradients are multiplied by 1
        norm = nn.utils.clip_grad_norm_(state.network.parameters(), self.recipe.clip_norm or math.inf)
        if not math.isfinite(value):
            raise DivergedError(f"the loss of step {step + 1} is {value}: a lower learning rate may help")
        if not state.scaler.is_enabled() and not math.isfinite(norm):
            raise DivergedError(f"the gradient of step {step + 1} is {float(norm)}: a lower learning rate may help")
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate(self.recipe, step)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        state.step += 1
        state.loss_sum += value

    def _gradient(self, coming: Prefetching) -> float:
        """The loss of the coming minibatch, with its gradient in the network; in more parts where memory is short."""
        network, state = self.state.network, self.state
        before = [buffer.clone() for buffer in network.buffers()]
        take: Callable[[], Minibatch] = coming.take
        while True:
            try:
                return whole_gradient(
                    network, *take(), self.loss, self.precision, state.scaler, self.group, state.parts
                )
            except (RuntimeError, MemoryError) as error:
                if not is_short_of_memory(error):
                    raise
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            self._halve(reason)  # out here, since an error holds on to all that was computed
            for buffer, value in zip(network.buffers(), before, strict=True):
                buffer.copy_(value)
            take = partial(self.minibatch, state.step)

    def _halve(self, reason: str) -> None:
        """Compute minibatches in twice as many parts from now on."""
        state, most = self.state, self.recipe.batch // self.group.size
        free_memory()
        is_final = state.parts >= most
        if is_final or self.group.size > 1:  # where others wait for this one's sums, all have to begin anew
            text = f"minibatches in {state.parts} parts do not fit into memory: {reason}"
            raise OutOfMemoryError(text, state.parts, is_final)
        state.parts = min(2 * state.parts, most)
        log.warning("step %d: %s; minibatches are computed in %d parts now", state.step + 1, reason, state.parts)
