"""What `lungapp doctor` finds in a project that somebody or something has damaged."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import PhantomProject
from registries import label, new_case
from sqlalchemy import Engine, create_engine, text

from datastore.backup import back_up
from datastore.backup import restore as bring_back
from datastore.records import Source
from datastore.secret import SECRET_FILE
from lungapp.doctor import examine
from lungapp.project import Project, init_project, open_project

TINY = {"shape": (8, 16, 16), "spacing_mm": (40.0, 24.0, 24.0)}
TWO_HOURS = 7200


@pytest.fixture
def project(make_project: Callable[..., PhantomProject]) -> Project:
    """Two cases with a mask each."""
    made = make_project(2, **TINY)
    registry = made.project.registry()
    for case_id, phantom in made.phantoms.items():
        registry.add_label(case_id, phantom.lungs, label())
    registry.close()
    return made.project


def wrong(project: Project) -> list[str]:
    return [finding.what for finding in examine(project.folder, project_expected=True) if not finding.ok]


def masks(project: Project) -> list[Path]:
    return sorted(project.labels.glob("*/*.nii.gz"))


def make_old(path: Path) -> None:
    os.utime(path, (path.stat().st_mtime - TWO_HOURS,) * 2)


def engine_of(project: Project) -> Engine:
    return create_engine(project.database_url)


def test_a_healthy_project_has_nothing_wrong(project: Project) -> None:
    assert wrong(project) == []
    said = [finding.what for finding in examine(project.folder, project_expected=True)]
    assert "registry opens: 2 cases, 2 submitted" in said
    assert "all 2 label files match their checksums, none is left over; the counts are right" in said


def test_missing_changed_and_unknown_masks_are_named(project: Project) -> None:
    missing, changed = masks(project)
    unknown = missing.with_name("0001-0a0a0a0a.nii.gz")
    torn = missing.with_name(".writing-0a0a-0001-0a0a0a0a.nii.gz")
    missing.rename(unknown)
    torn.write_bytes(b"half of")
    young = missing.with_name("0001-0b0b0b0b.nii.gz")
    young.write_bytes(b"being submitted right now")
    make_old(unknown)
    make_old(torn)
    changed.write_bytes(changed.read_bytes() + b"\0")
    assert sorted(wrong(project)) == sorted(
        [
            f"{missing}: the label's file is missing: bring it back from a backup",
            f"{changed}: the label's file was changed after it was stored",
            f"{unknown}: a mask that the registry does not know; it can be looked at and removed",
            f"{torn}: left over from an interrupted write; it can be looked at and removed",
        ]
    )


def test_a_mask_that_cannot_be_read_does_not_hide_what_else_is_wrong(project: Project) -> None:
    unreadable, missing = masks(project)
    unreadable.unlink()
    unreadable.mkdir()
    missing.unlink()
    found = wrong(project)
    assert f"{unreadable}: the label's file cannot be read: Is a directory" in found
    assert any(str(missing) in what for what in found)


def test_another_secret_is_named(project: Project) -> None:
    (project.folder / SECRET_FILE).write_text("5a" * 32)
    (found,) = wrong(project)
    assert f"{SECRET_FILE}: is not the secret that this registry was made with" in found
    (project.folder / SECRET_FILE).write_text("not hexadecimal")
    (found,) = wrong(project)
    assert f"{SECRET_FILE}: expected 64 hexadecimal digits" in found
    (project.folder / SECRET_FILE).unlink()
    assert len(wrong(project)) == 1
    assert not (project.folder / SECRET_FILE).exists()


def test_a_wrong_tally_and_a_wrong_status_are_found(project: Project) -> None:
    with engine_of(project).begin() as connection:
        connection.execute(text("UPDATE tally SET count = count + 1 WHERE status = 'submitted'"))
    (found,) = wrong(project)
    assert found.startswith("the registry counts its cases wrongly") and "3" in found and "expected" in found
    with engine_of(project).begin() as connection:
        connection.execute(text("UPDATE tally SET count = count - 1 WHERE status = 'submitted'"))
        connection.execute(text("UPDATE label SET kind = 'rejected' WHERE case_id = '0002'"))
    (found,) = wrong(project)
    assert found == (
        "case 0002 is said to be submitted, 1 masks, eligible, not offered, but its masks and rules say rejected, "
        "1 masks, eligible, offered"
    )


def test_a_registry_that_is_gone_is_missed_and_no_empty_one_takes_its_place(project: Project) -> None:
    registry_file = project.folder / "registry.sqlite"
    backup = project.folder / "backup"
    registry = project.registry()
    back_up(registry, project.folder, backup, lambda total: None)
    registry.close()
    for path in project.folder.glob("registry.sqlite*"):
        path.unlink()
    assert wrong(project) == [f"{registry_file}: is missing: bring it back from a backup (`lungapp restore`)"]
    assert not registry_file.exists()
    again = project.folder.with_name("again")
    bring_back(backup, again, lambda folder: open_project(folder).database_url, lambda total: None)
    assert wrong(open_project(again)) == []


def test_an_image_that_is_gone_or_another_is_named_with_its_place(project: Project) -> None:
    registry = project.registry()
    gone, other = (registry.case(case_id).source.path for case_id in ("0001", "0002"))
    registry.close()
    gone.unlink()
    other.write_bytes(b"torn")
    first, second = wrong(project)
    assert first == f"the image of case 0001 is gone: {gone}"
    assert second.startswith("the image of case 0002 cannot be read") and str(other) in second


def test_a_case_of_a_dicomweb_service_is_not_asked_for(project: Project) -> None:
    registry = project.registry()
    source = Source(Path(), "1.2.3", url="http://127.0.0.1:1/dicom-web")
    registry.add_case(replace(new_case("x"), source=source))
    registry.close()
    assert wrong(project) == []


def test_leftovers_of_interrupted_copies_are_named_once_they_are_old(project: Project) -> None:
    leftovers = [
        project.cache / "images" / ".writing-0a0a-0003-12345678-dicom",
        project.images_folder / ".writing-0123456789abcdef",
        project.models / ".writing-0c0c-r231",
    ]
    for path in leftovers:
        path.mkdir(parents=True)
        (path / "00001.dcm").write_bytes(b"half of")
    assert wrong(project) == []
    for path in leftovers:
        make_old(path)
    assert wrong(project) == [f"{path}: left over from an interrupted copy; it can be removed" for path in leftovers]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_project_on_postgresql_is_looked_at_too(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUNGAPP_DATABASE__URL", database_url)
    project = init_project(tmp_path / "study")
    registry = project.registry()
    registry.add_case(new_case("a"))
    registry.close()
    (found,) = wrong(project)
    assert found == "the image of case 0001 is gone: /scans/a"
    with engine_of(project).begin() as connection:
        connection.execute(text("UPDATE tally SET count = 7"))
    assert any("counts its cases wrongly" in what for what in wrong(project))
    monkeypatch.setenv("LUNGAPP_DATABASE__URL", database_url.replace("host=", "host=/nowhere"))
    (found,) = wrong(open_project(project.folder))
    assert "cannot be opened" in found and "\n" not in found
