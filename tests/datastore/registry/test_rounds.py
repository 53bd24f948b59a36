"""Rounds in the registry: one in line, one at work, snapshots that stay, and counting corrections."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from registries import label, mask, new_case, submit_and_accept
from sqlalchemy import text

from datastore.records import Kind, Split
from datastore.registry import CaseFilter, Registry, RoundError, UnknownCaseError
from datastore.round_records import Round, RoundState


@pytest.fixture
def cases(registry: Registry) -> dict[Split, list[str]]:
    """Case ids by split."""
    registry.add_cases([new_case(f"case-{number}", study_uid=f"1.{number}") for number in range(60)])
    return {split: registry.case_ids(CaseFilter(split=split)) for split in Split}


def accept(registry: Registry, case_ids: list[str]) -> list[str]:
    return [submit_and_accept(registry, case_id) for case_id in case_ids]


def queued(registry: Registry, **how: int) -> Round:
    made = registry.request_round("by hand", {"epochs": 3}, seed=7, **how)
    assert made is not None
    return made


def begun(registry: Registry) -> Round:
    return registry.begin_round(queued(registry).number)


def test_a_round_that_was_asked_for_waits_in_line(registry: Registry) -> None:
    made = registry.request_round("25 corrections", {"epochs": 3}, 7, "mia")
    assert made is not None
    assert (made.state, made.trigger, made.config, made.seed) == (
        RoundState.QUEUED,
        "25 corrections",
        {"epochs": 3},
        7,
    )
    assert registry.rounds() == [made] == [registry.round(1)]
    assert registry.waiting_round() == registry.newest_round() == made and registry.active_round() is None
    assert [(event.actor, event.action) for event in registry.events()] == [("mia", "round.queued")]
    with pytest.raises(UnknownCaseError, match="no round 2"):
        registry.round(2)


def test_of_many_who_ask_at_once_one_gets_a_round(registry: Registry, cases: dict[Split, list[str]]) -> None:
    accept(registry, cases[Split.TRAIN][:3])
    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(registry.request_round, "rule", {}, 0, at_least=3, untried=3) for _ in range(24)]
        got = [answer.result() for answer in asked]
    assert len([answer for answer in got if answer is not None]) == 1
    assert [made.state for made in registry.rounds()] == [RoundState.QUEUED]


def test_one_round_is_at_work_and_one_waits_and_the_database_sees_to_it(registry: Registry) -> None:
    first = begun(registry)
    second = queued(registry)
    assert registry.request_round("by hand", {}, 0) is None
    with pytest.raises(RoundError, match="round 1 is at work: round 2 has to wait"):
        registry.begin_round(second.number)
    for statement in (
        "UPDATE round SET active = true",
        "UPDATE round SET state = 'queued'",
    ):
        with pytest.raises(Exception, match="(?i)unique"), registry.engine.begin() as connection:
            connection.execute(text(statement))
    registry.end_round(first.number, RoundState.FAILED, decision="no space left")
    assert registry.begin_round(second.number).state is RoundState.RUNNING
    assert registry.active_round() == registry.round(2)
    assert queued(registry).number == 3


def test_a_snapshot_holds_every_accepted_lung_mask_of_the_split_train_and_stays(
    registry: Registry, cases: dict[Split, list[str]]
) -> None:
    train = cases[Split.TRAIN]
    first = accept(registry, train[:2])
    accept(registry, [cases[Split.VALIDATION][0], cases[Split.TEST][0]])
    registry.add_label(train[3], mask(), label(findings=()))  # not reviewed
    registry.add_label(train[0], mask(), label(Kind.ACCEPTED, target="tumour", findings=()))
    newer = submit_and_accept(registry, train[0], 2)  # corrected again
    made = begun(registry)
    taken = registry.snapshot_round(made.number, champion="unet-1")
    assert set(taken.label_ids) == {newer, first[1]} and taken.champion == "unet-1"
    assert taken.snapshot_at is not None
    accept(registry, [train[3]])
    assert registry.snapshot_round(made.number, champion="unet-2") == taken


def test_only_accepted_masks_of_the_split_train_may_train(registry: Registry, cases: dict[Split, list[str]]) -> None:
    number = begun(registry).number
    with pytest.raises(RoundError, match="nothing to train on: no accepted mask in the split train"):
        registry.snapshot_round(number)
    for split in (Split.VALIDATION, Split.TEST):
        with pytest.raises(RoundError, match=f"in split {split}: only accepted masks of the split train may train"):
            registry.snapshot_round(number, accept(registry, cases[split][:1]))
    waiting = registry.add_label(cases[Split.TRAIN][0], mask(), label(findings=()))
    with pytest.raises(RoundError, match="is submitted and in split train"):
        registry.snapshot_round(number, [waiting.id])
    assert registry.round(number).label_ids == () and registry.round(number).snapshot_at is None
    chosen = accept(registry, cases[Split.TRAIN][1:3])
    assert registry.snapshot_round(number, [chosen[1], chosen[1]]).label_ids == (chosen[1],)


def test_corrections_count_once_they_are_accepted_in_the_split_train_by_annotators(
    registry: Registry, cases: dict[Split, list[str]]
) -> None:
    train = cases[Split.TRAIN]
    registry.add_label(train[0], mask(), label(findings=()))
    registry.add_label(train[1], mask(), label(Kind.ACCEPTED, tool="import anatomy3", findings=()))
    doubtful = registry.add_label(train[2], mask(), label(tool="import ltrc", findings=()))
    registry.accept(doubtful.id, "rita")
    accept(registry, cases[Split.VALIDATION][:1])
    assert (registry.corrections_since_last_round(), registry.untried_corrections()) == (0, 0)
    assert registry.trainable() == 2
    accept(registry, train[3:5])
    assert (registry.corrections_since_last_round(), registry.untried_corrections()) == (2, 2)
    assert registry.trainable() == 4


@pytest.mark.parametrize(
    ("end", "left"),
    [(RoundState.PUBLISHED, 1), (RoundState.HELD_BACK, 1), (RoundState.FAILED, 3), (RoundState.CANCELLED, 3)],
)
def test_what_a_round_took_along_counts_again_only_if_it_learned_nothing(
    registry: Registry, cases: dict[Split, list[str]], end: RoundState, left: int
) -> None:
    accept(registry, cases[Split.TRAIN][:2])
    number = begun(registry).number
    assert registry.corrections_since_last_round() == 2
    registry.snapshot_round(number)
    accept(registry, cases[Split.TRAIN][2:3])
    assert (registry.corrections_since_last_round(), registry.untried_corrections()) == (1, 1)
    registry.end_round(number, end)
    assert (registry.corrections_since_last_round(), registry.untried_corrections()) == (left, 1)
    submit_and_accept(registry, cases[Split.TRAIN][0], 2)  # a mask that the round knew, corrected again
    assert registry.untried_corrections() == 2


def test_a_rule_gets_no_round_with_too_few_corrections_or_while_one_is_about_to_take_them(
    registry: Registry, cases: dict[Split, list[str]]
) -> None:
    accept(registry, cases[Split.TRAIN][:2])
    assert registry.request_round("rule", {}, 0, at_least=3) is None
    assert registry.request_round("rule", {}, 0, untried=3) is None
    number = begun(registry).number
    assert registry.request_round("rule", {}, 0, at_least=2) is None  # this one will take them along
    registry.snapshot_round(number)
    assert registry.request_round("rule", {}, 0, at_least=2) is None
    accept(registry, cases[Split.TRAIN][2:4])
    assert queued(registry, at_least=2, untried=2).number == 2


def test_a_round_in_line_is_cancelled_at_once_and_one_at_work_is_asked_to_stop(registry: Registry) -> None:
    first = registry.request_cancel(queued(registry).number, "mia")
    assert (first.state, first.cancel_by, first.ended_at is not None) == (RoundState.CANCELLED, "mia", True)
    with pytest.raises(RoundError, match="round 1 is cancelled: it has ended"):
        registry.request_cancel(1)
    second = begun(registry)
    assert not registry.is_cancel_requested(second.number)
    asked = registry.request_cancel(second.number, "mia")
    assert asked.state is RoundState.RUNNING and registry.is_cancel_requested(second.number)
    assert registry.request_cancel(second.number, "bob").cancel_by == "mia"
    assert [event.action for event in registry.events()].count("round.cancel") == 2


def test_an_end_is_said_once_and_stays(registry: Registry) -> None:
    number = begun(registry).number
    ended = registry.end_round(
        number, RoundState.HELD_BACK, decision="worse", metrics={"dice": 0.9}, candidate="c", champion="d"
    )
    assert (ended.decision, ended.metrics, ended.candidate, ended.champion) == ("worse", {"dice": 0.9}, "c", "d")
    assert registry.end_round(number, RoundState.HELD_BACK, decision="other") == ended
    for again in (
        lambda: registry.end_round(number, RoundState.PUBLISHED),
        lambda: registry.begin_round(number),
        lambda: registry.snapshot_round(number),
        lambda: registry.set_round_state(number, RoundState.JUDGING),
    ):
        with pytest.raises(RoundError, match="round 1 is held back: it has ended"):
            again()
    assert registry.round(number) == ended
    other = begun(registry).number
    with pytest.raises(RoundError, match="expected one of published, held back, failed, cancelled, got running"):
        registry.end_round(other, RoundState.RUNNING)


def test_a_round_at_work_says_what_it_does(registry: Registry) -> None:
    number = queued(registry).number
    with pytest.raises(RoundError, match="round 1 is queued: it was not begun"):
        registry.set_round_state(number, RoundState.JUDGING)
    began = registry.begin_round(number)
    assert registry.set_round_state(number, RoundState.JUDGING).state is RoundState.JUDGING
    assert registry.set_round_state(number, RoundState.INTERRUPTED).state is RoundState.INTERRUPTED
    assert registry.active_round() == registry.round(number)
    again = registry.begin_round(number)
    assert (again.state, again.started_at) == (RoundState.RUNNING, began.started_at)
    assert [event.action for event in registry.events()][-2:] == ["round.interrupted", "round.resumed"]
    with pytest.raises(RoundError, match="expected one of running, judging, interrupted, got queued"):
        registry.set_round_state(number, RoundState.QUEUED)


def test_attempts_are_counted_until_a_round_gets_on(registry: Registry) -> None:
    number = queued(registry).number
    assert [registry.begin_round(number).attempts for _ in range(3)] == [1, 2, 3]
    registry.report_progress(number, {"step": "train", "epoch": 2, "position": 12})
    assert registry.round(number).attempts == 0
    registry.begin_round(number)
    registry.report_progress(number, {"step": "train", "epoch": 1, "position": 11})  # from an older checkpoint
    said = registry.round(number)
    assert said.attempts == 1 and said.progress == {"step": "train", "epoch": 1, "position": 12}
    assert said.progressed_at is not None


def test_the_last_published_round_wants_its_masks_made_until_they_are(registry: Registry) -> None:
    for state in (RoundState.PUBLISHED, RoundState.HELD_BACK):
        registry.end_round(begun(registry).number, state)
    due = registry.round_to_refresh()
    assert due is not None and due.number == 1
    registry.mark_refreshed(1)
    registry.mark_refreshed(1)
    assert registry.round_to_refresh() is None
    assert [event.action for event in registry.events()].count("round.refreshed") == 1
