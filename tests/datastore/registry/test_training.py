from __future__ import annotations

import pytest
from registries import new_case, submit_and_accept
from sqlalchemy import text

from datastore.records import NewDraw, Split
from datastore.registry import CaseFilter, Registry, UnknownCaseError
from datastore.registry.training import RoundError
from datastore.round_records import RoundState
from datastore.user_records import Role


def accepted_of(registry: Registry, split: Split) -> str:
    """An accepted mask of a case in a split."""
    registry.add_cases([new_case(f"{split}-{number}", study_uid=f"{split}.{number}") for number in range(60)])
    return submit_and_accept(registry, registry.case_ids(CaseFilter(split=split))[0])


def test_a_round_remembers_the_very_masks_that_it_trains_on(registry: Registry) -> None:
    label_id = accepted_of(registry, Split.TRAIN)
    made = registry.queue_round("25 corrections", [label_id], seed=7, config={"epochs": 3})
    assert (made.state, made.label_ids, made.seed, made.config) == (RoundState.QUEUED, (label_id,), 7, {"epochs": 3})
    assert registry.rounds() == [made]


@pytest.mark.parametrize("split", [Split.VALIDATION, Split.TEST])
def test_masks_of_locked_splits_never_train(registry: Registry, split: Split) -> None:
    with pytest.raises(RoundError, match=f"in split {split}: only accepted masks of the split train may train"):
        registry.queue_round("by hand", [accepted_of(registry, split)], seed=0, config={})
    assert registry.rounds() == []


def test_two_rounds_are_never_at_work_at_once(registry: Registry) -> None:
    first, second = (registry.queue_round("by hand", [], seed=number, config={}) for number in range(2))
    registry.set_round_state(first.number, RoundState.RUNNING)
    with pytest.raises(RoundError, match="round 1 is at work: round 2 has to wait"):
        registry.set_round_state(second.number, RoundState.RUNNING)
    with pytest.raises(Exception, match="(?i)unique"), registry.engine.begin() as connection:
        connection.execute(text("UPDATE round SET active = true"))
    registry.set_round_state(first.number, RoundState.HELD_BACK, decision="worse in fibrosis")
    assert registry.set_round_state(second.number, RoundState.RUNNING).started_at is not None
    with pytest.raises(RoundError, match="round 1 is held back: it has ended"):
        registry.set_round_state(first.number, RoundState.RUNNING)


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
