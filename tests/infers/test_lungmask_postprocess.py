"""lungmask's postprocessing and ours, voxel for voxel."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lungmask.utils import postprocessing
from scipy import ndimage

from datastore.image_files import read_mask
from datastore.phantom import Phantom
from infers.lungmask_postprocess import lungmask_postprocess


def expect_the_same(labels: np.ndarray, spare: Collection[int] = ()) -> np.ndarray:
    """Ours, after it has been found equal to lungmask's."""
    before = labels.copy()
    ours = lungmask_postprocess(labels, spare)
    theirs = postprocessing(labels.copy(), spare=list(spare), disable_tqdm=True)
    assert ours.dtype == np.uint8 and not np.shares_memory(ours, labels)
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(labels, before)
    return ours


def smooth(shape: tuple[int, ...], classes: int, sigma: float, seed: int, bias: float = 0.0) -> np.ndarray:
    """What a network with random weights gives: labels in blobs, with tiny regions between."""
    random = np.random.default_rng(seed)
    scores = np.stack([ndimage.gaussian_filter(random.standard_normal(shape), sigma) for _ in range(classes)])
    scores[0] += bias * scores[0].std()
    return scores.argmax(axis=0).astype(np.uint8)


def lungs_with_specks(phantom: Phantom) -> np.ndarray:
    """A plausible mask with what goes wrong in practice: specks of either label inside, beside and far away."""
    labels = phantom.lungs.array.copy()
    random = np.random.default_rng(3)
    for place in random.integers(0, labels.shape, (60, 3)):
        size = random.integers(1, 6)
        labels[tuple(slice(start, start + size) for start in place)] = random.integers(0, 3)
    return labels


@st.composite
def label_images(draw: st.DrawFn) -> np.ndarray:
    """Blobs, noise, sparse specks and blocks; a third of them in one slice, some one voxel wide."""
    seed = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    if draw(st.integers(0, 2)) == 0:
        shape = (1, draw(st.integers(3, 28)), draw(st.integers(3, 28)))  # narrower ones make lungmask fail
    else:
        shape = (draw(st.integers(2, 10)), draw(st.integers(1, 12)), draw(st.integers(1, 12)))
    classes = draw(st.integers(2, 6))
    kind = draw(st.sampled_from(["blobs", "noise", "specks", "blocks"]))
    if kind == "blobs":
        labels = smooth(shape, classes, draw(st.floats(0.4, 1.5)), seed, draw(st.floats(-1.0, 1.0)))
    elif kind == "noise":
        labels = random.integers(0, classes, shape)
    elif kind == "specks":
        labels = random.integers(1, classes, shape) * (random.random(shape) < draw(st.floats(0.02, 0.4)))
    else:
        labels = np.zeros(shape, np.uint8)
        for _ in range(draw(st.integers(0, 8))):
            corners = np.sort(random.integers(0, np.array(shape) + 1, (2, 3)), axis=0)
            labels[tuple(slice(*ends) for ends in corners.T)] = random.integers(0, classes)
    labels = labels.astype(np.uint8)
    labels[labels == classes - 1] = draw(st.sampled_from([classes - 1, 255]))
    return labels


@given(label_images(), st.lists(st.sampled_from([0, 1, 2, 3, 4, 255, 300, -1]), max_size=2))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_labels_come_out_as_from_lungmask(labels: np.ndarray, spare: list[int]) -> None:
    expect_the_same(labels, spare)


@pytest.mark.parametrize("classes, bias", [(3, 1.5), (6, 0.5)])
def test_the_labels_of_a_random_network_come_out_as_from_lungmask(classes: int, bias: float) -> None:
    labels = smooth((12, 64, 64), classes, 1.0, seed=classes, bias=bias)
    assert ndimage.label(labels == 1, np.ones((3, 3, 3)))[1] > 40
    expect_the_same(labels)
    expect_the_same(labels, spare=[classes - 1])


def test_lungs_with_specks_come_out_as_from_lungmask(phantom: Phantom) -> None:
    expect_the_same(lungs_with_specks(phantom))


def test_single_slices_of_lungs_come_out_as_from_lungmask(phantom: Phantom) -> None:
    labels = lungs_with_specks(phantom)
    for z in range(10, 60, 7):
        expect_the_same(labels[z : z + 1])


def test_real_lungs_come_out_as_from_lungmask(real_data: Path) -> None:
    expect_the_same(read_mask(real_data / "nifti" / "cip-ct64" / "lung.nii.gz").array)


@pytest.mark.parametrize("hole, is_filled", [((7, 9), True), ((8, 8), False)])
def test_in_a_single_slice_holes_of_64_pixels_stay(hole: tuple[int, int], is_filled: bool) -> None:
    labels = np.zeros((1, 40, 40), np.uint8)
    labels[0, 5:35, 5:35] = 1
    labels[0, 10 : 10 + hole[0], 10 : 10 + hole[1]] = 0
    assert bool(expect_the_same(labels)[0, 12, 12]) is is_filled


