"""Scipy itself is the judge: its zoom, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage as ndimage
from hypothesis import example, given, settings
from hypothesis import strategies as st

from infers.resampling import between, nearest, zoomed

LENGTHS = st.integers(1, 700)
SEEDS = st.integers(0, 2**32 - 1)


def nearest_of_scipy(size: int, wanted: int) -> np.ndarray:
    """Numbers of the pixels from 1, 0 where scipy takes none."""
    numbers: np.ndarray = ndimage.zoom(np.arange(1, size + 1), wanted / size, order=0)
    return numbers


def nearest_of_ours(size: int, wanted: int) -> np.ndarray:
    table = nearest(size, wanted)
    assert wanted - len(table) in (0, 1)
    return np.append(table + 1, [0] * (wanted - len(table)))


@pytest.mark.parametrize("grid", [128, 256])
def test_lungmasks_grids_are_enlarged_and_shrunk_as_by_scipy_for_every_scan_up_to_1100_pixels(grid: int) -> None:
    for length in range(1, 1100):
        np.testing.assert_array_equal(nearest_of_ours(grid, length), nearest_of_scipy(grid, length))
        np.testing.assert_array_equal(nearest_of_ours(length, grid), nearest_of_scipy(length, grid))


@given(st.integers(1, 3000), st.integers(1, 3000))
@settings(deadline=None)
def test_any_line_is_resized_as_by_scipy(size: int, wanted: int) -> None:
    np.testing.assert_array_equal(nearest_of_ours(size, wanted), nearest_of_scipy(size, wanted))


def test_some_tables_are_one_short_as_scipys_rounding_has_it() -> None:
    assert len(nearest(256, 250)) == 249
    assert len(nearest(256, 251)) == 251


@given(st.integers(1, 3000), st.integers(2, 3000))
@settings(deadline=None)
def test_linear_shares_say_exactly_where_a_pixel_lies(size: int, wanted: int) -> None:
    table = between(size, wanted)
    assert table.shares == wanted - 1
    np.testing.assert_array_equal(table.lower_share + table.upper_share, wanted - 1)
    assert table.upper_share.min() >= 0 and table.lower_share.min() > 0
    np.testing.assert_array_equal(table.lower * (wanted - 1) + table.upper_share, np.arange(wanted) * (size - 1))
    np.testing.assert_array_equal(table.upper, np.minimum(table.lower + 1, size - 1))


def test_a_table_that_is_kept_cannot_be_changed() -> None:
    for table in (nearest(5, 9), *between(5, 9)[:4]):
        with pytest.raises(ValueError, match="read-only"):
            table[0] = 1


def assert_zoomed_as_by_scipy(image: np.ndarray, size: int) -> None:
    theirs = ndimage.zoom(image, np.array([size, size]) / np.array(image.shape), order=1)
    np.testing.assert_array_equal(zoomed(image, size), theirs)


@given(LENGTHS, LENGTHS, SEEDS)
@example(256, 256, 0)
@example(1, 1, 0)
@settings(max_examples=60, deadline=None)
def test_any_image_becomes_scipys_256_pixels(height: int, width: int, seed: int) -> None:
    whole_range = np.random.default_rng(seed).integers(-32768, 32768, (height, width)).astype(np.int16)
    assert_zoomed_as_by_scipy(whole_range, 256)
    assert_zoomed_as_by_scipy(whole_range.clip(-1024, 600), 256)


@given(LENGTHS, LENGTHS, st.sampled_from([1, 2, 3, 32, 33, 64, 129, 192, 255, 257, 320, 512]), SEEDS)
@example(250, 256, 32, 0)  # scipy's rounding puts the last row past the end
@example(101, 300, 33, 0)
@settings(max_examples=60, deadline=None)
def test_any_image_becomes_scipys_pixels_at_any_size(height: int, width: int, size: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(-1024, 601, (height, width)).astype(np.int16)
    assert_zoomed_as_by_scipy(image, size)


@pytest.mark.parametrize("size", [256, 512])
@pytest.mark.parametrize("extreme", [-32768, 32767])
def test_the_greatest_values_do_not_overflow(extreme: int, size: int) -> None:
    assert (zoomed(np.full((70, 300), extreme, np.int16), size) == extreme).all()


def test_halves_are_rounded_as_by_scipy() -> None:
    ramp = np.arange(-40, 41, dtype=np.int16).repeat(3).reshape(81, 3)
    assert_zoomed_as_by_scipy(ramp, 161)  # every second row lies halfway between two
