"""What is handed in to LOLA11: 55 names, its numbers, the scans' grids, two archives, and nothing replaced."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from command_line import assert_refused, run, run_json

from datastore.datasets.lola11 import NAMES
from datastore.image_files import read_mask, write_mask
from datastore.labels import LOBES, LUNGS
from datastore.phantom import Phantom, chest_phantom
from infers import load_model
from infers.dense_areas import without_dense_areas
from lungapp.lola11 import hand_in, write_archive
from lungapp.lola11_sources import find_scans, missing

SMALL = {"shape": (24, 40, 40), "spacing_mm": (12.0, 9.0, 9.0)}
ILL = {"shape": (64, 128, 128), "spacing_mm": (5.0, 3.0, 3.0), "lesion": True}


def write_scan(phantom: Phantom, path: Path) -> None:
    """A scan as LOLA11 publishes it: a header and raw voxels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    geometry = phantom.image.geometry
    image = sitk.GetImageFromArray(phantom.image.array)
    image.SetSpacing(geometry.spacing_mm)
    image.SetOrigin(geometry.origin_mm)
    image.SetDirection(geometry.direction)
    sitk.WriteImage(image, str(path))


@pytest.fixture(scope="module")
def chest() -> Phantom:
    return chest_phantom(1, **SMALL)  # type: ignore[arg-type]


@pytest.fixture
def scans(tmp_path: Path, chest: Phantom) -> Path:
    """Three scans."""
    for name in NAMES[:3]:
        write_scan(chest, tmp_path / "scans" / f"{name}.mhd")
    return tmp_path / "scans"


def masks_of(chest: Phantom, folder: Path, *names: str, labels: np.ndarray | None = None) -> Path:
    """The true masks under some names."""
    folder.mkdir(exist_ok=True)
    mask = chest.lungs if labels is None else chest.lungs.with_array(labels)
    for name in names or NAMES[:3]:
        write_mask(mask, folder / f"{name}.nii.gz", overwrite=True)
    return folder


def handed(scans: Path, *options: object) -> Path:
    """A submission that must succeed."""
    out = scans.parent / "out"
    result = run("lola11", scans, "-o", out, "--partial", *options)
    assert result.exit_code == 0, result.output
    return out


def values_in(path: Path) -> list[int]:
    return sorted(np.unique(sitk.GetArrayFromImage(sitk.ReadImage(str(path)))).tolist())


def snapshot(folder: Path) -> dict[Path, tuple[bytes, int]]:
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def test_all_55_are_packed_under_their_own_names(tmp_path: Path, chest: Phantom) -> None:
    for name in NAMES:
        write_scan(chest, tmp_path / "scans" / f"{name}.mha")
    given = masks_of(chest, tmp_path / "given", *NAMES)
    result = run("lola11", tmp_path / "scans", "-o", tmp_path / "out", "--masks", given)
    assert result.exit_code == 0, result.output
    assert "masks.zip: 55 of 55 cases, complete" in result.output
    for submission in ("masks", "without-dense-areas"):
        with zipfile.ZipFile(tmp_path / "out" / f"{submission}.zip") as archive:
            assert archive.testzip() is None
            assert sorted(archive.namelist()) == sorted(f"{name}.{end}" for name in NAMES for end in ("mhd", "zraw"))
            archive.extractall(tmp_path / "unpacked" / submission)
    assert values_in(tmp_path / "unpacked" / "masks" / "lola11-55.mhd") == [0, 10, 20]


def test_the_left_lung_is_10_and_the_right_20_on_the_scans_own_grid(scans: Path, chest: Phantom) -> None:
    out = handed(scans, "--masks", masks_of(chest, scans.parent / "given"))
    scan, mask = (sitk.ReadImage(str(folder / "lola11-02.mhd")) for folder in (scans, out / "masks"))
    for grid in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(mask, grid)() == getattr(scan, grid)()
    expected = np.array([0, 20, 10], np.uint8)[chest.lungs.array]
    np.testing.assert_array_equal(sitk.GetArrayFromImage(mask), expected)
    assert mask.GetPixelID() == sitk.sitkUInt8
    header = (out / "masks" / "lola11-02.mhd").read_text()
    assert "ElementDataFile = lola11-02.zraw" in header and "CompressedData = True" in header
    assert not (out / "segmented").exists()


