from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from registries import HALF_HOUR, label, mask, new_case, next_case, submit_and_accept

from datastore.patients import SplitRatios
from datastore.records import Kind, NewExclusion, Source, Split
from datastore.registry import CaseFilter, Registry, UnknownCaseError


def series(number: int, slices: int, study: str = "1.2", **how: object) -> object:
    return new_case(f"s{number}", f"1.2.{number}", shape=(slices, 4, 5), study_uid=study, **how)


def test_all_cases_of_a_patient_are_in_one_split_that_stays(registry: Registry) -> None:
    added = registry.add_cases([new_case(f"{n}", patient=f"patient-{n % 30}") for n in range(120)])
    splits: dict[str, set[Split]] = {}
    for case, _ in added:  # type: ignore[misc]
        splits.setdefault(case.patient, set()).add(case.split)
    assert len(splits) == 30
    assert all(len(found) == 1 for found in splits.values())
    assert {next(iter(found)) for found in splits.values()} == set(Split)


def test_without_a_patient_a_study_is_one(registry: Registry) -> None:
    one, same, other = (
        registry.add_case(new_case(name, study_uid=study))[0] for name, study in (("a", "1"), ("b", "1"), ("c", "2"))
    )
    assert one.patient == same.patient != other.patient
    alone, also_alone = (registry.add_case(new_case(name, study_uid=None))[0] for name in "de")
    assert alone.patient != also_alone.patient


def test_a_patient_who_becomes_known_takes_the_case_unless_it_was_accepted(registry: Registry) -> None:
    unknown = new_case("a", "1.2.3")
    first = registry.add_case(unknown)[0]
    assert registry.add_case(replace(unknown, patient="p1"))[0].patient == "p1"
    assert registry.add_case(unknown)[0].patient == "p1"
    with pytest.raises(ValueError, match=f"case {first.id} is registered as another patient's"):
        registry.add_case(replace(unknown, patient="p2"))
    settled = new_case("b", "1.2.4", study_uid="9")
    case = registry.add_case(settled)[0]
    submit_and_accept(registry, case.id)
    others = [registry.add_case(new_case(f"q{n}", study_uid=f"8.{n}", patient=f"q{n}"))[0] for n in range(40)]
    elsewhere = next(other for other in others if other.split is not case.split)
    with pytest.raises(ValueError, match="its split would change"):
        registry.add_case(replace(settled, patient=elsewhere.patient))
    assert registry.case(case.id).patient == case.patient
    alike = next(other for other in others if other.split is case.split)
    assert registry.add_case(replace(settled, patient=alike.patient))[0].patient == alike.patient


def test_all_series_of_a_study_are_one_patient_s_whichever_names_the_patient(registry: Registry) -> None:
    for number in range(30):
        study = f"5.{number}"
        unnamed, named = new_case(f"u{number}", study_uid=study), new_case(f"n{number}", study_uid=study, patient=study)
        both = [unnamed, named] if number % 2 else [named, unnamed]
        if number % 3:
            registry.add_cases(both)
        else:
            for new in both:
                registry.add_case(new)
    patients: dict[str | None, set[str]] = {}
    for case in registry.cases():
        patients.setdefault(case.study_uid, set()).add(case.patient)
    assert patients == {study: {str(study)} for study in patients}


def test_a_patient_who_becomes_known_keeps_the_split_of_the_study(registry: Registry) -> None:
    for number in range(30):
        before = registry.add_case(new_case(f"u{number}", f"1.{number}", study_uid=f"5.{number}"))[0]
        after = registry.add_case(new_case(f"u{number}", f"1.{number}", study_uid=f"5.{number}", patient=f"p{number}"))[
            0
        ]
        assert (after.patient, after.split) == (f"p{number}", before.split)


def test_the_split_follows_the_ratios(database_url: str, tmp_path: Path) -> None:
    registry = Registry.open(database_url, tmp_path / "labels", ratios=SplitRatios(0.5, 0.5, 0.0))
    registry.add_cases([new_case(str(number), study_uid=str(number)) for number in range(300)])
    share = len(registry.case_ids(CaseFilter(split=Split.TRAIN))) / 300
    assert 0.4 < share < 0.6
    assert registry.case_ids(CaseFilter(split=Split.TEST)) == []
    registry.close()
    changed = Registry.open(database_url, tmp_path / "labels", ratios=SplitRatios(0.0, 0.0, 1.0))
    assert changed.case_ids(CaseFilter(split=Split.TEST)) == []  # assigned once
    assert changed.add_case(new_case("new", study_uid="new"))[0].split is Split.TEST
    changed.close()