def test_of_two_equal_neighbours_the_first_takes_a_region() -> None:
    labels = np.zeros((3, 12, 12), np.uint8)
    labels[1, 2:6, 4:8] = 1
    labels[1, 6:8, 4:8] = 3
    labels[1, 8:12, 4:8] = 2
    labels[1, 0, 0:5] = 3
    labels[1, 2:6, 10:12] = 3
    expect_the_same(labels)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_images_one_voxel_wide_come_out_as_from_lungmask(axis: int) -> None:
    for seed in range(40):
        shape = [12, 12, 12]
        shape[axis] = 1
        expect_the_same(smooth(tuple(shape), 4, 0.7, seed))


def test_pieces_that_a_speck_links_at_a_corner_count_together() -> None:
    labels = np.zeros((3, 12, 30), np.uint8)
    labels[:, 9:] = 2
    labels[0, 0, :10] = 1
    labels[0, 3, :5] = 1
    labels[0, 3, 5:8] = 2  # joins the five before it
    labels[1, 4, 8:15] = 1
    linked = expect_the_same(labels)
    assert linked[0, 3, 0] == linked[1, 4, 14] == 1 and not linked[0, 0].any()
    labels[0, 3, 7] = 0
    assert expect_the_same(labels)[0, 0, 0] == 1


@pytest.mark.parametrize("count", [2, 5, 17, 26])  # numpy sorts short and long arrays differently
def test_equal_pieces_of_a_label_are_chosen_as_by_lungmask(count: int) -> None:
    labels = np.zeros((2, 3 * count + 9, 70), np.uint8)
    labels[:, -7:] = 2
    for number in range(count):
        labels[0, 3 * number, :60] = 2  # joins the piece before it, and all pieces have 60 voxels
        labels[0, 3 * number, : 30 + number] = 1
    assert (expect_the_same(labels) == 1).sum() == 60


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("margin", [0, 1, 4])
def test_background_in_the_edge_between_two_faces_comes_out_as_from_lungmask(
    axes: tuple[int, int, int], margin: int
) -> None:
    labels = np.zeros((4 + margin, 5 + margin, 12), np.uint8)
    labels[:4, :5, 4:9] = 1
    labels[0, 0, 6] = 0
    labels[2, 0, 6] = 0
    expect_the_same(labels.transpose(axes))
    expect_the_same(labels[::-1].transpose(axes))
    expect_the_same(labels[:, ::-1].transpose(axes))


def test_the_flaw_of_fill_voids_is_met() -> None:
    labels = np.array([[[1, 0, 1], [0, 1, 0]], [[0, 1, 0], [1, 0, 1]]], np.uint8)
    assert expect_the_same(labels)[0, 0, 1] == 1  # an open place, but filled


def test_specks_join_one_another_and_then_a_lung() -> None:
    labels = np.zeros((5, 20, 20), np.uint8)
    labels[:, 2:18, 2:10] = 1
    labels[:, 2:18, 12:19] = 2
    labels[1:4, 5:10, 5:8] = 2
    labels[2, 6:8, 6:8] = 3
    labels[0, 0, :3] = 3
    assert set(np.unique(expect_the_same(labels))) == {0, 1, 2, 3}


@pytest.mark.parametrize("shape", [(0, 8, 8), (1, 8, 8), (5, 8, 8), (3, 1, 1)])
def test_no_label_stays_no_label(shape: tuple[int, int, int]) -> None:
    assert not lungmask_postprocess(np.zeros(shape, np.uint8)).any()


def test_a_spare_label_fills_others_and_goes() -> None:
    labels = np.zeros((4, 10, 20), np.uint8)
    labels[:, 2:8, 2:10] = 1
    labels[:, 2:8, 10:12] = 3
    labels[:, 2:8, 14:18] = 3
    expected = np.zeros_like(labels)
    expected[:, 2:8, 2:12] = 1
    np.testing.assert_array_equal(expect_the_same(labels, spare={3}), expected)


@pytest.mark.parametrize("labels", [np.zeros((4, 4), np.uint8), np.zeros((2, 4, 4), np.int64)])
def test_anything_but_a_volume_of_uint8_is_refused(labels: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"expected labels as \(z, y, x\) uint8, got shape"):
        lungmask_postprocess(labels)


def seconds(run: Callable[[], object]) -> float:
    best = np.inf
    for _ in range(3):
        start = time.process_time()
        run()
        best = min(best, time.process_time() - start)
    return float(best)


def test_ours_takes_less_than_a_third_of_the_time(phantom: Phantom) -> None:
    labels = lungs_with_specks(phantom)
    theirs = seconds(lambda: postprocessing(labels, disable_tqdm=True))
    assert seconds(lambda: lungmask_postprocess(labels)) < theirs / 3
