"""Labels back in the scan: by nearest neighbour as lungmask, and smooth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.ndimage as ndimage
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lungmask import utils as lungmask

from infers.restoring import restore, restore_smooth

SEEDS = st.integers(0, 2**32 - 1)
SMALL = st.integers(1, 300)
FRAME = (7, 3, 420, 391)  # a crop, and what is left of the frame beyond it
BEYOND = 11


def blobs(seed: int, classes: int, size: int = 256) -> np.ndarray:
    """(1, classes, size, size) float32 scores that are smooth."""
    random = np.random.default_rng(seed)
    scores = ndimage.gaussian_filter(random.normal(size=(1, classes, size, size)), (0, 0, size / 20, size / 20))
    return (scores / scores.std() * random.uniform(0.5, 8)).astype(np.float32)


@given(st.integers(1, 600), st.integers(1, 600), st.integers(0, 30), st.integers(0, 30), SEEDS)
@example(250, 325, 0, 0, 1)  # scipy's rounding loses the last row and the last column
@settings(max_examples=60, deadline=None)
def test_any_labels_in_any_crop_get_lungmasks_mask(height: int, width: int, top: int, left: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 6, (2, 256, 256)).astype(np.uint8)
    y, x = np.sort(random.integers(0, 257, (2, 2)))
    labels[1, : y[0]] = labels[1, y[1] :] = labels[1, :, : x[0]] = labels[1, :, x[1] :] = 0
    box = np.array([top, left, top + height, left + width])
    shape = (top + height + 2, left + width + 3)
    found = restore(labels, np.stack([box, box]), shape)
    assert found.dtype == np.uint8
    for ours, slice_labels in zip(found, labels, strict=True):
        np.testing.assert_array_equal(ours, lungmask.reshape_mask(slice_labels, box, shape))


@given(SMALL, SMALL, SMALL, SMALL)
@settings(max_examples=40, deadline=None)
def test_a_grid_of_any_size_is_restored_as_scipy_zooms(rows: int, columns: int, height: int, width: int) -> None:
    labels = np.arange(rows * columns).reshape(1, rows, columns).astype(np.uint8)
    zoomed = ndimage.zoom(labels[0], np.array([height, width]) / np.array([rows, columns]), order=0)
    found = restore(labels, np.array([[0, 0, height, width]]), (height, width))
    np.testing.assert_array_equal(found[0], zoomed)


def both() -> list[Callable[..., np.ndarray]]:
    """`restore` and `restore_smooth`, called alike, of labels."""

    def smooth(labels: np.ndarray, *rest: object) -> np.ndarray:
        scores = (labels[:, np.newaxis] == np.arange(3)[:, np.newaxis, np.newaxis]).astype(np.float32) * 9
        return restore_smooth(scores, *rest)  # type: ignore[arg-type]

    return [restore, smooth]


@pytest.mark.parametrize("restored", both(), ids=["nearest", "smooth"])
def test_an_array_that_is_given_is_overwritten(restored: Callable[..., np.ndarray]) -> None:
    labels = np.zeros((2, 32, 32), np.uint8)
    labels[1, 5:20, 8:30] = 2
    boxes = np.array([[0, 0, 50, 60], [3, 4, 40, 50]])
    scan = np.full((4, 50, 60), 7, np.uint8)
    assert restored(labels, boxes, (50, 60), scan[1:3]).base is scan
    np.testing.assert_array_equal(scan[1:3], restored(labels, boxes, (50, 60)))
    assert (scan[[0, 3]] == 7).all() and scan[2].any() and not scan[1].any()


@pytest.mark.parametrize("restored", both(), ids=["nearest", "smooth"])
@pytest.mark.parametrize(
    "out", [np.zeros((1, 50, 60), np.uint8), np.zeros((2, 50, 61), np.uint8), np.zeros((2, 50, 60), np.int16)]
)
def test_an_array_that_does_not_fit_is_refused(restored: Callable[..., np.ndarray], out: np.ndarray) -> None:
    boxes = np.array([[0, 0, 50, 60], [0, 0, 50, 60]])
    with pytest.raises(ValueError, match=r"expected out as \(2, 50, 60\) uint8, got"):
        restored(np.ones((2, 32, 32), np.uint8), boxes, (50, 60), out)


@pytest.mark.parametrize("restored", both(), ids=["nearest", "smooth"])
def test_no_slices_give_none(restored: Callable[..., np.ndarray]) -> None:
    assert restored(np.zeros((0, 32, 32), np.uint8), np.zeros((0, 4), int), (50, 60)).shape == (0, 50, 60)


def likelihoods(scores: np.ndarray, height: int, width: int) -> np.ndarray:
    """(classes, height, width) float64 probabilities, interpolated everywhere by scipy."""
    chances = np.exp(scores.astype(np.float64))
    chances /= chances.sum(axis=0)
    y = np.arange(height) * (scores.shape[1] - 1) / max(height - 1, 1)
    x = np.arange(width) * (scores.shape[2] - 1) / max(width - 1, 1)
    where = np.meshgrid(y, x, indexing="ij")
    return np.array([ndimage.map_coordinates(plane, where, order=1, mode="nearest") for plane in chances])


@given(SMALL, SMALL, st.integers(1, 6), st.integers(2, 80), SEEDS)
@example(600, 500, 3, 64, 0)
@example(3, 2, 3, 64, 0)
@settings(max_examples=60, deadline=None)
def test_the_smooth_label_is_the_likeliest_of_interpolated_probabilities(
    height: int, width: int, classes: int, size: int, seed: int
) -> None:
    scores = blobs(seed, classes, size)
    found = restore_smooth(scores, np.array([[2, 5, 2 + height, 5 + width]]), (height + 4, width + 9))[0]
    expected = likelihoods(scores[0], height, width)
    inside = found[2 : 2 + height, 5 : 5 + width]
    chosen = np.take_along_axis(expected, inside[np.newaxis].astype(int), axis=0)[0]
    assert (chosen > expected.max(axis=0) - 1e-5).all()
    found[2 : 2 + height, 5 : 5 + width] = 0
    assert not found.any()


@given(SEEDS, st.integers(2, 500), st.integers(2, 500))
@settings(max_examples=40, deadline=None)
def test_between_network_pixels_of_one_label_lies_that_label(seed: int, height: int, width: int) -> None:
    scores = np.random.default_rng(seed).normal(size=(1, 4, 40, 40)).astype(np.float32)
    scores[:, :2] += ndimage.gaussian_filter(scores[:, :2], (0, 0, 4, 4)) * 30
    labels = scores[0].argmax(axis=0)
    found = restore_smooth(scores, np.array([[0, 0, height, width]]), (height, width))[0]
    y, x = (np.arange(length) * 39 / (length - 1) for length in (height, width))
    corners = [labels[np.ix_(row, column)] for row in ends(y) for column in ends(x)]
    alike = np.logical_and.reduce([corner == corners[0] for corner in corners])
    np.testing.assert_array_equal(found[alike], corners[0][alike])


def ends(position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The network pixels before and after each position."""
    return np.floor(position).astype(int), np.ceil(position).astype(int)