def test_of_a_study_only_the_series_with_most_slices_is_eligible(registry: Registry) -> None:
    registry.add_cases([series(1, 120), series(2, 300), series(3, 300), series(4, 90, "other")], one_per_study=True)  # type: ignore[list-item]
    assert registry.case_ids(CaseFilter()) == ["0002", "0004"]
    assert registry.case("0001").exclusion == "120 slices: case 0002 of the same study has 300"
    counts = registry.counts()
    assert (counts.total, counts.ineligible) == (2, 2)
    registry.add_cases([series(5, 400)], one_per_study=True)  # type: ignore[list-item]
    assert registry.case_ids(CaseFilter()) == ["0004", "0005"]
    assert registry.case("0002").exclusion == "300 slices: case 0005 of the same study has 400"


def test_a_series_that_is_worked_on_stays_eligible(registry: Registry) -> None:
    registry.add_cases([series(1, 3)], one_per_study=True)  # type: ignore[list-item]
    registry.add_label("0001", mask(), label())
    registry.add_cases([series(2, 400)], one_per_study=True)  # type: ignore[list-item]
    assert registry.case_ids(CaseFilter()) == ["0001"]
    assert registry.case("0002").exclusion == "400 slices: case 0001 of the same study has 3"


def test_another_reason_does_not_take_part_in_the_choice_of_a_study(registry: Registry) -> None:
    registry.add_cases([series(1, 500, exclusion="coronal"), series(2, 120)], one_per_study=True)  # type: ignore[list-item]
    assert registry.case_ids(CaseFilter()) == ["0002"]
    assert registry.case("0001").exclusion == "coronal"


def test_an_excluded_case_is_not_offered_until_it_is_overruled(registry: Registry) -> None:
    registry.add_case(new_case("a", exclusion="62 slices < 100"))
    assert next_case(registry, "ann") is None
    with pytest.raises(ValueError, match="expected a reason"):
        registry.overrule("0001", " ")
    case = registry.overrule("0001", "the only fibrosis of that year", "mia")
    assert case.eligible and case.exclusion == "62 slices < 100"
    assert next_case(registry, "ann") == "0001"
    assert [(event.actor, event.action) for event in registry.events("0001")][1] == ("mia", "case.overruled")
    assert not registry.withdraw_overrule("0001").eligible
    registry.release("0001", "ann")
    assert next_case(registry, "bob") is None
    registry.add_case(new_case("b"))
    with pytest.raises(ValueError, match="case 0002 is eligible: there is nothing to overrule"):
        registry.overrule("0002", "because")


def test_the_rules_of_a_later_ingest_hold_for_known_cases(registry: Registry) -> None:
    new = new_case("a", exclusion="62 slices < 100")
    registry.add_case(new)
    assert registry.add_case(replace(new, exclusion=None))[0].eligible
    assert not registry.add_case(new)[0].eligible
    assert registry.counts().ineligible == 1


def test_a_series_that_is_no_volume_keeps_its_reason_until_it_can_be_read(registry: Registry) -> None:
    source = Source(Path("/scans/a"), "1.2.3", ("1.dcm", "2.dcm"))
    torn = NewExclusion(source, "1 slice missing at slice 41", "1.2", "Thorax", 63)
    assert registry.note_exclusions([torn]) == 1
    assert registry.note_exclusions([torn]) == 0
    found = registry.exclusions()
    assert [(item.source, item.reason, item.slices) for item in found] == [(source, torn.reason, 63)]
    assert registry.registered()[0].source == source
    registry.add_case(new_case("a", "1.2.3"))
    assert registry.exclusions() == []


def test_neither_places_nor_patients_stand_in_the_database(tmp_path: Path) -> None:
    registry = Registry.open(f"sqlite:///{tmp_path / 'registry.sqlite'}", tmp_path / "labels")
    key = registry.secret.patient_key("4.w1")
    source = Source(tmp_path / "Doeman^Janeway-4.w1", "1.2.3", ("Doeman-1.dcm",))
    registry.add_case(replace(new_case("x", patient=key), source=source))
    registry.add_case(new_case("Doeman_Janeway.nii.gz"))
    registry.note_exclusions([NewExclusion(replace(source, series_uid="1.2.4"), "coronal")])
    registry.close()
    for path in (*tmp_path.glob("registry.sqlite*"),):
        content = path.read_bytes()
        assert b"Doeman" not in content and b"4.w1" not in content
    again = Registry.open(f"sqlite:///{tmp_path / 'registry.sqlite'}", tmp_path / "labels")
    assert again.case("0001").source == source
    assert again.registered()[0].source == source
    again.close()


