"""Recipes: presets, what cannot be trained, stages, and there and back as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace

import pytest

from trainers.losses import TERMS, loss_named
from trainers.optimization import FALLS
from trainers.presets import PRESETS
from trainers.recipe import LOSSES, SCHEDULES, Recipe, Stage, in_stages, recipe_from, recipe_named

STAGES = (Stage(2, True, 0.01, 4.0, 1), Stage(3, False, 0.02, 3), Stage(1, True, 0.05, 1))


def test_the_default_is_the_papers() -> None:
    recipe = Recipe()
    assert recipe_named("r231") == recipe
    assert (recipe.optimizer, recipe.loss, recipe.momentum) == ("sgd", "cross_entropy", 0.9)
    assert (recipe.with_lung, recipe.without_lung, recipe.batch) == (7, 7, 14)
    assert (recipe.base_channels, recipe.classes) == (64, 3)


def test_there_is_a_preset_for_each_loss_and_each_says_what_it_is_called() -> None:
    made = {name: recipe_named(name) for name in PRESETS}
    assert {recipe.loss for recipe in made.values()} == set(LOSSES)
    assert all(recipe.preset == name for name, recipe in made.items())
    assert len({replace(recipe, preset="") for recipe in made.values()}) == len(made)
    assert made["tanimoto-ce"].optimizer == made["adam"].optimizer == "adam"
    assert LOSSES["tanimoto_ce"] == ((0.6, "tanimoto"), (0.4, "cross_entropy"))


def test_a_preset_can_be_changed_and_an_unknown_one_is_refused() -> None:
    assert recipe_named("dice-ce", seed=4, epochs=2) == replace(recipe_named("dice-ce"), seed=4, epochs=2)
    with pytest.raises(ValueError, match="expected the preset as one of r231, .*, got 'nnunet'"):
        recipe_named("nnunet")


def test_every_name_that_a_recipe_allows_exists() -> None:
    assert set(FALLS) == set(SCHEDULES)
    assert {term for terms in LOSSES.values() for _, term in terms} == set(TERMS)
    with pytest.raises(ValueError, match="expected the loss as one of cross_entropy, .*, got 'focal'"):
        loss_named("focal")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"loss": "focal"}, "expected the loss as one of cross_entropy, dice, .*, got 'focal'"),
        ({"optimizer": "lion"}, "expected the optimizer as one of sgd, adam, adamw, got 'lion'"),
        ({"schedule": "step"}, "expected the schedule as one of cosine, polynomial, constant, got 'step'"),
        ({"mixed_precision": "yes"}, "expected the mixed_precision as one of auto, on, off, got 'yes'"),
        ({"epochs": 0}, "expected epochs of at least 1, got 0"),
        ({"steps_per_epoch": 0}, "expected steps_per_epoch of at least 1, got 0"),
        ({"with_lung": -1}, "expected with_lung of at least 0, got -1"),
        ({"with_lung": 0, "without_lung": 0}, "expected slices in a minibatch"),
        ({"clip_norm": -1.0}, "expected clip_norm of at least 0, got -1.0"),
        ({"clip_norm": float("nan")}, "expected clip_norm of at least 0, got nan"),
        ({"patience": -1}, "expected patience of at least 0, got -1"),
        ({"learning_rate": 0.0}, "expected a learning_rate above 0, got 0.0"),
        ({"learning_rate": float("inf")}, "expected a learning_rate above 0, got inf"),
        ({"classes": 1}, "expected classes of at least 2, got 1"),
        ({"seed": -1}, "expected seed of at least 0, got -1"),
        ({"stages": STAGES}, r"expected stages of 40 epochs, got \[2, 3, 1\]"),
        ({"stages": (Stage(4, True, 0.1, 3.0),), "epochs": 1}, "expected stages that end before their rates do"),
    ],
)
def test_what_cannot_be_trained_is_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Recipe(**change)  # type: ignore[arg-type]


def test_stages_make_up_the_steps_and_the_last_epoch_may_be_shorter() -> None:
    recipe = in_stages(Recipe(steps_per_epoch=4), STAGES)
    assert (recipe.steps, recipe.epochs) == (6, 2)
    assert [recipe.epoch_end(epoch) for epoch in range(3)] == [0, 4, 6]
    assert [recipe.stage_at(step)[0].half_size for step in range(6)] == [True, True, False, False, False, True]
    assert [recipe.stage_at(step)[1] for step in range(6)] == [0, 1, 0, 1, 2, 0]
    assert Recipe(epochs=3, steps_per_epoch=5).steps == 15


@pytest.mark.parametrize("recipe", [Recipe(seed=3, loss="dice"), in_stages(Recipe(steps_per_epoch=4), STAGES)])
def test_a_recipe_is_the_same_after_json(recipe: Recipe) -> None:
    plain = json.loads(json.dumps(recipe.to_plain()))
    assert recipe_from(plain) == recipe
    assert set(plain) == {field.name for field in fields(Recipe)} == set(asdict(recipe))


def test_a_setting_that_no_recipe_has_is_refused() -> None:
    with pytest.raises(ValueError, match="expected settings of a recipe, got epoch, seeds"):
        recipe_from({"seeds": 1, "epoch": 2})
