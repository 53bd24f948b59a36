from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from command_line import assert_refused, run
from conftest import PhantomProject
from dicom_series import write_series

from datastore.image_files import read_ct, read_mask, write_mask
from datastore.nifti import write_nifti
from datastore.phantom import Phantom
from infers import load_model
from lungapp.cli import main
from lungapp.demo import demo_patients


@pytest.fixture
def scan(tmp_path: Path, phantom: Phantom) -> Path:
    path = tmp_path / "scan.nii.gz"
    write_nifti(phantom.image, path)
    return path


def commands() -> list[list[str]]:
    found = []
    for name, command in main.commands.items():
        found += [[name, sub] for sub in getattr(command, "commands", {})] or [[name]]
    return found


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_helps_with_an_example(command: list[str]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert "Example" in result.output


def test_a_project_is_made_filled_and_listed(tmp_path: Path, scan: Path) -> None:
    folder = tmp_path / "my-study"
    assert run("init", folder).exit_code == 0
    assert {path.name for path in folder.iterdir()} >= {"lungapp.toml", "registry.sqlite", "labels", "models", "cache"}
    result = run("ingest", scan, "-p", folder)
    assert result.exit_code == 0, result.output
    assert "1 added, 0 known already, 0 skipped, 0 failed" in result.output
    assert "0 added, 1 known already" in run("ingest", scan, "-p", folder).output
    listed = json.loads(run("cases", "list", "--json", "-p", folder).output)
    assert [case["id"] for case in listed] == ["0001"]
    assert listed[0]["status"] == "open"
    assert "0001  open" in run("cases", "list", "-p", folder).output
    made = run("bootstrap", "-p", folder)
    assert "1 preliminary masks made" in made.output
    assert "0 preliminary masks made" in run("bootstrap", "-p", folder).output
    shown = json.loads(run("cases", "show", "0001", "--json", "-p", folder).output)
    assert [(label["kind"], label["model"]) for label in shown["labels"]] == [("preliminary", load_model().version)]
    assert "mask 1  preliminary" in run("cases", "show", "0001", "-p", folder).output
    assert run("cases", "list", "--status", "submitted", "--json", "-p", folder).output.strip() == "[]"


def test_init_leaves_a_project_as_it_is(tmp_path: Path) -> None:
    assert run("init", tmp_path / "a").exit_code == 0
    settings = tmp_path / "a" / "lungapp.toml"
    settings.write_text(settings.read_text().replace("port = 8000", "port = 9000"))
    assert_refused(run("init", tmp_path / "a"), "is a lungapp project already")
    assert "port = 9000" in settings.read_text()


@pytest.mark.parametrize(
    "command", [["ingest", "x"], ["cases", "list"], ["cases", "show", "0001"], ["serve"], ["bootstrap"]], ids=" ".join
)
def test_a_command_without_a_project_says_how_to_make_one(tmp_path: Path, command: list[str]) -> None:
    assert_refused(run(*command, "-p", tmp_path), "no lungapp project here", "lungapp init")


def test_wrong_usage_exits_with_2() -> None:
    assert run("cases", "list", "--status", "nonsense").exit_code == 2
    assert run("segment").exit_code == 2


def test_a_mixed_folder_is_ingested_as_far_as_it_is_ct(tmp_path: Path, phantom: Phantom) -> None:
    data = tmp_path / "data"
    hu = np.random.default_rng(1).integers(-1024, 500, (5, 8, 8)).astype(np.int16)
    write_series(data / "good", hu)
    write_series(data / "two", hu, prefix="a")
    write_series(data / "two", hu[:4], prefix="b")
    write_series(data / "hole", hu, skip=(2,))
    write_series(data / "other", hu, Modality="MR")
    (data / "good" / "notes.txt").write_text("hello")
    write_nifti(phantom.image, data / "image.nii.gz")
    write_mask(phantom.lungs, data / "mask.nii.gz")
    (data / "torn.nii.gz").write_bytes((data / "image.nii.gz").read_bytes()[:5000])
    folder = tmp_path / "study"
    run("init", folder)
    result = run("ingest", data, "--json", "-p", folder)
    report = json.loads(result.stdout)
    assert result.exit_code == 1
    assert len(report["added"]) == 4  # good, both of two, image.nii.gz
    assert len(report["skipped"]) == 2
    assert any("a mask?" in reason for reason in report["skipped"])
    assert any("modality MR" in reason for reason in report["skipped"])
    assert len(report["failed"]) == 2
    assert any("1 slice missing" in reason for reason in report["failed"])
    assert any("torn.nii.gz: truncated" in reason for reason in report["failed"])
    everything = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file()).decode("latin-1")
    assert "Doeman" not in everything
    assert "4.w1" not in everything


