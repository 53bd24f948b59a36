"""Two versions of a mask are compared voxel by voxel, in ml."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from datastore.geometry import Geometry
from datastore.mask_difference import compare, edited_ml
from datastore.phantom import Phantom
from datastore.volume import Volume

GRID = Geometry((10.0, 10.0, 20.0))  # a voxel is 2 ml


def mask(*slices: list[int]) -> Volume:
    return Volume(np.array(slices, np.uint8)[:, None, :], GRID)


BEFORE = mask([0, 0, 0, 0], [1, 1, 0, 2], [1, 1, 2, 2])
AFTER = mask([0, 0, 0, 0], [1, 1, 2, 2], [1, 2, 0, 0])


def test_edited_volume_counts_every_voxel_whose_label_differs() -> None:
    assert edited_ml(BEFORE, AFTER) == pytest.approx(4 * 2.0)
    assert edited_ml(AFTER, AFTER) == 0.0


def test_everything_is_edited_where_there_was_nothing_before() -> None:
    assert edited_ml(None, AFTER) == pytest.approx(6 * 2.0)
    empty = AFTER.with_array(np.zeros_like(AFTER.array))
    assert edited_ml(empty, AFTER) == edited_ml(None, AFTER)
    assert edited_ml(None, empty) == 0.0


def test_added_removed_and_relabelled_are_told_apart() -> None:
    difference = compare(BEFORE, AFTER)
    assert (difference.added_ml, difference.removed_ml, difference.relabelled_ml) == pytest.approx((2.0, 4.0, 2.0))
    assert difference.edited_ml == pytest.approx(edited_ml(BEFORE, AFTER))
    back = compare(AFTER, BEFORE)
    assert (back.added_ml, back.removed_ml, back.relabelled_ml) == pytest.approx((4.0, 2.0, 2.0))


def test_dice_is_given_for_each_structure() -> None:
    # right: 4 before, 3 after, 3 shared; left: 3 before, 3 after, 1 shared
    assert compare(BEFORE, AFTER).dice == pytest.approx({"right_lung": 6 / 7, "left_lung": 2 / 6})


def test_dice_of_a_structure_that_neither_has_is_one_and_of_one_that_came_is_zero() -> None:
    assert compare(mask([0, 1]), mask([0, 1])).dice == {"right_lung": 1.0, "left_lung": 1.0}
    assert compare(mask([0, 1]), mask([2, 1])).dice == {"right_lung": 1.0, "left_lung": 0.0}


def test_changed_slices_are_listed() -> None:
    assert compare(BEFORE, AFTER).changed_slices == (1, 2)
    assert compare(AFTER, AFTER).changed_slices == ()
    swapped = mask([0, 0, 0, 0], [1, 1, 2, 2], [2, 1, 0, 0])  # as many voxels of each as after
    assert compare(AFTER, swapped).changed_slices == (2,)


def test_both_measures_agree_on_a_phantom(phantom: Phantom) -> None:
    lungs = phantom.lungs
    shifted = lungs.with_array(np.roll(lungs.array, 5, axis=2))
    difference = compare(lungs, shifted)
    assert difference.edited_ml == pytest.approx(edited_ml(lungs, shifted)) and difference.edited_ml > 100
    assert 0.5 < difference.dice["left_lung"] < 0.99
    assert difference.added_ml + difference.relabelled_ml > 0


@pytest.mark.parametrize(
    "other",
    [
        mask([0, 0, 0], [1, 1, 2], [1, 2, 0]),
        Volume(AFTER.array, replace(GRID, origin_mm=(0.0, 0.0, 1.1))),
        Volume(AFTER.array, replace(GRID, spacing_mm=(10.0, 10.0, 21.0))),
        Volume(AFTER.array, replace(GRID, direction=(-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0))),
    ],
)
def test_masks_on_different_grids_are_not_compared(other: Volume) -> None:
    with pytest.raises(ValueError, match="expected masks on one grid"):
        compare(AFTER, other)
    with pytest.raises(ValueError, match="expected masks on one grid"):
        edited_ml(AFTER, other)


def test_a_grid_that_differs_by_rounding_is_the_same_grid() -> None:
    rounded = Volume(AFTER.array, replace(GRID, origin_mm=(0.0, 0.0, 0.001)))
    assert edited_ml(AFTER, rounded) == 0.0 and compare(AFTER, rounded).edited_ml == 0.0


@pytest.mark.parametrize("value", [3, 86, 255])  # 86 times 3 is past a byte
def test_an_unknown_label_is_not_compared(value: int) -> None:
    with pytest.raises(ValueError, match=f"label value {value} is unknown: expected 0 to 2"):
        compare(AFTER, AFTER.with_array(np.full_like(AFTER.array, value)))
    with pytest.raises(ValueError, match=f"label value {value} is unknown"):
        compare(AFTER.with_array(np.full_like(AFTER.array, value)), AFTER)
