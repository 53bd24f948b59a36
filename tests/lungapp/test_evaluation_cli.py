"""`lungapp evaluate`: from folders, models and projects to tables, files and exit codes."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from command_line import assert_refused, run, run_json
from conftest import PhantomProject
from dicom_series import write_series
from networks import lungmask_file

from datastore.image_files import read_mask, write_mask
from datastore.nifti import write_nifti
from datastore.phantom import Phantom, chest_phantom
from datastore.records import Kind, NewLabel
from datastore.volume import Volume
from infers.metrics import METRICS, tumour_overlap
from lungapp.evaluation import run as scoring
from lungapp.evaluation.files import CASE_COLUMNS, STRUCTURE_COLUMNS

SMALL: dict[str, Any] = {"shape": (16, 48, 48), "spacing_mm": (20.0, 8.0, 8.0)}


@pytest.fixture(scope="module")
def chests() -> dict[str, Phantom]:
    """Three chests in two test sets, each with a tumour."""
    names = ("LTRC/a", "RRT/b", "RRT/c")
    return {name: chest_phantom(seed, lesion=True, **SMALL) for seed, name in enumerate(names, start=1)}


def moved(mask: Volume, by: int = 1) -> Volume:
    return mask.with_array(np.roll(mask.array, by, axis=1))


@pytest.fixture
def folder(tmp_path: Path, chests: dict[str, Phantom]) -> Path:
    """Images, references, tumours and two sets of masks, `exact` and `moved`, each named in its own way."""
    for name, chest in chests.items():
        for kind, ending, mask in (
            ("refs", "_lung.nii.gz", chest.lungs),
            ("exact", ".nii.gz", chest.lungs),
            ("moved", "_pred.mha", moved(chest.lungs)),
            ("tumours", "-gtv.nrrd", chest.lesion),
        ):
            (tmp_path / kind / name).parent.mkdir(parents=True, exist_ok=True)
            assert mask is not None
            write_mask(mask, tmp_path / kind / f"{name}{ending}")
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        write_nifti(chest.image, tmp_path / "images" / f"{name}_0000.nii.gz", compression=1)
    return tmp_path


def evaluated(folder: Path, *more: object, models: tuple[object, ...] = ("moved",), ref: str = "refs") -> Result:
    predictions = [word for model in models for word in ("--pred", folder / str(model))]
    return run("evaluate", "--ref", folder / ref, *predictions, *more)


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def dice(first: Volume, second: Volume, value: int) -> float:
    one, other = first.array == value, second.array == value
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def test_two_folders_are_compared_case_by_case(folder: Path, chests: dict[str, Phantom]) -> None:
    result = evaluated(folder, "--out", folder / "out", models=("exact", "moved"))
    assert result.exit_code == 0, result.output
    assert "3 cases, 2 models: 6 scored; written to" in result.stdout
    rows = table(folder / "out" / "cases.csv")
    assert [(row["case"], row["group"], row["model"]) for row in rows] == [
        (name, name[:-2], model) for name in chests for model in ("exact", "moved")
    ]
    for row in rows:
        lungs = chests[row["case"]].lungs
        mask = lungs if row["model"] == "exact" else moved(lungs)
        assert float(row["dice"]) == np.mean([dice(lungs, mask, value) for value in (1, 2)])
        assert (row["outcome"], row["reason"], row["tumour_overlap"]) == ("scored", "", "")
    both = table(folder / "out" / "structures.csv")
    assert len(both) == 12
    assert tuple(rows[0]) == CASE_COLUMNS and tuple(both[0]) == STRUCTURE_COLUMNS
    right = next(
        row for row in both if (row["case"], row["model"], row["structure"]) == ("RRT/b", "moved", "right_lung")
    )
    assert right["presence"] == "in both"
    assert float(right["dice"]) == dice(chests["RRT/b"].lungs, moved(chests["RRT/b"].lungs), 1)
    assert float(right["reference_ml"]) == pytest.approx((chests["RRT/b"].lungs.array == 1).sum() * 1.28)


def test_the_printed_table_can_be_worked_out_from_the_csv(folder: Path) -> None:
    result = evaluated(folder, "--out", folder / "out")
    values = {row["case"]: float(row["dice"]) for row in table(folder / "out" / "cases.csv")}
    every, rest = np.array(list(values.values())), np.array([values["RRT/b"], values["RRT/c"]])
    line = next(line for line in result.stdout.splitlines() if line.startswith("moved"))
    assert f"{every.mean():.3f}±{every.std(ddof=1):.3f}" in line
    assert f"{rest.mean():.3f}±{rest.std(ddof=1):.3f}" in line
    assert "All leaves out LTRC (N=2)" in " ".join(result.stdout.split())


def test_json_is_what_stands_in_the_file(folder: Path) -> None:
    arguments = ("--ref", folder / "refs", "--pred", folder / "moved", "--tumour", folder / "tumours")
    printed = run_json("evaluate", *arguments, "--out", folder / "out", "--tolerance", 3)
    assert json.loads((folder / "out" / "evaluation.json").read_text(encoding="utf-8")) == printed
    assert printed["software"].startswith("lungapp ")
    assert (printed["models"], printed["groups"], printed["tolerance_mm"]) == (["moved"], ["LTRC", "RRT"], 3.0)
    assert [item["title"] for item in printed["tables"]][-1] == "Tumour overlap"
    assert printed["options"]["pred"] == [{"name": "moved", "from": str(folder / "moved"), "version": None}]
    assert [item["key"] for item in printed["metrics"]] == [metric.key for metric in METRICS]
    first = printed["cases"][0]
    assert first["reference"] == str(folder / "refs/LTRC/a_lung.nii.gz")
    assert first["results"][0]["prediction"] == str(folder / "moved/LTRC/a_pred.mha")
    assert first["results"][0]["structures"][1]["name"] == "left_lung"


def test_every_output_says_infinity_and_nothing_in_a_way_that_can_be_read(
    folder: Path, chests: dict[str, Phantom]
) -> None:
    write_mask(
        chests["RRT/b"].lungs.with_array(np.minimum(chests["RRT/b"].lungs.array, 1)),
        folder / "moved/RRT/b_pred.mha",
        overwrite=True,
    )
    assert evaluated(folder, "--out", folder / "out").exit_code == 0
    row = next(row for row in table(folder / "out" / "structures.csv") if row["presence"] == "only in the reference")
    assert (row["case"], row["structure"]) == ("RRT/b", "left_lung")
    assert (row["dice"], row["hausdorff95_mm"], row["precision"]) == ("0.0", "inf", "")
    case = table(folder / "out" / "cases.csv")[1]
    assert (case["hausdorff95_mm"], case["precision"]) == ("inf", "")
    assert case["notes"] == "left_lung only in the reference"
    text = (folder / "out" / "evaluation.json").read_text(encoding="utf-8")
    strict = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    values = strict["cases"][1]["results"][0]["values"]
    assert (values["hausdorff95_mm"], values["precision"]) == ("inf", None)


def test_the_same_evaluation_gives_the_same_bytes(folder: Path) -> None:
    found = []
    for jobs in (1, 3):
        assert evaluated(folder, "--out", folder / "out", "--jobs", jobs).exit_code == 0
        names = ("cases.csv", "structures.csv", "evaluation.json")
        found.append([(folder / "out" / name).read_bytes() for name in names])
    assert found[0] == found[1]
    assert (folder / "out" / "report.html").exists()


def test_whatever_is_wrong_with_a_file_is_a_row_and_stops_nothing(folder: Path, chests: dict[str, Phantom]) -> None:
    lungs, exact = chests["RRT/b"].lungs, folder / "exact"
    for name, mask in (
        ("grid", Volume(lungs.array[1:], lungs.geometry)),
        ("image", chests["RRT/b"].image),
        ("label", lungs.with_array(np.where(lungs.array == 2, np.uint8(4), lungs.array))),
        ("nan", lungs.with_array(np.full(lungs.array.shape, np.nan, np.float32))),
        ("torn", lungs),
    ):
        write_mask(lungs, folder / "refs" / f"{name}.nii.gz")
        write_nifti(mask, exact / f"{name}.nii.gz")
    (exact / "torn.nii.gz").write_bytes((exact / "torn.nii.gz").read_bytes()[:-50])
    write_mask(lungs, folder / "refs" / "unpredicted.nii.gz")
    write_mask(lungs, exact / "unknown.nii.gz")
    result = evaluated(folder, "--out", folder / "out", models=("exact",))
    assert result.exit_code == 1
    rows = {row["case"]: row for row in table(folder / "out" / "cases.csv")}
    outcomes = {name: (row["outcome"], row["reason"]) for name, row in rows.items()}
    assert {name for name, (outcome, _) in outcomes.items() if outcome == "scored"} == set(chests)
    for name, words in (
        ("grid", "does not match image"),
        ("image", "is outside 0..255"),
        ("label", "label value 4 is unknown"),
        ("nan", "label value nan"),
        ("torn", "torn.nii.gz"),
    ):
        assert outcomes[name][0] == "failed" and words in outcomes[name][1]
        assert f"failed  {name}  [exact]  " in result.stderr
        assert rows[name]["dice"] == ""
    assert outcomes["unpredicted"] == ("missing prediction", "no mask of exact")
    assert outcomes["unknown"] == ("missing reference", "no reference")
    assert "10 cases, 1 model: 3 scored, 1 missing prediction, 1 missing reference, 5 failed" in result.stdout
    assert "(3/9)" in result.stdout  # of the cases that have a reference
    found = {
        case["case"]: case["results"][0]["outcome"]
        for case in json.loads((folder / "out/evaluation.json").read_text(encoding="utf-8"))["cases"]
    }
    assert found == {name: outcome for name, (outcome, _) in outcomes.items()}


def test_references_without_sides_are_told_and_can_be_compared_as_a_whole(
    folder: Path, chests: dict[str, Phantom]
) -> None:
    for name, chest in chests.items():
        whole = chest.lungs.with_array(np.minimum(chest.lungs.array, 1))
        write_mask(whole, folder / "refs" / f"{name}_lung.nii.gz", overwrite=True)
    result = evaluated(folder, models=("exact",))
    assert result.exit_code == 1
    assert "no reference has left_lung, but masks do" in result.stderr and "--labels whole" in result.stderr
    result = evaluated(folder, "--labels", "whole", models=("exact",))
    assert result.exit_code == 0, result.output
    assert "1.000" in result.stdout and "right lung" not in result.stdout


def test_a_model_that_knows_no_sides_is_told(folder: Path, chests: dict[str, Phantom]) -> None:
    for name, chest in chests.items():
        whole = chest.lungs.with_array(np.minimum(chest.lungs.array, 1))
        write_mask(whole, folder / "exact" / f"{name}.nii.gz", overwrite=True)
    result = evaluated(folder, "--out", folder / "out", models=("exact",))
    assert result.exit_code == 0
    warning = "no mask of exact has left_lung, references do; if it does not tell right from left, use --labels whole"
    assert warning in result.stderr
    assert json.loads((folder / "out" / "evaluation.json").read_text(encoding="utf-8"))["warnings"] == [warning]


def test_masks_with_numbers_of_their_own_are_compared_by_them(folder: Path, chests: dict[str, Phantom]) -> None:
    for name, chest in chests.items():
        for kind, ending in (("refs", "_lung"), ("exact", "")):
            other = chest.lungs.with_array(chest.lungs.array * 5)
            write_mask(other, folder / kind / f"{name}{ending}.nii.gz", overwrite=True)
    assert evaluated(folder, models=("exact",)).exit_code == 1
    result = evaluated(folder, "--labels", "5=dexter, 10=sinister", models=("exact",))
    assert result.exit_code == 0 and "dexter DSC" in result.stdout


def test_models_segment_the_images_first_and_their_masks_are_kept(folder: Path) -> None:
    command = ("--images", folder / "images", "--pred", "threshold", "--pred", "net=fast", "--out", folder / "out")
    result = evaluated(folder, *command, models=())
    assert result.exit_code == 0, result.output
    masks = folder / "out" / "masks"
    made = {path: path.stat().st_mtime_ns for path in sorted(masks.rglob("*.nii.gz"))}
    assert [path.relative_to(masks).as_posix() for path in made] == [
        f"{model}/{name}.nii.gz" for model in ("net", "threshold") for name in ("LTRC/a", "RRT/b", "RRT/c")
    ]
    rows = table(folder / "out" / "cases.csv")
    assert [row["model"] for row in rows[:2]] == ["threshold", "net"]
    assert min(float(row["dice"]) for row in rows if row["model"] == "threshold") > 0.9
    options = json.loads((folder / "out" / "evaluation.json").read_text(encoding="utf-8"))["options"]
    assert [item["version"].partition("-")[0] for item in options["pred"]] == ["threshold", "unet"]
    again = evaluated(folder, *command, models=())
    assert again.stdout == result.stdout
    assert {path: path.stat().st_mtime_ns for path in made} == made


def test_a_mask_that_is_not_the_models_is_not_scored_as_its(folder: Path) -> None:
    command = ("--images", folder / "images", "--pred", "threshold", "--out", folder / "out")
    assert evaluated(folder, *command, models=()).exit_code == 0
    masks = folder / "out" / "masks" / "threshold"
    outdated, changed, unknown = (masks / f"{name}.nii.gz" for name in ("LTRC/a", "RRT/b", "RRT/c"))
    report = outdated.with_name("a.nii.gz.json")
    report.write_text(report.read_text(encoding="utf-8").replace("threshold-1", "threshold-0"))
    before = outdated.read_bytes()
    write_mask(moved(read_mask(changed), 5), changed, overwrite=True)
    unknown.with_name("c.nii.gz.json").unlink()
    result = evaluated(folder, *command, models=())
    assert result.exit_code == 1
    assert "was changed since it was made: remove it" in result.stderr
    assert "without a report of what made it: remove it" in result.stderr
    assert [row["outcome"] for row in table(folder / "out/cases.csv")] == ["scored", "failed", "failed"]
    assert "threshold-1" in report.read_text(encoding="utf-8") and outdated.read_bytes() == before
    changed.unlink()
    unknown.unlink()
    assert evaluated(folder, *command, models=()).exit_code == 0


def test_dicom_series_are_images_by_the_names_of_their_folders(
    folder: Path, tmp_path: Path, chests: dict[str, Phantom]
) -> None:
    for name, chest in chests.items():
        series = tmp_path / "dicom" / name
        geometry = chest.image.geometry
        write_series(series, chest.image.array, spacing_mm=geometry.spacing_mm[::-1], origin_mm=geometry.origin_mm)
    result = evaluated(folder, "--images", tmp_path / "dicom", "--pred", "threshold", models=())
    assert result.exit_code == 0, result.output
    assert "3 cases, 1 model: 3 scored" in result.stdout


def test_without_a_folder_for_them_masks_of_models_are_made_and_forgotten(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder / "tmp"))
    before = sorted(folder.rglob("*"))
    arguments = ("--ref", folder / "refs", "--pred", "threshold", "--images", folder / "images")
    printed = run_json("evaluate", *arguments)
    assert {item["prediction"] for case in printed["cases"] for item in case["results"]} == {None}
    assert sorted(folder.rglob("*")) == before


def test_an_image_that_cannot_be_segmented_or_is_not_there_is_a_row(folder: Path) -> None:
    images = folder / "images" / "RRT"
    (images / "b_0000.nii.gz").write_bytes(b"torn")
    (images / "c_0000.nii.gz").rename(images / "d_0000.nii.gz")
    result = evaluated(folder, "--images", folder / "images", "--pred", "threshold", models=("exact",))
    assert result.exit_code == 1
    assert "failed  RRT/b  [threshold]  " in result.stderr and "cannot be read as NIfTI" in result.stderr
    assert "missing prediction  RRT/c  [threshold]  no image to segment" in result.stderr
    assert "1 images belong to no case and are left out" in result.stderr
    assert "3 cases, 2 models: 4 scored, 1 missing prediction, 1 failed" in result.stdout


@pytest.mark.parametrize(
    ("options", "in_version"), [(("--postprocess", "paper"), "+postprocess=paper"), (("--smooth",), "+smooth=True")]
)
def test_options_of_networks_reach_the_models(folder: Path, options: tuple[str, ...], in_version: str) -> None:
    arguments = ("--ref", folder / "refs", "--pred", "fast", "--images", folder / "images", *options)
    (made,) = run_json("evaluate", *arguments)["options"]["pred"]
    assert made["version"].endswith(in_version)


def test_a_model_of_other_structures_is_refused_before_anything_is_done(folder: Path) -> None:
    lobes = lungmask_file(folder / "unet_ltrclobes-3a07043d.pth", classes=6, width=1)
    command = ("--images", folder / "images", "--pred", lobes, "--out", folder / "out")
    assert_refused(evaluated(folder, *command, models=()), "finds 1 left_upper_lobe", "1 right_lung, 2 left_lung")
    fast = ("--images", folder / "images", "--pred", "fast", "--out", folder / "out", "--labels", "lobes")
    assert_refused(evaluated(folder, *fast, models=()), "fast finds 1 right_lung")
    assert not (folder / "out").exists()


def test_tumours_are_scored_beside_the_lungs_and_alone(folder: Path, chests: dict[str, Phantom]) -> None:
    result = evaluated(folder, "--tumour", folder / "tumours", "--out", folder / "out")
    assert result.exit_code == 0, result.output
    assert "Tumour overlap" in result.stdout
    expected = {
        name: tumour_overlap(chest.lesion, moved(chest.lungs)) for name, chest in chests.items() if chest.lesion
    }
    assert {row["case"]: float(row["tumour_overlap"]) for row in table(folder / "out" / "cases.csv")} == expected
    alone = run("evaluate", "--tumour", folder / "tumours", "--pred", folder / "moved", "--out", folder / "alone")
    assert alone.exit_code == 0, alone.output
    assert "Tumour overlap" in alone.stdout and "DSC" not in alone.stdout
    assert {row["case"]: float(row["tumour_overlap"]) for row in table(folder / "alone" / "cases.csv")} == expected


def test_a_tumour_that_cannot_be_scored_is_said_and_is_no_success(folder: Path, chests: dict[str, Phantom]) -> None:
    lungs = chests["RRT/b"].lungs
    write_mask(lungs.with_array(lungs.array * 0), folder / "tumours" / "RRT/b-gtv.nrrd", overwrite=True)
    result = evaluated(folder, "--tumour", folder / "tumours")
    assert result.exit_code == 1
    assert "not scored  RRT/b  [moved]  tumour of " in result.stderr and "mask is empty" in result.stderr
    assert "3 scored" in result.stdout


def groups_of(*arguments: object, exit_code: int = 0) -> dict[str, str]:
    printed = run_json("evaluate", *arguments, exit_code=exit_code)
    return {case["case"]: case["group"] for case in printed["cases"]}


def test_cases_are_grouped_by_folder_by_table_or_not_at_all(folder: Path) -> None:
    start = ("--ref", folder / "refs", "--pred", folder / "moved")
    folders = {"LTRC/a": "LTRC", "RRT/b": "RRT", "RRT/c": "RRT"}
    assert groups_of(*start) == groups_of(*start, "--by", "folder") == folders
    assert set(groups_of(*start, "--by", "none").values()) == {""}
    (folder / "cases.csv").write_text("case,kind,age\na,mass,7\nRRT/b,normal,8\nc,mass,9\n")
    by_kind = groups_of(*start, "--cases", folder / "cases.csv", "--by", "kind")
    assert by_kind == {"LTRC/a": "mass", "RRT/b": "normal", "RRT/c": "mass"}


def test_groups_that_all_leaves_out_can_be_chosen(folder: Path) -> None:
    def left_out(*options: str) -> list[str]:
        return list(run_json("evaluate", "--ref", folder / "refs", "--pred", folder / "moved", *options)["left_out"])

    assert left_out() == ["ltrc", "lctsc"]
    assert left_out("--leave-out", "RRT") == ["rrt"]
    assert left_out("--leave-out", "none") == []
    result = evaluated(folder, "--leave-out", "VESS12")
    assert result.exit_code == 2 and "no group 'VESS12', there are: LTRC, RRT" in result.output


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--ref", "refs", "--pred", "threshold"), "a model needs images"),
        (("--pred", "exact"), "expected references (--ref), tumours (--tumour), or both"),
        (("--ref", "nowhere", "--pred", "exact"), "--ref nowhere: no such folder"),
        (("--ref", "refs/LTRC/a_lung.nii.gz", "--pred", "exact"), "a file, expected a folder"),
        (("--ref", "refs", "--pred", "no/where"), "no such folder"),
        (("--ref", "refs", "--pred", "exact", "--pred", "./exact"), "would both be called exact"),
        (("--ref", "refs", "--pred", "exact", "--by", "age"), "cannot group by 'age'"),
        (("--ref", "refs", "--pred", "exact", "--cases", "no.csv", "--by", "age"), "no.csv"),
        (("--ref", "refs", "--pred", "exact", "--labels", "lung"), "expected lungs, lobes, whole"),
        (("--ref", "refs", "--pred", "exact", "--tolerance", "-1"), "--tolerance"),
        (("--ref", "refs", "--pred", "exact", "--tolerance", "nan"), "--tolerance"),
        (("--ref", "refs", "--pred", "exact", "--out", "refs/out"), "where it would be taken for input"),
        (("--ref", "refs", "--pred", "exact", "--out", "images/x/a.txt/b"), "Not a directory"),
        (("--ref", "refs"), "Missing option '--pred'"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_done(
    folder: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], words: str
) -> None:
    monkeypatch.chdir(folder)
    (folder / "images" / "x").mkdir()
    (folder / "images" / "x" / "a.txt").touch()
    before = sorted(folder.rglob("*"))
    result = run("evaluate", *options)
    assert result.exit_code == 2, result.output
    assert words in result.output
    assert sorted(folder.rglob("*")) == before


def test_what_cannot_be_paired_is_refused_in_one_line(folder: Path, chests: dict[str, Phantom]) -> None:
    (folder / "empty").mkdir()
    assert_refused(evaluated(folder, models=("empty",)), "empty: no masks in it or below")
    assert_refused(evaluated(folder, ref="empty"), "empty: no masks in it or below")
    (folder / "others").mkdir()
    write_mask(chests["RRT/b"].lungs, folder / "others" / "x.nii.gz")
    assert_refused(evaluated(folder, models=("exact", "others")), "no mask belongs to a case: got x, expected")
    for name in ("one/b", "two/b_seg"):
        (folder / "twice" / name).parent.mkdir(parents=True)
        write_mask(chests["RRT/b"].lungs, folder / "twice" / f"{name}.nii.gz")
    assert_refused(
        evaluated(folder, models=("twice",)), "two files could be the mask of twice of case RRT/b: one/b and two/b_seg"
    )


@pytest.mark.parametrize("name", ["cases.csv", "structures.csv", "evaluation.json", "report.html"])
def test_files_of_somebody_else_are_not_replaced(folder: Path, name: str) -> None:
    (folder / "out").mkdir()
    (folder / "out" / name).write_text("mine")
    result = evaluated(folder, "--out", folder / "out")
    assert result.exit_code == 2 and f"{name}: exists already and is none of ours" in result.output
    assert [path.name for path in (folder / "out").iterdir()] == [name]
    assert (folder / "out" / name).read_text(encoding="utf-8") == "mine"


def test_the_report_is_written_before_anything_is_printed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object, **__: object) -> None:
        raise BrokenPipeError  # as of `lungapp evaluate ... | head -1`

    monkeypatch.setattr("click.echo", closed)
    evaluated(folder, "--out", folder / "out")
    assert "Evaluation of moved" in (folder / "out" / "report.html").read_text(encoding="utf-8")


def test_no_report_of_an_earlier_evaluation_stays_beside_new_tables(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    assert evaluated(folder, "--out", folder / "out").exit_code == 0
    monkeypatch.setattr("lungapp.evaluation.report.write_report", killed)
    assert evaluated(folder, "--out", folder / "out", models=("exact",)).exit_code == 130
    assert {row["model"] for row in table(folder / "out" / "cases.csv")} == {"exact"}
    assert not (folder / "out" / "report.html").exists()


@pytest.mark.parametrize(("name", "written"), [("a\rb", "a\rb"), ("caf\udce9", "caf\\udce9")])
def test_every_name_of_a_file_is_one_row_that_every_reader_of_tables_can_read(
    folder: Path, chests: dict[str, Phantom], name: str, written: str
) -> None:
    for kind in ("refs", "exact"):
        write_mask(chests["RRT/b"].lungs, folder / kind / f"{name}.nii.gz")
    evaluated(folder, "--out", folder / "out", models=("exact",))
    with open(folder / "out" / "cases.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["case"] for row in rows] == ["LTRC/a", "RRT/b", "RRT/c", written]
    assert {row["outcome"] for row in rows} == {"scored"}


def test_an_interruption_ends_cleanly(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(scoring, "score", interrupt)
    result = evaluated(folder, "--out", folder / "out")
    assert result.exit_code == 130
    assert result.stderr.strip() == "stopped"
    assert not (folder / "out" / "cases.csv").exists()


@pytest.fixture
def study(make_project: Callable[..., PhantomProject]) -> PhantomProject:
    """A project of four cases: two with a mask that was accepted after a worse one, one only submitted, one without."""
    made = make_project(4, **SMALL)
    registry = made.project.registry()
    for case, kinds in (
        ("0001", (Kind.ACCEPTED, Kind.ACCEPTED)),
        ("0002", (Kind.ACCEPTED, Kind.ACCEPTED)),
        ("0003", (Kind.SUBMITTED,)),
    ):
        for number, kind in enumerate(kinds):
            mask = moved(made.phantoms[case].lungs, 4 * (len(kinds) - 1 - number))
            registry.add_label(case, mask, NewLabel(kind, author="ann", tool="test", findings=()))
    registry.tag("0001", ["fibrosis", "trauma"])
    registry.tag("0002", ["fibrosis"])
    registry.set_phenotype("0002", "mass")
    registry.close()
    return made


def test_a_projects_accepted_masks_are_the_references(study: PhantomProject, tmp_path: Path) -> None:
    for case, chest in study.phantoms.items():
        (tmp_path / "masks").mkdir(exist_ok=True)
        write_mask(chest.lungs, tmp_path / "masks" / f"{case}.nii.gz")
    arguments = ("--ref", study.project.folder, "--pred", tmp_path / "masks", "--pred", "threshold")
    printed = run_json("evaluate", *arguments, "--out", tmp_path / "out", exit_code=1)
    first, second, third, fourth = printed["cases"]
    assert [case["case"] for case in printed["cases"]] == ["0001", "0002", "0003", "0004"]
    assert first["results"][0]["values"]["dice"] == second["results"][0]["values"]["dice"] == 1.0
    assert first["results"][1]["values"]["dice"] > 0.9
    assert first["image"] == str(tmp_path / "scans" / "phantom-01.nii.gz")
    for case in (third, fourth):
        assert {item["outcome"] for item in case["results"]} == {"missing reference"}


def test_cases_of_a_project_are_grouped_by_what_it_knows_of_them(study: PhantomProject) -> None:
    start = ("--ref", study.project.folder, "--pred", "threshold")
    assert groups_of(*start, "--by", "tag") == {"0001": "fibrosis + trauma", "0002": "fibrosis"}
    assert groups_of(*start, "--by", "tag:trauma,mass") == {"0001": "trauma", "0002": ""}
    assert groups_of(*start, "--by", "phenotype") == {"0001": "", "0002": "mass"}
    registry = study.project.registry()
    splits = {case: str(registry.case(case).split) for case in ("0001", "0002")}
    registry.close()
    assert groups_of(*start, "--by", "split") == splits
    for how in ("folder", "tag:", "cohort:x"):
        result = run("evaluate", *start, "--by", how)
        assert result.exit_code == 2 and "cannot group the cases of a project" in result.output


def test_an_image_that_a_project_has_lost_is_a_row(study: PhantomProject, tmp_path: Path) -> None:
    os.unlink(tmp_path / "scans" / "phantom-01.nii.gz")
    result = run("evaluate", "--ref", study.project.folder, "--pred", "threshold")
    assert result.exit_code == 1
    assert "failed  0001  [threshold]  the image of case 0001 is gone" in result.stderr


def test_a_project_without_accepted_masks_has_nothing_to_compare_with(
    make_project: Callable[..., PhantomProject],
) -> None:
    made = make_project(1, **SMALL)
    assert_refused(
        run("evaluate", "--ref", made.project.folder, "--pred", "threshold"), "no mask of this project is accepted yet"
    )
    result = run("evaluate", "--ref", made.project.folder, "--pred", "threshold", "--images", made.project.folder)
    assert result.exit_code == 2 and "leave --images, --tumour out" in result.output


def test_real_lungs_are_found_by_both_models(real_data: Path, tmp_path: Path) -> None:
    for kind, name in (("refs", "lung"), ("images", "image")):
        (tmp_path / kind / "copd").mkdir(parents=True)
        (tmp_path / kind / "copd" / f"{name}.nii.gz").symlink_to(real_data / "nifti" / "cip-ct64" / f"{name}.nii.gz")
    arguments = ("--ref", tmp_path / "refs", "--images", tmp_path / "images", "--pred", "threshold", "--pred", "fast")
    (case,) = run_json("evaluate", *arguments)["cases"]
    assert case["case"] == "copd"
    assert all(item["values"]["dice"] > 0.9 for item in case["results"])


def test_a_projects_reference_that_was_changed_on_disk_is_a_row(study: PhantomProject) -> None:
    registry = study.project.registry()
    (changed,) = (item for item in registry.labels("0001") if item.kind is Kind.ACCEPTED)
    registry.close()
    changed.path.chmod(0o644)
    changed.path.write_bytes(changed.path.read_bytes() + b"\0")
    result = run("evaluate", "--ref", study.project.folder, "--pred", "threshold")
    assert result.exit_code == 1 and "was changed since it was accepted" in result.stderr
    assert "2 cases, 1 model: 1 scored, 1 failed" in result.stdout


def test_masks_and_scans_in_one_folder_are_refused(folder: Path) -> None:
    result = run("evaluate", "--ref", folder / "refs", "--images", folder / "refs", "--pred", "threshold")
    assert result.exit_code == 2 and "--ref and --images are one folder" in result.output


def test_labels_that_no_mask_has_are_asked_about(folder: Path) -> None:
    result = run("evaluate", "--ref", folder / "refs", "--pred", folder / "exact", "--labels", "1=right,2=left,3=heart")
    assert "neither references nor masks have heart: are these their labels (--labels)?" in result.stderr


def test_a_folder_where_a_table_should_be_is_named(folder: Path, tmp_path: Path) -> None:
    start = ("evaluate", "--ref", folder / "refs", "--pred", folder / "exact")
    result = run(*start, "--cases", tmp_path / "none.csv", "--by", "x")
    assert result.exit_code == 2 and "none.csv: cannot be read as a table" in result.output
    (tmp_path / "out" / "cases.csv").mkdir(parents=True)
    result = run(*start, "--out", tmp_path / "out")
    assert result.exit_code == 2 and "exists already and is none of ours" in result.output
