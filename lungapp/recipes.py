"""From a project's settings to the recipe of a training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lungapp.settings import TrainingSettings
from trainers.recipe import Recipe, recipe_named

if TYPE_CHECKING:
    from infers.unet import UNet

CHANGED = "epochs", "steps_per_epoch", "with_lung", "without_lung", "patience", "clip_norm", "mixed_precision"


def recipe_of(settings: TrainingSettings, seed: int, start_from: UNet | None = None) -> Recipe:
    """What `[training]` asks for.

    Args:
        settings: Of the project.
        seed: Of the training.
        start_from: The network that training goes on from; its classes and its width are kept. None starts from
            scratch, with right and left lung.
    """
    changes = {name: getattr(settings, name) for name in CHANGED}
    if settings.learning_rate:
        changes["learning_rate"] = settings.learning_rate
    changes["base_channels"] = settings.base_channels
    if start_from is not None:
        changes |= {"base_channels": start_from.base_channels, "classes": start_from.classes}
    return recipe_named(settings.preset, seed=seed, **changes)
