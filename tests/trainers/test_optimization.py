"""Optimizers do what they are called, and rates are a function of the step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from trainers.optimization import learning_rate, optimizer_for
from trainers.recipe import Recipe, Stage, in_stages

RECIPE = Recipe(learning_rate=0.01, epochs=4, steps_per_epoch=25)


def rates(recipe: Recipe) -> list[float]:
    return [learning_rate(recipe, step) for step in range(recipe.steps)]


def test_the_rate_rises_then_falls_to_nothing() -> None:
    found = rates(RECIPE)
    assert max(found) == found[3] == found[4] == 0.01
    assert found[:4] == sorted(found[:4]) and found[4:] == sorted(found[4:], reverse=True)
    assert found[0] == pytest.approx(0.0025) and found[-1] < 1e-5
    assert found[52] == pytest.approx(0.005)


def test_schedules_differ_and_one_does_not_fall() -> None:
    cosine, polynomial, constant = (
        rates(replace(RECIPE, schedule=name)) for name in ("cosine", "polynomial", "constant")
    )
    assert constant[4:] == [0.01] * 96
    assert polynomial[52] == pytest.approx(0.01 * 0.5**0.9) and polynomial[-1] == pytest.approx(0.01 * (1 / 96) ** 0.9)
    assert cosine[:4] == polynomial[:4] == constant[:4]
    assert rates(replace(RECIPE, warm_share=0.0))[0] == 0.01


def test_stages_have_their_own_rates() -> None:
    stages = (Stage(2, True, 0.01, 4.0, 1), Stage(3, False, 0.02, 3), Stage(1, True, 0.05, 1))
    np.testing.assert_allclose(rates(in_stages(RECIPE, stages)), [0.01, 0.01, 0.02, 0.015, 0.005, 0.05])


def test_a_stage_can_go_on_with_the_one_before() -> None:
    whole = (Stage(100, False, 0.01, 100, 4),)
    halves = (Stage(30, True, 0.01, 100, 4), Stage(70, False, 0.01, 100, 4, begin=30))
    assert rates(in_stages(RECIPE, whole)) == rates(in_stages(RECIPE, halves)) == rates(RECIPE)


def stepped(recipe: Recipe, gradients: list[float], weight: float = 2.0) -> list[float]:
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, weight)
    optimizer, seen = optimizer_for(recipe, layer), []
    for gradient in gradients:
        layer.weight.grad = torch.full((1, 1), gradient)
        optimizer.step()
        seen.append(float(layer.weight.detach()))
    return seen


def test_sgd_has_the_momentum_of_a_heavy_ball() -> None:
    found = stepped(replace(RECIPE, learning_rate=0.1, momentum=0.5, weight_decay=0.0), [1.0, 1.0])
    assert found == pytest.approx([2 - 0.1, 2 - 0.1 - 0.1 * 1.5])
    decayed = stepped(replace(RECIPE, learning_rate=0.1, momentum=0.5, weight_decay=0.25), [1.0])
    assert decayed == pytest.approx([2 - 0.1 * (1 + 0.25 * 2)])


@pytest.mark.parametrize(("name", "decayed"), [("adam", 2 - 0.1), ("adamw", 2 * (1 - 0.1 * 0.25) - 0.1)])
def test_adam_steps_by_its_rate_and_adamw_decays_apart_from_that(name: str, decayed: float) -> None:
    recipe = replace(RECIPE, optimizer=name, learning_rate=0.1, weight_decay=0.0)
    assert stepped(recipe, [5.0]) == pytest.approx([2 - 0.1])
    assert stepped(replace(recipe, weight_decay=0.25), [5.0]) == pytest.approx([decayed])
