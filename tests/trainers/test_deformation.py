"""Image and labels move together, and the same parameters give the same slice."""

from __future__ import annotations

import numpy as np
import pytest

from trainers.deformation import Deformation, deform, draw_deformation


def picture() -> tuple[np.ndarray, np.ndarray]:
    """Two boxes of their own brightness: label 1 at 0.4, label 2 at 0.8."""
    labels = np.zeros((64, 64), np.uint8)
    labels[16:44, 8:28] = 1
    labels[20:50, 36:58] = 2
    return labels.astype(np.float32) * np.float32(0.4), labels


def still(**changes: object) -> Deformation:
    parts = {"matrix": np.eye(2, 3, dtype=np.float32), "bulge": 0.0, "displacements": (), **changes}
    return Deformation(**parts)  # type: ignore[arg-type]


def test_no_deformation_changes_nothing() -> None:
    image, labels = picture()
    moved, moved_labels = deform(image, labels, still(), 64)
    np.testing.assert_allclose(moved, image, atol=1e-4)
    np.testing.assert_array_equal(moved_labels, labels)


@pytest.mark.parametrize("seed", range(8))
def test_the_labels_stay_on_their_image(seed: int) -> None:
    image, labels = picture()
    moved, moved_labels = deform(image, labels, draw_deformation(np.random.default_rng(seed)), 96)
    assert moved.shape == moved_labels.shape == (96, 96)
    assert moved.dtype == np.float32 and moved_labels.dtype == np.uint8
    assert (moved_labels != np.array(deform(image, labels, still(), 96)[1])).any()
    expected = np.rint(moved / np.float32(0.4)).astype(np.uint8)  # off only where bilinear edges are between two values
    assert np.mean(expected == moved_labels) > 0.97
    assert set(np.unique(moved_labels)) == {0, 1, 2}


def test_the_same_parameters_give_the_same_slice_and_others_another() -> None:
    image, labels = picture()
    first, second, other = (draw_deformation(np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(deform(image, labels, first, 64)[0], deform(image, labels, second, 64)[0])
    assert (deform(image, labels, first, 64)[0] != deform(image, labels, other, 64)[0]).any()


def test_a_shift_moves_the_picture_by_so_much() -> None:
    image, labels = picture()
    matrix = np.array([[1, 0, 0], [0, 1, 2 * 6 / 63]], np.float32)  # the new slice shows what lay 6 pixels lower
    _, moved = deform(image, labels, still(matrix=matrix), 64)
    np.testing.assert_array_equal(moved[:58], labels[6:])
    assert not moved[58:].any()


@pytest.mark.parametrize(("bulge", "grows"), [(0.3, True), (-0.3, False)])
def test_a_bulge_spreads_the_middle(bulge: float, grows: bool) -> None:
    labels = np.zeros((64, 64), np.uint8)
    labels[24:40, 24:40] = 1
    _, moved = deform(labels.astype(np.float32), labels, still(bulge=bulge), 64)
    assert (moved.sum() > labels.sum()) == grows


def test_nothing_is_ever_mirrored() -> None:
    for seed in range(300):
        assert np.linalg.det(draw_deformation(np.random.default_rng(seed)).matrix[:, :2]) > 0.2
    image, labels = picture()
    for seed in range(40):
        _, moved = deform(image, labels, draw_deformation(np.random.default_rng(seed)), 64)
        right, left = (np.argwhere(moved == label)[:, 1].mean() for label in (1, 2))
        assert right < left
