"""`lungapp segment`: reports, tables, exit codes, and what happens when it is stopped."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from command_line import assert_refused, run, run_json
from conftest import REPOSITORY
from dicom_series import write_series

from datastore.atomic import sha256_of
from datastore.image_files import read_mask, write_mask
from datastore.nifti import write_nifti
from datastore.phantom import Phantom, chest_phantom
from datastore.volume import Volume
from infers import load_model
from lungapp import __version__
from lungapp.cli import segmenting as command
from lungapp.output_folder import output_folder

REPORT_FIELDS = {
    *("input", "input_id", "output", "model", "options", "software", "seconds", "shape", "spacing_mm"),
    *("state", "volumes_ml", "structures", "findings", "uncertainty", "mask_sha256"),
}


@pytest.fixture(scope="module")
def chest() -> Phantom:
    return chest_phantom(1, (32, 64, 64), (10.0, 6.0, 6.0))


@pytest.fixture
def folder(tmp_path: Path, chest: Phantom) -> Path:
    """One whole chest, the right half of it, and one scan without any lung."""
    folder = tmp_path / "in"
    folder.mkdir()
    image = chest.image
    write_nifti(image, folder / "chest.nii.gz", compression=1)
    write_nifti(Volume(image.array[10:22, :, :32], image.geometry), folder / "half.nii.gz", compression=1)
    air = np.full((12, 20, 20), -1000, np.int16)
    write_nifti(Volume(air, image.geometry), folder / "air.nii.gz", compression=1)
    return folder


def segmented(folder: Path, *more: object) -> Result:
    return run("segment", folder, "-o", folder.parent / "out", *more)


def report_of(folder: Path, name: str) -> dict[str, object]:
    return dict(json.loads((folder.parent / "out" / f"{name}.nii.gz.json").read_text()))


def test_each_mask_of_a_folder_has_a_report_beside_it(folder: Path, chest: Phantom) -> None:
    assert segmented(folder).exit_code == 0
    report = report_of(folder, "chest")
    target = folder.parent / "out" / "chest.nii.gz"
    assert set(report) == REPORT_FIELDS
    assert report["input"] == str(folder / "chest.nii.gz")
    assert report["output"] == str(target)
    assert report["model"] == load_model().version
    assert report["software"] == f"lungapp {__version__}"
    assert report["shape"] == [64, 64, 32]
    assert report["spacing_mm"] == [6.0, 6.0, 10.0]
    assert report["state"] == "lungs found"
    assert report["findings"] == ["slices are 10 mm apart, expected at most 5 mm"]
    assert report["mask_sha256"] == sha256_of(target)
    mask = read_mask(target).array
    for value, name in ((1, "right_lung"), (2, "left_lung")):
        measures = report["structures"][name]  # type: ignore[index]
        assert measures["volume_ml"] == pytest.approx((mask == value).sum() * 0.36, abs=0.01)
        assert measures["mean_hu"] == pytest.approx(chest.image.array[mask == value].mean(), abs=0.05)
        z = np.nonzero(mask == value)[0]
        assert (measures["lowest_slice"], measures["highest_slice"]) == (z.min(), z.max())
        assert report["volumes_ml"][name] == measures["volume_ml"]  # type: ignore[index]


def test_what_was_not_found_is_said_plainly_and_is_no_failure(folder: Path) -> None:
    result = segmented(folder)
    assert result.exit_code == 0, result.output
    assert "air.nii.gz  no lung found" in result.output
    assert "3 segmented; 1 with no lung, 1 with one lung" in result.output
    air, half = report_of(folder, "air"), report_of(folder, "half")
    assert (air["state"], air["findings"]) == (
        "no lung found",
        ["no lung found", "slices are 10 mm apart, expected at most 5 mm"],
    )
    assert half["state"] == "one lung found"
    assert half["findings"] == [
        "left lung not found",
        "slices are 10 mm apart, expected at most 5 mm",
        "right lung touches the lowest slice (cut off)",
        "right lung touches the highest slice (cut off)",
        "right lung touches the left border of the slices (cut off)",
    ]


def test_json_holds_the_reports_and_what_failed(folder: Path, chest: Phantom) -> None:
    (folder / "bad.nii.gz").write_bytes(b"torn")
    write_mask(chest.lungs, folder / "mask.nii.gz")
    write_series(folder / "hole", np.full((5, 8, 8), -500, np.int16), skip=(2,))
    records = run_json("segment", folder, "-o", folder.parent / "out", exit_code=1)
    assert all(set(record) == REPORT_FIELDS | {"outcome", "error", "skipped"} for record in records)
    by_name = {Path(record["input"]).name: record for record in records}
    assert {name: record["outcome"] for name, record in by_name.items() if not name.endswith(".dcm")} == {
        "air.nii.gz": "segmented",
        "bad.nii.gz": "failed",
        "chest.nii.gz": "segmented",
        "half.nii.gz": "segmented",
        "mask.nii.gz": "no CT",
    }
    (torn,) = (record for name, record in by_name.items() if name.endswith(".dcm"))
    assert torn["outcome"] == "failed" and "1 slice missing" in torn["error"]
    for name in ("air", "chest", "half"):
        report = by_name[f"{name}.nii.gz"]
        assert {key: report[key] for key in REPORT_FIELDS} == report_of(folder, name)
        assert report["error"] is None and report["skipped"] is None
    assert "a mask?" in by_name["mask.nii.gz"]["skipped"]
    assert by_name["bad.nii.gz"]["output"] is None and by_name["bad.nii.gz"]["structures"] is None


def test_a_single_mask_has_a_report_if_one_is_asked_for(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "lungs.nrrd"
    assert run("segment", folder / "half.nii.gz", "-o", target).exit_code == 0
    assert not (tmp_path / "lungs.nrrd.json").exists()
    assert run("segment", folder / "half.nii.gz", "-o", target, "--overwrite", "--report").exit_code == 0
    assert json.loads((tmp_path / "lungs.nrrd.json").read_text())["state"] == "one lung found"
    assert segmented(folder, "--no-report").exit_code == 0
    assert not list((tmp_path / "out").glob("*.json"))


def test_a_second_run_keeps_what_is_there_and_says_so(folder: Path) -> None:
    segmented(folder)
    before = {path: path.stat().st_mtime_ns for path in (folder.parent / "out").iterdir()}
    again = segmented(folder)
    assert again.exit_code == 0
    assert "0 segmented, 3 exist already" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in (folder.parent / "out").iterdir()} == before


def test_files_named_one_by_one_are_taken_up_again_too(folder: Path) -> None:
    files = sorted(folder.iterdir())
    assert run("segment", *files[:2], "-o", folder.parent / "out").exit_code == 0
    result = run("segment", *files, "-o", folder.parent / "out")
    assert result.exit_code == 0
    assert "1 segmented, 2 exist already" in result.stdout


def test_a_mask_of_another_model_is_no_success(folder: Path) -> None:
    segmented(folder)
    path = folder.parent / "out" / "chest.nii.gz.json"
    version = load_model().version
    path.write_text(path.read_text().replace(version, "another"))
    result = segmented(folder)
    assert_refused(result, f"made by model another, asked for {version}; --overwrite replaces it", "1 made otherwise")
    assert segmented(folder, "--overwrite").exit_code == 0
    assert report_of(folder, "chest")["model"] == version


def test_a_table_has_one_row_for_each_scan(folder: Path, chest: Phantom, tmp_path: Path) -> None:
    write_mask(chest.lungs, folder / "mask.nii.gz")
    (folder / "bad.nii.gz").write_bytes(b"torn")
    table = tmp_path / "out" / "tables" / "lungs.csv"
    assert segmented(folder, "--csv", table).exit_code == 1
    again = segmented(folder, "--csv", table)
    assert again.exit_code == 1, again.output
    rows = {Path(row["input"]).name: row for row in csv.DictReader(table.open())}
    assert set(rows) == {"air.nii.gz", "bad.nii.gz", "chest.nii.gz", "half.nii.gz"}  # a mask is no scan
    chest, measures = rows["chest.nii.gz"], report_of(folder, "chest")["structures"]
    assert float(chest["right_lung_volume_ml"]) == measures["right_lung"]["volume_ml"]  # type: ignore[index]
    assert float(chest["left_lung_mean_hu"]) == measures["left_lung"]["mean_hu"]  # type: ignore[index]
    assert (chest["size_z"], chest["spacing_z_mm"], chest["outcome"]) == ("32", "10.0", "kept")
    assert rows["half.nii.gz"]["findings"].startswith("left lung not found; slices are")
    assert (rows["air.nii.gz"]["state"], rows["air.nii.gz"]["right_lung_mean_hu"]) == ("no lung found", "")
    assert "cannot be read as NIfTI" in rows["bad.nii.gz"]["error"]


def test_a_table_replaces_nothing_but_a_table(folder: Path) -> None:
    scan = folder / "chest.nii.gz"
    before = scan.read_bytes()
    for place in (scan, folder, scan / "lungs.csv", Path("/proc/lungs.csv")):
        result = segmented(folder, "--csv", place)
        assert result.exit_code == 2, result.output
    assert scan.read_bytes() == before
    assert not (folder.parent / "out").exists()


def test_a_folder_that_cannot_be_written_to_is_known_before_anything_is_done(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    result = run("segment", folder, "-o", tmp_path / "file" / "out")
    assert_refused(result, "cannot be made: Not a directory")
    assert "segmented" not in result.output


@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 64, 64)])
def test_very_few_slices_are_segmented_and_said_to_be_few(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    write_nifti(chest_phantom(1, shape, (8.0, 6.0, 6.0)).image, tmp_path / "in.nii.gz")
    (record,) = run_json("segment", tmp_path / "in.nii.gz", "-o", tmp_path / "mask.nii.gz")
    assert record["state"] == "lungs found"
    assert "expected at least 10" in record["findings"][0]
    assert record["findings"][1] == "slices are 8 mm apart, expected at most 5 mm"


def test_a_file_name_steers_no_terminal(folder: Path) -> None:
    (folder / "half.nii.gz").rename(folder / "a\x1b[2Jb\n.nii.gz")
    (folder / "torn\x1b[2J.nii.gz").write_bytes(b"torn")
    result = segmented(folder)
    assert "\x1b" not in result.output
    assert "a [2Jb .nii.gz -> " in result.output
    assert "torn [2J.nii.gz: cannot be read" in result.output


def test_an_interrupted_run_says_what_is_done_and_how_to_go_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupt(line: str, *, err: bool) -> None:
        if "chest" in line:
            raise KeyboardInterrupt

    monkeypatch.setattr(command, "echo_beside_bar", interrupt)
    result = segmented(folder, "--csv", tmp_path / "lungs.csv")
    assert result.exit_code == 130
    assert "2 segmented" in result.stdout
    assert "stopped: the same command goes on from here" in result.stderr
    assert len((tmp_path / "lungs.csv").read_text().splitlines()) == 3


def test_leftovers_of_a_killed_run_go_and_nothing_else_does(tmp_path: Path) -> None:
    target = tmp_path / "a.nii.gz"
    left = [tmp_path / ".writing-0a1b2c3d4e5f-a.nii.gz", tmp_path / ".writing-0a1b2c3d4e5f-a.nii.gz.json"]
    others = [tmp_path / ".writing-0a1b2c3d4e5f-b.nii.gz", tmp_path / ".writing-mine-a.nii.gz", target]
    for path in left + others:
        path.write_text("x")
    with output_folder(tmp_path, [tmp_path / "b.nii.gz"]), output_folder(tmp_path, [target]):
        assert left[0].exists(), "another run is at work and may be writing it"
    with output_folder(tmp_path, [target]):
        assert [path.exists() for path in left + others] == [False, False, False, True, True]


@pytest.mark.slow
@pytest.mark.parametrize(("stop", "moments"), [(signal.SIGKILL, (1, 3, 6)), (signal.SIGINT, (2,))])
def test_a_run_that_is_stopped_at_any_moment_is_completed_by_the_next(
    tmp_path: Path, stop: signal.Signals, moments: tuple[int, ...]
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for seed in range(8):
        write_nifti(chest_phantom(seed, (24, 96, 96), (10.0, 4.0, 4.0)).image, source / f"{seed}.nii.gz")
    assert run("segment", source, "-o", tmp_path / "whole").exit_code == 0
    line = [sys.executable, "-m", "lungapp", "segment", str(source), "-o", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for wanted in moments:
        with subprocess.Popen(line, cwd=REPOSITORY, env=environment, stdout=subprocess.DEVNULL) as process:
            deadline = time.monotonic() + 120
            while len(list(out.glob("*.nii.gz"))) < wanted and process.poll() is None:
                assert time.monotonic() < deadline
                time.sleep(0.001)
            process.send_signal(stop)
            assert process.wait(60) in (-stop, 130, 0)
        there = [path for path in out.glob("*.nii.gz") if not path.name.startswith(".")]  # glob gives hidden ones too
        assert all(read_mask(path).array.any() for path in there)
    assert run("segment", source, "-o", out).exit_code == 0
    made, expected = (
        {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".json"}
        for folder in (out, tmp_path / "whole")
    )
    assert made == expected
    assert {path.name for path in out.iterdir()} == {path.name for path in (tmp_path / "whole").iterdir()}
