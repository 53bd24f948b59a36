from __future__ import annotations

import os

import pytest
from registries import DOUBTFUL, HALF_HOUR, label, mask, new_case, next_case, submit_and_accept

from datastore.image_files import read_mask
from datastore.records import Kind, QualityFinding, Severity, Split, Status
from datastore.registry import Registry, ReviewError, UnknownCaseError


@pytest.fixture
def case_id(registry: Registry) -> str:
    return registry.add_case(new_case("a"))[0].id


def kinds(registry: Registry, case_id: str) -> list[Kind]:
    return [item.kind for item in registry.labels(case_id)]


def test_an_accepted_mask_takes_the_place_of_the_one_accepted_before(registry: Registry, case_id: str) -> None:
    first = submit_and_accept(registry, case_id)
    assert registry.case(case_id).status is Status.ACCEPTED
    second = submit_and_accept(registry, case_id, 2)
    assert kinds(registry, case_id) == [Kind.SUPERSEDED, Kind.ACCEPTED]
    assert registry.case(case_id).head == second
    assert registry.label(first).made_as is Kind.SUBMITTED


def test_an_accepted_mask_stays_accepted_until_its_successor_is(registry: Registry, case_id: str) -> None:
    submit_and_accept(registry, case_id)
    registry.add_label(case_id, mask(2), label(findings=()))
    assert kinds(registry, case_id) == [Kind.ACCEPTED, Kind.SUBMITTED]
    assert registry.case(case_id).status is Status.SUBMITTED


def test_a_rejected_mask_sends_its_case_back_to_the_annotators(registry: Registry, case_id: str) -> None:
    made = registry.add_label(case_id, mask(), label())
    assert next_case(registry, "bob") is None
    registry.reject(made.id, "rita", "effusion left out")
    assert registry.case(case_id).status is Status.REJECTED
    assert next_case(registry, "bob") == case_id
    again = registry.add_label(case_id, mask(2), label(by="bob", client_id="bob"))
    assert (again.parent, again.conflict) == (made.id, False)
    assert kinds(registry, case_id) == [Kind.REJECTED, Kind.SUBMITTED]


def test_nothing_is_accepted_unchecked_or_doubtful_without_a_word(registry: Registry, case_id: str) -> None:
    unchecked = registry.add_label(case_id, mask(), label())
    with pytest.raises(ReviewError, match="was not checked yet"):
        registry.accept(unchecked.id, "rita")
    registry.record_findings(unchecked.id, (DOUBTFUL,), "lungapp")
    registry.record_findings(unchecked.id, (), "lungapp")  # the first findings stay
    with pytest.raises(ReviewError, match=r"has a finding: right lung: 9.3 l, expected less than 6 l"):
        registry.accept(unchecked.id, "rita")
    assert registry.case(case_id).status is Status.SUBMITTED
    assert registry.accept(unchecked.id, "rita", "emphysema").kind is Kind.ACCEPTED
    assert registry.label(unchecked.id).findings == (DOUBTFUL,)


def test_a_mask_with_a_refusing_finding_is_not_stored(registry: Registry, case_id: str) -> None:
    finding = QualityFinding("mask.grid", Severity.REFUSE, "another grid")
    with pytest.raises(ValueError, match=f"mask of case {case_id} is not taken: another grid"):
        registry.add_label(case_id, mask(), label(findings=(finding,)))
    assert registry.labels(case_id) == []


@pytest.mark.parametrize("what", ["accept", "reject"])
def test_only_what_is_submitted_can_be_reviewed(registry: Registry, case_id: str, what: str) -> None:
    preliminary = registry.add_label(case_id, mask(), label(Kind.PRELIMINARY))
    with pytest.raises(ReviewError, match="is preliminary: only a submitted version can be"):
        getattr(registry, what)(preliminary.id, "rita", "no")
    with pytest.raises(UnknownCaseError, match="no label '0009-00000000'"):
        getattr(registry, what)("0009-00000000", "rita", "no")


def test_rejecting_and_reopening_need_a_reason(registry: Registry, case_id: str) -> None:
    made = registry.add_label(case_id, mask(), label())
    with pytest.raises(ReviewError, match="expected a comment"):
        registry.reject(made.id, "rita", " ")
    with pytest.raises(ReviewError, match="expected a reason"):
        registry.reopen(case_id, "rita", "")


