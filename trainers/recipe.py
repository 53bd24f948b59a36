"""What decides the outcome of a training besides its slices: network, minibatches, loss, optimizer and schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from trainers.presets import PRESETS

LOSSES: dict[str, tuple[tuple[float, str], ...]] = {
    "cross_entropy": ((1.0, "cross_entropy"),),
    "dice": ((1.0, "dice"),),
    "generalized_dice": ((1.0, "generalized_dice"),),
    "dice_ce": ((1.0, "cross_entropy"), (1.0, "dice")),
    "topk_ce": ((1.0, "topk"),),
    "generalized_dice_topk_ce": ((1.0, "generalized_dice"), (1.0, "topk")),
    "tanimoto_ce": ((0.6, "tanimoto"), (0.4, "cross_entropy")),
}
"""Each loss as a weighted sum of terms of `trainers.losses`."""
OPTIMIZERS = "sgd", "adam", "adamw"
SCHEDULES = "cosine", "polynomial", "constant"
PRECISIONS = "auto", "on", "off"


@dataclass(frozen=True)
class Stage:
    """Some steps of a training that are alike.

    Attributes:
        steps: How many minibatches.
        half_size: Whether they run on slices of half the size.
        learning_rate: The highest; it falls as the recipe's schedule says.
        fall_steps: Where it would reach its end; beyond `steps`, the stage ends before that.
        warm_steps: Over these the rate rises first.
        begin: Steps of the rise and fall that lie behind already, for a stage that goes on with the one before.
    """

    steps: int
    half_size: bool
    learning_rate: float
    fall_steps: float
    warm_steps: int = 0
    begin: int = 0


@dataclass(frozen=True)
class Recipe:
    """All that decides the weights, besides the slices, the augmentation and the weights to start from.

    Attributes:
        preset: What the settings are called that it was made from; see `PRESETS`.
        loss: One of `LOSSES`.
        optimizer: One of `OPTIMIZERS`.
        learning_rate: The highest.
        momentum: Of `sgd`.
        weight_decay: Of the optimizer.
        schedule: How the rate falls, one of `SCHEDULES`.
        warm_share: Of the steps, over which the rate rises first.
        epochs: How often the network is measured, and its checkpoint written; the last epoch may be shorter.
        steps_per_epoch: Minibatches between two such measurements.
        with_lung: Slices with lung in a minibatch.
        without_lung: Slices without.
        clip_norm: The gradient is scaled down to this norm where it is longer; 0 leaves it as it is.
        patience: The training ends after so many epochs without a better watched Dice; 0 never ends it early.
        keep_best: Whether the weights with the best watched Dice come out, not the last ones.
        mixed_precision: Half precision in the network, while sums, loss and weights stay float32: `auto` on a GPU, `on`
            on a CPU too (bfloat16), `off`.
        base_channels: Width of the U-net.
        classes: Of the U-net, background included.
        seed: Of the first weights, the minibatches and the augmentation.
        stages: What the steps are made of, in place of `learning_rate` and `warm_share`; see `in_stages`.

    Source: Hofmanninger et al. 2020, section II-B: 7 + 7 slices, stochastic gradient descent with momentum. The paper
    says nothing of rates and durations; those are ours.
    """

    preset: str = "r231"
    loss: str = "cross_entropy"
    optimizer: str = "sgd"
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: str = "cosine"
    warm_share: float = 0.04
    epochs: int = 40
    steps_per_epoch: int = 250
    with_lung: int = 7
    without_lung: int = 7
    clip_norm: float = 5.0
    patience: int = 8
    keep_best: bool = True
    mixed_precision: str = "auto"
    base_channels: int = 64
    classes: int = 3
    seed: int = 0
    stages: tuple[Stage, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be trained.

        Raises:
            ValueError: It names the setting, what is expected and what came.
        """
        for name, known in (("loss", tuple(LOSSES)), ("optimizer", OPTIMIZERS), ("schedule", SCHEDULES),
                            ("mixed_precision", PRECISIONS)):  # fmt: skip
            if getattr(self, name) not in known:
                raise ValueError(f"expected the {name} as one of {', '.join(known)}, got {getattr(self, name)!r}")
        for name, least in (("epochs", 1), ("steps_per_epoch", 1), ("with_lung", 0), ("without_lung", 0),
                            ("clip_norm", 0), ("patience", 0), ("base_channels", 1), ("classes", 2), ("momentum", 0),
                            ("weight_decay", 0), ("warm_share", 0), ("seed", 0)):  # fmt: skip
            if not getattr(self, name) >= least:
                raise ValueError(f"expected {name} of at least {least}, got {getattr(self, name)}")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"expected a learning_rate above 0, got {self.learning_rate}")
        if any(stage.steps < 0 or not stage.steps <= stage.fall_steps - stage.begin for stage in self.stages):
            raise ValueError(f"expected stages that end before their rates do, got {self.stages}")
        if not self.with_lung + self.without_lung:
            raise ValueError("expected slices in a minibatch, got with_lung = without_lung = 0")
        if self.epochs != math.ceil(self.steps / self.steps_per_epoch):
            raise ValueError(f"expected stages of {self.epochs} epochs, got {[stage.steps for stage in self.stages]}")

    @property
    def steps(self) -> int:
        """Minibatches in all."""
        return sum(stage.steps for stage in self.stages) or self.epochs * self.steps_per_epoch

    @property
    def batch(self) -> int:
        """Slices in a minibatch."""
        return self.with_lung + self.without_lung

    def stage_at(self, step: int) -> tuple[Stage, int]:
        """The stage that a step is in, and its number within it."""
        if not self.stages:
            warm = max(1, round(self.warm_share * self.steps)) if self.warm_share else 0
            return Stage(self.steps, False, self.learning_rate, self.steps, warm), step
        for stage in self.stages[:-1]:
            if step < stage.steps:
                return stage, step
            step -= stage.steps
        return self.stages[-1], step

    def epoch_end(self, epoch: int) -> int:
        """Steps done when that epoch is over; the first is number 1."""
        return min(epoch * self.steps_per_epoch, self.steps)

    def to_plain(self) -> dict[str, Any]:
        """Values for JSON."""
        return asdict(self) | {"stages": [asdict(stage) for stage in self.stages]}


def recipe_named(preset: str, **changes: Any) -> Recipe:
    """A preset, with some settings changed.

    >>> recipe_named("tanimoto-ce", seed=3).optimizer
    'adam'

    Raises:
        ValueError: If there is no such preset, or a setting cannot have that value.
    """
    if preset not in PRESETS:
        raise ValueError(f"expected the preset as one of {', '.join(PRESETS)}, got {preset!r}")
    return Recipe(**{"preset": preset, **PRESETS[preset], **changes})


def recipe_from(plain: Mapping[str, Any]) -> Recipe:
    """The inverse of `Recipe.to_plain`.

    Raises:
        ValueError: If a name is not that of a setting, or its value cannot be.
    """
    unknown = set(plain) - {field.name for field in fields(Recipe)}
    if unknown:
        raise ValueError(f"expected settings of a recipe, got {', '.join(sorted(unknown))}")
    return Recipe(**{**plain, "stages": tuple(Stage(**stage) for stage in plain.get("stages", ()))})


def in_stages(recipe: Recipe, stages: tuple[Stage, ...]) -> Recipe:
    """The same recipe with its steps made of stages, in as many epochs as those take."""
    steps = sum(stage.steps for stage in stages)
    return replace(recipe, stages=stages, epochs=max(1, math.ceil(steps / recipe.steps_per_epoch)))
