"""Searching folders as hospitals have them: many patients, split series, copies, archives without any order."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom_series import write_series
from pydicom import dcmread
from test_dicom import write_multi_frame

from datastore import grouping
from datastore.found import Found
from datastore.grouping import Limits
from datastore.image_files import read_ct
from datastore.records import Source
from datastore.scan import Tally, scan, scan_again
from datastore.selection import SelectionRules
from datastore.series import Rejected, Series
from datastore.sources import find_sources


@pytest.fixture
def hu() -> np.ndarray:
    return np.random.default_rng(1).integers(-1024, 1500, (9, 10, 12)).astype(np.int16)


def volumes(*paths: Path, **how: object) -> list[Found]:
    return [item for item in scan(paths, **how) if isinstance(item, Found)]  # type: ignore[arg-type]


def rejections(*paths: Path, **how: object) -> list[Rejected]:
    return [item for item in scan(paths, **how) if isinstance(item, Rejected)]  # type: ignore[arg-type]


def spread(paths: list[Path], folder: Callable[[int], Path]) -> list[Path]:
    """Move each file to its folder, under a name that says nothing."""
    moved = []
    for number, path in enumerate(paths):
        target = folder(number) / f"IM{number:05d}"
        target.parent.mkdir(parents=True, exist_ok=True)
        moved.append(path.rename(target))
    return moved


def test_a_series_split_over_folders_is_one_volume(tmp_path: Path, hu: np.ndarray) -> None:
    spread(write_series(tmp_path / "all", hu), lambda number: tmp_path / "patient" / "ct" / f"part{number % 3}")
    (found,) = volumes(tmp_path)
    assert found.source.path == tmp_path / "patient" / "ct"
    assert len(found.source.files) == 9
    heights = [dcmread(found.source.path / name).ImagePositionPatient[2] for name in found.source.files]
    assert heights == sorted(heights)
    np.testing.assert_array_equal(read_ct(found.source).array, hu)
    np.testing.assert_array_equal(found.read().array, hu)


def test_an_archive_with_a_folder_for_each_file_is_read(tmp_path: Path, hu: np.ndarray) -> None:
    first = write_series(tmp_path / "a", hu)
    second = write_series(tmp_path / "b", hu[:4])
    random = np.random.default_rng(0).permutation(13)
    spread(first + second, lambda n: tmp_path / "storage" / f"{random[n]:02x}" / f"{255 - n:02x}" / f"{n:032x}")
    found = volumes(tmp_path / "storage")
    assert sorted(item.source.path for item in found) == [tmp_path / "storage"] * 2
    assert sorted(item.new_case().shape for item in found) == [(4, 10, 12), (9, 10, 12)]
    named, _ = find_sources(tmp_path / "storage")
    assert len({item.name for item in named}) == 2


def test_copies_in_other_folders_are_the_same_case_in_the_folder_that_holds_most(
    tmp_path: Path, hu: np.ndarray
) -> None:
    paths = write_series(tmp_path / "z" / "original", hu)
    (tmp_path / "a").mkdir()
    for path in paths[:3]:
        (tmp_path / "a" / f"copy of {path.name}").write_bytes(path.read_bytes())
    (found,) = volumes(tmp_path)
    assert found.source.path == tmp_path / "z" / "original"
    assert found.series is not None
    assert {path.parent.name for path in found.series.copies} == {"a"}
    assert len(found.series.copies) == 3


def test_a_torn_copy_of_a_slice_that_is_there_whole_changes_nothing(tmp_path: Path, hu: np.ndarray) -> None:
    paths = write_series(tmp_path / "ct", hu)
    (tmp_path / "a").mkdir()
    for path in paths:  # the folder of the torn ones comes first and holds as many
        (tmp_path / "a" / path.name).write_bytes(path.read_bytes()[:-20])
    (found,) = volumes(tmp_path)
    np.testing.assert_array_equal(found.read().array, hu)


def test_copies_that_differ_are_refused(tmp_path: Path, hu: np.ndarray) -> None:
    paths = write_series(tmp_path / "a", hu)
    other = dcmread(paths[0])
    other.RescaleIntercept = "0"
    (tmp_path / "b").mkdir()
    other.save_as(tmp_path / "b" / "other")
    (rejected,) = rejections(tmp_path)
    assert rejected.reason == "two images have one SOP Instance UID but differ"


def test_two_patients_under_one_uid_are_refused(tmp_path: Path, hu: np.ndarray) -> None:
    write_series(tmp_path / "a", hu[:4], series_uid="1.2.3", PatientID="one")
    write_series(tmp_path / "b", hu[4:], series_uid="1.2.3", PatientID="two", origin_mm=(-10.0, -20.0, 110.0))
    (rejected,) = rejections(tmp_path, patient_of=str.upper)
    assert rejected.damaged
    assert rejected.reason == "images of 2 patients have one SeriesInstanceUID"


def test_a_known_file_is_not_opened(tmp_path: Path, hu: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    old = write_series(tmp_path / "old", hu)
    nib.save(nib.Nifti1Image(hu.T, np.eye(4)), tmp_path / "old" / "scan.nii.gz")
    known = {*old, tmp_path / "old" / "scan.nii.gz"}
    write_series(tmp_path / "new", hu)
    opened: list[str] = []
    real = grouping.read_header
    monkeypatch.setattr(grouping, "read_header", lambda path: opened.append(path) or real(path))
    for path in known:
        path.write_bytes(b"unreadable")
    tallies: list[Tally] = []
    (found,) = volumes(tmp_path, known=known.__contains__, progress=tallies.append)
    assert found.source.path == tmp_path / "new"
    assert len(opened) == 9
    assert (tallies[-1].files, tallies[-1].known) == (19, 10)


def test_what_is_found_comes_while_the_search_goes_on(tmp_path: Path, hu: np.ndarray) -> None:
    for number in range(6):
        write_series(tmp_path / f"s{number}", hu)
    looked_at: list[int] = []
    search = scan([tmp_path], progress=lambda tally: looked_at.append(tally.files), limits=Limits(20, 10))
    first = next(search)
    assert isinstance(first, Found) and first.source.path == tmp_path / "s0"
    assert len(looked_at) < 30
    assert [item.source.path.name for item in search if isinstance(item, Found)] == ["s1", "s2", "s3", "s4", "s5"]


def test_a_series_that_turns_up_again_is_given_again_and_can_be_put_together(tmp_path: Path, hu: np.ndarray) -> None:
    paths = write_series(tmp_path / "all", hu)
    spread(paths[:5], lambda _: tmp_path / "in" / "a")
    write_series(tmp_path / "in" / "m1", hu)
    write_series(tmp_path / "in" / "m2", hu)
    spread(paths[5:], lambda _: tmp_path / "in" / "z")
    uid = dcmread(tmp_path / "in" / "a" / "IM00000").SeriesInstanceUID
    parts = list(scan([tmp_path / "in"], limits=Limits(10, 5)))
    sources = []
    for item in parts:
        if isinstance(item, Found):
            sources.append(item.source)
        elif item.exclusion is not None:
            sources.append(item.exclusion.source)
    ours = [source for source in sources if source.series_uid == uid]
    assert [source.path.name for source in ours] == ["a", "z"]
    assert sorted(len(source.files) for source in ours) == [4, 5]
    whole = scan_again(ours)
    assert isinstance(whole, Found) and whole.source.path == tmp_path / "in"
    np.testing.assert_array_equal(read_ct(whole.source).array, hu)
    for path in (tmp_path / "in" / "z").iterdir():
        path.unlink()
    torso = scan_again(ours)
    assert torso.source == ours[0] if isinstance(torso, Found) else torso.exclusion is not None


def test_a_search_through_files_in_no_order_waits_longer(tmp_path: Path, hu: np.ndarray) -> None:
    """Each series is torn apart at most once or twice, not at every file."""
    series = [write_series(tmp_path / f"s{number}", hu) for number in range(8)]
    everything = [path for paths in series for path in paths]
    order = np.random.default_rng(0).permutation(len(everything))
    spread([everything[index] for index in order], lambda number: tmp_path / "storage" / f"{number:04d}")
    given = list(scan([tmp_path / "storage"], limits=Limits(8, 4)))
    assert len(given) <= 8 + 8
    assert len(list(scan([tmp_path / "storage"]))) == 8


def test_what_is_wanted_all_at_once_is_given_whole(
    tmp_path: Path, hu: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_series(tmp_path / "all", hu)
    spread(paths[:5], lambda _: tmp_path / "in" / "a")
    write_series(tmp_path / "in" / "m", hu)
    spread(paths[5:], lambda _: tmp_path / "in" / "z")
    monkeypatch.setattr("datastore.scan.Limits", lambda: Limits(5, 2))  # the default of a search in parts
    assert len(list(scan([tmp_path / "in"]))) == 3
    found, rejected = find_sources(tmp_path / "in")
    assert ([len(item.source.files) for item in found], rejected) == ([9, 9], [])


def test_a_file_that_somebody_means_is_not_passed_over(tmp_path: Path, hu: np.ndarray) -> None:
    path = write_series(tmp_path, hu[:1], Modality="MR")[0]
    found, rejected = find_sources(path)
    assert (found, [item.damaged for item in rejected]) == ([], [True])


def test_a_missing_file_of_a_registered_series_is_named(tmp_path: Path, hu: np.ndarray) -> None:
    write_series(tmp_path, hu)
    (found,) = volumes(tmp_path)
    gone = tmp_path / found.source.files[4]
    gone.unlink()
    with pytest.raises(FileNotFoundError, match=gone.name):
        read_ct(found.source)


def test_only_the_listed_files_are_read_and_must_be_of_the_series(tmp_path: Path, hu: np.ndarray) -> None:
    write_series(tmp_path, hu)
    (found,) = volumes(tmp_path)
    (tmp_path / "torn.dcm").touch()  # would spoil a search of the folder
    np.testing.assert_array_equal(read_ct(found.source).array, hu)
    other = write_series(tmp_path / "other", hu)[0]
    (tmp_path / found.source.files[4]).write_bytes(other.read_bytes())
    with pytest.raises(ValueError, match="expected series"):
        read_ct(found.source)


def test_a_multi_frame_file_is_listed_once(tmp_path: Path, hu: np.ndarray) -> None:
    path = write_multi_frame(tmp_path, hu)
    (found,) = volumes(tmp_path)
    assert found.source.files == (path.name,)
    np.testing.assert_array_equal(read_ct(found.source).array, hu[::-1])


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
@pytest.mark.parametrize(
    ("how", "damaged", "reason"),
    [
        ({"skip": (4,)}, True, "1 slice missing at slice 4: 5 mm apart, expected 2.5 mm"),
        ({"ImageType": ["DERIVED", "PRIMARY", "LOCALIZER"]}, False, "localizer"),
        ({"Modality": "SR"}, False, "modality SR, expected CT"),
        ({"PixelData": bytes(3)}, True, "slice 1 is truncated: expected 240 bytes of pixels, got 3"),
        ({"RescaleSlope": None}, True, "slice 1 has no Rescale Slope and Intercept: not in Hounsfield units"),
    ],
)
def test_a_series_that_is_no_volume_is_noted_without_names(
    tmp_path: Path, hu: np.ndarray, how: dict[str, object], damaged: bool, reason: str
) -> None:
    write_series(tmp_path / "Doeman^Janeway", hu, prefix="Doeman^Janeway", **how)  # type: ignore[arg-type]
    (rejected,) = rejections(tmp_path, patient_of=lambda patient_id: f"key of {len(patient_id)}")
    noted = rejected.exclusion
    assert noted is not None
    assert (rejected.damaged, noted.reason) == (damaged, reason)
    assert noted.slices == len(noted.source.files) == (8 if "skip" in how else 9)
    assert (noted.patient, noted.description) == ("key of 11", "Thorax 2.5 B40f")
    assert "Doeman" in str(rejected) and "Doeman" not in noted.reason  # the path is for the terminal


def test_spacing_that_changes_is_not_called_a_missing_slice(tmp_path: Path, hu: np.ndarray) -> None:
    write_series(tmp_path, hu[:6], series_uid="1.2.3")
    for number, height in enumerate((117.5, 122.5, 127.5)):
        origin = (-10.0, -20.0, height)
        write_series(tmp_path, hu[:1], series_uid="1.2.3", prefix=f"wide{number}", origin_mm=origin)
    (rejected,) = rejections(tmp_path)
    assert rejected.reason == "spacing irregular: 2.5 -> 5 mm at slice 6"


def test_a_damaged_slice_has_its_number_along_the_stack(tmp_path: Path, hu: np.ndarray) -> None:
    paths = sorted(write_series(tmp_path, hu), key=lambda path: dcmread(path).ImagePositionPatient[2])
    paths[6].write_bytes(paths[6].read_bytes()[:-40])
    (rejected,) = rejections(tmp_path)
    assert rejected.reason == "slice 7 is truncated: expected 240 bytes of pixels, got 200"
    assert rejected.path == paths[6]


def test_the_patient_is_a_key_and_nothing_else(tmp_path: Path, hu: np.ndarray) -> None:
    write_series(tmp_path / "good", hu, PatientBirthDate="19500102")
    write_series(tmp_path / "bad", hu, skip=(3,))
    keys: list[str] = []
    items = list(scan([tmp_path], patient_of=lambda patient_id: keys.append(patient_id) or "a1b2"))
    assert set(keys) == {"secret-4.w1"}
    for item in items:
        record = repr(item) + (repr(item.new_case(SelectionRules())) if isinstance(item, Found) else "")
        assert "a1b2" in record
        for secret in ("secret", "4.w1", "Doeman", "Janeway", "19500102"):
            assert secret not in record.replace(str(tmp_path), "")


@pytest.mark.parametrize("placeholder", ["", "0", "ANONYMOUS", "anonymized", "Anon ", "Unknown", "NONE", "patient"])
def test_a_placeholder_is_no_patient(tmp_path: Path, hu: np.ndarray, placeholder: str) -> None:
    write_series(tmp_path, hu, PatientID=placeholder)
    (found,) = volumes(tmp_path, patient_of=lambda _: pytest.fail("a placeholder was made a key"))
    assert found.new_case().patient == ""


def test_files_named_one_by_one_are_one_series_and_must_be_all_of_it(tmp_path: Path, hu: np.ndarray) -> None:
    paths = write_series(tmp_path, hu)
    (whole,) = volumes(*paths)
    assert whole.new_case().shape == (9, 10, 12)
    by_position = sorted(paths, key=lambda path: dcmread(path).ImagePositionPatient[2])
    (some,) = volumes(*by_position[:4])
    with pytest.raises(ValueError, match="is 4 of the 9 slices of a series: give the folder"):
        some.new_case()


def test_paths_may_overlap_or_be_wrong(tmp_path: Path, hu: np.ndarray) -> None:
    write_series(tmp_path / "in" / "ct", hu)
    nib.save(nib.Nifti1Image(hu.T, np.eye(4)), tmp_path / "in" / "scan.nii")
    (tmp_path / "notes.txt").write_text("hello")
    given = [tmp_path / "in", tmp_path / "in" / "ct", tmp_path / "in" / "scan.nii", tmp_path / "nowhere"]
    items = list(scan([*given, tmp_path / "notes.txt"]))
    assert len([item for item in items if isinstance(item, Found)]) == 2
    reasons = [item.reason for item in items if isinstance(item, Rejected)]
    assert reasons[0] == "no such file"
    assert reasons[1].startswith("unknown kind of file")


def test_a_torn_file_without_a_series_is_named_with_its_reason(tmp_path: Path, hu: np.ndarray) -> None:
    write_series(tmp_path / "a", hu)
    write_series(tmp_path / "a", hu, prefix="second")
    (tmp_path / "a" / "torn.dcm").touch()
    items = list(scan([tmp_path]))
    assert len([item for item in items if isinstance(item, Found)]) == 2  # it could be a slice of either
    (torn,) = [item for item in items if isinstance(item, Rejected)]
    assert (torn.path.name, torn.reason, torn.exclusion) == ("torn.dcm", "empty file (0 bytes)", None)


def test_pipes_hidden_files_and_loops_stop_nothing(tmp_path: Path, hu: np.ndarray) -> None:
    write_series(tmp_path / "ct", hu)
    os.mkfifo(tmp_path / "ct" / "pipe")
    (tmp_path / "ct" / "loop").symlink_to(tmp_path / "ct")
    (tmp_path / "ct" / "nowhere").symlink_to(tmp_path / "missing")
    (tmp_path / "ct" / ".hidden.dcm").touch()
    (tmp_path / "ct" / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    items = list(scan([tmp_path]))
    assert [type(item) for item in items] == [Found]


def test_a_uid_that_is_none_leads_nowhere(tmp_path: Path, hu: np.ndarray) -> None:
    with pytest.warns(UserWarning, match="Invalid value"):
        write_series(tmp_path / "in", hu, series_uid="../../../evil")
        write_series(tmp_path / "in", hu, series_uid="x" * 65, prefix="long")
    write_series(tmp_path / "in", hu, prefix="other")
    found, rejected = find_sources(tmp_path / "in")
    assert all(".." not in item.name.parts for item in found)
    assert all("is no UID" in item.reason for item in rejected) and rejected


def test_names_of_outputs_are_unique_where_series_and_folders_share_one(tmp_path: Path, hu: np.ndarray) -> None:
    top = tmp_path / "ct"
    write_series(top, hu)
    write_series(top / "ct", hu)
    write_series(top / "x" / "1", hu[:4], series_uid="1.2.3")
    write_series(top / "x" / "2", hu[4:], series_uid="1.2.3", origin_mm=(-10.0, -20.0, 110.0))
    nib.save(nib.Nifti1Image(hu.T, np.eye(4)), top / "x.nii")
    found, _ = find_sources(top)
    names = [item.name for item in found]
    assert len(set(names)) == len(names) == 4
    assert [item.name for item in find_sources(top)[0]] == names


def test_the_selection_is_noted_with_the_case(tmp_path: Path, hu: np.ndarray) -> None:
    write_series(tmp_path, hu, ImageType=["DERIVED", "SECONDARY", "AXIAL", "MIP"])
    (found,) = volumes(tmp_path)
    assert found.new_case().exclusion is None
    assert found.new_case(SelectionRules()).exclusion == "derived: MIP"
    assert found.new_case(SelectionRules(original=False)).exclusion == "9 slices < 100"
    assert isinstance(found.series, Series) and isinstance(found.source, Source)
