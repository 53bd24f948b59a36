from __future__ import annotations

import numpy as np

from infers.postprocess import postprocess

VOXEL_ML = 1.0  # a cubic centimetre


def lungs() -> np.ndarray:
    mask = np.zeros((20, 20, 40), np.uint8)
    mask[5:15, 5:15, 5:15] = 1
    mask[5:15, 5:15, 25:35] = 2
    return mask


def test_a_piece_below_25_ml_goes_and_one_above_stays() -> None:
    mask = lungs()
    mask[1:3, 1:4, 18:22] = 1  # 24 ml
    mask[16:18, 5:10, 30:33] = 2  # 30 ml: the rest of a lung behind an effusion
    cleaned = postprocess(mask, VOXEL_ML)
    expected = mask.copy()
    expected[1:3, 1:4, 18:22] = 0
    np.testing.assert_array_equal(cleaned, expected)


def test_the_tip_of_a_lung_at_the_end_of_the_scan_stays() -> None:
    mask = lungs()
    mask[0, 5:7, 5:7] = 1  # 4 ml in the first slice
    assert postprocess(mask, VOXEL_ML)[0].sum() == 4


def test_a_hole_is_filled_with_the_lung_around_it() -> None:
    mask = lungs()
    mask[8:11, 8:11, 8:11] = 0
    mask[8:11, 8:11, 28:31] = 0
    np.testing.assert_array_equal(postprocess(mask, VOXEL_ML), lungs())


def test_no_lung_stays_no_lung() -> None:
    assert not postprocess(np.zeros((3, 4, 5), np.uint8), VOXEL_ML).any()
