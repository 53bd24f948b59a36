from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from command_line import assert_refused, run, run_json
from conftest import PhantomProject
from registries import label, next_case

from datastore.records import Kind, Label, NewDraw
from datastore.volume import Volume
from lungapp.project import Project

SMALL = {"shape": (40, 72, 72), "spacing_mm": (8.0, 6.0, 6.0)}


@pytest.fixture
def made(make_project: Callable[..., PhantomProject]) -> PhantomProject:
    """A project of two scans."""
    return make_project(2, **SMALL)


@pytest.fixture
def project(made: PhantomProject) -> Project:
    return made.project


def cases(project: Project, *arguments: object) -> Any:
    return run("cases", *arguments, "-p", project.folder)


def listed(project: Project, *arguments: object) -> list[str]:
    return [case["id"] for case in run_json("cases", "list", *arguments, "-p", project.folder)]


def story(project: Project, case_id: str = "0001") -> dict[str, Any]:
    found: dict[str, Any] = run_json("cases", "show", case_id, "-p", project.folder)
    return found


def submit(made: PhantomProject, case_id: str = "0001", without: int = 0, **how: Any) -> Label:
    """A phantom's true mask as an annotator submits it, without a lung if one is named; not checked yet."""
    lungs = made.phantoms[case_id].lungs
    registry = made.project.registry()
    mask = lungs.with_array(np.where(lungs.array == without, 0, lungs.array).astype(np.uint8))
    stored = registry.add_label(case_id, Volume(mask.array, registry.case(case_id).geometry), label(**how))
    registry.close()
    return stored


def actors(project: Project, action: str, case_id: str = "0001") -> list[str]:
    return [event["actor"] for event in story(project, case_id)["events"] if event["action"] == action]


def test_cases_are_listed_by_what_is_known_of_them(made: PhantomProject) -> None:
    project = made.project
    submit(made)
    registry = project.registry()
    registry.record_draws("first", [NewDraw("0002", "phenotype", "3", reason="rare")], "mia")
    split = registry.case("0001").split
    registry.close()
    assert cases(project, "tag", "0002", "--add", "fibrosis", "--phenotype", "7").exit_code == 0
    for arguments, expected in (
        ([], ["0001", "0002"]),
        (["--status", "submitted"], ["0001"]),
        (["--status", "accepted"], []),
        (["--tag", "fibrosis"], ["0002"]),
        (["--phenotype", "7"], ["0002"]),
        (["--strategy", "phenotype"], ["0002"]),
        (["--cohort", "routine"], []),
        (["--status", "open", "--tag", "fibrosis"], ["0002"]),
        (["--status", "submitted", "--tag", "fibrosis"], []),
        (["--ineligible"], []),
    ):
        assert listed(project, *arguments) == expected, arguments
    assert "0001" in listed(project, "--split", split)
    text = cases(project, "list", "--status", "submitted")
    assert text.stdout.startswith("0001  submitted    72 x 72 x 40  6 x 6 x 8 mm  scans/phantom-01.nii.gz")
    assert text.stderr == "1 case\n"


def test_the_story_of_a_case_is_told_as_text_and_as_json(made: PhantomProject) -> None:
    project = made.project
    stored = submit(made, seconds=300.0)
    cases(project, "tag", "0001", "--add", "fibrosis", "--by", "mia")
    registry = project.registry()
    registry.record_draws("first", [NewDraw("0001", "random", reason="seed 7")], "mia")
    registry.close()
    text = cases(project, "show", "0001").output
    for words in (
        "tags     fibrosis",
        "UTC by mia: random",
        "mask 1  submitted",
        f"by ann (slicer-ann)  {stored.id}",
        "in 5 min",
        "history",
        "mia          case.tagged",
    ):
        assert words in text
    told = story(project)
    assert (told["id"], told["status"], told["tags"]) == ("0001", "submitted", ["fibrosis"])
    assert [(each["id"], each["kind"], each["seconds"]) for each in told["labels"]] == [(stored.id, "submitted", 300.0)]
    assert [draw["strategy"] for draw in told["draws"]] == ["random"]
    assert "no mask yet" in cases(project, "show", "0002").output


