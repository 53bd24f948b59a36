"""Odd masks are found, with the value and what was expected; sound ones pass without a word."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from datastore.geometry import Geometry
from datastore.image_files import read_ct, read_mask
from datastore.phantom import Phantom, chest_phantom
from datastore.quality import examine, from_plain, needs_review, to_plain
from datastore.records import QualityFinding, Severity
from datastore.volume import Volume

REVIEW, NOTE = Severity.REVIEW, Severity.NOTE
RIGHT, LEFT = np.s_[10:30, 10:50, 10:30], np.s_[10:30, 10:50, 50:70]  # 128 ml each


def drawn(*boxes: tuple[tuple[slice, ...], int], shape: tuple[int, int, int] = (40, 60, 80)) -> Volume:
    """A mask of 2 mm voxels with a block for each lung and, over them, the given blocks."""
    array = np.zeros(shape, np.uint8)
    array[RIGHT], array[LEFT] = 1, 2
    for box, value in boxes:
        array[box] = value
    return Volume(array, Geometry((2.0, 2.0, 2.0)))


def found(mask: Volume, image: Volume | None = None) -> dict[str, QualityFinding]:
    findings = examine(mask, image)
    by_code = {finding.code: finding for finding in findings}
    assert len(by_code) == len(findings), "a code came twice"
    return by_code


@pytest.mark.parametrize("seed", range(4))
def test_true_masks_of_phantoms_with_a_dense_mass_have_nothing_odd(seed: int) -> None:
    made = chest_phantom(seed, lesion=True)
    assert examine(made.lungs, made.image) == ()


def test_a_mask_that_is_turned_in_its_file_gives_the_same_findings(phantom: Phantom) -> None:
    array = phantom.lungs.array.copy()
    array[:, :, 100:] = 0
    array[30:36, 8:14, 8:14] = 1
    expected = found(phantom.lungs.with_array(array), phantom.image)
    assert {"right_lung.stray", "mask.uncovered", "mask.outside"} <= set(expected)
    x, y, z = phantom.image.geometry.origin_mm
    far = (x + 127 * 3.0, y + 127 * 3.0, z)
    turned = Geometry(phantom.image.geometry.spacing_mm, far, (-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0))
    mask, image = (Volume(v[:, ::-1, ::-1], turned) for v in (array, phantom.image.array))
    assert found(mask, image) == expected
    assert found(mask, phantom.image) == expected


def test_an_empty_mask_is_reviewed_only_where_the_image_shows_lung(phantom: Phantom) -> None:
    empty = phantom.lungs.with_array(np.zeros_like(phantom.lungs.array))
    finding = found(empty, phantom.image)["mask.empty"]
    assert finding.severity is REVIEW and " l of the image look like lung" in finding.text
    first = int(phantom.lungs.array.any(axis=(1, 2)).argmax())
    abdomen = Volume(phantom.image.array[:first], phantom.image.geometry)
    findings = examine(Volume(empty.array[:first], empty.geometry), abdomen)
    assert findings == (
        QualityFinding("mask.empty", NOTE, "mask: nothing drawn, nothing in the image looks like lung"),
    )
    assert found(empty)["mask.empty"].severity is REVIEW  # nobody can tell


def test_a_forgotten_lung_is_reviewed_and_seen_in_the_image(phantom: Phantom) -> None:
    half = phantom.lungs.with_array(np.where(phantom.lungs.array == 1, 1, 0).astype(np.uint8))
    findings = found(half, phantom.image)
    assert {code: finding.severity for code, finding in findings.items()} == {
        "left_lung.missing": REVIEW,
        "mask.uncovered": REVIEW,
    }
    assert findings["left_lung.missing"].text.startswith("left lung: nothing drawn beside ")
    assert set(found(half)) == {"left_lung.missing"}


def test_a_rim_left_out_around_the_lungs_is_not_lung_forgotten(phantom: Phantom) -> None:
    lungs = phantom.lungs.array
    inner = lungs * (np.roll(lungs, 1, 2) > 0) * (np.roll(lungs, -1, 2) > 0)
    assert (lungs != inner).sum() * phantom.lungs.geometry.voxel_ml > 100
    assert "mask.uncovered" not in found(phantom.lungs.with_array(inner), phantom.image)


@pytest.mark.parametrize(
    ("spacing_mm", "text"),
    [
        (7.0, None),  # 5.5 l
        (8.0, "right lung: 8.2 l, expected less than 6.0 l"),
        (1.4, "right lung: 44 ml, expected more than 50 ml, or a lung cut by the end of the scan"),
    ],
)
def test_a_lung_has_a_plausible_volume(spacing_mm: float, text: str | None) -> None:
    mask = Volume(drawn().array, Geometry((spacing_mm,) * 3))
    finding = found(mask).get("right_lung.volume")
    assert (finding and finding.text) == text
    assert finding is None or finding.severity is REVIEW


@pytest.mark.parametrize("cut", [np.s_[10:, :, :], np.s_[:30, :, :], np.s_[:, 10:, :], np.s_[:, :50, :]])
def test_a_small_lung_that_the_scan_cuts_is_fine(cut: tuple[slice, ...]) -> None:
    mask = Volume(drawn().array[cut], Geometry((1.4, 1.4, 1.4)))
    assert examine(mask, None) == ()


@pytest.mark.parametrize(("hu", "odd"), [(-990, True), (-940, False), (60, False), (300, True)])
def test_a_lung_has_a_plausible_density(hu: int, odd: bool) -> None:
    mask = drawn((np.s_[10:20, 10:30, 10:30], 0))  # no plain block: not all of the box around it is lung
    image = mask.with_array(np.where(mask.array == 1, hu, 0).astype(np.int16))
    findings = found(mask, image)
    assert set(findings) == ({"right_lung.density"} if odd else set())
    if odd:
        text = f"right lung: mean {hu} HU, expected -980 to 100 HU"
        assert findings["right_lung.density"] == QualityFinding("right_lung.density", REVIEW, text)


def test_a_second_large_piece_is_noted_and_no_error() -> None:
    mask = drawn((np.s_[10:30, 28:30, 10:30], 0))
    assert examine(mask, None) == (
        QualityFinding("right_lung.pieces", NOTE, "right lung: 2 pieces (64 ml, 58 ml), expected one"),
    )


def test_voxels_that_touch_by_an_edge_are_one_piece() -> None:
    assert examine(drawn((np.s_[30:31, 50:53, 10:30], 1), (np.s_[29:30, 49:50, 10:30], 1)), None) == ()


def test_specks_are_counted_and_only_noted() -> None:
    mask = drawn((np.s_[35, 5:50:5, 20], 1))
    assert examine(mask, None) == (
        QualityFinding("right_lung.specks", NOTE, "right lung: 9 specks below 0.1 ml (0.072 ml together)"),
    )


def test_forgotten_slices_are_reviewed() -> None:
    findings = found(drawn((np.s_[18:21, :, 50:70], 0)))
    assert set(findings) == {"left_lung.gap", "left_lung.pieces"}
    text = "left lung: nothing drawn on 3 slices (6 mm) between its pieces"
    assert findings["left_lung.gap"] == QualityFinding("left_lung.gap", REVIEW, text)


def test_a_piece_far_from_its_lung_is_reviewed_and_a_near_one_noted() -> None:
    shape = (80, 60, 80)
    near = found(drawn((np.s_[40:44, 20:24, 20:24], 1), shape=shape))
    assert set(near) == {"right_lung.pieces"}
    far = found(drawn((np.s_[50:54, 20:24, 20:24], 1), shape=shape))
    assert set(far) == {"right_lung.pieces", "right_lung.stray"}
    assert far["right_lung.stray"].severity is REVIEW
    assert far["right_lung.stray"].text == (
        "right lung: a piece of 0.51 ml about 44 mm away, expected within 30 mm of the lung and on its side"
    )


def test_a_piece_is_near_if_it_is_near_any_large_part_of_its_lung() -> None:
    shape = (80, 60, 80)
    second = (np.s_[33:50, 10:50, 10:30], 1)
    assert "right_lung.stray" not in found(drawn(second, (np.s_[60:64, 20:24, 20:24], 1), shape=shape))


def test_a_far_piece_that_the_end_of_the_scan_cuts_may_belong_to_the_lung() -> None:
    shape = (60, 60, 80)
    assert "right_lung.stray" not in found(drawn((np.s_[54:60, 20:24, 20:24], 1), shape=shape))


@pytest.mark.parametrize(("value", "column", "name"), [(1, 75, "right_lung"), (2, 5, "left_lung")])
def test_a_piece_beyond_the_other_lung_is_reviewed(value: int, column: int, name: str) -> None:
    findings = found(drawn((np.s_[15:25, 20:24, column - 3 : column + 3], value)))
    assert findings[f"{name}.stray"].severity is REVIEW
    assert "beyond the " in findings[f"{name}.stray"].text


def test_a_piece_so_thin_that_thinning_would_lose_it_is_measured_all_the_same() -> None:
    two_columns = ((np.s_[50:70, 20:21, 21:22], 1), (np.s_[50:70, 21:22, 20:21], 1))
    findings = found(drawn(*two_columns, shape=(80, 60, 80)))
    assert "a piece of 0.32 ml about 44 mm away" in findings["right_lung.stray"].text


@pytest.mark.parametrize(
    ("hole", "severity", "text"),
    [
        (np.s_[15:17, 20:22, 20:22], NOTE, "1 hole (0.064 ml together, the largest 0.064 ml)"),
        (np.s_[15:21, 20:26, 20:26], REVIEW, "1 hole (1.7 ml together, the largest 1.7 ml)"),
    ],
)
def test_a_large_hole_is_reviewed_and_a_small_one_noted(hole: tuple[slice, ...], severity: Severity, text: str) -> None:
    expected = QualityFinding("right_lung.holes", severity, f"right lung: {text}, expected none")
    assert examine(drawn((hole, 0)), None) == (expected,)


def test_many_vessels_left_out_are_noted_even_if_they_add_up() -> None:
    mask = drawn(*((np.s_[12:28:3, 12:48:3, column], 0) for column in (14, 18, 22)))
    finding = found(mask)["right_lung.holes"]
    assert finding.severity is NOTE and "216 holes (1.7 ml together, the largest 0.008 ml)" in finding.text


def test_a_channel_to_the_outside_is_no_hole() -> None:
    assert examine(drawn((np.s_[15:21, 20:26, 10:26], 0)), None) == ()


def test_what_is_drawn_in_the_air_around_the_patient_is_reviewed(phantom: Phantom) -> None:
    spilled = phantom.lungs.array.copy()
    spilled[30:40, 0:3, 40:60] = 1
    finding = found(phantom.lungs.with_array(spilled), phantom.image)["mask.outside"]
    assert finding == QualityFinding(
        "mask.outside", REVIEW, "mask: 25 ml lie in the air around the patient, expected less than 5 ml"
    )


def test_air_inside_the_patient_is_not_the_air_around(phantom: Phantom) -> None:
    hu = np.where(phantom.lungs.array == 2, -990, phantom.image.array).astype(np.int16)  # a pneumothorax
    assert "mask.outside" not in found(phantom.lungs, phantom.image.with_array(hu))


def test_another_grid_is_not_examined(phantom: Phantom) -> None:
    with pytest.raises(ValueError, match="does not match image"):
        examine(drawn(), phantom.image)


@pytest.mark.parametrize("values", [[1], [2, 0, 2], [1, 2], [1, 0, 1, 0, 1, 0, 2]])
def test_masks_of_a_few_voxels_are_examined_too(values: list[int]) -> None:
    mask = Volume(np.array([[values]], np.uint8), Geometry((1.0, 1.0, 1.0)))
    for image in (None, mask.with_array(np.full(mask.array.shape, -800, np.int16))):
        codes = {finding.code for finding in examine(mask, image)}
        assert ("left_lung.missing" in codes) == (2 not in values)
        assert ("right_lung.missing" in codes) == (1 not in values)


def test_review_is_needed_unless_all_findings_are_notes() -> None:
    note, review = (QualityFinding("mask.empty", severity, "mask: empty") for severity in (NOTE, REVIEW))
    assert not needs_review([]) and not needs_review([note, note])
    assert needs_review([note, review])
    assert needs_review([QualityFinding("mask.empty", Severity.REFUSE, "mask: empty")])


def test_findings_come_back_from_json() -> None:
    findings = (
        QualityFinding("right_lung.volume", REVIEW, "right lung: 9.3 l, expected less than 6.0 l"),
        QualityFinding("left_lung.specks", NOTE, "left lung: 3 specks"),
    )
    assert from_plain(json.loads(json.dumps(to_plain(findings)))) == findings


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cip-ct64", {}),
        ("elastix-3dct-right", {"left_lung.missing": REVIEW}),
        ("totalseg-abdomen", {"right_lung.specks": NOTE}),
    ],
)
def test_real_masks_get_few_and_sensible_findings(real_data: Path, name: str, expected: dict[str, Severity]) -> None:
    folder = real_data / "nifti" / name
    findings = examine(read_mask(folder / "lung.nii.gz"), read_ct(folder / "image.nii.gz"))
    assert {finding.code: finding.severity for finding in findings} == expected
