from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import generate_uid
from rtstruct_files import outlines, write_rtstruct
from tcia_files import FRAME_UID, dice, found, masks, structures_path, write_ct

from datastore.datasets import Missing, Reference
from datastore.image_files import read_ct
from datastore.phantom import Phantom, chest_phantom
from datastore.volume import Volume

SUBJECT = "LCTSC-Train-S1-007"


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return chest_phantom(seed=1, shape=(40, 72, 72), spacing_mm=(8.0, 6.0, 6.0))


@pytest.fixture(scope="module")
def lungs(phantom: Phantom) -> dict[str, list[np.ndarray]]:
    geometry, array = phantom.lungs.geometry, phantom.lungs.array
    return {"Lung_L": outlines(array == 2, geometry), "Lung_R": outlines(array == 1, geometry)}


def write_subject(
    root: Path, phantom: Phantom, structures: dict[str, list[np.ndarray]], subject: str = SUBJECT, **how: str
) -> None:
    uid = write_ct(root, subject, phantom)
    write_rtstruct(structures_path(root, subject), structures, **{"series_uid": uid, "frame_uid": FRAME_UID, **how})


def reason(root: Path, subject: str = SUBJECT) -> str:
    item = found("lctsc", root)[subject]
    assert isinstance(item, Missing), item
    return item.reason


def test_contours_of_a_phantoms_lungs_become_its_lungs(
    tmp_path: Path, phantom: Phantom, lungs: dict[str, list[np.ndarray]]
) -> None:
    heart = {"Heart": lungs["Lung_L"][:1], "SpinalCord": [], "Esophagus": []}
    write_subject(tmp_path / "manifest" / "LCTSC", phantom, {**heart, **lungs})
    item = found("lctsc", tmp_path)[SUBJECT]
    assert isinstance(item, Reference)
    assert (item.patient, item.cohort, item.tags) == (SUBJECT, "lctsc", ("train", "site-s1"))
    assert item.author == "LCTSC reference"
    assert [note.code for note in item.notes] == ["dense_areas_left_out"]
    result = masks(item)
    assert list(result) == ["lungs"]
    for side in (1, 2):
        assert dice(result["lungs"].array == side, phantom.lungs.array == side) > 0.999
    assert result["lungs"].array.dtype == np.uint8


def test_the_lungs_lie_in_the_same_place_of_a_scan_that_is_stored_otherwise(
    tmp_path: Path, phantom: Phantom, lungs: dict[str, list[np.ndarray]]
) -> None:
    write_subject(tmp_path, phantom, lungs)
    item = found("lctsc", tmp_path)[SUBJECT]
    assert isinstance(item, Reference)
    image = read_ct(item.source.path, item.source.series_uid)
    flip = image.geometry.affine
    flip[:3, 3] += flip[:3, 1] * (image.array.shape[1] - 1)
    flip[:3, 1] *= -1
    turned = Volume(image.array[:, ::-1], type(image.geometry).from_affine(flip))
    result = item.read_masks(turned)["lungs"]
    np.testing.assert_array_equal(result.array[:, ::-1], item.read_masks(image)["lungs"].array)


def test_a_scan_lying_on_its_face_keeps_its_sides(
    tmp_path: Path, phantom: Phantom, lungs: dict[str, list[np.ndarray]]
) -> None:
    z, y, x = phantom.image.array.shape
    last = (phantom.image.geometry.affine @ [x - 1, y - 1, 0, 1])[:3]
    turned = Phantom(phantom.image.with_array(phantom.image.array[:, ::-1, ::-1]), phantom.lungs, None)
    uid = write_ct(tmp_path, SUBJECT, turned, orientation=(-1, 0, 0, 0, -1, 0), origin_mm=tuple(last))
    write_rtstruct(structures_path(tmp_path, SUBJECT), lungs, series_uid=uid, frame_uid=FRAME_UID)
    result = masks(found("lctsc", tmp_path)[SUBJECT])["lungs"]
    np.testing.assert_array_equal(result.to_lps().array, phantom.lungs.array)


def test_swapped_sides_are_refused(tmp_path: Path, phantom: Phantom, lungs: dict[str, list[np.ndarray]]) -> None:
    write_subject(tmp_path, phantom, {"Lung_L": lungs["Lung_R"], "Lung_R": lungs["Lung_L"]})
    with pytest.raises(ValueError, match=r"1-1\.dcm: right_lung lies to the patient's left"):
        masks(found("lctsc", tmp_path)[SUBJECT])


def test_one_contour_for_both_lungs_is_refused(
    tmp_path: Path, phantom: Phantom, lungs: dict[str, list[np.ndarray]]
) -> None:
    write_subject(tmp_path, phantom, {"Lung_L": lungs["Lung_L"], "Lung_R": lungs["Lung_L"]})
    with pytest.raises(ValueError, match="right and left lung share"):
        masks(found("lctsc", tmp_path)[SUBJECT])


