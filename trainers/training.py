"""The training loop: cross-entropy and Dice, seeded to the bit, able to go on after a crash."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from datastore.atomic import atomic_path
from infers.unet import UNet
from trainers.augmentation import BatchAugment
from trainers.batches import StratifiedBatches
from trainers.slices import SliceSet

CHECKPOINT_FILE = "checkpoint.pt"
WARM_SHARE = 0.04
DICE_SMOOTHING = 1.0  # pixels: a class that is neither there nor found costs nothing


@dataclass(frozen=True)
class Stage:
    """Some steps of a training that are alike.

    Attributes:
        steps: How many minibatches.
        half_size: Whether they run on slices of half the size.
        learning_rate: The highest; it falls along a cosine.
        cosine_steps: Where the cosine would reach 0; beyond `steps`, the stage ends before that.
        warm_steps: Over these the rate rises first.
    """

    steps: int
    half_size: bool
    learning_rate: float
    cosine_steps: float
    warm_steps: int = 0


@dataclass(frozen=True)
class TrainingPlan:
    """All that decides the outcome, besides the slices and the augmentation.

    Attributes:
        seed: Of the first weights, the batches and the augmentation.
        steps: How many minibatches.
        base_channels: Width of the U-net.
        classes: Background included.
        optimizer: `sgd` with momentum 0.9 as in the paper, or `adamw`.
        learning_rate: The highest; it rises over the first 4 % of the steps, then falls to 0 along a cosine.
        stages: What the steps are made of, in place of `learning_rate` and `small_steps`; empty goes by those.
        weight_decay: Of the optimizer.
        small_steps: How many of the first steps run on slices of half the size, four times faster.
        with_lung: Slices with lung in a minibatch.
        without_lung: Slices without.
        half_precision: bfloat16 products in the network; sums, loss and weights stay float32.
    """

    seed: int
    steps: int
    base_channels: int = 16
    classes: int = 3
    optimizer: str = "sgd"
    learning_rate: float = 0.05
    weight_decay: float = 1e-4
    small_steps: int = 0
    with_lung: int = 7
    without_lung: int = 7
    half_precision: bool = False
    stages: tuple[Stage, ...] = ()

    def __post_init__(self) -> None:
        """Refuse stages that do not add up.

        Raises:
            ValueError: If the stages have more or fewer steps than the plan.
        """
        if self.stages and sum(stage.steps for stage in self.stages) != self.steps:
            raise ValueError(f"expected stages of {self.steps} steps in all, got {[s.steps for s in self.stages]}")

    def stage_at(self, step: int) -> tuple[Stage, int]:
        """The stage that a step is in, and its number within it."""
        for stage in self.stages[:-1]:
            if step < stage.steps:
                return stage, step
            step -= stage.steps
        return self.stages[-1], step


@dataclass(frozen=True)
class Progress:
    """How far the training is.

    Attributes:
        step: Minibatches done.
        steps: Minibatches in all.
        loss: Mean since the last report.
        validation_dice: Mean of both lungs over the held-out slices; None where none were looked at.
        slices_per_s: Since the last report.
        left_s: Seconds until the end at this pace.
    """

    step: int
    steps: int
    loss: float
    validation_dice: float | None
    slices_per_s: float
    left_s: float

    def __str__(self) -> str:
        dice = "" if self.validation_dice is None else f", validation Dice {self.validation_dice:.4f}"
        return (
            f"step {self.step}/{self.steps}, loss {self.loss:.4f}{dice}, {self.slices_per_s:.1f} slices/s, "
            f"{self.left_s / 60:.1f} min left"
        )


def train(
    plan: TrainingPlan,
    slices: SliceSet,
    augment: BatchAugment,
    folder: Path,
    *,
    half_size_augment: BatchAugment | None = None,
    report: Callable[[Progress], None] = lambda _: None,
    report_every: int = 50,
    held_out: SliceSet | None = None,
    validate_every: int = 250,
) -> UNet:
    """Train a U-net, or go on from the checkpoint in `folder`; the weights come out the same.

    On the CPU with one thread, the same plan and slices give the same weights to the bit.

    Args:
        plan: What to do.
        slices: To learn from.
        augment: Of each minibatch.
        folder: Holds the checkpoint, written at each report.
        half_size_augment: Of the minibatches of steps on slices of half the size; it makes them smaller, too.
        report: Hears of the progress.
        report_every: Steps between two reports.
        held_out: Slices to measure on.
        validate_every: Steps between two such measurements.

    Raises:
        ValueError: If the checkpoint in `folder` belongs to another plan, or the loss is no longer a number.
    """
    batches = StratifiedBatches(slices, plan.seed, plan.with_lung, plan.without_lung)
    torch.manual_seed(plan.seed)
    network = UNet(plan.classes, plan.base_channels).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = _optimizer(plan, network)
    step = _resume(folder / CHECKPOINT_FILE, plan, network, optimizer)
    losses: list[float] = []
    began, since = time.monotonic(), step
    network.train()
    while step < plan.steps:
        chosen = half_size_augment if _is_half_size(plan, step) else augment
        if chosen is None:
            raise ValueError(f"step {step + 1} needs slices of half the size, but half_size_augment is missing")
        images, labels = _minibatch(slices, batches.draw(step), chosen, np.random.default_rng([plan.seed, step]))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(plan, step)
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=plan.half_precision):
            logarithms = network(images)
        loss = segmentation_loss(logarithms.float(), labels)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
        step += 1
        if not math.isfinite(losses[-1]):
            raise ValueError(f"the loss of step {step} is {losses[-1]}")
        if step % report_every == 0 or step == plan.steps:
            seconds = max(time.monotonic() - began, 1e-9)
            measured = held_out is not None and (step % validate_every == 0 or step == plan.steps)
            dice = mean_dice(network, held_out) if measured and held_out is not None else None
            pace = (step - since) / seconds
            slices_per_s = pace * len(images)
            report(Progress(step, plan.steps, float(np.mean(losses)), dice, slices_per_s, (plan.steps - step) / pace))
            _save(folder / CHECKPOINT_FILE, plan, network, optimizer, step)
            losses, began, since = [], time.monotonic(), step
    return network.eval()


def learning_rate(plan: TrainingPlan, step: int) -> float:
    """Rises, then falls along a cosine; see `TrainingPlan` and `Stage`."""
    if plan.stages:
        stage, step = plan.stage_at(step)
        return _rate(stage.learning_rate, step, stage.warm_steps, stage.cosine_steps)
    return _rate(plan.learning_rate, step, max(1, round(WARM_SHARE * plan.steps)), plan.steps)


def _rate(highest: float, step: int, warm_steps: int, cosine_steps: float) -> float:
    if step < warm_steps:
        return highest * (step + 1) / warm_steps
    return highest * 0.5 * (1 + math.cos(math.pi * (step - warm_steps) / max(1, cosine_steps - warm_steps)))


def segmentation_loss(logarithms: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy and 1 - the mean Dice of the lungs, over the whole minibatch.

    Args:
        logarithms: (batch, classes, y, x) of the probabilities.
        labels: (batch, y, x) int64.
    """
    truth = functional.one_hot(labels, logarithms.shape[1]).permute(0, 3, 1, 2)[:, 1:].to(logarithms.dtype)
    found = logarithms.exp()[:, 1:]
    both = (found * truth).sum(dim=(0, 2, 3))
    either = found.sum(dim=(0, 2, 3)) + truth.sum(dim=(0, 2, 3))
    dice = (2 * both + DICE_SMOOTHING) / (either + DICE_SMOOTHING)
    return functional.nll_loss(logarithms, labels) + 1 - dice.mean()