def test_a_project_that_moves_finds_what_lies_inside_it(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    (here / "scans").mkdir(parents=True)
    inside = replace(new_case("x"), source=Source(here / "scans" / "a.nii.gz"))
    registry = Registry.open(f"sqlite:///{here / 'registry.sqlite'}", here / "labels")
    registry.add_case(inside)
    registry.close()
    here.rename(there)
    moved = Registry.open(f"sqlite:///{there / 'registry.sqlite'}", there / "labels")
    assert moved.case("0001").source.path == there / "scans" / "a.nii.gz"
    assert not moved.add_case(replace(inside, source=Source(there / "scans" / "a.nii.gz")))[1]
    moved.close()


def test_cases_are_found_by_what_is_known_of_them(registry: Registry) -> None:
    registry.add_cases([new_case("a", cohort="anatomy3", tags=("whole body",)), new_case("b"), new_case("c")])
    registry.tag("0002", ["fibrosis", "left"])
    registry.tag("0002", remove=["left", "never there"])
    registry.set_phenotype("0003", "7")
    registry.add_label("0003", mask(), label(Kind.PRELIMINARY))
    assert registry.case("0002").tags == ("fibrosis",)
    for which, expected in (
        (CaseFilter(cohort="anatomy3"), ["0001"]),
        (CaseFilter(tag="fibrosis"), ["0002"]),
        (CaseFilter(tag="left"), []),
        (CaseFilter(phenotype="7"), ["0003"]),
        (CaseFilter(statuses=(registry.case("0003").status,)), ["0003"]),
    ):
        assert registry.case_ids(which) == expected
        assert [case.id for case in registry.each_case(which)] == expected
    assert registry.case_ids(after="0001", limit=1) == ["0002"]
    assert [case.id for case in registry.cases(limit=1, offset=2)] == ["0003"]
    with pytest.raises(ValueError, match="bad tag ' '"):
        registry.tag("0001", [" "])
    with pytest.raises(UnknownCaseError):
        registry.tag("0009", ["x"])


def test_cases_come_page_by_page_without_a_gap(registry: Registry) -> None:
    registry.add_cases([new_case(str(number)) for number in range(1203)])
    ids = [case.id for case in registry.each_case()]
    assert ids == registry.case_ids() == [f"{number:04d}" for number in range(1, 1204)]


def test_the_choice_of_a_study_does_not_hide_another_rule(registry: Registry) -> None:
    small, large = series(1, 110), series(2, 120)
    registry.add_cases([small, large], one_per_study=True)  # type: ignore[list-item]
    assert registry.case_ids(CaseFilter()) == ["0002"]
    judged = [replace(new, exclusion="fewer than 200") for new in (small, large)]  # type: ignore[type-var]
    registry.add_cases(judged, one_per_study=True)  # type: ignore[arg-type]
    assert registry.case_ids(CaseFilter()) == []
    registry.add_cases([small, large], one_per_study=False)  # type: ignore[list-item]
    assert registry.case_ids(CaseFilter()) == ["0001", "0002"]


def test_what_somebody_works_on_stays_eligible_whatever_the_rules_say(registry: Registry) -> None:
    for name in ("a", "b", "c"):
        registry.add_case(new_case(name))
    registry.add_label("0001", mask(), label())
    registry.lease_case("0002", "ann", HALF_HOUR)
    for name in ("a", "b", "c"):
        registry.add_case(new_case(name, exclusion="62 slices < 100"))
    assert registry.case_ids(CaseFilter()) == ["0001", "0002"]


def test_a_held_case_is_not_registered_anew(registry: Registry) -> None:
    registry.add_case(new_case("a", "1.2.3"))
    registry.lease_case("0001", "ann", HALF_HOUR)
    with pytest.raises(ValueError, match="is another image"):
        registry.add_case(new_case("a", "1.2.3", shape=(4, 4, 5)))
    registry.release("0001", "ann")
    assert registry.add_case(new_case("a", "1.2.3", shape=(4, 4, 5)))[0].shape == (4, 4, 5)


def test_a_series_that_is_refused_does_not_keep_half_of_what_it_said(registry: Registry) -> None:
    first = registry.add_case(new_case("a", "1.2.3"))[0]
    registry.add_label("0001", mask(), label())
    with pytest.raises(ValueError, match="is another image"):
        registry.add_case(new_case("a", "1.2.3", shape=(4, 4, 5), patient="p1"))
    assert registry.case("0001").patient == first.patient
    registry.add_case(new_case("b", "1.2.4", study_uid="9", patient="p1"))
    with pytest.raises(ValueError, match="another patient's"):
        registry.add_case(new_case("elsewhere", "1.2.4", study_uid="9", patient="p2"))
    assert registry.case("0002").source.path == Path("/scans/b")


def test_two_series_of_a_study_that_are_both_worked_on_stay(registry: Registry) -> None:
    both = [series(1, 3), series(2, 3)]
    registry.add_cases(both)  # type: ignore[arg-type]
    for case_id in ("0001", "0002"):
        registry.add_label(case_id, mask(), label())
    registry.add_cases(both, one_per_study=True)  # type: ignore[arg-type]
    assert registry.case_ids(CaseFilter()) == ["0001", "0002"]
