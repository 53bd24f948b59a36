"""Which model was served when, and which one is the way back."""

from __future__ import annotations

import random

import pytest
from registries import new_case

from datastore.registry import Registry


def enter(registry: Registry, *versions: str) -> None:
    for version in versions:
        registry.add_model(version, "unet", version[0] * 64)


def published_at(registry: Registry, version: str) -> object:
    return next(model.published_at for model in registry.models() if model.version == version)


def test_models_are_served_in_turn(registry: Registry) -> None:
    assert registry.served_models() == ()
    enter(registry, "a", "b")
    assert published_at(registry, "a") is None
    registry.publish_model("a", "mia")
    registry.publish_model("b", "lungapp", before="a", round_number=7)
    assert registry.served_models() == ("a", "b")
    assert published_at(registry, "a") is not None
    changes = [(event.actor, event.action, event.detail) for event in registry.events()[-2:]]
    assert changes == [
        ("mia", "model.published", {"model": "a"}),
        ("lungapp", "model.published", {"model": "b", "before": "a", "round": 7}),
    ]


def test_a_model_that_is_served_already_is_not_entered_twice(registry: Registry) -> None:
    enter(registry, "a")
    registry.publish_model("a")
    at, events = published_at(registry, "a"), registry.events()
    registry.publish_model("a")
    assert (published_at(registry, "a"), registry.events()) == (at, events)


def test_going_back_twice_goes_back_two_models(registry: Registry) -> None:
    enter(registry, "a", "b", "c")
    for version in "abc":
        registry.publish_model(version)
    registry.roll_back_model("b", "mia", before="c")
    assert registry.served_models() == ("a", "b")
    registry.roll_back_model("a", before="b")
    assert registry.served_models() == ("a",)
    assert [event.detail for event in registry.events() if event.action == "model.rolled_back"] == [
        {"model": "b", "before": "c"},
        {"model": "a", "before": "b"},
    ]


def test_what_was_taken_back_was_published_all_the_same(registry: Registry) -> None:
    enter(registry, "a", "b", "c")
    registry.publish_model("a")
    registry.publish_model("b")
    registry.roll_back_model("a", before="b")
    assert [registry.was_published(version) for version in "abc"] == [True, True, False]


def test_an_older_model_published_again_is_the_newest(registry: Registry) -> None:
    enter(registry, "a", "b")
    for version in "aba":
        registry.publish_model(version)
    assert registry.served_models() == ("a", "b", "a")


@pytest.mark.parametrize(("version", "before"), [("a", "a"), ("b", "a"), ("a", "c"), ("c", "b")])
def test_only_the_model_before_is_gone_back_to(registry: Registry, version: str, before: str) -> None:
    enter(registry, "a", "b", "c")
    registry.publish_model("a")
    registry.publish_model("b")
    with pytest.raises(ValueError, match=f"go back from {before} to {version}, last served were a, b"):
        registry.roll_back_model(version, before=before)
    assert registry.served_models() == ("a", "b")


def test_a_model_that_was_never_entered_is_not_served(registry: Registry) -> None:
    with pytest.raises(ValueError, match="model a was never entered"):
        registry.publish_model("a")
    assert registry.served_models() == ()


def test_other_events_are_no_part_of_it(registry: Registry) -> None:
    enter(registry, "a")
    registry.add_cases([new_case("scan")])
    registry.publish_model("a")
    assert registry.served_models() == ("a",)


def test_a_model_entered_twice_with_the_same_weights_is_one(registry: Registry) -> None:
    first = registry.add_model("a", "unet", "a" * 64, metrics={"dice": 0.9})
    assert registry.add_model("a", "unet", "a" * 64) == first
    assert registry.models() == [first]
    assert [event.action for event in registry.events()] == ["model.added"]


def test_any_turn_of_publishing_and_going_back_ends_where_a_stack_does(registry: Registry) -> None:
    enter(registry, *"abcd")
    drawn, stack = random.Random(3), []
    for _ in range(40):
        if len(stack) > 1 and drawn.random() < 0.4:
            taken = stack.pop()
            registry.roll_back_model(stack[-1], before=taken)
        else:
            version = drawn.choice("abcd")
            registry.publish_model(version, before=stack[-1] if stack else None)
            if stack[-1:] != [version]:
                stack.append(version)
        assert registry.served_models() == tuple(stack)
