"""What is done to a network's mask on the scan's grid; a voxel is 1 ml unless said otherwise."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from datastore.image_files import read_mask
from datastore.phantom import Phantom, chest_phantom
from infers.lung_labels import LOBES, WHOLE_LUNGS, LungLabels
from infers.lungmask_postprocess import lungmask_postprocess
from infers.options import Postprocessing
from infers.postprocess import postprocess, swapped_sides

VOXEL_ML = 1.0  # a cubic centimetre
BOTH = [Postprocessing.DEFAULT, Postprocessing.PAPER]
small_masks = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, max_side=7), elements=st.integers(0, 2))


def lungs() -> np.ndarray:
    mask = np.zeros((20, 20, 40), np.uint8)
    mask[5:15, 5:15, 5:15] = 1
    mask[5:15, 5:15, 25:35] = 2
    return mask


def expect_unchanged(mask: np.ndarray, how: Postprocessing = Postprocessing.DEFAULT, voxel_ml: float = 1.0) -> None:
    np.testing.assert_array_equal(postprocess(mask, voxel_ml, how), mask)


# pieces


@pytest.mark.parametrize("how", BOTH)
def test_a_piece_below_25_ml_goes_and_one_above_stays(how: Postprocessing) -> None:
    mask = lungs()
    mask[1:3, 1:4, 18:22] = 1  # 24 ml
    mask[16:18, 5:10, 30:33] = 2  # 30 ml: the rest of a lung behind an effusion
    cleaned = postprocess(mask, VOXEL_ML, how)
    expected = mask.copy()
    expected[1:3, 1:4, 18:22] = 0
    np.testing.assert_array_equal(cleaned, expected)


@pytest.mark.parametrize("how", BOTH)
def test_pieces_of_different_labels_that_touch_count_together(how: Postprocessing) -> None:
    mask = np.zeros((20, 20, 60), np.uint8)
    mask[5:15, 5:15, 5:15], mask[5:15, 5:15, 25:35] = 3, 1
    mask[5:7, 5:8, 45:48], mask[5:7, 5:8, 48:50] = 4, 5  # 18 and 12 ml
    expect_unchanged(mask, how)
    mask[5:7, 5:8, 48] = 0
    assert not postprocess(mask, VOXEL_ML, how)[:, :, 40:].any()


def test_specks_that_hang_together_at_a_corner_only_go() -> None:
    mask = lungs()
    mask[15, 15, 15] = 1
    np.testing.assert_array_equal(postprocess(mask, VOXEL_ML), lungs())


def test_the_piece_that_lungmask_drops_from_a_split_lung_stays() -> None:
    """An effusion across the left lung: 38 % of it lie above."""
    mask = np.zeros((50, 30, 60), np.uint8)
    mask[0:50, 5:25, 5:25] = 1
    mask[0:30, 5:25, 35:55] = 2
    mask[32:50, 5:25, 35:55] = 2
    left = mask == 2
    ours, theirs = postprocess(mask, 0.02), lungmask_postprocess(mask)
    np.testing.assert_array_equal(ours, mask)
    assert (theirs == 2).sum() / left.sum() == pytest.approx(0.625, abs=0.01)


@pytest.mark.parametrize("z", [0, 19])
def test_the_tip_of_a_lung_at_the_end_of_the_scan_stays_except_in_the_paper(z: int) -> None:
    mask = lungs()
    mask[z, 5:7, 5:7] = 1  # 4 ml in the first or last slice
    expect_unchanged(mask)
    np.testing.assert_array_equal(postprocess(mask, VOXEL_ML, Postprocessing.PAPER), lungs())


def test_a_tip_below_1_ml_goes() -> None:
    mask = lungs()
    mask[0, 5:7, 5:7] = 1
    assert not postprocess(mask, 0.2)[0].any()


def test_the_first_slice_with_lung_is_not_the_end_of_the_scan() -> None:
    mask = lungs()
    mask[1, 5:7, 5:7] = 1  # the first slice of the bounding box
    np.testing.assert_array_equal(postprocess(mask, VOXEL_ML), lungs())


@pytest.mark.parametrize("how", BOTH)
@given(mask=small_masks, voxel_ml=st.sampled_from([1.0, 2.0, 5.0, 30.0]))
@settings(max_examples=60, deadline=None)
def test_what_goes_and_what_is_filled_is_as_a_slow_reading_of_the_rules_says(
    how: Postprocessing, mask: np.ndarray, voxel_ml: float
) -> None:
    pieces, count = ndimage.label(mask > 0)
    kept = np.zeros(mask.shape, bool)
    for number in range(1, count + 1):
        piece = pieces == number
        ends = int(piece[0].any()) + int(piece[-1].any()) if how == Postprocessing.DEFAULT else 0
        kept |= piece & (piece.sum() * voxel_ml >= [25.0, 1.0, 0.1][ends])
    cleaned = postprocess(mask, voxel_ml, how)
    assert cleaned[kept].all()
    if np.count_nonzero(mask.any(axis=(1, 2))) < 2:
        return  # holes of a single slice have a rule and tests of their own
    assert not cleaned[~ndimage.binary_fill_holes(kept)].any()
    if how == Postprocessing.PAPER:
        expected = np.where(kept, mask, 0)
        for label in (1, 2):
            expected[ndimage.binary_fill_holes(expected == label) & (expected == 0)] = label
        np.testing.assert_array_equal(cleaned, expected)


# islets


def test_an_islet_of_one_label_within_the_other_lung_joins_that_lung() -> None:
    mask = lungs()
    mask[9:11, 9:11, 29:31] = 1  # inside
    mask[5:7, 5:7, 35] = 1  # attached outside
    expected = lungs()
    expected[5:7, 5:7, 35] = 2
    np.testing.assert_array_equal(postprocess(mask, VOXEL_ML), expected)
    expect_unchanged(mask, Postprocessing.PAPER)


def test_an_islet_within_an_islet_joins_the_lung_too() -> None:
    mask = lungs()
    mask[8:11, 8:11, 28:31] = 1
    mask[9, 9, 29] = 2
    mask[5:8, 6, 6] = 2
    np.testing.assert_array_equal(postprocess(mask, VOXEL_ML), lungs())


def test_an_islet_joins_the_label_with_which_it_shares_most() -> None:
    mask = np.zeros((12, 12, 24), np.uint8)
    mask[:, :, :12], mask[:, :, 12:] = 4, 5
    mask[4:6, 4:6, 10:13] = 3  # reaches one voxel into label 5
    mask[:3] = 3
    expected = mask.copy()
    expected[4:6, 4:6, 10:13] = 4
    np.testing.assert_array_equal(postprocess(mask, VOXEL_ML), expected)


def test_in_two_borders_of_one_label_both_count() -> None:
    mask = np.zeros((12, 12, 24), np.uint8)
    mask[:, :, 0:11], mask[:, :, 11:13], mask[:, :, 13:] = 4, 5, 4
    mask[5:7, 5:7, 11:13] = 3
    mask[:, :6, 11:13] = 0
    mask[5:7, 5, 11:13] = 3
    mask[:3] = 3
    assert (postprocess(mask, VOXEL_ML)[5:7, 5:7, 11:13] == 4).all()


def test_what_is_not_small_beside_its_surroundings_is_no_islet() -> None:
    newborn = lungs()
    newborn[newborn == 2] = 0
    newborn[5:15, 5:15, 15:20] = 2  # 15 ml, but half as large as the lung that it is attached to
    expect_unchanged(newborn, voxel_ml=0.03)
    lobes = np.where(lungs() == 1, 5, lungs() * 2).astype(np.uint8)
    lobes[5:8, 5:8, 27:30] = 5  # 27 ml
    lobes[16:20, 5:15, 5:15] = 1
    expected = lobes.copy()
    lobes[8, 5, 28] = 1
    np.testing.assert_array_equal(postprocess(lobes, VOXEL_ML), expected)


def test_a_collapsed_lobe_is_no_islet_but_its_specks_are() -> None:
    mask = np.zeros((20, 20, 40), np.uint8)
    mask[:10, :, 2:15], mask[10:, :, 2:15], mask[:, :, 25:] = 5, 3, 1
    mask[9:11, 0:3, 2:5] = 4  # 18 ml
    expected = mask.copy()
    mask[15, 10, 5] = 4
    np.testing.assert_array_equal(postprocess(mask, VOXEL_ML), expected)


def test_a_lung_of_a_few_ml_within_the_other_is_an_islet() -> None:
    mask = lungs()
    mask[mask == 2] = 0
    mask[9:11, 9:11, 9:11] = 2  # there is no other left lung
    assert set(np.unique(postprocess(mask, VOXEL_ML))) == {0, 1}


# sides


def beyond(x: slice) -> np.ndarray:
    """Lungs, and a piece labelled right in one place."""
    mask = lungs()
    mask[16:20, 5:15, x] = 1
    return mask


def mirrored(mask: np.ndarray) -> np.ndarray:
    return np.where(mask > 0, 3 - mask, 0).astype(np.uint8)[:, :, ::-1]


def test_a_piece_beyond_the_other_lung_gets_its_label() -> None:
    mask = beyond(slice(30, 36))
    expected = mask.copy()
    expected[16:20, 5:15, 30:36] = 2
    np.testing.assert_array_equal(postprocess(mask, VOXEL_ML), expected)
    np.testing.assert_array_equal(postprocess(mirrored(mask), VOXEL_ML), mirrored(expected))
    expect_unchanged(mask, Postprocessing.PAPER)


@pytest.mark.parametrize("x", [slice(14, 36), slice(15, 19), slice(2, 8)], ids=["below its lung", "near", "own side"])
def test_a_piece_that_may_lie_on_its_own_side_keeps_its_label(x: slice) -> None:
    mask = beyond(x)
    expect_unchanged(mask)
    expect_unchanged(mirrored(mask))


def test_a_piece_beside_a_lung_that_reaches_over_the_middle_keeps_its_label() -> None:
    mask = beyond(slice(22, 25))
    mask[5:7, 5:15, 15:24] = 1
    expect_unchanged(mask)
    expect_unchanged(mirrored(mask))


def test_a_large_piece_attached_to_the_other_lung_gets_its_label() -> None:
    mask = lungs()
    mask[12:15, 5:15, 25:35] = 1  # 300 ml
    np.testing.assert_array_equal(postprocess(mask, VOXEL_ML), lungs())


def test_swapped_lungs_are_told_but_not_touched() -> None:
    swapped = lungs()[:, :, ::-1]
    swapped[16:20, 5:15, 36:] = 1
    expect_unchanged(swapped)
    assert swapped_sides(swapped) and not swapped_sides(lungs())


def test_one_lung_alone_has_no_wrong_side() -> None:
    mask = beyond(slice(30, 36))
    mask[mask == 2] = 0
    expect_unchanged(mask)
    assert not swapped_sides(mask) and not swapped_sides(np.zeros((2, 3, 4), np.uint8))


def test_a_few_ml_of_the_other_label_are_no_lung_to_lie_beyond() -> None:
    mask = beyond(slice(30, 36))
    mask[mask == 2] = 0
    mask[5:8, 5:8, 25:28] = 2  # 27 ml
    expect_unchanged(mask)


def test_lobes_are_not_taken_for_sides() -> None:
    left_only = beyond(slice(30, 36))
    np.testing.assert_array_equal(postprocess(left_only, VOXEL_ML, labels=LOBES), left_only)
    expect_unchanged(np.array([0, 3, 1], np.uint8)[left_only])  # the same as upper lobes of both lungs

    # holes


@pytest.mark.parametrize("how", BOTH)
def test_a_hole_is_filled_with_the_lung_around_it(how: Postprocessing) -> None:
    mask = lungs()
    mask[8:11, 8:11, 8:11] = 0
    mask[8:11, 8:11, 28:31] = 0
    np.testing.assert_array_equal(postprocess(mask, VOXEL_ML, how), lungs())


def test_what_both_lungs_close_in_is_mediastinum() -> None:
    mask = np.zeros((20, 20, 20), np.uint8)
    mask[2:18, 2:18, 2:10], mask[2:18, 2:18, 10:18] = 1, 2
    mask[6:14, 6:14, 6:14] = 0
    expect_unchanged(mask)


def test_what_is_open_at_the_end_of_the_scan_is_no_hole() -> None:
    mask = lungs()
    mask[0:5] = mask[5]
    mask[0:7, 8:12, 8:12] = 0  # the dome of the liver, from below
    expect_unchanged(mask)


def test_an_open_place_in_the_edge_of_the_image_is_no_hole() -> None:
    """A lung in the corner of a narrow field of view, which `fill_voids` alone gets wrong, and so lungmask."""
    z, y, x = np.ogrid[:10, :10, :10]
    mask = (z + y + x < 9).astype(np.uint8)
    mask[4, 0, 0] = mask[0, 4, 0] = mask[0, 0, 4] = 0
    assert lungmask_postprocess(mask)[0, 0, 4] == 1
    expect_unchanged(mask)


def test_a_hole_between_lobes_gets_the_label_around_most_of_it() -> None:
    mask = np.zeros((20, 20, 40), np.uint8)
    mask[:, :, 25:35] = 2
    mask[:10, 2:18, 2:15], mask[10:, 2:18, 2:15] = 5, 3
    filled = mask.copy()
    filled[7:12, 8, 8] = 5
    mask[7:12, 8, 8] = 0  # three voxels deep in the lower lobe, two in the upper
    np.testing.assert_array_equal(postprocess(mask, VOXEL_ML), filled)
    apart = postprocess(mask, VOXEL_ML, labels=LungLabels(right=(3,), left=(2,)))  # as if 5 were something else
    np.testing.assert_array_equal(apart, mask)


# one slice


def one_slice() -> np.ndarray:
    mask = np.zeros((1, 100, 200), np.uint8)
    mask[0, 10:90, 10:90], mask[0, 10:90, 110:190] = 1, 2
    return mask


def test_a_thin_single_slice_keeps_its_lungs() -> None:
    mask = one_slice()
    mask[0, 10:90, 90:110] = 2  # they touch
    mask[0, 94:98, 20:70] = 1  # 0.1 ml
    expect_unchanged(mask, voxel_ml=0.0005)
    mask[0, 94:98, 20:70] = 0
    mask[0, 94:98, 20:60] = 1
    assert not postprocess(mask, 0.0005)[0, 94:98].any()
    assert not postprocess(mask, 0.0005, Postprocessing.PAPER).any()


def test_in_a_single_slice_a_vessel_is_filled_and_the_liver_is_not() -> None:
    mask = one_slice()
    mask[0, 20:30, 20:30] = 0  # 1.6 %
    mask[0, 60:80, 130:160] = 0  # 9 %
    expected = one_slice()
    expected[0, 60:80, 130:160] = 0
    np.testing.assert_array_equal(postprocess(mask, VOXEL_ML), expected)


# the rest


@pytest.mark.parametrize("how", BOTH)
@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 4, 5), (0, 4, 5)])
def test_no_lung_stays_no_lung(how: Postprocessing, shape: tuple[int, int, int]) -> None:
    cleaned = postprocess(np.zeros(shape, np.uint8), VOXEL_ML, how)
    assert cleaned.shape == shape and cleaned.dtype == np.uint8 and not cleaned.any()


def test_the_mask_that_came_in_stays_as_it_was() -> None:
    mask = np.full((8, 8, 8), 1, np.uint8)  # fills its own bounding box
    mask[3, 3, 3] = 0
    before = mask.copy()
    assert postprocess(mask, VOXEL_ML).all()
    np.testing.assert_array_equal(mask, before)


def test_none_changes_nothing() -> None:
    mask = np.random.default_rng(0).integers(0, 6, (6, 7, 8)).astype(np.uint8)
    expect_unchanged(mask, Postprocessing.NONE)


def test_masks_in_any_memory_order_come_out_the_same() -> None:
    mask = beyond(slice(30, 36))
    mask[9:11, 9:11, 29:31] = 1
    np.testing.assert_array_equal(postprocess(np.asfortranarray(mask), VOXEL_ML), postprocess(mask, VOXEL_ML))
    flipped = np.ascontiguousarray(mask[::-1])
    np.testing.assert_array_equal(postprocess(flipped[::-1], VOXEL_ML), postprocess(mask, VOXEL_ML))


def test_lungmasks_way_is_refused_on_this_grid() -> None:
    with pytest.raises(ValueError, match="works on the network's grid"):
        postprocess(lungs(), VOXEL_ML, Postprocessing.LUNGMASK)


@pytest.mark.parametrize("mask, voxel_ml", [(lungs()[0], 1.0), (lungs().astype(int), 1.0), (lungs(), 0.0)])
def test_bad_input_is_refused(mask: np.ndarray, voxel_ml: float) -> None:
    with pytest.raises(ValueError, match="^expected"):
        postprocess(mask, voxel_ml)


@pytest.mark.parametrize("how", BOTH)
def test_true_lungs_stay_as_they_are(how: Postprocessing, phantom: Phantom) -> None:
    expect_unchanged(phantom.lungs.array, how, phantom.lungs.geometry.voxel_ml)


def test_real_lungs_stay_as_they_are(real_data: Path) -> None:
    mask = read_mask(real_data / "nifti" / "cip-ct64" / "lung.nii.gz").to_lps()
    expect_unchanged(np.ascontiguousarray(mask.array), voxel_ml=mask.geometry.voxel_ml)


def test_specks_all_over_a_chest_leave_the_lungs_nearly_as_they_were() -> None:
    true = chest_phantom(2, shape=(40, 96, 96), spacing_mm=(7.0, 4.0, 4.0)).lungs
    mask = true.array.copy()
    random = np.random.default_rng(0)
    for place in random.integers(0, mask.shape, (150, 3)):
        mask[tuple(slice(start, start + 2) for start in place)] = random.integers(0, 3)
    cleaned = postprocess(mask, true.geometry.voxel_ml)
    assert (cleaned != true.array).sum() < 0.25 * (mask != true.array).sum()


def test_a_small_lung_in_a_large_scan_costs_little_memory() -> None:
    mask = np.zeros((60, 512, 512), np.uint8)
    mask[20:40, 200:300, 100:200] = 1
    mask[25:30, 220:230, 120:130] = 0
    tracemalloc.start()
    postprocess(mask, VOXEL_ML)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < mask.nbytes + 20 * np.count_nonzero(mask)  # the result, and a few times the box


def test_labels_are_lobes_where_one_is_above_2() -> None:
    assert WHOLE_LUNGS.are_whole_lungs and not LOBES.are_whole_lungs
    assert sorted(LOBES.right + LOBES.left) == [1, 2, 3, 4, 5]
