from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from command_line import assert_refused, run, run_json, small_project
from rtstruct_files import outlines, write_rtstruct
from tcia_files import FRAME_UID, dice, structures_path, write_ct

from datastore.image_files import read_mask, write_mask
from datastore.nifti import write_nifti
from datastore.phantom import Phantom, chest_phantom
from datastore.records import Kind, Label
from datastore.volume import Volume
from lungapp.project import Project

SUBJECT, OTHER = "LCTSC-Train-S1-007", "LCTSC-Test-S2-101"


@pytest.fixture(scope="module")
def ill() -> Phantom:
    """A chest with a tumour, as small as the quality checks allow."""
    return chest_phantom(seed=2, shape=(40, 72, 72), spacing_mm=(8.0, 6.0, 6.0), lesion=True)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return small_project(tmp_path / "study")


def import_from(project: Project, dataset: str, *arguments: object, exit_code: int = 0) -> Any:
    return run_json("ingest", *arguments, "--dataset", dataset, "-p", project.folder, exit_code=exit_code)


def numbers(report: Any) -> tuple[int, ...]:
    return len(report["added"]), report["known"], report["masks"], len(report["doubtful"]), len(report["failed"])


def labels_of(project: Project, case_id: str = "0001") -> list[Label]:
    registry = project.registry()
    found = registry.labels(case_id)
    registry.close()
    return found


def mask_on_image(project: Project, label: Label) -> np.ndarray:
    """A stored mask, once it is sure that it lies on its image's grid."""
    registry = project.registry()
    case = registry.case(label.case_id)
    registry.close()
    return read_mask(label.path).on_grid_of(project.images().read(case)).array


def lungs_of(phantom: Phantom) -> dict[str, list[np.ndarray]]:
    geometry, array = phantom.lungs.geometry, phantom.lungs.array
    return {"Lung_L": outlines(array == 2, geometry), "Lung_R": outlines(array == 1, geometry)}


def write_subject(root: Path, phantom: Phantom, subject: str, structures: dict[str, list[np.ndarray]]) -> None:
    uid = write_ct(root, subject, phantom, StudyInstanceUID=f"1.2.{len(subject)}")
    write_rtstruct(structures_path(root, subject), structures, series_uid=uid, frame_uid=FRAME_UID)