def test_tags_are_added_and_taken_away(project: Project) -> None:
    added = cases(project, "tag", "0001", "0002", "--add", "fibrosis", "--add", "left", "--by", "mia")
    assert added.output == "0001  fibrosis, left\n0002  fibrosis, left\n"
    assert cases(project, "tag", "0001", "--remove", "left").output == "0001  fibrosis\n"
    assert cases(project, "tag", "0001", "--remove", "fibrosis").output == "0001  no tags\n"
    assert cases(project, "tag", "0001", "--add", " ").exit_code == 2
    assert cases(project, "tag", "0001", "--add", "a\x1b[2J").exit_code == 2
    assert cases(project, "tag", "0001").exit_code == 2
    assert actors(project, "case.tagged")[0] == "mia"


def test_what_was_done_before_an_unknown_id_is_said(project: Project) -> None:
    result = cases(project, "tag", "0001", "0009", "0002", "--add", "fibrosis")
    assert_refused(result, "0001  fibrosis\n", "no case '0009'")
    assert listed(project, "--tag", "fibrosis") == ["0001"]


def test_what_is_eligible_cannot_be_overruled(project: Project) -> None:
    assert_refused(cases(project, "overrule", "0001", "--reason", "why"), "case 0001 is eligible")
    for options in ([], ["--reason", "why", "--withdraw"]):
        wrong = cases(project, "overrule", "0001", *options)
        assert wrong.exit_code == 2
        assert "expected either --reason or --withdraw" in wrong.output


def test_a_case_is_taken_back_from_whoever_holds_it(project: Project) -> None:
    registry = project.registry()
    case_id = next_case(registry, "ann", timedelta(minutes=30))
    registry.close()
    assert case_id is not None
    assert "held     by ann until" in cases(project, "show", case_id).output
    released = cases(project, "release", case_id, "--by", "mia")
    assert released.exit_code == 0
    assert released.output.startswith(f"{case_id}  was held by ann until ")
    assert_refused(cases(project, "release", case_id), f"case {case_id} is held by nobody")
    assert actors(project, "lease.ended", case_id) == ["mia"]


def test_a_mask_is_checked_and_accepted(made: PhantomProject) -> None:
    stored = submit(made)
    assert stored.findings is None
    accepted = cases(made.project, "accept", stored.id, "--by", "rita", "--comment", "fine")
    assert (accepted.exit_code, accepted.output) == (0, "0001  mask 1 accepted\n")
    assert story(made.project)["labels"][0]["findings"] is not None
    assert listed(made.project, "--status", "accepted") == ["0001"]
    assert actors(made.project, "label.accepted") == ["rita"]
    assert_refused(cases(made.project, "accept", stored.id), f"label {stored.id} is accepted: only a submitted version")


def test_a_finding_has_to_be_answered_by_a_comment(made: PhantomProject) -> None:
    stored = submit(made, without=2)
    assert_refused(cases(made.project, "accept", stored.id), "has a finding: ", "expected a comment")
    assert "review: left lung: nothing drawn" in cases(made.project, "show", "0001").output
    assert listed(made.project, "--status", "submitted") == ["0001"]
    accepted = cases(made.project, "accept", stored.id, "--comment", "the left lung was removed", "--by", "rita")
    assert accepted.exit_code == 0, accepted.output
    assert "comment=the left lung was removed" in cases(made.project, "show", "0001").output


def test_a_rejected_mask_needs_a_comment_and_its_case_is_offered_again(made: PhantomProject) -> None:
    stored = submit(made)
    assert cases(made.project, "reject", stored.id).exit_code == 2
    assert cases(made.project, "reject", stored.id, "--comment", " ").exit_code == 2
    rejected = cases(made.project, "reject", stored.id, "--comment", "effusion left out", "--by", "rita")
    assert (rejected.exit_code, rejected.output) == (0, "0001  mask 1 rejected\n")
    assert listed(made.project, "--status", "rejected") == ["0001"]
    assert actors(made.project, "label.rejected") == ["rita"]
    registry = made.project.registry()
    assert {next_case(registry, "ann"), next_case(registry, "bea")} == {"0001", "0002"}
    registry.close()


