from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orthanc
import pytest
import requests
from command_line import assert_refused, run, run_json, small_project, with_min_slices
from conftest import free_port
from dicom_series import write_series
from orthanc import PASSWORD, USER, Orthanc
from pydicom.uid import generate_uid

from datastore import dicomweb_service
from datastore.dicom import read_folder
from datastore.records import Case
from lungapp.project import Project

PATIENT = {"PatientID": "secret-4.w1", "PatientName": "Doeman^Janeway", "PatientBirthDate": "19440229"}


def hounsfield(slices: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1000, 500, (slices, 8, 8)).astype(np.int16)


@pytest.fixture(scope="module")
def server() -> Iterator[Orthanc]:
    with orthanc.orthanc() as running:
        yield running


class Pacs:
    """One study and what lies beside it, in an Orthanc that was empty."""

    def __init__(self, server: Orthanc, top: Path) -> None:
        self.server, self.top = server, top
        self.uids: dict[str, str] = {}
        study = generate_uid()
        self.add("thorax", 6, study)
        self.add("lung", 8, study, SeriesDescription="Lung 1.0")
        self.add("localizer", 2, study, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
        self.add("torn", 7, generate_uid(), skip=(3,))
        self.add("short", 3, generate_uid())

    def add(self, name: str, slices: int, study: str, **how: Any) -> None:
        uid = self.uids.setdefault(name, generate_uid())
        hu = hounsfield(slices, seed=len(name))
        how = {**PATIENT, "series_uid": uid, "StudyInstanceUID": study, **how}
        self.server.upload(write_series(self.top / name, hu, **how))

    def name_of(self, plain: dict[str, Any]) -> str:
        return {uid: name for name, uid in self.uids.items()}[plain["series_uid"]]


@pytest.fixture
def pacs(server: Orthanc, tmp_path: Path) -> Pacs:
    with requests.Session() as session:
        session.auth = (USER.encode(), PASSWORD.encode())
        for patient in session.get(f"{server.address}/patients").json():
            session.delete(f"{server.address}/patients/{patient}").raise_for_status()
    return Pacs(server, tmp_path / "pacs")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return small_project(tmp_path / "study")


@pytest.fixture(autouse=True)
def account(monkeypatch: pytest.MonkeyPatch) -> None:
    """The credentials, as a user hands them in; and no waiting for a service that is away."""
    monkeypatch.setenv("LUNGAPP_DICOMWEB_USER", USER)
    monkeypatch.setenv("LUNGAPP_DICOMWEB_PASSWORD", PASSWORD)
    monkeypatch.delenv("LUNGAPP_DICOMWEB_TOKEN", raising=False)
    monkeypatch.setattr(dicomweb_service, "WAITS_S", (0.0,))


def ingest(project: Project, pacs: Pacs, *arguments: object, exit_code: int = 0) -> Any:
    return run_json("ingest", pacs.server.url, *arguments, "-p", project.folder, exit_code=exit_code)


def numbers(report: Any) -> tuple[int, ...]:
    return len(report["added"]), report["known"], len(report["skipped"]), len(report["failed"])


def every_case(project: Project) -> dict[str, Case]:
    registry = project.registry()
    found = {case.source.series_uid or "": case for case in registry.each_case()}
    registry.close()
    return found


def left_out(project: Project, pacs: Pacs) -> dict[str, str]:
    found = run_json("cases", "list", "--ineligible", "-p", project.folder)
    return {pacs.name_of(case): case["exclusion"] for case in found}


def test_the_series_of_a_service_are_registered_and_selected(project: Project, pacs: Pacs) -> None:
    report = ingest(project, pacs, "--cohort", "routine", "--tag", "pacs", exit_code=1)
    assert numbers(report) == (3, 0, 1, 1)
    offered = run_json("cases", "list", "--cohort", "routine", "--tag", "pacs", "-p", project.folder)
    assert [pacs.name_of(case) for case in offered] == ["lung"]
    reasons = left_out(project, pacs)
    assert reasons.pop("torn").startswith("1 slice missing at slice ")
    assert reasons == {
        "thorax": f"6 slices: case {offered[0]['id']} of the same study has 8",
        "short": "3 slices < 5",
        "localizer": "localizer",
    }
    assert len({case.patient for case in every_case(project).values()}) == 1


def test_a_second_run_adds_nothing(project: Project, pacs: Pacs) -> None:
    ingest(project, pacs, exit_code=1)
    before = every_case(project)
    assert numbers(ingest(project, pacs)) == (0, 5, 0, 0)
    assert every_case(project) == before
    assert numbers(ingest(project, pacs, "--rescan", exit_code=1)) == (0, 3, 1, 1)
    assert every_case(project) == before


def test_the_image_is_read_from_the_service_as_its_files_have_it(project: Project, pacs: Pacs) -> None:
    ingest(project, pacs, exit_code=1)
    case = every_case(project)[pacs.uids["lung"]]
    expected = read_folder(pacs.top / "lung")
    volume = project.images().read(case)
    np.testing.assert_array_equal(volume.array, expected.array)
    assert volume.geometry.corner_distance_mm(expected.geometry, case.shape) < 1e-6


def test_copies_stay_when_the_service_forgets_its_images(project: Project, pacs: Pacs) -> None:
    assert numbers(ingest(project, pacs, "--copy", exit_code=1)) == (3, 0, 1, 1)
    files = sorted(project.images_folder.rglob("*"))
    assert numbers(ingest(project, pacs, "--copy")) == (0, 5, 0, 0)
    assert sorted(project.images_folder.rglob("*")) == files
    with requests.Session() as session:
        session.auth = (USER.encode(), PASSWORD.encode())
        for patient in session.get(f"{pacs.server.address}/patients").json():
            session.delete(f"{pacs.server.address}/patients/{patient}")
    for name in ("thorax", "lung", "short"):
        case = every_case(project)[pacs.uids[name]]
        assert case.source.path.is_relative_to(project.images_folder)
        np.testing.assert_array_equal(project.images().read(case).array, read_folder(pacs.top / name).array)


def test_series_that_are_registered_are_fetched_when_copies_are_asked_for_later(project: Project, pacs: Pacs) -> None:
    ingest(project, pacs, exit_code=1)
    assert numbers(ingest(project, pacs, "--copy")) == (0, 5, 0, 0)
    assert all(case.source.path.is_relative_to(project.images_folder) for case in every_case(project).values())


def test_a_series_whose_missing_slice_arrives_becomes_a_case(project: Project, pacs: Pacs) -> None:
    study = generate_uid()
    pacs.add("late", 7, study, skip=(3,))
    ingest(project, pacs, exit_code=1)
    assert "late" in left_out(project, pacs)
    pacs.add("late", 7, study, skip=(0, 1, 2, 4, 5, 6), prefix="last")
    (added,) = ingest(project, pacs)["added"]
    assert (pacs.name_of(added), added["shape_xyz"]) == ("late", [8, 8, 7])
    assert "late" not in left_out(project, pacs)


def test_a_series_that_was_still_arriving_is_completed(project: Project, pacs: Pacs) -> None:
    study = generate_uid()
    pacs.add("growing", 9, study, skip=(6, 7, 8))
    ingest(project, pacs, exit_code=1)
    uid = pacs.uids["growing"]
    assert every_case(project)[uid].shape[0] == 6
    pacs.add("growing", 9, study, skip=(0, 1, 2, 3, 4, 5), prefix="rest")
    ingest(project, pacs)
    assert every_case(project)[uid].shape[0] == 9
    np.testing.assert_array_equal(project.images().read(every_case(project)[uid]).array, hounsfield(9, len("growing")))


def test_a_changed_selection_is_applied_to_the_series_of_a_service(project: Project, pacs: Pacs) -> None:
    ingest(project, pacs, exit_code=1)
    with_min_slices(project.folder, 3)
    ingest(project, pacs)
    assert "short" not in left_out(project, pacs)


def test_the_selection_is_overruled_for_series_that_are_registered(project: Project, pacs: Pacs) -> None:
    ingest(project, pacs, exit_code=1)
    ingest(project, pacs, "--overrule", "all of them")
    assert set(left_out(project, pacs)) == {"localizer", "torn"}


def test_a_series_that_is_on_disk_too_is_one_case(project: Project, pacs: Pacs) -> None:
    run("ingest", pacs.top, "-p", project.folder)
    before = set(every_case(project))
    assert len(ingest(project, pacs)["added"]) == 0
    assert set(every_case(project)) == before


def test_folders_and_services_are_ingested_together(project: Project, pacs: Pacs, tmp_path: Path) -> None:
    write_series(tmp_path / "disk", hounsfield(), PatientID="other")
    report = run_json("ingest", tmp_path / "disk", pacs.server.url, "-p", project.folder, exit_code=1)
    assert numbers(report) == (4, 0, 1, 1)


def test_wrong_credentials_are_refused_in_one_line(
    project: Project, pacs: Pacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUNGAPP_DICOMWEB_PASSWORD", "wrong-password")
    result = run("ingest", pacs.server.url, "-p", project.folder)
    assert_refused(result, "refuses the user and password or the token (HTTP 401)", "LUNGAPP_DICOMWEB_USER")
    assert len(result.output.splitlines()) == 1
    assert "wrong-password" not in result.output
    monkeypatch.delenv("LUNGAPP_DICOMWEB_PASSWORD")
    assert_refused(run("ingest", pacs.server.url, "-p", project.folder), "expected a user and a password")
    monkeypatch.delenv("LUNGAPP_DICOMWEB_USER")
    assert_refused(run("ingest", pacs.server.url, "-p", project.folder), "asks for credentials (HTTP 401)")


def test_a_service_that_is_away_or_none_is_said_to_be(project: Project, pacs: Pacs) -> None:
    result = run("ingest", f"http://127.0.0.1:{free_port()}/dicom-web", "-p", project.folder)
    assert_refused(result, "cannot be reached (Connection refused)")
    assert len(result.output.splitlines()) == 1
    assert_refused(run("ingest", f"{pacs.server.address}/nowhere", "-p", project.folder), "answers HTTP 404")
    with_password = pacs.server.url.replace("http://", "http://me:hush@")
    refused = run("ingest", with_password, "-p", project.folder)
    assert_refused(refused, "without user and password: set LUNGAPP_DICOMWEB_USER")
    assert "hush" not in refused.output


def test_neither_credentials_nor_patients_are_kept_or_said(
    project: Project, pacs: Pacs, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    output = ""
    for arguments in ([], ["--copy"], ["--rescan"]):
        output += run("-v", "ingest", pacs.server.url, *arguments, "-p", project.folder).output
    output += run("cases", "show", "0001", "-p", project.folder).output
    kept = b"".join(path.read_bytes() for path in project.folder.rglob("*") if path.is_file() and path.suffix != ".dcm")
    names = " ".join(str(path) for path in project.folder.rglob("*"))
    for word in (PASSWORD, *PATIENT.values()):
        assert word not in output + caplog.text + names
        assert word.encode() not in kept