def test_lobes_get_the_numbers_of_the_challenge(scans: Path, chest: Phantom) -> None:
    lungs = chest.lungs.array
    middle = np.arange(len(lungs))[:, None, None] > 12
    lobes = np.where(lungs == 1, np.where(middle, 3, 5), np.where(lungs == 2, np.where(middle, 1, 2), 0))
    lobes[(lobes == 5) & (np.arange(lungs.shape[1])[None, :, None] < 18)] = 4
    out = handed(scans, "--labels", "lobes", "--masks", masks_of(chest, scans.parent / "m", labels=lobes.astype("u1")))
    expected = np.array([0, 10, 11, 20, 21, 22])[lobes]
    np.testing.assert_array_equal(read_mask(out / "masks" / "lola11-01.mhd").array, expected)
    assert values_in(out / "masks" / "lola11-01.mhd") == [0, 10, 11, 20, 21, 22]
    assert [structure.value for structure in LOBES] == [1, 2, 3, 4, 5]


def test_dense_areas_are_missing_from_the_second_submission_alone(tmp_path: Path) -> None:
    ill = chest_phantom(3, **ILL)  # type: ignore[arg-type]
    assert ill.lesion is not None
    write_scan(ill, tmp_path / "scans" / "lola11-07.mhd")
    write_mask(ill.lungs, tmp_path / "given.nii.gz")
    for folder in ("masks", "without-dense-areas"):
        (tmp_path / "out" / folder).mkdir(parents=True)
    case = hand_in(
        "lola11-07", tmp_path / "scans" / "lola11-07.mhd", tmp_path / "given.nii.gz", LUNGS, tmp_path / "out"
    )
    assert case.outcome == "written"
    whole = read_mask(tmp_path / "out" / "masks" / "lola11-07.mhd").array
    thinned = read_mask(tmp_path / "out" / "without-dense-areas" / "lola11-07.mhd").array
    expected = without_dense_areas(ill.image, ill.lungs).array
    np.testing.assert_array_equal(whole, np.array([0, 20, 10])[ill.lungs.array])
    np.testing.assert_array_equal(thinned, np.array([0, 20, 10])[expected])
    assert (thinned[ill.lesion.array > 0] == 0).mean() > 0.9
    assert case.dense_ml == pytest.approx((whole != thinned).sum() * 0.045)
    assert case.dense_ml > 30
    assert case.volumes_ml["left_lung"] == pytest.approx((whole == 10).sum() * 0.045)


def test_missing_scans_are_named_before_anything_is_made(scans: Path) -> None:
    out = scans.parent / "out"
    result = run("lola11", scans, "-o", out)
    assert_refused(result, "52 of 55 scans are missing: lola11-04, lola11-05,", "lola11-55 (--partial does without")
    assert not out.exists()
    found = run_json("lola11", scans, "-o", out, "--partial")
    assert found["missing"] == list(NAMES[3:])
    assert [case["case"] for case in found["cases"]] == list(NAMES[:3])


