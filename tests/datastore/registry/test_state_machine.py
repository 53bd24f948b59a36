"""Whatever annotators, reviewers and the clock do, in whatever order: the registry's promises hold."""

from __future__ import annotations

import tempfile
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule
from registries import BY_ID, HALF_HOUR, label, mask, new_case
from sqlalchemy import text

from datastore.atomic import sha256_of
from datastore.records import DONE, Kind, Split
from datastore.registry import EVERY_CASE, LeaseError, Registry, ReviewError

PEOPLE = st.sampled_from(["ann", "bob", "cid"])
VALUES = st.integers(0, 2)


class RegistryMachine(RuleBasedStateMachine):
    cases = Bundle("cases")
    labels = Bundle("labels")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        root = Path(self.folder.name)
        self.registry = Registry.open(f"sqlite:///{root / 'registry.sqlite'}", root / "labels")
        self.written: dict[str, str] = {}
        self.split_of: dict[str, Split] = {}
        self.skipped: set[tuple[str, str]] = set()
        self.events = 0

    def teardown(self) -> None:
        self.registry.close()
        self.folder.cleanup()

    @rule(target=cases, number=st.integers(1, 12), slices=st.integers(3, 3), excluded=st.booleans())
    def ingest(self, number: int, slices: int, excluded: bool) -> str:
        new = new_case(
            f"s{number}",
            f"1.2.{number}",
            study_uid=f"1.{number % 4}",
            patient=f"patient-{number % 3}",
            exclusion="62 slices < 100" if excluded else None,
        )
        return self.registry.add_case(new, one_per_study=True)[0].id

    @rule(case_id=cases, person=PEOPLE)
    def overrule(self, case_id: str, person: str) -> None:
        if self.registry.case(case_id).exclusion is not None:
            assert self.registry.overrule(case_id, "needed", person).eligible

    @rule(person=PEOPLE, runs_out=st.booleans())
    def ask_for_a_case(self, person: str, runs_out: bool) -> None:
        before = {lease.case_id: lease.holder for lease in self.registry.leases()}
        given = self.registry.lease_next(BY_ID, person, timedelta(seconds=-1) if runs_out else HALF_HOUR)
        if given is None:
            return
        case = self.registry.case(given.case_id)
        assert before.get(given.case_id) in (None, person)
        assert (given.case_id, person) not in self.skipped
        assert case.eligible
        assert case.head == given.base

    @rule(case_id=cases, person=PEOPLE)
    def take_a_certain_case(self, case_id: str, person: str) -> None:
        holder = self.registry.case(case_id).leased_by
        try:
            self.registry.lease_case(case_id, person, HALF_HOUR)
            assert holder in (None, person)
        except LeaseError:
            assert holder not in (None, person)

    @rule(case_id=cases, person=PEOPLE)
    def skip(self, case_id: str, person: str) -> None:
        self.registry.skip(case_id, person)
        self.skipped.add((case_id, person))
        assert self.registry.case(case_id).leased_by != person

    @rule(case_id=cases)
    def take_back(self, case_id: str) -> None:
        with suppress(LeaseError):
            self.registry.take_back(case_id)
        assert self.registry.case(case_id).leased_by is None

    @rule(case_id=cases, person=PEOPLE)
    def stay_alive(self, case_id: str, person: str) -> None:
        held = self.registry.case(case_id).leased_by == person
        assert (self.registry.renew(case_id, person, HALF_HOUR) is not None) == held

    @rule(
        target=labels,
        case_id=cases,
        person=PEOPLE,
        value=VALUES,
        kind=st.sampled_from([Kind.PRELIMINARY, Kind.DRAFT, Kind.SUBMITTED, Kind.SUBMITTED]),
    )
    def store(self, case_id: str, person: str, value: int, kind: Kind) -> str:
        by = "lungapp" if kind is Kind.PRELIMINARY else person
        made = self.registry.add_label(case_id, mask(value), label(kind, by=by, client_id=by, findings=()))
        self.written[made.id] = sha256_of(made.path)
        if kind is Kind.SUBMITTED:
            assert self.registry.case(case_id).leased_by is None
            assert self.registry.case(case_id).status in DONE
        return made.id

    @rule(target=labels, case_id=cases, parent=labels, person=PEOPLE, value=VALUES)
    def submit_on_a_stated_parent(self, case_id: str, parent: str, person: str, value: int) -> object:
        head = self.registry.case(case_id).head
        try:
            made = self.registry.add_label(case_id, mask(value), label(by=person, parent=parent, findings=()))
        except ValueError:
            assert not parent.startswith(case_id)
            return multiple()
        self.written[made.id] = sha256_of(made.path)
        if head == parent or head is None:
            assert not made.conflict
        return made.id

    @rule(label_id=labels, accepts=st.booleans())
    def review(self, label_id: str, accepts: bool) -> None:
        was = self.registry.label(label_id).kind
        try:
            reviewed = (
                self.registry.accept(label_id, "rita") if accepts else self.registry.reject(label_id, "rita", "not so")
            )
        except ReviewError:
            assert was is not Kind.SUBMITTED
            return
        assert was is Kind.SUBMITTED
        assert reviewed.kind is (Kind.ACCEPTED if accepts else Kind.REJECTED)

    @rule(target=labels, label_id=consumes(labels))
    def restore(self, label_id: str) -> str:
        made = self.registry.restore(label_id, "rita")
        self.written[made.id] = sha256_of(made.path)
        assert made.sha256 == self.registry.label(label_id).sha256
        return made.id

    @rule(case_id=cases)
    def reopen(self, case_id: str) -> None:
        case = self.registry.case(case_id)
        try:
            self.registry.reopen(case_id, "rita", "look again")
        except ReviewError:
            return
        assert case.status in DONE

    @invariant()
    def no_label_is_gone(self) -> None:
        stored = {item.id: item for case_id in self.registry.case_ids() for item in self.registry.labels(case_id)}
        assert stored.keys() == self.written.keys()
        for label_id, digest in self.written.items():
            assert stored[label_id].sha256 == digest == sha256_of(stored[label_id].path)

    @invariant()
    def no_case_has_two_live_leases(self) -> None:
        with self.registry.engine.connect() as connection:
            held = connection.execute(text("SELECT case_id FROM lease WHERE ended_at IS NULL")).scalars().all()
        assert len(held) == len(set(held))

    @invariant()
    def no_case_has_two_accepted_masks(self) -> None:
        for case_id in self.registry.case_ids():
            kinds = Counter(item.kind for item in self.registry.labels(case_id))
            assert kinds[Kind.ACCEPTED] <= 1

    @invariant()
    def a_patient_stays_in_one_split(self) -> None:
        for case in self.registry.cases():
            assert self.split_of.setdefault(case.patient, case.split) is case.split

    @invariant()
    def what_is_kept_twice_agrees(self) -> None:
        assert [fault for fault in self.registry.check() if fault.is_loss] == []
        counts = self.registry.counts()
        assert counts.total + counts.ineligible == len(self.registry.case_ids(EVERY_CASE))

    @invariant()
    def the_audit_only_grows(self) -> None:
        events = len(self.registry.events())
        assert events >= self.events
        self.events = events


RegistryMachine.TestCase.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestRegistry = RegistryMachine.TestCase