def write_mhd(volume: Volume, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(volume.array)
    image.SetSpacing(volume.geometry.spacing_mm)
    image.SetOrigin(volume.geometry.origin_mm)
    sitk.WriteImage(image, str(path))


def test_lctsc_becomes_cases_with_accepted_masks(project: Project, tmp_path: Path, ill: Phantom) -> None:
    write_subject(tmp_path / "LCTSC", ill, SUBJECT, lungs_of(ill))
    report = import_from(project, "lctsc", tmp_path / "LCTSC", "--tag", "challenge")
    assert numbers(report) == (1, 0, 1, 0, 0)
    (case,) = run_json("cases", "list", "--cohort", "lctsc", "-p", project.folder)
    assert case["status"] == "accepted"
    assert case["tags"] == ["challenge", "site-s1", "train"]
    (label,) = labels_of(project)
    assert (label.kind, label.author, label.tool) == (Kind.ACCEPTED, "LCTSC reference", "import lctsc")
    assert "dense_areas_left_out" in [finding.code for finding in label.findings or ()]
    mask = mask_on_image(project, label)
    for side in (1, 2):
        assert dice(mask == side, ill.lungs.array == side) > 0.99


def test_a_second_import_adds_nothing(project: Project, tmp_path: Path, ill: Phantom) -> None:
    write_subject(tmp_path / "LCTSC", ill, SUBJECT, lungs_of(ill))
    import_from(project, "lctsc", tmp_path / "LCTSC")
    before = labels_of(project)
    assert numbers(import_from(project, "lctsc", tmp_path / "LCTSC")) == (0, 1, 0, 0, 0)
    assert labels_of(project) == before
    said = run("ingest", tmp_path / "LCTSC", "--dataset", "lctsc", "-p", project.folder)
    assert said.stdout == "0 added, 1 known already, 0 reference masks stored (0 for review), 0 failed\n"


def test_an_import_that_was_interrupted_goes_on_with_the_mask(project: Project, tmp_path: Path, ill: Phantom) -> None:
    """A process that was killed between case and mask leaves what a plain ingest leaves."""
    write_subject(tmp_path / "LCTSC", ill, SUBJECT, lungs_of(ill))
    run("ingest", tmp_path / "LCTSC", "-p", project.folder)
    report = import_from(project, "lctsc", tmp_path / "LCTSC")
    assert numbers(report) == (0, 1, 1, 0, 0)
    assert [label.kind for label in labels_of(project)] == [Kind.ACCEPTED]


def test_a_damaged_subject_does_not_stop_the_others(project: Project, tmp_path: Path, ill: Phantom) -> None:
    lungs = lungs_of(ill)
    write_subject(tmp_path / "LCTSC", ill, OTHER, {"Lung_L": lungs["Lung_R"], "Lung_R": lungs["Lung_L"]})
    write_subject(tmp_path / "LCTSC", ill, SUBJECT, lungs)
    write_subject(tmp_path / "LCTSC", ill, "LCTSC-Train-S3-001", {"Lung_L": lungs["Lung_L"]})
    (structures_path(tmp_path / "LCTSC", "LCTSC-Train-S3-002")).parent.mkdir(parents=True)
    result = run("ingest", tmp_path / "LCTSC", "--dataset", "lctsc", "-p", project.folder)
    assert_refused(
        result,
        f"failed  {OTHER}: ",
        "right_lung lies to the patient's left",
        "failed  LCTSC-Train-S3-001: ",
        "expected the structures Lung_L and Lung_R",
        "failed  LCTSC-Train-S3-002: expected one RTSTRUCT, got 0",
    )
    assert result.stdout.splitlines()[-1].endswith("1 reference masks stored (0 for review), 3 failed")
    accepted = run_json("cases", "list", "--status", "accepted", "-p", project.folder)
    assert [case["tags"] for case in accepted] == [["site-s1", "train"]]


def test_a_doubtful_reference_waits_for_a_reviewer(project: Project, tmp_path: Path, ill: Phantom) -> None:
    lungs = lungs_of(ill)
    middle = np.median([points[0, 2] for points in lungs["Lung_L"]])
    gap = [points for points in lungs["Lung_L"] if abs(points[0, 2] - middle) > 1]
    write_subject(tmp_path / "LCTSC", ill, SUBJECT, {**lungs, "Lung_L": gap})
    report = import_from(project, "lctsc", tmp_path / "LCTSC")
    assert numbers(report) == (1, 0, 1, 1, 0)
    assert report["doubtful"][0].startswith("0001  Lung_L has no contour on 1 of ")
    (label,) = labels_of(project)
    assert label.kind is Kind.SUBMITTED
    assert {finding.code for finding in label.findings or ()} >= {"contour_gaps", "left_lung.gap"}
    accept = ("cases", "accept", label.id, "-p", project.folder)
    assert_refused(run(*accept), "has a finding: Lung_L has no contour on 1 of ")
    assert run(*accept, "--comment", "the slice is missing in the original").exit_code == 0
    assert numbers(import_from(project, "lctsc", tmp_path / "LCTSC")) == (0, 1, 0, 0, 0)


def test_lung1_has_the_tumour_as_a_target_of_its_own(project: Project, tmp_path: Path, ill: Phantom) -> None:
    assert ill.lesion is not None
    lungs = lungs_of(ill)
    structures = {
        "Lung-Left": lungs["Lung_L"],
        "Lung-Right": lungs["Lung_R"],
        "GTV-1": outlines(ill.lesion.array == 1, ill.lesion.geometry),
    }
    write_subject(tmp_path / "NSCLC", ill, "LUNG1-001", structures)
    assert numbers(import_from(project, "lung1", tmp_path / "NSCLC")) == (1, 0, 2, 0, 0)
    found = {label.target: label for label in labels_of(project)}
    assert set(found) == {"lungs", "tumour"}
    np.testing.assert_array_equal(mask_on_image(project, found["tumour"]), ill.lesion.array)
    assert dice(mask_on_image(project, found["lungs"]) > 0, ill.lungs.array > 0) > 0.99
    assert {label.kind for label in found.values()} == {Kind.ACCEPTED}
    assert [case["id"] for case in run_json("cases", "list", "--tag", "tumour", "-p", project.folder)] == ["0001"]
    shown = run("cases", "show", "0001", "-p", project.folder).output
    assert "  tumour" in shown and "note: 23 tumours of Lung1 are corrupted" in shown
    assert numbers(import_from(project, "lung1", tmp_path / "NSCLC")) == (0, 1, 0, 0, 0)


def test_the_one_mask_of_vessel12_is_parted(project: Project, tmp_path: Path, ill: Phantom) -> None:
    whole = ill.lungs.with_array((ill.lungs.array > 0).astype(np.uint8))
    for number in ("01", "02"):
        write_mhd(ill.image, tmp_path / "VESSEL12" / "Scans" / f"VESSEL12_{number}.mhd")
    write_mhd(whole, tmp_path / "VESSEL12" / "Lungmasks" / "VESSEL12_01.mhd")
    report = import_from(project, "vessel12", tmp_path / "VESSEL12", exit_code=1)
    assert numbers(report) == (1, 0, 1, 0, 1)
    assert report["failed"] == ["VESSEL12_02: no lung mask: expected VESSEL12_02.mhd in a folder Lungmasks"]
    (label,) = labels_of(project)
    assert {finding.code for finding in label.findings or ()} >= {"dense_areas_left_out", "as_is", "sides_parted"}
    mask = mask_on_image(project, label)
    for side in (1, 2):
        assert dice(mask == side, ill.lungs.array == side) > 0.98


def test_an_nnunet_dataset_is_matched_by_names(project: Project, tmp_path: Path, ill: Phantom) -> None:
    folder = tmp_path / "Dataset501_Lungs"
    for name in ("imagesTr", "labelsTr", "imagesTs"):
        (folder / name).mkdir(parents=True)
    numbered = ill.lungs.with_array(np.array([0, 7, 3], np.uint8)[ill.lungs.array])
    write_nifti(ill.image, folder / "imagesTr" / "a_0000.nii.gz", compression=1)
    write_nifti(numbered, folder / "labelsTr" / "a.nii.gz", compression=1)
    write_nifti(ill.image, folder / "imagesTs" / "b_0000.nii.gz", compression=1)
    labels = {"background": 0, "left lung": 3, "right lung": 7}
    (folder / "dataset.json").write_text(json.dumps({"labels": labels, "file_ending": ".nii.gz"}))
    assert numbers(import_from(project, "nnunet", folder)) == (2, 0, 1, 0, 0)
    (label,) = labels_of(project)
    np.testing.assert_array_equal(mask_on_image(project, label), ill.lungs.array)
    assert labels_of(project, "0002") == []
    tagged = run_json("cases", "list", "--tag", "test", "-p", project.folder)
    assert [(case["id"], case["status"]) for case in tagged] == [("0002", "open")]


def test_pairs_of_any_folder_are_imported_and_what_does_not_fit_is_named(
    project: Project, tmp_path: Path, ill: Phantom
) -> None:
    (tmp_path / "pairs").mkdir()
    write_nifti(ill.image, tmp_path / "pairs" / "a.nii.gz", compression=1)
    write_mask(ill.lungs, tmp_path / "pairs" / "a_mask.nii.gz")
    write_nifti(ill.image, tmp_path / "pairs" / "b.nii.gz", compression=1)
    write_mask(Volume(ill.lungs.array[:-1], ill.lungs.geometry), tmp_path / "pairs" / "b_mask.nii.gz")
    write_mask(ill.lungs, tmp_path / "pairs" / "c_mask.nii.gz")
    report = import_from(project, "pairs", tmp_path / "pairs", exit_code=1)
    assert (report["masks"], len(report["failed"])) == (1, 2)
    assert any("c: mask c_mask.nii.gz without an image" in reason for reason in report["failed"])
    assert any(reason.startswith("b: ") and "b_mask.nii.gz" in reason for reason in report["failed"])
    (label,) = labels_of(project)
    np.testing.assert_array_equal(mask_on_image(project, label), ill.lungs.array)


def test_the_selection_does_not_hold_for_a_data_set(tmp_path: Path, ill: Phantom) -> None:
    project = small_project(tmp_path / "study", min_slices=500)
    write_subject(tmp_path / "LCTSC", ill, SUBJECT, lungs_of(ill))
    (added,) = import_from(project, "lctsc", tmp_path / "LCTSC")["added"]
    assert added["eligible"]


@pytest.mark.parametrize("option", [["--copy"], ["--rescan"], ["--overrule", "why"], ["--cohort", "x"]], ids=" ".join)
def test_options_that_mean_nothing_for_a_data_set_are_refused(
    project: Project, tmp_path: Path, option: list[str]
) -> None:
    result = run("ingest", tmp_path, "--dataset", "lctsc", *option, "-p", project.folder)
    assert result.exit_code == 2
    assert "--dataset goes with --tag" in result.output


def test_a_wrong_data_set_or_folder_is_refused_in_one_line(project: Project, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for dataset, folder, words in (
        ("lctsc", "empty", "no folder of a subject below it"),
        ("nnunet", "empty", "no nnU-Net dataset"),
        ("vessel12", "nowhere", "no such folder"),
    ):
        result = run("ingest", tmp_path / folder, "--dataset", dataset, "-p", project.folder)
        assert_refused(result, words)
        assert len(result.output.splitlines()) == 1
    assert run("ingest", tmp_path, "--dataset", "lidc", "-p", project.folder).exit_code == 2