def test_ingest_says_what_cannot_be_ingested(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    run("init", folder)
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "a.txt").write_text("hello")
    assert_refused(run("ingest", texts, "-p", folder), "no CT found", "1 failed")
    assert_refused(run("ingest", tmp_path / "nowhere", "-p", folder), "no such file or folder")
    assert_refused(run("ingest", texts / "a.txt", "-p", folder), "unknown kind of file")


def test_one_scan_is_segmented_into_one_file(tmp_path: Path, scan: Path, phantom: Phantom) -> None:
    target = tmp_path / "lungs.nrrd"
    result = run("segment", scan, "-o", target, "--json")
    assert result.exit_code == 0, result.output
    (report,) = json.loads(result.stdout)
    assert report["output"] == str(target)
    mask = read_mask(target).on_grid_of(read_ct(scan)).array
    for value, name in ((1, "right_lung"), (2, "left_lung")):
        ours, theirs = mask == value, phantom.lungs.array == value
        assert 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()) > 0.9
        assert report["volumes_ml"][name] == pytest.approx(ours.sum() * 0.045, rel=1e-3)


def test_a_scan_that_fails_does_not_stop_the_others(tmp_path: Path, scan: Path) -> None:
    (tmp_path / "bad.nii.gz").write_text("not an image")
    empty = tmp_path / "none"
    empty.mkdir()
    out = tmp_path / "out"
    result = run("segment", tmp_path / "bad.nii.gz", scan, empty, tmp_path / "nowhere.mha", "-o", out)
    assert_refused(result, "bad.nii.gz: cannot be read as NIfTI", "nowhere.mha: no such file", "no CT found")
    assert sorted(path.name for path in out.iterdir()) == ["scan.nii.gz", "scan.nii.gz.json"]


def test_a_folder_is_mirrored_and_masks_in_it_are_passed_over(tmp_path: Path, phantom: Phantom) -> None:
    hu = np.clip(phantom.image.array, -1024, 3000)
    write_series(tmp_path / "in" / "patient" / "ct", hu, spacing_mm=(5.0, 3.0, 3.0))
    for name in ("a", "b"):
        (tmp_path / "in" / name).mkdir()
        write_nifti(phantom.image, tmp_path / "in" / name / "image.nii.gz")
    write_mask(phantom.lungs, tmp_path / "in" / "a" / "lung.nii.gz")
    out = tmp_path / "out"
    result = run("segment", tmp_path / "in", "-o", out, "--format", ".seg.nrrd")
    assert result.exit_code == 0, result.output
    assert "skipped" in result.output
    made = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    masks = ["a/image.seg.nrrd", "b/image.seg.nrrd", "patient/ct.seg.nrrd"]
    assert made == sorted(masks + [f"{mask}.json" for mask in masks])
    listed = run("segment", tmp_path / "in/a/image.nii.gz", tmp_path / "in/b/image.nii.gz", "-o", tmp_path / "out2")
    assert listed.exit_code == 0, listed.output
    assert (tmp_path / "out2" / "a" / "image.nii.gz").exists()
    assert (tmp_path / "out2" / "b" / "image.nii.gz").exists()


def test_an_existing_mask_is_kept_unless_told_otherwise(tmp_path: Path, scan: Path) -> None:
    target = tmp_path / "lungs.nii.gz"
    target.write_text("my corrections")
    assert_refused(run("segment", scan, "-o", target), "exists already; --overwrite replaces it")
    assert target.read_text() == "my corrections"
    assert run("segment", scan, "-o", target, "--overwrite").exit_code == 0
    assert read_mask(target).array.any()


def test_the_scan_itself_is_never_overwritten(tmp_path: Path, scan: Path) -> None:
    before = scan.read_bytes()
    assert_refused(run("segment", scan, "-o", scan, "--overwrite"), "would replace the scan")
    assert_refused(run("segment", scan, "-o", tmp_path, "--overwrite"), "would replace the scan")
    assert scan.read_bytes() == before