def test_two_masks_on_the_same_version_are_a_conflict_that_a_reviewer_ends(registry: Registry, case_id: str) -> None:
    registry.lease_case(case_id, "slicer-ann", HALF_HOUR)
    registry.take_back(case_id, "manager")  # ann goes on all the same
    registry.lease_case(case_id, "slicer-bob", HALF_HOUR)
    bobs = registry.add_label(case_id, mask(1), label(by="bob", findings=()))
    anns = registry.add_label(case_id, mask(2), label(by="ann", findings=()))
    assert (bobs.conflict, anns.conflict) == (False, True)
    assert registry.case(case_id).status is Status.CONFLICT
    assert next_case(registry, "cid") is None
    assert kinds(registry, case_id) == [Kind.SUBMITTED, Kind.SUBMITTED]
    registry.accept(bobs.id, "rita")
    assert kinds(registry, case_id) == [Kind.ACCEPTED, Kind.SUPERSEDED]
    assert registry.case(case_id).status is Status.ACCEPTED
    assert registry.case(case_id).head == bobs.id
    assert (read_mask(anns.path).array == 2).all()


def test_a_stated_outdated_parent_is_a_conflict_too(registry: Registry, case_id: str) -> None:
    first = registry.add_label(case_id, mask(1), label(by="ann"))
    second = registry.add_label(case_id, mask(2), label(by="bob", parent=first.id))
    third = registry.add_label(case_id, mask(0), label(by="cid", parent=first.id))
    assert (second.conflict, third.conflict) == (False, True)
    assert kinds(registry, case_id) == [Kind.SUPERSEDED, Kind.SUBMITTED, Kind.SUBMITTED]
    registry.reject(third.id, "rita", "made on an old version")
    assert registry.case(case_id).status is Status.SUBMITTED


def test_a_conflict_with_an_accepted_mask_waits_for_a_reviewer(registry: Registry, case_id: str) -> None:
    registry.lease_case(case_id, "slicer-bob", HALF_HOUR)
    registry.take_back(case_id)
    accepted = submit_and_accept(registry, case_id)
    late = registry.add_label(case_id, mask(2), label(by="bob"))
    assert late.conflict
    assert registry.case(case_id).status is Status.CONFLICT
    assert registry.label(accepted).kind is Kind.ACCEPTED
    registry.reject(late.id, "rita", "the other one is better")
    assert registry.case(case_id).status is Status.ACCEPTED


def test_a_parent_of_another_case_is_refused(registry: Registry, case_id: str) -> None:
    other = registry.add_case(new_case("b"))[0].id
    foreign = registry.add_label(other, mask(), label())
    with pytest.raises(ValueError, match=f"parent '{foreign.id}' is no version of case {case_id}"):
        registry.add_label(case_id, mask(), label(parent=foreign.id))
    assert registry.labels(case_id) == []


def test_drafts_are_kept_and_lead_to_the_version_that_is_submitted(registry: Registry, case_id: str) -> None:
    before = registry.add_label(case_id, mask(1), label(Kind.PRELIMINARY, by="lungapp", model="m-1"))
    registry.lease_case(case_id, "slicer-ann", HALF_HOUR)
    first = registry.add_label(case_id, mask(2), label(Kind.DRAFT))
    assert registry.case(case_id).status is Status.DRAFT
    assert registry.case(case_id).leased_by == "slicer-ann"
    second = registry.add_label(case_id, mask(0), label(Kind.DRAFT))
    done = registry.add_label(case_id, mask(0), label())
    assert [first.parent, second.parent, done.parent] == [before.id, first.id, second.id]
    assert kinds(registry, case_id) == [Kind.PRELIMINARY, Kind.SUPERSEDED, Kind.SUPERSEDED, Kind.SUBMITTED]
    assert not done.conflict
    assert (read_mask(first.path).array == 2).all()


def test_a_draft_on_a_version_that_is_outdated_by_now_leads_to_a_conflict(registry: Registry, case_id: str) -> None:
    base = registry.add_label(case_id, mask(1), label(by="cid"))
    registry.add_label(case_id, mask(2), label(Kind.DRAFT, by="ann", parent=base.id))
    registry.add_label(case_id, mask(0), label(by="bob", parent=base.id))
    assert registry.add_label(case_id, mask(2), label(by="ann")).conflict


def test_what_was_edited_is_measured_against_the_parent(registry: Registry, case_id: str) -> None:
    registry.add_label(case_id, mask(1), label(Kind.PRELIMINARY))
    changed = mask(1)
    changed.array[0, 0, :3] = 0
    made = registry.add_label(case_id, changed, label(seconds=95.5))
    assert made.edited_ml == pytest.approx(3 * 0.7 * 0.8 * 2.5 / 1000)
    assert made.seconds == 95.5
    assert registry.labels(case_id)[0].edited_ml is None


