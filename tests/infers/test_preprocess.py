"""lungmask itself is the judge: its numbers, to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from lungmask import utils as lungmask

from datastore.image_files import read_ct
from datastore.phantom import Phantom
from infers.preprocess import Preprocessing, preprocess, restore


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


@pytest.mark.parametrize("name", ["cip-ct64", "elastix-3dct-right", "totalseg-abdomen"])
def test_real_ct_gets_lungmasks_numbers(real_data: Path, name: str) -> None:
    hu = read_ct(real_data / "nifti" / name / "image.nii.gz").to_lps().array
    assert_same_as_lungmask(np.ascontiguousarray(hu[::8]))


def test_the_window_is_the_models(phantom: Phantom) -> None:
    wide = preprocess(phantom.image.array[30:31], Preprocessing(hu_low=-2000, hu_high=2000, size=64)).images
    assert wide.shape == (1, 64, 64)
    assert 0.2 < wide.min() < 0.26  # air, at -1000 of a window that begins at -2000