def mean_dice(network: UNet, slices: SliceSet, at_once: int = 8) -> float:
    """Dice of each lung over all the slices together, then their mean; the network is left in training."""
    both, either = np.zeros(network.classes - 1), np.zeros(network.classes - 1)
    network.eval()
    with torch.inference_mode():
        for start in range(0, len(slices), at_once):
            images, truth = slices.read(range(start, min(start + at_once, len(slices))))
            given = torch.from_numpy(images)[:, np.newaxis].contiguous(memory_format=torch.channels_last)
            found = network(given).argmax(dim=1).numpy()
            for label in range(1, network.classes):
                both[label - 1] += np.count_nonzero((found == label) & (truth == label))
                either[label - 1] += np.count_nonzero(found == label) + np.count_nonzero(truth == label)
    network.train()
    return float(np.mean(2 * both / np.maximum(either, 1)))


def _optimizer(plan: TrainingPlan, network: UNet) -> torch.optim.Optimizer:
    if plan.optimizer == "sgd":
        return torch.optim.SGD(
            network.parameters(), plan.learning_rate, momentum=0.9, weight_decay=plan.weight_decay, nesterov=True
        )
    if plan.optimizer == "adamw":
        return torch.optim.AdamW(network.parameters(), plan.learning_rate, weight_decay=plan.weight_decay)
    raise ValueError(f"expected the optimizer as `sgd` or `adamw`, got {plan.optimizer!r}")


def _is_half_size(plan: TrainingPlan, step: int) -> bool:
    return plan.stage_at(step)[0].half_size if plan.stages else step < plan.small_steps


def _minibatch(
    slices: SliceSet, indices: np.ndarray, augment: BatchAugment, random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Augmented images (batch, 1, y, x) float32 and labels (batch, y, x) int64 of a step."""
    read_images, read_labels = slices.read(indices)
    images, labels = augment(torch.from_numpy(read_images)[:, np.newaxis], torch.from_numpy(read_labels), random)
    return images.contiguous(memory_format=torch.channels_last), labels.long()


def _save(path: Path, plan: TrainingPlan, network: UNet, optimizer: torch.optim.Optimizer, step: int) -> None:
    state = {"plan": asdict(plan), "step": step, "network": network.state_dict(), "optimizer": optimizer.state_dict()}
    with atomic_path(path, overwrite=True) as temporary:
        torch.save(state, temporary)


def _resume(path: Path, plan: TrainingPlan, network: UNet, optimizer: torch.optim.Optimizer) -> int:
    """Load the checkpoint if there is one; the steps done."""
    if not path.is_file():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    if state["plan"] != asdict(plan):
        raise ValueError(f"{path}: belongs to another training: expected {asdict(plan)}, got {state['plan']}")
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])