def test_a_missing_mask_fails_its_case_and_no_archive_is_written(scans: Path, chest: Phantom) -> None:
    given = masks_of(chest, scans.parent / "given", "lola11-01", "lola11-03")
    result = run("lola11", scans, "-o", scans.parent / "out", "--partial", "--masks", given)
    assert_refused(result, "failed  lola11-02: there is no mask of that name", "1 failed: no archive was written")
    assert (scans.parent / "out" / "masks" / "lola11-03.mhd").exists()
    assert not list((scans.parent / "out").glob("*.zip"))
    masks_of(chest, given, "lola11-02")
    out = handed(scans, "--masks", given)
    assert len(zipfile.ZipFile(out / "masks.zip").namelist()) == 6


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("grid", "does not match image"),
        ("label", "label value 7 is unknown: expected 0 background, 1 right_lung, 2 left_lung"),
        ("sides", "are the segments swapped?"),
        ("torn", "damaged"),
    ],
)
def test_a_mask_that_is_not_of_its_scan_is_refused_by_name(
    scans: Path, chest: Phantom, damage: str, words: str
) -> None:
    given = masks_of(chest, scans.parent / "given")
    bad = given / "lola11-02.nii.gz"
    lungs = chest.lungs.array
    if damage == "grid":
        other = chest_phantom(1, (24, 40, 40), (12.0, 9.0, 9.5))
        write_mask(other.lungs, bad, overwrite=True)
    elif damage == "label":
        write_mask(chest.lungs.with_array(np.where(lungs == 1, 7, lungs).astype(np.uint8)), bad, overwrite=True)
    elif damage == "sides":
        write_mask(chest.lungs.with_array(np.array([0, 2, 1], np.uint8)[lungs]), bad, overwrite=True)
    else:
        bad.write_bytes(bad.read_bytes()[:200])
    result = run("lola11", scans, "-o", scans.parent / "out", "--partial", "--masks", given)
    assert_refused(result, f"failed  {bad}", words)
    assert not (scans.parent / "out" / "masks" / "lola11-02.mhd").exists()


def test_the_same_command_again_changes_nothing(scans: Path) -> None:
    out = handed(scans)
    before = {path: content for path, (content, _) in snapshot(out).items()}
    times = {path: time for path, (_, time) in snapshot(out).items() if path.suffix != ".zip"}
    again = run("lola11", scans, "-o", out, "--partial")
    assert again.exit_code == 0
    assert again.output.count("  kept  ") == 3
    after = snapshot(out)
    assert {path: content for path, (content, _) in after.items()} == before
    assert {path: time for path, (_, time) in after.items() if path.suffix != ".zip"} == times


def test_what_a_killed_run_left_is_completed(scans: Path, chest: Phantom) -> None:
    given = masks_of(chest, scans.parent / "given")
    out = handed(scans, "--masks", given)
    whole = {path: content for path, (content, _) in snapshot(out).items()}
    (out / "masks" / "lola11-02.mhd").unlink()  # the voxels are written first
    (out / "without-dense-areas.zip").unlink()
    leftover = out / "masks" / ".writing-0a1b2c3d4e5f-lola11-03.zraw"
    leftover.write_text("x")
    handed(scans, "--masks", given)
    assert {path: content for path, (content, _) in snapshot(out).items()} == whole


@pytest.mark.parametrize("name", ["masks/lola11-01.mhd", "masks/lola11-01.zraw", "without-dense-areas/lola11-01.mhd"])
def test_a_file_that_holds_something_else_is_left_as_it_is(scans: Path, chest: Phantom, name: str) -> None:
    foreign = scans.parent / "out" / name
    foreign.parent.mkdir(parents=True)
    foreign.write_text("mine")
    given = masks_of(chest, scans.parent / "given")
    result = run("lola11", scans, "-o", scans.parent / "out", "--partial", "--masks", given)
    assert_refused(result, f"failed  {foreign}: exists already, with other content", "1 failed")
    assert foreign.read_text() == "mine"


def test_an_archive_grows_but_loses_nothing(scans: Path, chest: Phantom) -> None:
    given = masks_of(chest, scans.parent / "given")
    last = scans / "lola11-03.mhd"
    hidden = last.rename(scans.parent / "aside.mhd")
    out = handed(scans, "--masks", given)
    assert len(zipfile.ZipFile(out / "masks.zip").namelist()) == 4
    hidden.rename(last)
    handed(scans, "--masks", given)
    assert len(zipfile.ZipFile(out / "masks.zip").namelist()) == 6
    with pytest.raises(FileExistsError, match=r"masks\.zip: exists already, with other content"):
        write_archive(out / "masks", NAMES[:2])
    (out / "masks.zip").write_text("mine")
    with pytest.raises(FileExistsError, match="exists already"):
        write_archive(out / "masks", NAMES[:3])
    assert (out / "masks.zip").read_text() == "mine"