def test_a_folder_is_taken_up_where_it_was_left(tmp_path: Path, scan: Path) -> None:
    (tmp_path / "in").mkdir()
    scan.rename(tmp_path / "in" / "scan.nii.gz")
    assert run("segment", tmp_path / "in", "-o", tmp_path / "out").exit_code == 0
    made = (tmp_path / "out" / "scan.nii.gz").read_bytes()
    again = run("segment", tmp_path / "in", "-o", tmp_path / "out")
    assert again.exit_code == 0
    assert "exists already" in again.output
    assert (tmp_path / "out" / "scan.nii.gz").read_bytes() == made


def test_one_slice_of_a_series_is_no_case(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "ct", np.full((4, 8, 8), -500, np.int16))
    run("init", tmp_path / "study")
    assert_refused(
        run("ingest", *paths[:3], "-p", tmp_path / "study"), "is 3 of the 4 slices of a series: give the folder"
    )
    assert_refused(run("ingest", paths[0], "-p", tmp_path / "study"), "is one of the 4 slices of a series")
    assert run("ingest", tmp_path / "ct", "-p", tmp_path / "study").exit_code == 0


def test_a_scan_is_recognised_behind_links(tmp_path: Path, scan: Path) -> None:
    before = scan.read_bytes()
    folder, link = tmp_path / "real", tmp_path / "link"
    folder.mkdir()
    scan.rename(folder / "scan.nii.gz")
    link.symlink_to(folder)
    (tmp_path / "hard.nii.gz").hardlink_to(folder / "scan.nii.gz")
    for source, target in ((link, folder), (link / "scan.nii.gz", folder / "scan.nii.gz")):
        assert_refused(run("segment", source, "-o", target, "--overwrite"), "would replace the scan")
    assert_refused(
        run("segment", folder / "scan.nii.gz", "-o", tmp_path / "hard.nii.gz", "--overwrite"), "would replace the scan"
    )
    assert (folder / "scan.nii.gz").read_bytes() == before


def test_a_series_and_a_file_of_one_name_both_get_their_mask(tmp_path: Path, phantom: Phantom) -> None:
    write_series(tmp_path / "in" / "pat1", np.clip(phantom.image.array, -1024, 3000), spacing_mm=(5.0, 3.0, 3.0))
    write_nifti(phantom.image, tmp_path / "in" / "pat1.nii.gz")
    result = run("segment", tmp_path / "in", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "out").glob("*.gz")) == ["pat1.nii.gz", "pat1.nii.gz.nii.gz"]


def test_nothing_segmented_is_a_failure(tmp_path: Path, phantom: Phantom) -> None:
    (tmp_path / "in").mkdir()
    write_mask(phantom.lungs, tmp_path / "in" / "mask.nii.gz")
    assert_refused(run("segment", tmp_path / "in", "-o", tmp_path / "out"), "skipped")


@pytest.mark.parametrize("name", ["q?x=1&mode=memory", "pct%41x", "a b#c", "ünï", "new\nline"])
def test_a_project_may_have_any_name(tmp_path: Path, name: str, scan: Path) -> None:
    folder = tmp_path / name
    assert run("init", folder).exit_code == 0
    assert (folder / "registry.sqlite").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "scan.nii.gz"])
    assert run("ingest", scan, "-p", folder).exit_code == 0


def test_a_folder_must_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("init", "").exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_project_that_could_not_be_made_can_be_made_later(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "registry.sqlite").write_text("nonsense " * 500)
    assert_refused(run("init", folder), "file is not a database")
    (folder / "registry.sqlite").unlink()
    assert run("init", folder).exit_code == 0


def test_doctor_misses_a_project_that_was_named(tmp_path: Path) -> None:
    assert_refused(run("doctor", "-p", tmp_path / "nowhere"), "no project here")


def test_segment_refuses_what_it_cannot_do(tmp_path: Path, scan: Path) -> None:
    other = tmp_path / "other.nii.gz"
    other.write_bytes(scan.read_bytes())
    assert_refused(run("segment", scan, other, "-o", tmp_path / "one.nii.gz"), "is one file, but there are 2 scans")
    assert_refused(run("segment", scan, "-o", tmp_path / "x.nii.gz", "--model", "nowhere.pth"), "no such weights")
    for name in ("x.mhd", "x.foo"):
        assert_refused(run("segment", scan, "-o", tmp_path / name), "unknown mask format")
    assert_refused(run("segment", scan, "-o", tmp_path / "x.nii.gz", "--model", "unet"), "no model 'unet'")
    assert_refused(run("segment", scan, "-o", tmp_path / "x.nii.gz", "--model", scan), "cannot be read as a state dict")