def test_scores_and_log_probabilities_give_one_mask() -> None:
    scores = blobs(3, 3)
    logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    boxes = np.array([[0, 0, 512, 512]])
    same = restore_smooth(scores, boxes, (512, 512)) == restore_smooth(logs, boxes, (512, 512))
    assert same.mean() > 0.99999


def test_of_labels_that_are_as_likely_the_lower_is_taken() -> None:
    scores = np.zeros((1, 4, 40, 40), np.float32)
    scores[:, 2:, 10:30, 10:30] = 5
    found = restore_smooth(scores, np.array([[0, 0, 90, 90]]), (90, 90))
    assert np.unique(found).tolist() == [0, 2]


def test_great_scores_do_not_overflow() -> None:
    scores = blobs(4, 3) * 1000
    boxes = np.array([[0, 0, 512, 512]])
    assert restore_smooth(scores, boxes, (512, 512)).any()


def from_edge(rows: np.ndarray, columns: np.ndarray, y: float, x: float, radius: float) -> np.ndarray:
    """Distance of each pixel to the edge of a disc, below 0 inside."""
    return np.hypot(rows[:, np.newaxis] - y, columns - x) - radius


def dice(found: np.ndarray, true: np.ndarray) -> float:
    return float(2 * (found & true).sum() / (found.sum() + true.sum()))


@given(st.floats(150, 250), st.floats(150, 250), st.floats(20, 140), st.floats(0.5, 4))
@settings(max_examples=20, deadline=None)
def test_a_smooth_circle_is_nearer_the_truth_and_no_larger(y: float, x: float, radius: float, softness: float) -> None:
    """The network sees each pixel of its own 128 x 128 where `preprocess` samples it."""
    top, left, bottom, right = FRAME
    height, width = bottom - top, right - left
    rows, columns = np.arange(128) * (height - 1) / 127, np.arange(128) * (width - 1) / 127
    logit = (-from_edge(rows, columns, y, x, radius) / softness).astype(np.float32)
    scores = np.stack([np.zeros_like(logit), np.full_like(logit, -50), logit])[np.newaxis]
    shape, boxes = (bottom + BEYOND, right + BEYOND), np.array([FRAME])
    nearest = restore(scores.argmax(axis=1).astype(np.uint8), boxes, shape)[0, top:bottom, left:right] == 2
    smooth = restore_smooth(scores, boxes, shape)[0, top:bottom, left:right] == 2
    true = from_edge(np.arange(height), np.arange(width), y, x, radius) < 0
    assert dice(smooth, true) > dice(nearest, true)
    assert abs(int(smooth.sum()) - int(true.sum())) < 0.02 * true.sum()
