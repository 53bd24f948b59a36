"""`lungapp backup` and `lungapp restore`: what they print, as text and as JSON, and their exit codes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import assert_refused, run
from conftest import PhantomProject
from registries import label

from datastore.records import Status
from lungapp.project import Project, init_project, open_project

TINY = {"shape": (8, 16, 16), "spacing_mm": (40.0, 24.0, 24.0)}


@pytest.fixture
def project(make_project: Callable[..., PhantomProject]) -> Project:
    """Two cases, the first with a submitted mask."""
    made = make_project(2, **TINY)
    registry = made.project.registry()
    registry.add_label("0001", made.phantoms["0001"].lungs, label())
    registry.close()
    return made.project


def test_a_backup_and_the_way_back_in_words(project: Project, tmp_path: Path) -> None:
    made = run("backup", tmp_path / "backup", "-p", project.folder)
    assert made.exit_code == 0, made.output
    told = re.fullmatch(r"(.+): snapshot (\d{8}T\d{12}) of 2 cases, 1 masks \(1 new\)\n", made.output)
    assert told is not None, made.output
    assert told[1] == str(tmp_path / "backup")
    assert "(0 new)" in run("backup", tmp_path / "backup", "-p", project.folder).output
    back = run("restore", tmp_path / "backup", tmp_path / "again", "--at", told[2])
    assert back.exit_code == 0, back.output
    assert back.output == f"{tmp_path / 'again'}: project of 2 cases and 1 masks, as of snapshot {told[2]}\n"
    assert "0001  submitted" in run("cases", "list", "-p", tmp_path / "again").output
    assert "WRONG" not in run("doctor", "-p", tmp_path / "again").output
    assert open_project(tmp_path / "again").settings == project.settings


def test_a_backup_and_the_way_back_as_json(project: Project, tmp_path: Path) -> None:
    made = json.loads(run("backup", "--json", "-p", project.folder).stdout)
    assert {name: made[name] for name in ("labels", "copied", "cases", "lost")} == {
        "labels": 1,
        "copied": 1,
        "cases": 2,
        "lost": [],
    }
    back = run("restore", project.folder / "backup", tmp_path / "again", "--json")
    assert json.loads(back.stdout) == made


def test_a_lost_mask_is_said_and_exits_with_1(project: Project, tmp_path: Path) -> None:
    registry = project.registry()
    (lost,) = registry.labels("0001")
    registry.close()
    lost.path.unlink()
    for arguments in (
        ("backup", tmp_path / "backup", "-p", project.folder),
        ("restore", tmp_path / "backup", tmp_path / "again"),
    ):
        result = run(*arguments)
        assert result.exit_code == 1
        assert result.stderr.startswith("lost  ") and lost.id in result.stderr
        assert "2 cases" in result.stdout
    as_json = run("restore", tmp_path / "backup", tmp_path / "again-2", "--json")
    assert as_json.exit_code == 1
    assert lost.id in json.loads(as_json.stdout)["lost"][0]


def test_refusals_are_one_line_and_exit_code_1(project: Project, tmp_path: Path) -> None:
    assert_refused(run("backup", "-p", tmp_path / "nowhere"), "no lungapp project here")
    assert_refused(run("backup", project.labels, "-p", project.folder), "is part of the project")
    assert_refused(run("restore", tmp_path / "nowhere", tmp_path / "again"), "no backup of lungapp in it")
    run("backup", tmp_path / "backup", "-p", project.folder)
    assert_refused(run("restore", tmp_path / "backup", project.folder), "is there already and is left as it is")
    assert_refused(run("restore", tmp_path / "backup", tmp_path / "again", "--at", "2020"), "no snapshot 2020")
    other = init_project(tmp_path / "other")
    assert_refused(run("backup", tmp_path / "backup", "-p", other.folder), "holds the backup of another project")
    next((tmp_path / "backup" / "labels" / "0001").iterdir()).write_bytes(b"torn")
    assert_refused(run("restore", tmp_path / "backup", tmp_path / "again"), "was changed after it was stored")
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_project_moves_to_another_database_and_back(project: Project, database_url: str, tmp_path: Path) -> None:
    run("backup", tmp_path / "backup", "-p", project.folder)
    moved = run("restore", tmp_path / "backup", tmp_path / "moved", "--database", database_url)
    assert moved.exit_code == 0, moved.output
    assert not (tmp_path / "moved" / "registry.sqlite").exists()
    registry = open_project(tmp_path / "moved").registry()  # which its settings find without being told
    assert registry.engine.dialect.name == "postgresql"
    assert registry.case("0001").status is Status.SUBMITTED
    registry.reject(registry.labels("0001")[0].id, "rita", "trachea included")
    registry.close()
    assert_refused(
        run("restore", tmp_path / "backup", tmp_path / "third", "--database", database_url), "is in use already"
    )
    assert run("backup", tmp_path / "backup-2", "-p", tmp_path / "moved").exit_code == 0
    assert_refused(run("restore", tmp_path / "backup-2", tmp_path / "third"), "is in use already")
    back = run("restore", tmp_path / "backup-2", tmp_path / "back", "--database", "sqlite")
    assert back.exit_code == 0, back.output
    registry = open_project(tmp_path / "back").registry()
    assert registry.engine.dialect.name == "sqlite"
    assert registry.case("0001").status is Status.REJECTED
    registry.close()
    assert open_project(tmp_path / "back").settings == project.settings


def test_a_database_that_the_environment_overrules_is_refused(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("backup", tmp_path / "backup", "-p", project.folder)
    monkeypatch.setenv("LUNGAPP_DATABASE__URL", f"sqlite:///{tmp_path / 'elsewhere.sqlite'}")
    assert_refused(run("restore", tmp_path / "backup", tmp_path / "again", "--database", "sqlite"), "unset it first")
    assert not (tmp_path / "again").exists()