def test_no_lung_is_an_answer(tmp_path: Path) -> None:
    water = tmp_path / "water.nii.gz"
    array = np.full((40, 40, 20), 20, np.int16)
    array[0, 0, 0] = -90
    nib.save(nib.Nifti1Image(array, np.eye(4)), water)
    result = run("segment", water, "-o", tmp_path / "mask.nii.gz")
    assert result.exit_code == 0, result.output
    assert "no lung found" in result.output
    assert not read_mask(tmp_path / "mask.nii.gz").array.any()


def test_doctor_finds_what_is_wrong_with_a_project(make_project: Callable[..., PhantomProject]) -> None:
    made = make_project(1)
    folder = made.project.folder
    run("bootstrap", "-p", folder)
    healthy = run("doctor", "-p", folder)
    assert healthy.exit_code == 0, healthy.output
    assert "all 1 label files match their checksums" in healthy.output
    registry = made.project.registry()
    path = registry.labels("0001")[0].path
    scan = registry.case("0001").source.path
    registry.close()
    path.write_bytes(b"torn")
    scan.rename(scan.with_name("moved.nii.gz"))
    ill = run("doctor", "-p", folder, "--json")
    assert ill.exit_code == 1
    wrong = [finding["what"] for finding in json.loads(ill.stdout) if not finding["ok"]]
    assert len(wrong) == 2
    assert "the image of case 0001 is gone" in wrong[0]
    assert "was changed after it was stored" in wrong[1]


def test_doctor_reports_a_registry_that_cannot_be_opened(make_project: Callable[..., PhantomProject]) -> None:
    folder = make_project(1).project.folder
    for name in ("registry.sqlite", "registry.sqlite-wal", "registry.sqlite-shm"):
        (folder / name).unlink(missing_ok=True)
    (folder / "registry.sqlite").write_text("nonsense " * 500)
    assert_refused(run("doctor", "-p", folder), "WRONG", "file is not a database")
    assert_refused(run("cases", "list", "-p", folder), "file is not a database")


def test_serving_to_other_machines_is_refused(make_project: Callable[..., PhantomProject]) -> None:
    folder = make_project(1).project.folder
    assert_refused(run("serve", "--host", "0.0.0.0", "-p", folder), "refusing to listen on 0.0.0.0")


def test_a_taken_port_is_said_to_be_taken(make_project: Callable[..., PhantomProject]) -> None:
    import socket

    folder = make_project(1).project.folder
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        assert_refused(
            run("serve", "--port", other.getsockname()[1], "-p", folder), "Address already in use", "--port 0"
        )


@pytest.mark.slow
def test_the_demo_comes_up_by_itself() -> None:
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "lungapp", "demo", "--exit-when-ready", "--cases", "2"],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert "demo: 2 cases, 0 submitted" in done.stdout
    assert "Open http://127.0.0.1:" in done.stdout


@pytest.mark.slow
def test_real_ct_is_ingested_and_segmented(real_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    run("init", folder)
    result = run("ingest", real_data, "--json", "-p", folder)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert len(report["added"]) == 6
    assert len(report["skipped"]) == 4  # the masks beside them
    result = run("segment", real_data / "nifti" / "cip-ct64" / "image.nii.gz", "-o", tmp_path / "lungs.nii.gz")
    assert result.exit_code == 0, result.output
    truth = read_mask(real_data / "nifti" / "cip-ct64" / "lung.nii.gz").array
    mask = read_mask(tmp_path / "lungs.nii.gz").array
    for value in (1, 2):
        assert 2 * ((mask == value) & (truth == value)).sum() / ((mask == value).sum() + (truth == value).sum()) > 0.97


def test_patients_of_the_demo_have_lungs_and_diseases_to_correct() -> None:
    patients = demo_patients(5)
    assert {plan.view_kind for plan in patients} <= {"chest", "trunk"}
    assert sum(bool(plan.lesions) for plan in patients) >= 2
