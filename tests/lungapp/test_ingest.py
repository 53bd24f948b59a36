from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from command_line import assert_refused, run, run_json, small_project, with_min_slices
from conftest import REPOSITORY
from dicom_series import write_series
from pydicom.uid import generate_uid
from registries import label

from datastore.atomic import TEMPORARY_PREFIX
from datastore.geometry import Geometry
from datastore.image_files import read_ct, write_mask
from datastore.nifti import write_nifti
from datastore.records import Case
from datastore.volume import Volume
from lungapp.project import Project

CORONAL = (1, 0, 0, 0, 0, -1)
DOE = {"PatientID": "secret-4.w1", "PatientName": "Doeman^Janeway", "PatientBirthDate": "19440229"}
ROE = {"PatientID": "hidden-0815", "PatientName": "Roeman^Richard", "PatientBirthDate": "19511231"}
POE = {"PatientID": "nobody-1234", "PatientName": "Poeman^Edgar", "PatientBirthDate": "19090119"}
# Words long enough that no digest or UID has them by chance.
PRIVATE = ("Doeman-Janeway", *DOE.values(), *ROE.values(), *POE.values())


def hounsfield(slices: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1000, 500, (slices, 8, 8)).astype(np.int16)


def scan(seed: int = 0) -> Volume:
    return Volume(hounsfield(seed=seed), Geometry((0.7, 0.8, 2.5), (-10.0, 20.0, 5.0)))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return small_project(tmp_path / "study")


def ingest(project: Project, *arguments: object, exit_code: int = 0) -> Any:
    return run_json("ingest", *arguments, "-p", project.folder, exit_code=exit_code)


def cases_of(project: Project, *arguments: object) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = run_json("cases", "list", *arguments, "-p", project.folder)
    return found


def every_case(project: Project) -> list[Case]:
    registry = project.registry()
    found = list(registry.each_case())
    registry.close()
    return found


def submit_a_mask(project: Project) -> None:
    """Work on the first case."""
    registry = project.registry()
    case = registry.case("0001")
    registry.add_label(case, Volume(np.ones(case.shape, np.uint8), case.geometry), label())
    registry.close()


def numbers(report: Any) -> tuple[int, ...]:
    return len(report["added"]), report["known"], len(report["skipped"]), len(report["failed"])


def ruin(top: Path) -> None:
    """Fill every file with rubbish but keep its time: whoever opens one fails."""
    for path in (path for path in top.rglob("*") if path.is_file()):
        status = path.stat()
        path.write_bytes(b"rubbish")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


