from __future__ import annotations

import pytest
from registries import new_case

from datastore.records import NewDraw
from datastore.registry import CaseFilter, Registry, UnknownCaseError
from datastore.user_records import Role


def test_a_model_needs_the_checksum_of_its_weights(registry: Registry) -> None:
    with pytest.raises(ValueError, match="expected the SHA-256 of its weights"):
        registry.add_model("m-1", "unet", "")
    made = registry.add_model("m-1", "unet", "a" * 64, metrics={"dice": 0.98})
    with pytest.raises(ValueError, match="model m-1 is there already"):
        registry.add_model("m-1", "unet", "b" * 64)
    assert registry.models() == [made]


def test_a_case_is_drawn_once_into_a_selection_and_found_by_its_strategy(registry: Registry) -> None:
    registry.add_cases([new_case("a"), new_case("b")])
    drawn = NewDraw("0001", "edge", "fibrosis", score=0.7, reason="reticulation in the bases", seed=3)
    (made,) = registry.record_draws("r231", [drawn], "mia")
    assert (made.strategy, made.category, made.score, made.seed, made.drawn_by) == ("edge", "fibrosis", 0.7, 3, "mia")
    with pytest.raises(ValueError, match="case 0001 was drawn into 'r231' already"):
        registry.record_draws("r231", [NewDraw("0002", "random"), drawn])
    with pytest.raises(UnknownCaseError, match="no case '0009'"):
        registry.record_draws("r231", [NewDraw("0009", "random")])
    assert registry.draws(selection="r231") == [made]
    assert registry.case_ids(CaseFilter(strategy="edge")) == ["0001"]


def test_a_user_has_one_name_and_a_role(registry: Registry) -> None:
    ann = registry.add_user("ann", Role.REVIEWER)
    with pytest.raises(ValueError, match="user ann is there already"):
        registry.add_user("ann", Role.ADMIN)
    with pytest.raises(ValueError, match="bad user name"):
        registry.add_user("Ann; DROP", Role.ADMIN)
    assert registry.users() == [ann]
