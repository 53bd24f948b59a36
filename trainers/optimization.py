"""Optimizer and learning rate of a recipe."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from trainers.recipe import Recipe

POWER = 0.9  # of the polynomial: Chen et al. 2017 (DeepLab), Isensee et al. 2021 (nnU-Net)
FALLS: dict[str, Callable[[float], float]] = {
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
    "polynomial": lambda done: (1 - done) ** POWER,
    "constant": lambda done: 1.0,
}
"""Share of the highest rate that is left when that share of the fall is done."""


def optimizer_for(recipe: Recipe, network: nn.Module) -> torch.optim.Optimizer:
    """SGD with momentum as in the paper (Polyak's, its reference 35), Adam or AdamW.

    Its learning rate has to be set before each step; see `learning_rate`.
    """
    weights, rate, decay = network.parameters(), recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(weights, rate, momentum=recipe.momentum, weight_decay=decay)
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return kind(weights, rate, weight_decay=decay)


def learning_rate(recipe: Recipe, step: int) -> float:
    """Of a step, the first being 0: it rises in equal parts, then falls as the recipe's schedule says.

    A function of recipe and step alone, so that training can go on anywhere.

    >>> recipe = Recipe(learning_rate=1.0, epochs=1, steps_per_epoch=100)
    >>> [round(learning_rate(recipe, step), 2) for step in (0, 3, 4, 52, 99)]
    [0.25, 1.0, 1.0, 0.5, 0.0]
    """
    stage, place = recipe.stage_at(step)
    place += stage.begin
    if place < stage.warm_steps:
        return stage.learning_rate * (place + 1) / stage.warm_steps
    done = (place - stage.warm_steps) / max(1, stage.fall_steps - stage.warm_steps)
    return stage.learning_rate * FALLS[recipe.schedule](done)