def test_a_lost_parent_file_does_not_keep_a_mask_from_being_stored(registry: Registry, case_id: str) -> None:
    registry.add_label(case_id, mask(1), label(Kind.PRELIMINARY)).path.unlink()
    assert registry.add_label(case_id, mask(2), label()).edited_ml is None


def test_a_finished_case_can_be_opened_again(registry: Registry, case_id: str) -> None:
    with pytest.raises(ReviewError, match=f"case {case_id} is open"):
        registry.reopen(case_id, "rita", "why not")
    accepted = submit_and_accept(registry, case_id)
    registry.reopen(case_id, "rita", "trachea included")
    assert registry.case(case_id).status is Status.ACCEPTED
    assert next_case(registry, "bob") == case_id
    again = registry.add_label(case_id, mask(2), label(by="bob", client_id="bob"))
    assert (again.parent, again.conflict) == (accepted, False)
    assert kinds(registry, case_id) == [Kind.ACCEPTED, Kind.SUBMITTED]
    assert next_case(registry, "cid") is None


def test_any_version_can_be_restored(registry: Registry, case_id: str) -> None:
    first = registry.add_label(case_id, mask(1), label())
    second = registry.add_label(case_id, mask(2), label())
    restored = registry.restore(first.id, "rita")
    assert (restored.author, restored.parent, restored.conflict) == ("rita", second.id, False)
    assert (read_mask(restored.path).array == 1).all()
    assert kinds(registry, case_id) == [Kind.SUPERSEDED, Kind.SUPERSEDED, Kind.SUBMITTED]
    first.path.write_bytes(b"")
    with pytest.raises(ReviewError, match="its file is missing or was changed"):
        registry.restore(first.id, "rita")


def test_a_reference_of_a_data_set_is_accepted_at_once_and_its_tumour_stands_apart(
    registry: Registry, case_id: str
) -> None:
    registry.add_label(case_id, mask(1), label(Kind.ACCEPTED, by="Lung1 reference", client_id=None, findings=()))
    tumour = registry.add_label(
        case_id, mask(1), label(Kind.ACCEPTED, by="Lung1 reference", client_id=None, findings=(), target="tumour")
    )
    assert kinds(registry, case_id) == [Kind.ACCEPTED, Kind.ACCEPTED]
    best = registry.best_label(case_id)
    assert best is not None and best.id != tumour.id
    assert registry.case(case_id).status is Status.ACCEPTED


def test_only_accepted_masks_of_a_split_may_train_or_judge(registry: Registry) -> None:
    for number in range(40):
        registry.add_case(new_case(str(number), patient=f"p{number}"))
    accepted = {submit_and_accept(registry, case_id): case_id for case_id in registry.case_ids()[:30]}
    by_split = {split: [item.id for item in registry.accepted(split)] for split in Split}
    assert sorted(sum(by_split.values(), [])) == sorted(accepted)
    for split, label_ids in by_split.items():
        assert label_ids, "40 patients fall into all three"
        assert {registry.case(accepted[item]).split for item in label_ids} == {split}


def test_the_database_itself_refuses_to_change_or_delete_a_version_or_an_event(
    registry: Registry, case_id: str
) -> None:
    registry.add_label(case_id, mask(), label())
    for statement in (
        "DELETE FROM label",
        "UPDATE label SET path = 'elsewhere'",
        "UPDATE label SET sha256 = '0'",
        "UPDATE label SET author = 'eve'",
        "DELETE FROM event",
        "UPDATE event SET actor = 'eve'",
    ):
        with pytest.raises(Exception, match="is append-only"), registry.engine.begin() as connection:
            connection.exec_driver_sql(statement)
    assert len(registry.labels(case_id)) == 1
    assert not os.path.exists("elsewhere")


def test_a_rejected_correction_of_an_accepted_mask_is_still_wanted(registry: Registry, case_id: str) -> None:
    submit_and_accept(registry, case_id)
    registry.reopen(case_id, "rita", "trachea included")
    again = registry.add_label(case_id, mask(2), label(by="bob", client_id="bob"))
    registry.reject(again.id, "rita", "still included")
    assert registry.case(case_id).status is Status.ACCEPTED
    assert next_case(registry, "cid") == case_id


def test_who_is_given_a_case_again_begins_with_what_it_has_by_then(registry: Registry, case_id: str) -> None:
    def work(person: str) -> str:
        assert next_case(registry, f"slicer-{person}") == case_id
        made = registry.add_label(case_id, mask(1), label(by=person))
        assert not made.conflict
        registry.reject(made.id, "rita", "not yet")
        return made.id

    anns, bobs = work("ann"), work("bob")
    again = registry.label(work("ann"))
    assert registry.label(bobs).parent == anns
    assert again.parent == bobs
