"""Training slices are what inference sees, and their labels lie on them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from datastore.phantom import Phantom
from infers.preprocess import Preprocessing, preprocess
from trainers.slices import IMAGES_FILE, PROVENANCE_FILE, TrainingSlices, cache_slices, training_slices

SMALL = Preprocessing(size=16)


def slices_of(value: float, count: int) -> TrainingSlices:
    labels = np.zeros((count, 16, 16), np.uint8)
    labels[::2, 4:8] = 1
    return TrainingSlices(np.full((count, 16, 16), value, np.float16), labels, labels.any(axis=(1, 2)))


def test_the_images_are_those_of_inference(phantom: Phantom) -> None:
    hu = phantom.image.array[10:50:8]
    made = training_slices(hu, phantom.lungs.array[10:50:8])
    np.testing.assert_allclose(made.images, preprocess(hu).images, atol=6e-4)
    assert made.images.shape == made.labels.shape == (5, 256, 256)


def test_the_labels_lie_on_the_lungs_of_the_cropped_image(phantom: Phantom) -> None:
    hu, lungs = phantom.image.array[24:40:4].copy(), phantom.lungs.array[24:40:4]
    hu[lungs == 1] = -800  # the network's window puts these at 0.138 and 0.262
    hu[lungs == 2] = -600
    made = training_slices(hu, lungs)
    for label, value in ((1, 224 / 1624), (2, 424 / 1624)):
        inside = np.abs(made.images - value) < 0.01
        assert np.mean(inside[made.labels == label]) > 0.9
        assert np.mean(made.labels[inside] == label) > 0.9


def test_which_slices_have_lung_is_known(phantom: Phantom) -> None:
    made = training_slices(phantom.image.array[::9], phantom.lungs.array[::9])
    np.testing.assert_array_equal(made.has_lung, phantom.lungs.array[::9].any(axis=(1, 2)))
    assert 0 < made.has_lung.sum() < len(made)


def test_a_mask_of_another_grid_is_refused(phantom: Phantom) -> None:
    with pytest.raises(ValueError, match=r"mask grid \(63, 128, 128\) does not match image \(64, 128, 128\)"):
        training_slices(phantom.image.array, phantom.lungs.array[1:])


def test_the_cache_is_made_once_and_again_for_other_slices(tmp_path: Path) -> None:
    made: list[float] = []

    def parts(value: float) -> Iterator[TrainingSlices]:
        made.append(value)
        yield slices_of(value, 3)
        yield slices_of(value / 2, 2)

    for value in (0.5, 0.5, 0.25):
        cached = cache_slices(tmp_path, parts(value), 100, {"value": value}, SMALL)
        assert len(cached) == 5
        assert cached.images[0, 0, 0] == value and cached.images[4, 0, 0] == value / 2
        assert cached.has_lung.tolist() == [True, False, True, True, False]
    assert made == [0.5, 0.25]


def test_the_cache_is_bounded(tmp_path: Path) -> None:
    endless = (slices_of(0.5, 3) for _ in iter(int, 1))
    assert len(cache_slices(tmp_path, endless, 7, {}, SMALL)) == 7
    assert (tmp_path / IMAGES_FILE).stat().st_size < 7 * 16 * 16 * 2 + 200


def test_a_cache_that_was_not_finished_is_made_anew(tmp_path: Path) -> None:
    def interrupted() -> Iterator[TrainingSlices]:
        yield slices_of(0.5, 3)
        raise KeyboardInterrupt

    cache_slices(tmp_path, iter([slices_of(0.125, 2)]), 9, {"a": 1}, SMALL)
    with pytest.raises(KeyboardInterrupt):
        cache_slices(tmp_path, interrupted(), 9, {"a": 2}, SMALL)
    assert not (tmp_path / PROVENANCE_FILE).exists()
    for provenance in ({"a": 2}, {"a": 1}):
        assert len(cache_slices(tmp_path, iter([slices_of(0.25, 1)]), 9, provenance, SMALL)) == 1


def test_an_empty_cache_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there are no training slices"):
        cache_slices(tmp_path, iter([]), 9, {}, SMALL)