def test_a_finished_case_is_opened_again(made: PhantomProject) -> None:
    stored = submit(made)
    cases(made.project, "accept", stored.id, "--comment", "fine")
    assert cases(made.project, "reopen", "0001").exit_code == 2
    opened = cases(made.project, "reopen", "0001", "--reason", "trachea included", "--by", "rita")
    assert (opened.exit_code, opened.output) == (0, "0001  open again (accepted)\n")
    assert actors(made.project, "case.reopened") == ["rita"]
    assert_refused(cases(made.project, "reopen", "0002", "--reason", "why"), "case 0002 is open: it cannot be opened")


def test_an_older_version_is_submitted_anew(made: PhantomProject) -> None:
    first = submit(made)
    second = submit(made, without=1, parent=first.id)
    restored = cases(made.project, "restore", first.id, "--by", "rita")
    assert restored.exit_code == 0
    newest = story(made.project)["labels"][-1]
    assert restored.output == f"0001  mask 3 ({newest['id']}) submitted: a copy of {first.id}\n"
    assert (newest["author"], newest["parent"], newest["kind"]) == ("rita", second.id, Kind.SUBMITTED)
    same = run_json("cases", "compare", first.id, newest["id"], "-p", made.project.folder)
    assert same["changed_slices"] == []


def test_two_versions_are_compared(made: PhantomProject) -> None:
    first = submit(made)
    second = submit(made, without=1, parent=first.id)
    lungs = made.phantoms["0001"].lungs
    right_ml = float((lungs.array == 1).sum() * lungs.geometry.voxel_ml)
    told = run_json("cases", "compare", first.id, second.id, "-p", made.project.folder)
    assert told["removed_ml"] == pytest.approx(right_ml)
    assert (told["added_ml"], told["relabelled_ml"]) == (0, 0)
    assert told["dice"] == {"right_lung": 0.0, "left_lung": 1.0}
    said = cases(made.project, "compare", first.id, second.id).output
    assert said.splitlines()[:4] == [
        "added        0.0 ml",
        f"removed      {right_ml:.1f} ml",
        "other side   0.0 ml",
        "right lung   Dice 0.0000",
    ]
    planes = np.flatnonzero((lungs.array == 1).any(axis=(1, 2)))
    assert said.splitlines()[-1] == f"slices       {len(planes)} changed between {planes[0] + 1} and {planes[-1] + 1}"
    other = submit(made, "0002")
    assert_refused(cases(made.project, "compare", first.id, other.id), "expected two versions of one case, got")


@pytest.mark.parametrize(
    "command",
    [
        ["show", "0009"],
        ["tag", "0009", "--add", "x"],
        ["overrule", "0009", "--reason", "x"],
        ["overrule", "0009", "--withdraw"],
        ["release", "0009"],
        ["reopen", "0009", "--reason", "x"],
        ["accept", "0009-00000000"],
        ["reject", "0009-00000000", "--comment", "x"],
        ["restore", "0009-00000000"],
        ["compare", "0009-00000000", "0009-00000000"],
    ],
    ids=" ".join,
)
def test_an_unknown_id_is_said_to_be_unknown(project: Project, command: list[str]) -> None:
    result = cases(project, *command)
    assert_refused(result, f"Error: no {'label' if '-' in command[1] else 'case'} '{command[1]}'")
    assert len(result.output.splitlines()) == 1


@pytest.mark.parametrize("command", ["show", "tag", "overrule", "release", "accept", "reject", "reopen", "restore"])
def test_a_command_without_an_id_is_wrong_usage(project: Project, command: str) -> None:
    assert cases(project, command).exit_code == 2
