"""From settings to recipes, and their documentation."""

from __future__ import annotations

from dataclasses import fields

import pytest
from conftest import REPOSITORY
from networks import random_network

from lungapp.recipes import recipe_of
from lungapp.settings import TrainingSettings
from trainers.presets import PRESETS
from trainers.recipe import Recipe, recipe_named


@pytest.mark.parametrize("preset", PRESETS)
def test_the_defaults_are_the_presets(preset: str) -> None:
    assert recipe_of(TrainingSettings(preset=preset), seed=5) == recipe_named(preset, seed=5)


@pytest.mark.parametrize(
    ("name", "value"),
    [("base_channels", 8), ("learning_rate", 0.2), ("epochs", 3), ("steps_per_epoch", 7), ("with_lung", 5),
     ("without_lung", 2), ("patience", 0), ("clip_norm", 0.0), ("mixed_precision", "on")],
)  # fmt: skip
def test_each_setting_reaches_the_recipe(name: str, value: object) -> None:
    default, changed = (recipe_of(settings, 1) for settings in (TrainingSettings(), TrainingSettings(**{name: value})))
    differing = {one.name for one in fields(Recipe) if getattr(default, one.name) != getattr(changed, one.name)}
    assert differing == {name} and getattr(changed, name) == value


def test_training_that_goes_on_keeps_the_networks_width_and_classes() -> None:
    recipe = recipe_of(TrainingSettings(base_channels=32), 1, random_network(4, classes=6))
    assert (recipe.base_channels, recipe.classes) == (4, 6)


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"preset": "nnunet"}, "expected one of r231, adam, "), ({"start": "there"}, "'served' or 'scratch'"),
     ({"devices": ()}, "expected at least one device"), ({"epochs": 0}, "greater than or equal to 1"),
     ({"mixed_precision": "maybe"}, "'auto', 'on' or 'off'")],
)  # fmt: skip
def test_what_cannot_be_is_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TrainingSettings(**settings)  # type: ignore[arg-type]


def test_the_documentation_has_each_preset_with_its_rate_and_optimizer() -> None:
    rows = (REPOSITORY / "docs" / "training.md").read_text().splitlines()
    for name in PRESETS:
        (row,) = [row for row in rows if row.startswith(f"| `{name}` |")]
        recipe = recipe_named(name)
        assert ("SGD" if recipe.optimizer == "sgd" else "Adam") in row
        assert f"rate {recipe.learning_rate:g}" in row or (recipe.learning_rate == 0.01 and "SGD as `r231`" in row)