def test_masks_of_another_model_are_not_handed_in(scans: Path) -> None:
    out = handed(scans)
    report = out / "segmented" / "lola11-02.nii.gz.json"
    version = load_model().version
    report.write_text(report.read_text().replace(version, "another"))
    result = run("lola11", scans, "-o", out, "--partial")
    assert_refused(result, f"made by model another, asked for {version}", "1 failed")
    assert "--overwrite" not in result.output


def test_a_corrected_mask_is_handed_in_and_said_to_be_changed(scans: Path) -> None:
    out = handed(scans)
    corrected = out / "segmented" / "lola11-02.nii.gz"
    mask = read_mask(corrected)
    write_mask(mask.with_array(np.where(mask.array == 1, 0, mask.array).astype(np.uint8)), corrected, overwrite=True)
    for folder in ("masks", "without-dense-areas"):
        (out / folder / "lola11-02.mhd").unlink()
        (out / folder / "lola11-02.zraw").unlink()
        (out / f"{folder}.zip").unlink()
    result = run("lola11", scans, "-o", out, "--partial")
    assert result.exit_code == 0, result.output
    assert "was changed since it was made; there is no right lung]" in result.output
    assert values_in(out / "masks" / "lola11-02.mhd") == [0, 10]


def test_a_mask_without_a_lung_is_handed_in_and_said_to_lack_it(scans: Path, chest: Phantom) -> None:
    right_only = np.where(chest.lungs.array == 1, 1, 0).astype(np.uint8)
    masks = masks_of(chest, scans.parent / "given", labels=right_only)
    result = run("lola11", scans, "-o", scans.parent / "out", "--partial", "--masks", masks)
    assert result.exit_code == 0, result.output
    assert result.output.count("[there is no left lung]") == 3


def test_scans_are_told_from_masks_and_found_in_the_same_folder_again(scans: Path, chest: Phantom) -> None:
    masks_of(chest, scans / "given")
    with pytest.raises(ValueError, match="expected one scan, got"):
        find_scans([scans])
    (scans / "given").rename(scans / "masks")
    out = run("lola11", scans, "-o", scans / "submission", "--partial", "--masks", scans / "masks")
    assert out.exit_code == 0, out.output
    assert list(find_scans([scans])) == list(NAMES[:3])
    assert list(find_scans([scans / "lola11-02.mhd"])) == ["lola11-02"]
    assert missing(find_scans([scans])) == list(NAMES[3:])


def test_wrong_usage_is_refused(scans: Path, tmp_path: Path, chest: Phantom) -> None:
    given = masks_of(chest, tmp_path / "given")
    for options in (["--masks", given, "--model", "threshold"], ["--labels", "lobes"]):
        assert run("lola11", scans, "-o", tmp_path / "out", *options).exit_code == 2
    write_scan(chest, scans / "lola11-56.mhd")
    assert_refused(run("lola11", scans, "-o", tmp_path / "out"), "LOLA11 has no lola11-56: expected lola11-01 to")
    other = scans / "other.mhd"
    write_scan(chest, other)
    assert_refused(run("lola11", other, "-o", tmp_path / "out"), f"{other}: expected a name like lola11-01.mhd")
    assert_refused(run("lola11", tmp_path / "nowhere", "-o", tmp_path / "out"), "no such file or folder")
    assert_refused(run("lola11", tmp_path / "given", "-o", tmp_path / "out", "--masks", tmp_path / "x"), "are missing")


def test_json_says_what_became_of_each_case(scans: Path, chest: Phantom) -> None:
    given = masks_of(chest, scans.parent / "given")
    result = run("lola11", scans, "-o", scans.parent / "out", "--partial", "--masks", given, "--json")
    found = json.loads(result.stdout)
    assert [case["outcome"] for case in found["cases"]] == ["written"] * 3
    voxel_ml = chest.lungs.geometry.voxel_ml
    assert found["cases"][0]["volumes_ml"]["right_lung"] == pytest.approx(
        (chest.lungs.array == 1).sum() * voxel_ml, 1e-4
    )
    assert [Path(path).name for path in found["archives"]] == ["masks.zip", "without-dense-areas.zip"]
