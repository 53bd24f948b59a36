from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from registries import BY_ID, HALF_HOUR, label, mask, new_case, next_case

from datastore.registry import LeaseError, Order, Registry, UnknownCaseError

GONE = timedelta(seconds=-1)


def add_cases(registry: Registry, count: int) -> None:
    registry.add_cases([new_case(str(number)) for number in range(count)])


def test_two_hundred_annotators_who_ask_at_once_get_two_hundred_cases(registry: Registry) -> None:
    add_cases(registry, 200)
    given: list[str | None] = []
    start = threading.Barrier(20)

    def ask(worker: int) -> None:
        start.wait()
        for number in range(10):
            given.append(next_case(registry, f"annotator-{worker}-{number}"))

    threads = [threading.Thread(target=ask, args=(worker,)) for worker in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(str(case_id) for case_id in given) == [f"{number:04d}" for number in range(1, 201)]


def test_a_skipped_case_goes_to_others_and_never_back(registry: Registry) -> None:
    add_cases(registry, 2)
    assert next_case(registry, "ann") == "0001"
    registry.skip("0001", "ann", "artefacts")
    assert registry.case("0001").leased_by is None
    assert next_case(registry, "bob") == "0001"
    registry.release("0001", "bob")
    assert [next_case(registry, "ann") for _ in range(3)] == ["0002", "0002", "0002"]
    registry.skip("0002", "ann")
    assert next_case(registry, "ann") is None


def test_skipping_what_somebody_else_holds_leaves_it_to_them(registry: Registry) -> None:
    add_cases(registry, 1)
    assert next_case(registry, "ann") == "0001"
    registry.skip("0001", "bob")
    assert registry.case("0001").leased_by == "ann"
    with pytest.raises(UnknownCaseError):
        registry.skip("0009", "bob")


def test_work_keeps_a_lease_alive_and_a_lost_one_is_not_revived(registry: Registry) -> None:
    add_cases(registry, 1)
    first = registry.lease_next(BY_ID, "ann", timedelta(minutes=1))
    renewed = registry.renew("0001", "ann", HALF_HOUR)
    assert first is not None and renewed is not None
    assert renewed.expires_at - first.expires_at > timedelta(minutes=28)
    shorter = registry.renew("0001", "ann", timedelta(minutes=1))
    assert shorter is not None and shorter.expires_at == renewed.expires_at
    assert registry.renew("0001", "bob", HALF_HOUR) is None
    registry.release("0001", "ann")
    assert registry.renew("0001", "ann", HALF_HOUR) is None
    assert registry.lease_next(BY_ID, "ann", GONE) is not None
    assert registry.renew("0001", "ann", HALF_HOUR) is None  # it ran out: bob may have been asked to take it


def test_a_certain_case_can_be_taken_if_nobody_else_holds_it(registry: Registry) -> None:
    add_cases(registry, 1)
    first = registry.lease_case("0001", "ann", HALF_HOUR)
    assert registry.lease_case("0001", "ann", HALF_HOUR).granted_at == first.granted_at
    with pytest.raises(LeaseError, match=r"case 0001 is held by somebody else until \d\d:\d\d UTC"):
        registry.lease_case("0001", "bob", HALF_HOUR)
    assert [lease.holder for lease in registry.leases()] == ["ann"]


def test_a_manager_takes_a_case_back(registry: Registry) -> None:
    add_cases(registry, 1)
    registry.lease_case("0001", "ann", HALF_HOUR)
    assert registry.take_back("0001", "mia").holder == "ann"
    assert next_case(registry, "bob") == "0001"
    registry.release("0001", "bob")
    with pytest.raises(LeaseError, match="case 0001 is held by nobody"):
        registry.take_back("0001")
    event = [item for item in registry.events("0001") if item.detail.get("why") == "taken back"]
    assert [item.actor for item in event] == ["mia"]


def test_a_lease_remembers_what_its_annotator_began_with(registry: Registry) -> None:
    add_cases(registry, 1)
    made = registry.add_label("0001", mask(), label())
    registry.reject(made.id, "rita", "no")
    lease = registry.lease_next(BY_ID, "bob", HALF_HOUR)
    assert lease is not None and lease.base == made.id


def test_another_order_takes_effect_at_once_and_new_cases_find_their_place(registry: Registry) -> None:
    add_cases(registry, 3)
    backwards = Order("backwards", lambda case_id: -int(case_id))
    assert next_case(registry, "ann") == "0001"
    given = registry.lease_next(backwards, "bob", HALF_HOUR)
    assert given is not None and given.case_id == "0003"
    registry.add_case(new_case("late"))
    given = registry.lease_next(backwards, "cid", HALF_HOUR)
    assert given is not None and given.case_id == "0004"


def test_cases_that_are_passed_over_are_not_given(registry: Registry) -> None:
    add_cases(registry, 2)
    given = registry.lease_next(BY_ID, "ann", HALF_HOUR, ["0001"])
    assert given is not None and given.case_id == "0002"
    assert registry.lease_next(BY_ID, "ann", HALF_HOUR, ["0001", "0002"]) is None