def test_a_bad_subject_says_why_and_does_not_stop_the_others(
    tmp_path: Path, phantom: Phantom, lungs: dict[str, list[np.ndarray]]
) -> None:
    write_subject(tmp_path, phantom, lungs, "LCTSC-Test-S2-101")
    write_ct(tmp_path, "LCTSC-Test-S1-101", phantom)
    (tmp_path / "LCTSC-Test-S1-102").mkdir()
    write_subject(tmp_path, phantom, lungs)
    path = structures_path(tmp_path, SUBJECT)
    path.write_bytes(path.read_bytes()[:5000])
    items = found("lctsc", tmp_path)
    assert list(items) == ["LCTSC-Test-S1-101", "LCTSC-Test-S1-102", "LCTSC-Test-S2-101", SUBJECT]
    assert reason(tmp_path, "LCTSC-Test-S1-101") == "expected one RTSTRUCT, got 0"
    assert "1-1.dcm: damaged or no RTSTRUCT" in reason(tmp_path)
    assert masks(items["LCTSC-Test-S2-101"])["lungs"].array.any()


def test_structures_under_other_names_are_missed_by_name(
    tmp_path: Path, phantom: Phantom, lungs: dict[str, list[np.ndarray]]
) -> None:
    write_subject(tmp_path, phantom, {"Lung_L": lungs["Lung_L"], "Lunge rechts": lungs["Lung_R"]})
    assert "expected the structures Lung_L and Lung_R" in reason(tmp_path)


def test_two_structures_for_one_lung_are_refused(
    tmp_path: Path, phantom: Phantom, lungs: dict[str, list[np.ndarray]]
) -> None:
    write_subject(tmp_path, phantom, {**lungs, "Lung L": lungs["Lung_L"]})
    assert reason(tmp_path) == "two structures are the left lung: Lung_L and Lung L"


def test_another_frame_of_reference_is_refused(
    tmp_path: Path, phantom: Phantom, lungs: dict[str, list[np.ndarray]]
) -> None:
    write_subject(tmp_path, phantom, lungs, frame_uid="1.2.3.4")
    assert reason(tmp_path) == f"Lung_L is in frame of reference 1.2.3.4, the CT in {FRAME_UID}"


def test_contours_of_a_series_that_is_not_there_are_refused(
    tmp_path: Path, phantom: Phantom, lungs: dict[str, list[np.ndarray]]
) -> None:
    write_subject(tmp_path, phantom, lungs, series_uid="1.2.3.4")
    assert reason(tmp_path) == "reference was drawn on series 1.2.3.4, which is not there"


def test_of_two_series_the_one_that_was_drawn_on_is_taken(
    tmp_path: Path, phantom: Phantom, lungs: dict[str, list[np.ndarray]]
) -> None:
    write_subject(tmp_path, phantom, lungs)
    before = found("lctsc", tmp_path)[SUBJECT]
    for prefix in ("a", "z"):
        other = Phantom(phantom.image.with_array(phantom.image.array // 2), phantom.lungs, None)
        write_ct(tmp_path, SUBJECT, other, prefix=prefix, series_uid=generate_uid())
    after = found("lctsc", tmp_path)[SUBJECT]
    assert isinstance(before, Reference) and isinstance(after, Reference)
    assert after.source == before.source
    assert masks(after)["lungs"].array.any()


def test_a_ct_with_a_slice_missing_says_so(
    tmp_path: Path, phantom: Phantom, lungs: dict[str, list[np.ndarray]]
) -> None:
    uid = write_ct(tmp_path, SUBJECT, phantom, skip=(20,))
    write_rtstruct(structures_path(tmp_path, SUBJECT), lungs, series_uid=uid, frame_uid=FRAME_UID)
    assert "CT series is not readable: 1 slice missing" in reason(tmp_path)


def test_a_slice_left_out_by_the_drawer_is_noted_for_review(
    tmp_path: Path, phantom: Phantom, lungs: dict[str, list[np.ndarray]]
) -> None:
    heights = sorted({float(points[0, 2]) for points in lungs["Lung_L"]})
    gap = heights[len(heights) // 2]
    left = [points for points in lungs["Lung_L"] if points[0, 2] != gap]
    write_subject(tmp_path, phantom, {**lungs, "Lung_L": left})
    item = found("lctsc", tmp_path)[SUBJECT]
    assert isinstance(item, Reference)
    assert item.notes[1].code == "contour_gaps"
    assert item.notes[1].text == f"Lung_L has no contour on 1 of {len(heights)} slices"


def test_a_folder_without_subjects_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no folder of a subject below it"):
        found("lctsc", tmp_path)
