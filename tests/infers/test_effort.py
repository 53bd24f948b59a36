"""The effort of a correction: Dice, edited volume and added path length, by hand on small drawings."""

from __future__ import annotations

import numpy as np
import pytest

from datastore.geometry import Geometry
from datastore.mask_difference import edited_ml
from datastore.phantom import Phantom
from datastore.volume import Volume
from infers.effort import added_path_mm, correction_effort

GRID = Geometry((2.0, 2.0, 5.0))  # a voxel is 0.02 ml


def drawn(*slices: str, geometry: Geometry = GRID) -> Volume:
    """Slices as rows of digits, separated by blanks."""
    return Volume(np.array([[list(map(int, row)) for row in rows.split()] for rows in slices], np.uint8), geometry)


SQUARE = "000000 011110 011110 011110 011110 000000"  # a contour of 12 pixels around 4
WIDER = "000000 011111 011111 011111 011111 000000"
HOLLOW = "000000 011110 010010 010010 011110 000000"
EMPTY = "000000 000000 000000 000000 000000 000000"


@pytest.mark.parametrize(
    ("before", "after", "pixels"),
    [
        (SQUARE, SQUARE, 0),
        (EMPTY, SQUARE, 12),
        (SQUARE, EMPTY, 0),  # erased
        (SQUARE, WIDER, 4),  # the new side alone: above and below were contour
        (WIDER, SQUARE, 2),  # the two of the side that were inside
        (SQUARE, HOLLOW, 0),  # the rim is the same contour
        (HOLLOW, SQUARE, 0),
        ("11 11", "11 11", 0),
        ("00 00", "11 11", 4),  # the border of the slice is an outside
        ("000 010 000", "010 111 010", 4),
        ("010 111 010", "111 111 111", 4),  # the corners; diagonals make no contour
    ],
)
def test_added_path_is_new_contour_only(before: str, after: str, pixels: int) -> None:
    assert added_path_mm(drawn(before), drawn(after), 1) == pytest.approx(pixels * 2.0)


def test_added_path_is_measured_slice_by_slice_for_each_lung() -> None:
    before, after = drawn(SQUARE, EMPTY, SQUARE), drawn(SQUARE, SQUARE, SQUARE.replace("1", "2"))
    assert added_path_mm(before, after, 1) == pytest.approx(12 * 2.0)
    assert added_path_mm(before, after, 2) == pytest.approx(12 * 2.0)
    assert correction_effort(before, after).added_path_mm == pytest.approx(24 * 2.0)


def test_pixels_that_are_not_square_count_by_the_root_of_their_area_and_slices_may_be_any_axis() -> None:
    flat = Geometry((1.0, 4.0, 5.0))
    assert added_path_mm(drawn(EMPTY, geometry=flat), drawn(SQUARE, geometry=flat), 1) == pytest.approx(12 * 2.0)
    # the same drawings with the file's first axis along x: x, y, z of the patient lie along array axes 0, 1, 2
    turned = Geometry((5.0, 2.0, 2.0), direction=(0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0))
    before, after = (Volume(np.ascontiguousarray(drawn(s, EMPTY).array.T), turned) for s in (EMPTY, SQUARE))
    assert added_path_mm(before, after, 1) == pytest.approx(12 * 2.0)


def test_all_figures_of_a_correction() -> None:
    before, after = drawn(SQUARE), drawn(WIDER.replace("11111", "11112"))
    effort = correction_effort(before, after, 90.0)
    assert effort.dice == {"right_lung": 1.0, "left_lung": 0.0}
    assert effort.mean_dice == 0.5
    assert effort.edited_ml == pytest.approx(4 * 0.02) == pytest.approx(edited_ml(before, after))
    assert effort.added_path_mm == pytest.approx(4 * 2.0)
    assert effort.seconds == 90.0


def test_work_that_began_with_nothing_drew_all_of_it() -> None:
    effort = correction_effort(None, drawn(SQUARE))
    assert (effort.dice, effort.mean_dice, effort.seconds) == ({"right_lung": 0.0}, 0.0, None)
    assert effort.edited_ml == pytest.approx(16 * 0.02)
    assert effort.added_path_mm == pytest.approx(12 * 2.0)


def test_a_structure_that_neither_mask_has_does_not_count() -> None:
    assert correction_effort(drawn(SQUARE), drawn(SQUARE)).dice == {"right_lung": 1.0}
    nothing = correction_effort(drawn(EMPTY), drawn(EMPTY))
    assert (nothing.dice, nothing.mean_dice, nothing.edited_ml, nothing.added_path_mm) == ({}, None, 0.0, 0.0)


def test_masks_on_two_grids_are_refused(phantom: Phantom) -> None:
    with pytest.raises(ValueError, match="expected masks on one grid"):
        correction_effort(drawn(SQUARE), phantom.lungs)


def test_a_larger_correction_is_a_longer_path(phantom: Phantom) -> None:
    lungs = phantom.lungs.array
    efforts = []
    for lowest in (0, 30, 45):
        cut = lungs.copy()
        cut[:lowest] = 0
        efforts.append(correction_effort(phantom.lungs.with_array(cut), phantom.lungs))
    assert efforts[0].added_path_mm == 0.0 < efforts[1].added_path_mm < efforts[2].added_path_mm
    assert 1.0 == efforts[0].mean_dice > (efforts[1].mean_dice or 0) > (efforts[2].mean_dice or 0)
