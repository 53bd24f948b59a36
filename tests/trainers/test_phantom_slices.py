"""Phantoms as training slices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from infers.preprocess import Preprocessing
from trainers.phantom_slices import PhantomPlan, augment_phantom, phantom_slices, round_view

PLAN = PhantomPlan(first_seed=5, phantoms=4, slices=10)
SMALL = Preprocessing(size=64)


def test_the_plan_decides_the_slices() -> None:
    first, second = list(phantom_slices(PLAN, SMALL)), list(phantom_slices(PLAN, SMALL))
    assert [len(part) for part in first] == [10] * 4
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.images, other.images)
        np.testing.assert_array_equal(one.labels, other.labels)
    later = next(iter(phantom_slices(replace(PLAN, first_seed=6), SMALL)))
    np.testing.assert_array_equal(later.images, first[1].images)
    assert (later.images != first[0].images).any()


def test_there_are_slices_with_lung_and_without() -> None:
    has_lung = np.concatenate([part.has_lung for part in phantom_slices(PLAN, SMALL)])
    assert 0.3 < has_lung.mean() < 0.95


def test_thick_slices_have_less_noise() -> None:
    def noise(thick_share: float) -> float:
        plan = replace(PLAN, thick_share=thick_share, partial_share=0.0, lesion_share=0.0)
        images = np.concatenate([part.images.astype(np.float32) for part in phantom_slices(plan, SMALL)])
        return float(np.median(np.abs(np.diff(images, axis=2))))

    assert noise(1.0) < 0.85 * noise(0.0)


def test_augmentation_is_a_function_of_what_is_random() -> None:
    part = next(iter(phantom_slices(PLAN)))
    index = int(np.argmax(part.labels.any(axis=(1, 2))))
    made = [augment_phantom(part.images[index], part.labels[index], np.random.default_rng(s), 128) for s in (1, 1, 2)]
    for first, second in zip(made[0], made[1], strict=True):
        np.testing.assert_array_equal(first, second)
    assert (made[0][0] != made[2][0]).any()
    assert made[0][0].shape == made[0][1].shape == (128, 128)


def test_beyond_a_round_field_of_view_there_is_nothing() -> None:
    image, labels = round_view(np.full((64, 64), 0.7, np.float32), np.ones((64, 64), np.uint8), 0.45)
    np.testing.assert_array_equal(image > 0, labels > 0)
    assert labels.mean() == pytest.approx(np.pi * 0.45**2, rel=0.02)
    assert image.dtype == np.float32 and labels.dtype == np.uint8


def test_some_slices_have_a_round_field_of_view() -> None:
    lung = np.ones((64, 64), np.uint8)
    centres = [augment_phantom(lung.astype(np.float32), lung, np.random.default_rng(s), 64)[1] for s in range(60)]
    y, x = np.indices((64, 64)) - 31.5
    is_round = [not made[y**2 + x**2 > 40**2].any() and made[y**2 + x**2 < 26**2].mean() > 0.95 for made in centres]
    assert 1 <= sum(is_round) <= 20
