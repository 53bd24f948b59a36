"""lungmask itself is the judge: its numbers, to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage as ndimage
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lungmask import utils as lungmask

from datastore.image_files import read_ct
from datastore.phantom import Phantom
from infers.preprocess import Preprocessing, body_box, preprocess, restore


def theirs(hu: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The network's input as `LMInferer._inference` makes it."""
    images, boxes = lungmask.preprocess(hu, resolution=[256, 256])
    images = images.copy()
    images[images > 600] = 600
    return np.divide(images + 1024, 1624).astype(np.float32), np.array([tuple(box) for box in boxes])


def assert_same_as_lungmask(hu: np.ndarray) -> None:
    ours = preprocess(hu)
    images, boxes = theirs(hu)
    np.testing.assert_array_equal(ours.images, images)
    np.testing.assert_array_equal(ours.boxes, boxes)
    labels = (ours.images > 0.4).astype(np.uint8) * 2
    back = np.array([lungmask.reshape_mask(labels[i], boxes[i], hu.shape[1:]) for i in range(len(hu))])
    np.testing.assert_array_equal(restore(labels, ours.boxes, (hu.shape[1], hu.shape[2])), back.astype(np.uint8))


def test_a_phantom_gets_lungmasks_numbers(phantom: Phantom) -> None:
    assert_same_as_lungmask(phantom.image.array[::4])


@pytest.mark.parametrize(
    "hu",
    [
        np.full((2, 40, 50), -1024, np.int16),
        np.full((2, 40, 50), 40, np.int16),
        np.random.default_rng(3).integers(-3024, 3000, (3, 70, 61)).astype(np.int16),
    ],
    ids=["all air", "all water", "noise"],
)
def test_odd_slices_get_lungmasks_numbers(hu: np.ndarray) -> None:
    assert_same_as_lungmask(hu)


LENGTHS = st.one_of(st.integers(1, 70), st.integers(71, 300), st.integers(301, 620))


@given(LENGTHS, LENGTHS, st.integers(0, 2**32 - 1))
@example(1, 1, 0)
@example(250, 325, 0)
@settings(max_examples=30, deadline=None)
def test_patches_in_any_frame_get_lungmasks_numbers(height: int, width: int, seed: int) -> None:
    assert_same_as_lungmask(patches((2, height, width), seed))


def patches(shape: tuple[int, int, int], seed: int) -> np.ndarray:
    """Patches of random size and Hounsfield units in air, beyond the window at both ends."""
    random = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(random.normal(size=shape), (0, *(random.uniform(0, 0.06) * np.array(shape[1:]))))
    dense = smooth > np.quantile(smooth, random.uniform(0, 1))
    return np.where(dense, random.normal(0, 600, shape), random.normal(-1000, 100, shape)).astype(np.int16)


@given(
    st.integers(-1500, 0), st.integers(1, 2000), st.sampled_from([1, 31, 64, 100, 257, 320]), st.integers(0, 2**32 - 1)
)
@example(-1024, -600, 64, 0)
@settings(max_examples=40, deadline=None)
def test_any_window_and_size_get_scipys_numbers(hu_low: int, hu_high: int, size: int, seed: int) -> None:
    hu = patches((1, 130, 171), seed)
    found = preprocess(hu, Preprocessing(hu_low, hu_high, size))
    clipped = hu[0].clip(hu_low, hu_high)
    top, left, bottom, right = body_box(clipped)
    crop = clipped[top:bottom, left:right]
    resized = ndimage.zoom(crop, np.array([size, size]) / np.array(crop.shape), order=1)
    expected = (resized.astype(np.float32) - hu_low) / np.float32(hu_high - hu_low)
    np.testing.assert_array_equal(found.images[0], expected)
    np.testing.assert_array_equal(found.boxes[0], [top, left, bottom, right])


@pytest.mark.parametrize("step", [1, 5])
def test_a_scan_gets_the_same_numbers_slice_by_slice(phantom: Phantom, step: int) -> None:
    whole = preprocess(phantom.image.array[20:30])
    for start in range(0, 10, step):
        part = preprocess(phantom.image.array[20 + start : 20 + start + step])
        np.testing.assert_array_equal(part.images, whole.images[start : start + step])
        np.testing.assert_array_equal(part.boxes, whole.boxes[start : start + step])


def test_the_scan_is_left_as_it_was(phantom: Phantom) -> None:
    hu = phantom.image.array[30:32].copy()
    hu[:, 60:70] = 3000
    kept = hu.copy()
    preprocess(hu)
    np.testing.assert_array_equal(hu, kept)


def test_no_slices_give_none() -> None:
    found = preprocess(np.zeros((0, 50, 60), np.int16))
    assert found.images.shape == (0, 256, 256) and found.boxes.shape == (0, 4)


@pytest.mark.parametrize("hu", [np.zeros((2, 9, 9), np.float32), np.zeros((9, 9), np.int16)], ids=["float", "slice"])
def test_what_is_not_a_stack_of_whole_hounsfield_units_is_refused(hu: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"expected hu as \(slices, y, x\) int16, got"):
        preprocess(hu)


@pytest.mark.parametrize("name", ["cip-ct64", "elastix-3dct-right", "totalseg-abdomen"])
def test_real_ct_gets_lungmasks_numbers(real_data: Path, name: str) -> None:
    hu = read_ct(real_data / "nifti" / name / "image.nii.gz").to_lps().array
    assert_same_as_lungmask(np.ascontiguousarray(hu[::8]))


def test_the_window_is_the_models(phantom: Phantom) -> None:
    wide = preprocess(phantom.image.array[30:31], Preprocessing(hu_low=-2000, hu_high=2000, size=64)).images
    assert wide.shape == (1, 64, 64)
    assert 0.2 < wide.min() < 0.26  # air, at -1000 of a window that begins at -2000
