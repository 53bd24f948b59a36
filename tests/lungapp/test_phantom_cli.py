from __future__ import annotations

import csv
import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from command_line import assert_refused, run, run_json, small_project
from conftest import REPOSITORY

from datastore.image_files import read_ct, read_mask, read_volume
from datastore.phantom.cohorts import COHORTS
from lungapp.cli.phantom import COHORT_NAMES, USUAL_COUNTS

SMALL = ("--size", 64, "--slices", 20, "--jobs", 1)
DICOM_SEED = 11


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three patients of the tumour cohort as NIfTI; nobody changes it."""
    folder = tmp_path_factory.mktemp("phantom") / "cohort"
    result = run("phantom", folder, "--cohort", "lctsc", "-n", 3, *SMALL)
    assert result.exit_code == 0, result.output
    assert "3 made, 0 kept, 0 failed" in result.output
    return folder


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "cases.csv", newline="") as file:
        return list(csv.DictReader(file))


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def assert_alike(one: Path, other: Path) -> None:
    """The same files to the byte, but for scans: the last bit of a sum hangs on how a library shares out its work."""
    ones, others = contents(one), contents(other)
    assert ones.keys() == others.keys()
    for name in ones:
        if "/images/" not in f"/{name}":
            assert ones[name] == others[name], name
        elif ones[name] != others[name]:
            apart = np.abs(read_ct(one / name).array.astype(int) - read_ct(other / name).array)
            assert apart.max() <= 1 and np.count_nonzero(apart) < apart.size / 1000, name


def test_the_names_in_the_help_are_those_of_the_cohorts() -> None:
    assert COHORT_NAMES == COHORTS
    assert set(USUAL_COUNTS) == set(COHORTS)


def test_every_case_has_its_files_and_a_row(cohort: Path) -> None:
    table = rows(cohort)
    assert [row["case"] for row in table] == ["lctsc-0001", "lctsc-0002", "lctsc-0003"]
    for row in table:
        for kind in ("images", "lungs", "lobes", "references", "tumours", "lesions/mass"):
            assert (cohort / kind / f"{row['case']}.nii.gz").is_file()
        lungs = read_mask(cohort / "lungs" / f"{row['case']}.nii.gz")
        assert (lungs.array == 1).sum() * lungs.geometry.voxel_ml == pytest.approx(float(row["right_ml"]), abs=0.06)
        assert row["cohort"] == "lctsc" and "mass" in row["tags"] and row["slices"] == "20"
    assert not list(cohort.rglob(".writing-*"))


def test_a_model_is_evaluated_on_it_by_pathology(cohort: Path) -> None:
    told = run_json(
        *("evaluate", "--ref", cohort / "lungs", "--pred", "threshold", "--images", cohort / "images"),
        *("--tumour", cohort / "tumours", "--cases", cohort / "cases.csv", "--by", "pathology"),
    )
    assert {case["group"] for case in told["cases"]} == {row["pathology"] for row in rows(cohort)}
    dice = [case["results"][0]["values"]["dice"] for case in told["cases"]]
    assert len(dice) == 3 and all(0.3 < value < 1 for value in dice)


def test_the_same_seed_gives_the_same_patients_whatever_the_jobs(cohort: Path, tmp_path: Path) -> None:
    result = run("phantom", tmp_path / "again", "--cohort", "lctsc", "-n", 3, *SMALL[:4], "--jobs", 2)
    assert result.exit_code == 0, result.output
    assert_alike(tmp_path / "again", cohort)


@pytest.fixture
def started(cohort: Path, tmp_path: Path) -> Path:
    """A copy of the cohort whose second case is as a killed run leaves it."""
    folder = tmp_path / "started"
    for name, content in contents(cohort).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (folder / "records/lctsc-0002.json").unlink()
    (folder / "lungs/lctsc-0002.nii.gz").unlink()
    (folder / "lungs/.writing-0123456789ab-lctsc-0002.nii.gz").write_bytes(b"half")
    (folder / "cases.csv").unlink()
    for name in ("records/.writing-0123456789ab-lctsc-0002.json", ".writing-0123456789ab-cases.csv"):
        (folder / name).write_bytes(b"half")
    return folder


def test_a_killed_run_goes_on_where_it_was(cohort: Path, started: Path) -> None:
    os.utime(started / "images/lctsc-0001.nii.gz", (1, 1))
    told = run_json("phantom", started, "--cohort", "lctsc", "-n", 3, *SMALL)
    assert {case["case"]: case["outcome"] for case in told["cases"]} == {
        "lctsc-0001": "kept", "lctsc-0002": "made", "lctsc-0003": "kept",
    }  # fmt: skip
    assert_alike(started, cohort)
    assert (started / "images/lctsc-0001.nii.gz").stat().st_mtime == 1


def test_a_cohort_grows(started: Path) -> None:
    told = run_json("phantom", started, "--cohort", "lctsc", "-n", 1, *SMALL)
    assert (told["made"], told["kept"]) == (0, 1)
    assert [row["case"] for row in rows(started)] == ["lctsc-0001", "lctsc-0003"]  # those that are complete


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (("--seed", 5), ("seed 0", "expected 5")),
        (("--size", 128), ("size 64", "expected 128")),
        (("--slices", 21), ("slices 20", "expected 21")),
        (("--as", "dicom"), ("form nifti", "expected dicom")),
        (("--cohort", "ltrc"), ("cohort lctsc", "expected ltrc")),
    ],
)
def test_another_cohort_in_the_folder_is_left_alone(
    cohort: Path, changed: tuple[object, ...], words: tuple[str, ...]
) -> None:
    before = contents(cohort)
    assert_refused(run("phantom", cohort, "--cohort", "lctsc", "-n", 3, *SMALL, *changed), *words)
    assert contents(cohort) == before


@pytest.mark.parametrize(
    "name",
    ["phantom.json", "cases.csv", "lungs/ltrc-0001.nii.gz", "dicom/ltrc-0001/a.dcm", "lesions/mass/ltrc-0001.nii.gz"],
)
def test_files_of_somebody_else_are_left_alone(tmp_path: Path, name: str) -> None:
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    assert_refused(run("phantom", tmp_path / "out", "--cohort", "ltrc", "-n", 1, *SMALL), "none of ours")
    assert contents(tmp_path / "out") == {name: b"mine"}


def test_a_second_run_in_the_folder_is_refused(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        assert_refused(run("phantom", tmp_path, "--cohort", "ltrc", "-n", 1, *SMALL), "another run")
    finally:
        os.close(descriptor)
    assert not contents(tmp_path)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    assert_refused(run("phantom", tmp_path / "out", "--cohort", "ltrc", *SMALL), "expected a folder, got a file")


@pytest.mark.parametrize(
    "arguments",
    [
        ("out",),
        ("", "--cohort", "ltrc"),
        ("out", "--cohort", "lidc"),
        ("out", "--cohort", "ltrc", "-n", 0),
        ("out", "--cohort", "ltrc", "--size", 1024),
        ("out", "--cohort", "ltrc", "--seed", -1),
        ("out", "--cohort", "ltrc", "--as", "png"),
    ],
)
def test_wrong_usage_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[object, ...]) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("phantom", *arguments).exit_code == 2
    assert not list(tmp_path.iterdir())


def test_a_case_that_fails_stops_no_other(started: Path) -> None:
    (started / "lobes").rename(started / "kept")
    (started / "lobes").write_text("no folder")
    told = run_json("phantom", started, "--cohort", "lctsc", "-n", 3, *SMALL, exit_code=1)
    assert (told["failed"], told["kept"]) == (1, 2)
    assert "lobes" in told["cases"][-1]["reason"]
    assert [row["case"] for row in rows(started)] == ["lctsc-0001", "lctsc-0003"]


def test_ingest_takes_the_right_series_of_a_dicom_cohort(tmp_path: Path) -> None:
    out = tmp_path / "archive"
    made = run("phantom", out, "--cohort", "routine", "-n", 4, "--as", "dicom", "--seed", DICOM_SEED, *SMALL)
    assert made.exit_code == 0, made.output
    table = {row["case"]: row for row in rows(out)}
    patients = {name: row for name, row in table.items() if "_s" not in name}
    assert len(patients) == 4
    project = small_project(tmp_path / "study", min_slices=15)
    report = json.loads(run("ingest", out / "dicom", "-p", project.folder, "--json").stdout)
    taken = {case["description"] for case in report["added"] if case["eligible"]}
    words = ("lung", "chest", "thorax")
    expected = {
        row["series_description"]
        for row in patients.values()
        if any(word in row["series_description"].lower() for word in words)
    }
    assert taken == expected and expected
    assert report["skipped"], "localizers"
    told = run_json(
        *("evaluate", "--ref", out / "lungs", "--pred", "threshold", "--images", out / "dicom"),
        *("--cases", out / "cases.csv", "--by", "pathology"),
    )
    assert {case["case"] for case in told["cases"]} == set(table)
    assert all(case["results"][0]["outcome"] == "scored" for case in told["cases"])


@pytest.mark.slow
def test_a_program_that_was_killed_leaves_nothing_half_done(cohort: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    options = ["--cohort", "lctsc", "-n", "3", *map(str, SMALL[:4]), "--jobs", "2"]
    command = [sys.executable, "-m", "lungapp", "phantom", str(out), *options]
    program = subprocess.Popen(command, cwd=REPOSITORY, start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(out.glob("lobes/*.nii.gz")) and time.monotonic() < deadline:
        time.sleep(0.02)
    program.kill()  # the program alone: those that it started have to end by themselves
    program.wait()
    while _group_lives(program.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _group_lives(program.pid)
    whole, left = contents(cohort), [name for name in contents(out) if "/.writing-" not in f"/{name}"]
    assert left
    for name in left:
        if name.endswith(".nii.gz"):
            assert read_volume(out / name).array.shape == read_volume(cohort / name).array.shape  # none is torn
        else:
            assert (out / name).read_bytes() == whole[name]
    assert run("phantom", out, *options).exit_code == 0
    assert_alike(out, cohort)


def _group_lives(leader: int) -> bool:
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return False
    return True
