"""The box around the body against lungmask's own, and against scipy's steps written out one after the other."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage as ndimage
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lungmask import utils as lungmask

from infers.body_box import body_box

SQUARE = np.ones((3, 3), dtype=bool)
SIZES = st.one_of(st.integers(1, 40), st.integers(60, 140), st.integers(128, 600))


def plain_box(slice_hu: np.ndarray) -> tuple[int, int, int, int]:
    """What lungmask does, in scipy alone."""
    small = ndimage.zoom(slice_hu, 128 / np.array(slice_hu.shape), order=0) > -500
    small = ndimage.binary_fill_holes(ndimage.binary_closing(small), structure=SQUARE)
    small = ndimage.binary_erosion(small, iterations=2)
    numbered, count = ndimage.label(small)
    if count:
        largest = np.argmax(np.bincount(numbered.ravel())[1:]) + 1
        small = ndimage.binary_dilation(numbered == largest, iterations=2)
    body = ndimage.zoom(small, np.array(slice_hu.shape) / 128, order=0)
    found = ndimage.find_objects(ndimage.label(body, structure=SQUARE)[0])
    if not found:
        return (0, 0, *slice_hu.shape)
    rows, columns = found[0]
    return rows.start, columns.start, rows.stop, columns.stop


def lungmasks_box(slice_hu: np.ndarray) -> tuple[int, ...]:
    return tuple(int(edge) for edge in lungmask.crop_and_resize(slice_hu.clip(-1024, 600), 8, 8)[1])


def on_grid(mask: np.ndarray, shape: tuple[int, int] = (128, 128)) -> np.ndarray:
    """A slice of water where the mask is, in air, by nearest neighbour."""
    wide = ndimage.zoom(mask.astype(np.int16), np.array(shape) / np.array(mask.shape), order=0)
    return np.where(wide > 0, 40, -1000).astype(np.int16)


def patches(shape: tuple[int, int], seed: int) -> np.ndarray:
    """Patches of water in air, of random size and number, with noise."""
    random = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(random.normal(size=shape), random.uniform(0, 0.06) * np.array(shape))
    level = np.quantile(smooth, random.uniform(0.05, 0.95))
    return (np.where(smooth > level, 40, -1000) + random.normal(0, 200, shape)).astype(np.int16)


@given(SIZES, SIZES, st.integers(0, 2**32 - 1))
@settings(max_examples=80, deadline=None)
def test_patches_in_any_frame_get_lungmasks_box(height: int, width: int, seed: int) -> None:
    hu = patches((height, width), seed)
    expected = plain_box(hu)
    assert expected == lungmasks_box(hu)
    assert body_box(hu) == expected


@given(SIZES, SIZES, st.floats(0.2, 0.95), st.integers(1, 12), st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_random_blocks_get_lungmasks_box(height: int, width: int, filled: float, block: int, seed: int) -> None:
    blocks = np.random.default_rng(seed).random((128 // block, 128 // block)) < filled
    hu = on_grid(blocks, (height, width))
    assert body_box(hu) == plain_box(hu)


@given(SIZES, SIZES)
@settings(deadline=None)
def test_a_frame_full_of_body_keeps_all_but_a_rim(height: int, width: int) -> None:
    hu = np.full((height, width), 40, np.int16)
    assert body_box(hu) == plain_box(hu)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (2, 2), (5, 700), (128, 128), (157, 115), (250, 307), (2036, 40)])
@pytest.mark.parametrize("value", [-1024, -500, -499, 600])
def test_slices_of_one_value_get_lungmasks_box(shape: tuple[int, int], value: int) -> None:
    hu = np.full(shape, value, np.int16)
    assert body_box(hu) == plain_box(hu) == lungmasks_box(hu)


def test_of_two_equal_bodies_the_first_is_taken() -> None:
    mask = np.zeros((128, 128), bool)
    mask[60:80, 70:90] = mask[61:81, 20:40] = True
    assert body_box(on_grid(mask)) == plain_box(on_grid(mask)) == (60, 70, 80, 90)


def test_the_larger_of_two_bodies_is_taken_though_it_comes_second() -> None:
    mask = np.zeros((128, 128), bool)
    mask[10:30, 10:30] = mask[60:90, 60:90] = True
    assert body_box(on_grid(mask)) == plain_box(on_grid(mask)) == (60, 60, 90, 90)


def test_air_inside_counts_as_body_unless_a_diagonal_gap_opens_it() -> None:
    ring = np.zeros((128, 128), bool)
    ring[20:110, 20:110] = True
    ring[29:101, 29:101] = False
    ring[40:60, 40:60] = True
    opened = ring.copy()
    opened[np.arange(19, 31), np.arange(19, 31)] = False
    for mask in (ring, opened):
        assert body_box(on_grid(mask)) == plain_box(on_grid(mask)) == (20, 20, 110, 110)


def test_a_spiral_is_filled_from_outside_all_the_way() -> None:
    y, x = np.mgrid[-64:64, -64:64]
    radius, angle = np.hypot(y, x), np.arctan2(y, x)
    mask = (np.sin(radius / 2.2 + angle) > 0) & (radius < 60)
    assert body_box(on_grid(mask, (512, 400))) == plain_box(on_grid(mask, (512, 400)))


@pytest.mark.parametrize(
    "shape", [(1, 1), (9, 31), (64, 64), (100, 512), (127, 127), (131, 250), (512, 512), (1024, 77)]
)
def test_a_thin_body_is_one_body_whatever_the_frame(shape: tuple[int, int]) -> None:
    """Steps of two pixels that touch by their corners once enlarged or shrunk."""
    stairs = np.zeros((128, 128), bool)
    for start in range(8, 118, 3):
        stairs[start : start + 5, start : start + 5] = True
    for mask in (stairs, stairs[::-1], stairs[:, ::-1], stairs | stairs.T[::-1]):
        assert body_box(on_grid(mask, shape)) == plain_box(on_grid(mask, shape)) == lungmasks_box(on_grid(mask, shape))


@example((250, 307), 5)
@given(st.tuples(st.integers(128, 420), st.integers(128, 420)), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_a_body_at_the_lower_right_border_gets_lungmasks_box(shape: tuple[int, int], seed: int) -> None:
    """Where scipy's rounding leaves the last row or column of the frame empty."""
    random = np.random.default_rng(seed)
    mask = np.zeros((128, 128), bool)
    for top, left in random.integers(90, 127, (3, 2)):
        mask[top:, left : left + random.integers(5, 30)] = mask[top : top + random.integers(5, 30), left:] = True
    assert body_box(on_grid(mask, shape)) == plain_box(on_grid(mask, shape))


def test_a_row_that_scipy_does_not_find_counts_as_water() -> None:
    """Scipy's rounding puts the last of 128 rows past the end of 2036, and 0 HU there; the body nearly touches it."""
    hu = np.full((2036, 128), -1000, np.int16)
    hu[1000:2005, 30:90] = 40
    assert body_box(hu) == plain_box(hu)
    assert body_box(hu)[2] > 2005 + 8


def test_the_window_is_applied_first() -> None:
    hu = np.full((128, 128), -1000, np.int16)
    hu[30:80, 40:90] = 40
    assert body_box(hu, (-1024, 600)) == (30, 40, 80, 90)
    whole = body_box(np.full_like(hu, 40))
    assert body_box(hu, (-400, 600)) == whole  # all air is clipped to more than the threshold
    assert body_box(hu, (-1024, -600)) == (0, 0, 128, 128)  # no body is left


def test_a_view_gets_the_same_box_as_its_copy() -> None:
    hu = patches((200, 310), 7)
    for view in (hu[::-1], hu[:, ::-1], hu.T, hu[::2, ::3]):
        assert body_box(view) == body_box(view.copy()) == plain_box(view.copy())