class MixedTree:
    """What hospitals export: three patients, and everything that lies beside their scans.

    Attributes:
        uids: SeriesInstanceUID of each series by its name.
    """

    def __init__(self, top: Path) -> None:
        self.top = top
        self.uids: dict[str, str] = {}
        first, second, third, fourth, fifth = (generate_uid() for _ in range(5))
        doe, roe, poe = (top / name for name in ("Doeman^Janeway-4.w1", "Roeman^Richard", "Poeman"))
        self._add("thorax", doe / "1" / "a", 8, first, DOE)
        self._add("lung", doe / "1" / "b", 10, first, DOE, SeriesDescription="LUNGE  1.0 B70f")
        self._add("localizer", doe / "1" / "a", 2, first, DOE, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
        self._add("mr", doe / "1" / "c", 6, first, DOE, Modality="MR")
        self._add("report", doe / "1" / "c", 1, first, DOE, Modality="SR", PixelData=None, Rows=None, Columns=None)
        self._add("torn", doe / "2", 7, second, DOE, skip=(3,))
        self._add("coronal", roe, 9, third, ROE, orientation=CORONAL)
        self._add("mip", roe, 9, third, ROE, ImageType=["DERIVED", "SECONDARY", "AXIAL", "MIP"])
        self._add("short", roe, 3, third, ROE)
        self._add("other roe", roe, 6, fourth, ROE, SeriesDescription="Chest")
        self._add("abdomen", poe / "1", 6, fifth, POE, SeriesDescription="Abdomen")
        self._add("bare", poe / "1", 6, fifth, POE, SeriesDescription=None)
        self._add("suffixless", poe / "2", 6, fifth, POE)
        for number, path in enumerate(sorted((poe / "2").iterdir())):
            path.rename(path.with_name(f"IM{number:05d}"))
        (top / "files").mkdir()
        write_nifti(scan(), top / "files" / "image.nii.gz")
        write_mask(scan().with_array(np.ones((6, 8, 8), np.uint8)), top / "files" / "mask.nii.gz")
        (top / "DICOMDIR").write_bytes(b"an index")
        (top / "Thumbs.db").write_bytes(b"rubbish")
        (top / "letter.pdf").write_bytes(b"%PDF-1.4")

    def _add(self, name: str, folder: Path, slices: int, study: str, patient: dict[str, str], **how: Any) -> None:
        self.uids[name] = generate_uid()
        how = {"SeriesDescription": "Thorax 2.5", **patient, **how}
        uids = {"series_uid": self.uids[name], "StudyInstanceUID": study}
        write_series(folder, hounsfield(slices), prefix=name, **uids, **how)

    def name_of(self, plain: dict[str, Any]) -> str:
        return {uid: name for name, uid in self.uids.items()}.get(plain["series_uid"], "file")


@pytest.fixture
def tree(tmp_path: Path) -> MixedTree:
    return MixedTree(tmp_path / "pacs")


def test_of_a_mixed_tree_the_right_series_are_offered_and_the_others_have_their_reason(
    project: Project, tree: MixedTree
) -> None:
    report = ingest(project, tree.top, exit_code=1)
    assert numbers(report) == (10, 0, 4, 1)
    assert report["ineligible"] == 6
    assert "files/image.nii.gz" in next(case["source"] for case in report["added"] if tree.name_of(case) == "file")
    (failed,) = report["failed"]
    assert "1 slice missing" in failed
    assert {tree.name_of(case) for case in cases_of(project)} == {"lung", "other roe", "suffixless", "file"}
    lung = next(case["id"] for case in cases_of(project) if tree.name_of(case) == "lung")
    left_out = {tree.name_of(case): case for case in cases_of(project, "--ineligible")}
    reasons = {name: case["exclusion"] for name, case in left_out.items()}
    assert reasons.pop("torn").startswith("1 slice missing at slice ")
    assert reasons == {
        "thorax": f"8 slices: case {lung} of the same study has 10",
        "coronal": "coronal",
        "mip": "derived: MIP",
        "short": "3 slices < 5",
        "abdomen": "description 'Abdomen' has none of lung, chest, thorax",
        "bare": "no series description",
        "localizer": "localizer",
        "mr": "modality MR, expected CT",
        "report": "modality SR, expected CT",
    }
    no_volumes = {name for name, case in left_out.items() if case["id"] is None}
    assert no_volumes == {"torn", "localizer", "mr", "report"}
    assert [left_out[name]["slices"] for name in ("torn", "localizer", "report")] == [6, 2, 1]


def test_the_series_of_a_patient_are_in_one_split_and_patients_are_told_apart(
    project: Project, tree: MixedTree
) -> None:
    ingest(project, tree.top, exit_code=1)
    found = [*cases_of(project), *(case for case in cases_of(project, "--ineligible") if case["id"])]
    patient = {tree.name_of(case): case["patient"] for case in found}
    assert patient["thorax"] == patient["lung"]
    assert patient["coronal"] == patient["mip"] == patient["short"] == patient["other roe"]
    assert len(set(patient.values())) == 4
    splits: dict[str, set[str]] = {}
    for case in found:
        splits.setdefault(case["patient"], set()).add(case["split"])
    assert all(len(several) == 1 for several in splits.values())


def test_a_second_run_adds_nothing_and_opens_no_known_file(project: Project, tree: MixedTree) -> None:
    ingest(project, tree.top, exit_code=1)
    before = every_case(project)
    report = ingest(project, tree.top)
    assert numbers(report) == (0, 14, 1, 0)
    assert report["known_files"] == sum(path.is_file() for path in tree.top.rglob("*")) - 4
    assert every_case(project) == before
    assert "0 added, 14 known already, 1 skipped, 0 failed" in run("ingest", tree.top, "-p", project.folder).output


def test_a_rescan_opens_known_files_again(project: Project, tree: MixedTree) -> None:
    ingest(project, tree.top, exit_code=1)
    before = every_case(project)
    report = ingest(project, tree.top, "--rescan", exit_code=1)
    assert numbers(report) == (0, 10, 4, 1)
    assert report["known_files"] == 0
    assert every_case(project) == before


def test_a_killed_ingest_that_is_run_again_ends_like_one_that_was_not(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for number in range(420):
        write_nifti(scan(number), data / f"{number:03d}.nii")
    for number in range(4):
        write_series(data / f"s{number}", hounsfield(seed=number), PatientID=f"p{number % 2}")
    whole, killed = (small_project(tmp_path / name) for name in ("whole", "killed"))
    ingest(whole, data)
    process = subprocess.Popen(
        [sys.executable, "-m", "lungapp", "ingest", str(data), "-p", str(killed.folder)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.DEVNULL,
    )
    with contextlib.closing(sqlite3.connect(f"file:{killed.folder / 'registry.sqlite'}?mode=ro", uri=True)) as database:
        while process.poll() is None and not database.execute('SELECT count(*) FROM "case"').fetchone()[0]:
            time.sleep(0.001)  # between two looks; what is waited for is the first batch
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    there = len(every_case(killed))
    assert 0 < there < 424
    report = ingest(killed, data)
    assert len(report["added"]) == 424 - there
    assert report["known_files"] >= there

    def said(project: Project) -> list[tuple[Any, ...]]:
        return [(case.id, case.source, case.shape, case.sha256, case.exclusion) for case in every_case(project)]

    assert said(killed) == said(whole)


def test_more_series_than_one_batch_are_all_registered_with_their_patients(tmp_path: Path) -> None:
    project = small_project(tmp_path / "study", min_slices=2)
    for number in range(103):
        patient, study = f"patient-{number % 9}", f"1.2.{number % 9}.{number}"
        write_series(tmp_path / "in" / f"{number:03d}", hounsfield(2), PatientID=patient, StudyInstanceUID=study)
    assert numbers(ingest(project, tmp_path / "in")) == (103, 0, 0, 0)
    found = every_case(project)
    assert [case.id for case in found] == [f"{number:04d}" for number in range(1, 104)]
    splits: dict[str, set[str]] = {}
    for case in found:
        splits.setdefault(case.patient, set()).add(case.split)
    assert len(splits) == 9
    assert all(len(several) == 1 for several in splits.values())
    assert numbers(ingest(project, tmp_path / "in")) == (0, 103, 0, 0)


def test_a_series_that_grew_is_registered_anew(project: Project, tmp_path: Path) -> None:
    uid, study = generate_uid(), generate_uid()
    how: dict[str, Any] = {"series_uid": uid, "StudyInstanceUID": study}
    paths = write_series(tmp_path / "in", hounsfield(9), **how)
    late = sorted(paths, key=lambda path: read_ct(path).geometry.origin_mm[2])[6:]
    (tmp_path / "late").mkdir()
    for path in late:
        path.rename(tmp_path / "late" / path.name)
    assert numbers(ingest(project, tmp_path / "in")) == (1, 0, 0, 0)
    for path in late:
        (tmp_path / "late" / path.name).rename(path)
    assert numbers(ingest(project, tmp_path / "in")) == (0, 1, 0, 0)
    (case,) = every_case(project)
    assert case.shape == (9, 8, 8)
    np.testing.assert_array_equal(project.images().read(case).array, hounsfield(9))


def test_a_series_that_arrives_in_two_parts_becomes_a_case_with_the_second(project: Project, tmp_path: Path) -> None:
    how: dict[str, Any] = {"series_uid": generate_uid(), "StudyInstanceUID": generate_uid()}
    whole = hounsfield(8)
    write_series(tmp_path / "in" / "one", whole, skip=(1, 3, 5, 6, 7), prefix="a", **how)
    write_series(tmp_path / "in" / "one", whole, skip=(0, 1, 2, 3, 4, 5, 6), prefix="b", **how)
    report = ingest(project, tmp_path / "in", exit_code=1)
    assert numbers(report) == (0, 0, 0, 1)
    (noted,) = cases_of(project, "--ineligible")
    assert (noted["id"], noted["slices"]) == (None, 4)
    write_series(tmp_path / "in" / "two", whole, skip=(0, 2, 4, 7), prefix="c", **how)
    assert numbers(ingest(project, tmp_path / "in")) == (1, 0, 0, 0)
    assert cases_of(project, "--ineligible") == []
    (case,) = every_case(project)
    assert case.source.path == tmp_path / "in"
    np.testing.assert_array_equal(project.images().read(case).array, whole)


def test_the_second_half_of_a_series_is_joined_from_another_folder_in_a_later_run(
    project: Project, tmp_path: Path
) -> None:
    how: dict[str, Any] = {"series_uid": generate_uid(), "StudyInstanceUID": generate_uid()}
    whole = hounsfield(10)
    write_series(tmp_path / "monday", whole, skip=(5, 6, 7, 8, 9), **how)
    write_series(tmp_path / "tuesday", whole, skip=(0, 1, 2, 3, 4), **how)
    assert numbers(ingest(project, tmp_path / "monday")) == (1, 0, 0, 0)
    assert numbers(ingest(project, tmp_path / "tuesday")) == (0, 1, 0, 0)
    (case,) = every_case(project)
    assert case.shape == (10, 8, 8)
    np.testing.assert_array_equal(project.images().read(case).array, whole)


def test_a_series_that_was_moved_is_found_where_it_is(project: Project, tmp_path: Path) -> None:
    write_series(tmp_path / "here", hounsfield())
    ingest(project, tmp_path / "here")
    submit_a_mask(project)
    (tmp_path / "here").rename(tmp_path / "there")
    assert numbers(ingest(project, tmp_path / "there")) == (0, 1, 0, 0)
    (case,) = every_case(project)
    assert case.source.path == tmp_path / "there"
    np.testing.assert_array_equal(project.images().read(case).array, hounsfield())


def test_copies_of_a_series_in_another_folder_make_no_second_case(project: Project, tmp_path: Path) -> None:
    write_series(tmp_path / "in", hounsfield())
    ingest(project, tmp_path / "in")
    shutil.copytree(tmp_path / "in", tmp_path / "again")
    assert numbers(ingest(project, tmp_path / "again")) == (0, 1, 0, 0)
    report = ingest(project, tmp_path / "again")
    assert (numbers(report), report["known_files"]) == ((0, 1, 0, 0), 6)
    shutil.rmtree(tmp_path / "in")
    ingest(project, tmp_path / "again", "--rescan")
    (case,) = every_case(project)
    np.testing.assert_array_equal(project.images().read(case).array, hounsfield())


def test_the_same_scan_in_two_files_is_in_one_split(tmp_path: Path) -> None:
    project = small_project(tmp_path / "study")
    for number in range(12):
        for name in ("a", "b"):
            (tmp_path / name).mkdir(exist_ok=True)
            write_nifti(scan(number), tmp_path / name / f"{number}.nii")
    ingest(project, tmp_path / "a")
    ingest(project, tmp_path / "b")
    found = {(case.source.path.name, case.patient, case.split) for case in every_case(project)}
    assert len(found) == 12


def test_a_later_ingest_reconsiders_when_the_selection_was_changed(project: Project, tmp_path: Path) -> None:
    write_series(tmp_path / "a", hounsfield(6), PatientID="a")
    write_series(tmp_path / "b", hounsfield(8), PatientID="b")
    ingest(project, tmp_path / "a", tmp_path / "b")
    assert len(cases_of(project)) == 2
    with_min_slices(project.folder, 7)
    assert numbers(ingest(project, tmp_path / "a", tmp_path / "b")) == (0, 2, 0, 0)
    assert [case["exclusion"] for case in cases_of(project, "--ineligible")] == ["6 slices < 7"]
    report = ingest(project, tmp_path / "a", tmp_path / "b")
    assert report["known_files"] == 14


def test_a_changed_selection_is_applied_to_each_folder_however_late_it_is_ingested(
    project: Project, tmp_path: Path
) -> None:
    write_series(tmp_path / "a", hounsfield(6), PatientID="a")
    write_series(tmp_path / "b", hounsfield(8), PatientID="b")
    ingest(project, tmp_path / "a", tmp_path / "b")
    with_min_slices(project.folder, 9)
    ingest(project, tmp_path / "b")
    ingest(project, tmp_path / "a")
    assert {case["exclusion"] for case in cases_of(project, "--ineligible")} == {"6 slices < 9", "8 slices < 9"}


def test_the_selection_is_overruled_at_the_ingest_or_later_and_taken_back(project: Project, tmp_path: Path) -> None:
    write_series(tmp_path / "a", hounsfield(3))
    result = run("ingest", tmp_path / "a", "-p", project.folder)
    assert result.exit_code == 0
    assert "[left out: 3 slices < 5]" in result.stdout
    assert "The selection leaves 1 of the new ones out" in result.stderr
    assert cases_of(project) == []
    overruled = ("ingest", tmp_path / "a", "--overrule", "a rare disease", "--by", "mia", "-p", project.folder)
    assert run(*overruled).exit_code == 0
    (case,) = cases_of(project)
    assert (case["exclusion"], case["overrule"], case["eligible"]) == ("3 slices < 5", "a rare disease", True)
    write_series(tmp_path / "b", hounsfield(2))
    assert run("ingest", tmp_path / "b", *overruled[2:]).exit_code == 0
    assert len(cases_of(project)) == 2
    withdrawn = run("cases", "overrule", "0002", "--withdraw", "-p", project.folder)
    assert withdrawn.output == "0002  not eligible: 2 slices < 5\n"
    assert [case["id"] for case in cases_of(project)] == ["0001"]
    shown = run("cases", "show", "0001", "-p", project.folder).output
    assert "taken    all the same: a rare disease" in shown
    assert "mia          case.overruled" in shown


def test_cohort_and_tags_are_given_to_the_new_cases(project: Project, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_series(tmp_path / name, hounsfield(), PatientID=name)
    ingest(project, tmp_path / "a", "--cohort", "routine", "--tag", "2024", "--tag", "night shift")
    ingest(project, tmp_path / "b", "--cohort", "trauma")
    ingest(project, tmp_path / "a", "--cohort", "other", "--tag", "later")
    assert [case["id"] for case in cases_of(project, "--cohort", "routine")] == ["0001"]
    assert [case["id"] for case in cases_of(project, "--cohort", "trauma")] == ["0002"]
    assert [case["id"] for case in cases_of(project, "--tag", "night shift")] == ["0001"]
    assert cases_of(project, "--tag", "later") == []


def write_mhd(volume: Volume, path: Path) -> None:
    image = sitk.GetImageFromArray(volume.array)
    image.SetSpacing(volume.geometry.spacing_mm)
    image.SetOrigin(volume.geometry.origin_mm)
    sitk.WriteImage(image, str(path))
    assert path.with_suffix(".raw").exists()


@pytest.fixture
def originals(tmp_path: Path) -> Path:
    """One patient's scan in each format, and a name that says whose it is."""
    folder = tmp_path / "Doeman^Janeway-4.w1"
    write_series(folder / "dicom", hounsfield(seed=1), **DOE)
    write_nifti(scan(2), folder / "Doeman-Janeway.nii.gz")
    write_mhd(scan(3), folder / "Doeman-Janeway.mhd")
    return folder


def test_copied_scans_can_be_read_once_the_originals_are_gone(project: Project, originals: Path) -> None:
    assert numbers(ingest(project, originals, "--copy")) == (3, 0, 0, 0)
    shutil.rmtree(originals)
    for case in every_case(project):
        assert case.source.path.is_relative_to(project.images_folder)
        array = project.images().read(case).array
        assert any(np.array_equal(array, hounsfield(seed=seed)) for seed in (1, 2, 3))
    names = [path.relative_to(project.folder).as_posix() for path in project.folder.rglob("*")]
    assert not [name for name in names if any(word in name for word in PRIVATE)]
    assert run("doctor", "-p", project.folder).exit_code == 0


def test_copying_a_second_time_changes_nothing(project: Project, originals: Path) -> None:
    ingest(project, originals, "--copy")
    before = every_case(project), sorted(project.images_folder.rglob("*"))
    assert numbers(ingest(project, originals, "--copy")) == (0, 3, 0, 0)
    assert (every_case(project), sorted(project.images_folder.rglob("*"))) == before


def test_a_copied_scan_is_known_when_its_original_turns_up_again(project: Project, originals: Path) -> None:
    ingest(project, originals, "--copy")
    before = every_case(project)
    assert numbers(ingest(project, originals)) == (0, 3, 0, 0)
    assert every_case(project) == before
    assert numbers(ingest(project, originals, "--rescan")) == (0, 3, 0, 0)
    assert [case.source.path for case in every_case(project)] == [case.source.path for case in before]


def test_registered_scans_are_copied_when_that_is_asked_for_later(project: Project, originals: Path) -> None:
    ingest(project, originals)
    ingest(project, originals, "--copy")
    shutil.rmtree(originals)
    found = every_case(project)
    assert len(found) == 3
    for case in found:
        project.images().read(case)


def test_a_copy_that_was_interrupted_is_made_again(project: Project, originals: Path, tmp_path: Path) -> None:
    ingest(project, originals / "dicom", "--copy")
    (case,) = every_case(project)
    folder = case.source.path
    half = folder.with_name(f"{TEMPORARY_PREFIX}{folder.name}")  # as a process leaves it that is killed now
    folder.rename(half)
    (half / "00006.dcm").unlink()
    (half / "00003.dcm").write_bytes(b"torn")
    assert numbers(ingest(project, originals / "dicom", "--copy", "--rescan")) == (0, 1, 0, 0)
    (case,) = every_case(project)
    assert [path.name for path in project.images_folder.iterdir()] == [folder.name]
    np.testing.assert_array_equal(project.images().read(case).array, hounsfield(seed=1))


def test_a_copied_series_that_grew_is_copied_with_its_new_slices(project: Project, tmp_path: Path) -> None:
    how: dict[str, Any] = {"series_uid": generate_uid(), "StudyInstanceUID": generate_uid()}
    whole = hounsfield(9)
    write_series(tmp_path / "in", whole, skip=(6, 7, 8), **how)
    ingest(project, tmp_path / "in", "--copy")
    write_series(tmp_path / "in", whole, skip=(0, 1, 2, 3, 4, 5), prefix="late", **how)
    ingest(project, tmp_path / "in", "--copy")
    shutil.rmtree(tmp_path / "in")
    (case,) = every_case(project)
    assert case.shape == (9, 8, 8)
    np.testing.assert_array_equal(project.images().read(case).array, whole)


def test_a_copied_file_that_was_replaced_is_copied_again(project: Project, tmp_path: Path) -> None:
    write_nifti(scan(1), tmp_path / "scan.nii.gz")
    ingest(project, tmp_path / "scan.nii.gz", "--copy")
    (tmp_path / "scan.nii.gz").unlink()
    write_nifti(scan(2), tmp_path / "scan.nii.gz")
    ingest(project, tmp_path / "scan.nii.gz", "--copy")
    newest = every_case(project)[-1]
    np.testing.assert_array_equal(project.images().read(newest).array, scan(2).array)


@pytest.mark.parametrize("copy", [[], ["--copy"]], ids=["indexed", "copied"])
def test_nothing_that_the_program_keeps_or_logs_names_a_patient(
    project: Project, tree: MixedTree, caplog: pytest.LogCaptureFixture, copy: list[str]
) -> None:
    doe = tree.top / "Doeman^Janeway-4.w1"
    write_nifti(scan(4), doe / "Doeman-Janeway.nii.gz")
    (doe / "Doeman-Janeway-torn.nii.gz").write_bytes((doe / "Doeman-Janeway.nii.gz").read_bytes()[:200])
    (doe / "Doeman-Janeway-rubbish.nii").write_bytes(b"no image at all")
    (doe / "Doeman-Janeway-rubbish.mha").write_bytes(b"no image at all")
    (doe / "Doeman-Janeway.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"torn")
    caplog.set_level(logging.INFO)
    result = run("-v", "ingest", tree.top, *copy, "-p", project.folder)
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    run("-v", "ingest", tree.top, "--rescan", *copy, "-p", project.folder)
    for case in every_case(project):
        project.images().path(case)
    assert not [word for word in PRIVATE if word in caplog.text]
    names = " ".join(path.relative_to(project.folder).as_posix() for path in project.folder.rglob("*"))
    assert not [word for word in PRIVATE if word in names]
    kept = b"".join(path.read_bytes() for path in project.folder.glob("registry.sqlite*"))
    assert not [word for word in PRIVATE if word.encode() in kept]


def test_one_series_that_fails_stops_neither_the_others_nor_its_batch(project: Project, tmp_path: Path) -> None:
    uid = generate_uid()
    for name in ("a", "b"):
        write_series(tmp_path / "in" / name, hounsfield(), PatientID=name)
    write_series(tmp_path / "in" / "mixed", hounsfield(), series_uid=uid, PatientID="one", prefix="a", skip=(0, 1, 2))
    write_series(tmp_path / "in" / "mixed", hounsfield(), series_uid=uid, PatientID="two", prefix="b", skip=(3, 4, 5))
    report = ingest(project, tmp_path / "in", exit_code=1)
    assert numbers(report) == (2, 0, 0, 1)
    assert "images of 2 patients have one SeriesInstanceUID" in report["failed"][0]


def test_a_case_that_was_worked_on_is_not_replaced_by_a_series_that_grew(project: Project, tmp_path: Path) -> None:
    how: dict[str, Any] = {"series_uid": generate_uid(), "StudyInstanceUID": generate_uid()}
    whole = hounsfield(9)
    write_series(tmp_path / "in", whole, skip=(6, 7, 8), **how)
    ingest(project, tmp_path / "in")
    submit_a_mask(project)
    write_series(tmp_path / "in", whole, skip=(0, 1, 2, 3, 4, 5), prefix="late", **how)
    result = run("ingest", tmp_path / "in", "-p", project.folder)
    assert_refused(result, "is case 0001 already, of (8, 8, 6) voxels with 1 mask, but", "(8, 8, 9) voxels now")
    assert every_case(project)[0].shape == (6, 8, 8)
