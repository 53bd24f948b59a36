"""Training slices are what inference sees, their labels lie on them, and a set numbers those of many volumes."""

from __future__ import annotations

import numpy as np
import pytest

from datastore.phantom import Phantom
from infers.preprocess import Preprocessing, preprocess
from trainers.slices import BLOCK, SliceSet, TrainingSlices, VolumeSlices, slices_in_blocks, training_slices


def slices_of(value: float, count: int, size: int = 16) -> TrainingSlices:
    """Slice k is `value` + k / 64 everywhere; every second one has lung."""
    labels = np.zeros((count, size, size), np.uint8)
    labels[::2, 4:8] = 1
    images = np.full((count, size, size), value) + np.arange(count).reshape(-1, 1, 1) / 64
    return TrainingSlices(images.astype(np.float16), labels, labels.any(axis=(1, 2)))


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


def test_blocks_are_the_volume(phantom: Phantom) -> None:
    hu, lungs, how = phantom.image.array[:40], phantom.lungs.array[:40], Preprocessing(size=32)
    whole, blocks = training_slices(hu, lungs, how), list(slices_in_blocks(hu, lungs, how))
    assert [len(block) for block in blocks] == [BLOCK, 40 - BLOCK]
    for name in ("images", "labels", "has_lung"):
        parts = np.concatenate([getattr(block, name) for block in blocks])
        np.testing.assert_array_equal(parts, getattr(whole, name))


def test_a_mask_of_another_grid_is_refused(phantom: Phantom) -> None:
    hu, lungs = phantom.image.array, phantom.lungs.array
    with pytest.raises(ValueError, match=r"mask grid \(63, 128, 128\) does not match image \(64, 128, 128\)"):
        training_slices(hu, lungs[1:])
    with pytest.raises(ValueError, match=r"mask grid \(64, 128, 127\) does not match image \(64, 128, 128\)"):
        next(slices_in_blocks(hu, lungs[:, :, 1:], Preprocessing()))
    with pytest.raises(ValueError, match="expected labels as uint8, got int16"):
        training_slices(hu, lungs.astype(np.int16))


def test_a_set_numbers_the_slices_of_its_volumes_one_after_another() -> None:
    parts = [slices_of(0.0, 3), slices_of(0.25, 1), slices_of(0.5, 4)]
    slices = SliceSet([VolumeSlices(part, "patient") for part in parts])
    assert (len(slices), slices.size, slices.first.tolist()) == (8, 16, [0, 3, 4, 8])
    np.testing.assert_array_equal(slices.has_lung, np.concatenate([part.has_lung for part in parts]))
    images, labels = slices.read(np.array([7, 0, 3, 4, 4, 2]))
    assert images.dtype == np.float32 and labels.dtype == np.uint8
    np.testing.assert_allclose(images[:, 5, 5], [0.5 + 3 / 64, 0, 0.25, 0.5, 0.5, 2 / 64])
    assert labels.any(axis=(1, 2)).tolist() == [False, True, True, True, True, True]
    assert slices.read([])[0].shape == (0, 16, 16)


@pytest.mark.parametrize("index", [-1, 5])
def test_a_number_of_no_slice_is_refused(index: int) -> None:
    with pytest.raises(IndexError, match=f"expected the number of one of 5 slices, got {index}"):
        SliceSet([VolumeSlices(slices_of(0.0, 5), "a")]).read([index])


def test_a_set_has_slices_of_one_size() -> None:
    with pytest.raises(ValueError, match=r"expected slices of 16 x 16 .*, got \(8, 8\) of patient b"):
        SliceSet([VolumeSlices(slices_of(0.0, 2), "a"), VolumeSlices(slices_of(0.0, 2, size=8), "b")])


def test_an_empty_set_is_refused() -> None:
    with pytest.raises(ValueError, match="there are no training slices"):
        SliceSet([])
