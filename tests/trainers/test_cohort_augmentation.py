"""Slices of realistic patients are varied gently: shape, part, pixel size and tone, image and labels together."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage

from trainers.cohort_augmentation import augment_cohort, coarse, part_of, round_view
from trainers.deformation import deform, draw_deformation
from trainers.dressing import AIR_HU, HIGHEST_HU, dress
from trainers.looks import draw_gentle_looks, draw_wide_looks

SIZE = 96
LABELS = np.zeros((SIZE, SIZE), np.uint8)
LABELS[30:70, 20:42], LABELS[30:70, 54:76] = 1, 2
BODY = np.zeros(LABELS.shape, bool)
BODY[16:84, 10:86] = True
DENSE = np.zeros(LABELS.shape, bool)
DENSE[45:70, 20:42] = True  # most of the right lung, as under an effusion
HU = np.where(DENSE, 20.0, np.where(LABELS > 0, -850.0, np.where(BODY, 50.0, -1000.0))).astype(np.float32)
IMAGE = (HU - AIR_HU) / (HIGHEST_HU - AIR_HU)


def dressed(seed: int) -> np.ndarray:
    image = dress(IMAGE, LABELS, draw_gentle_looks(np.random.default_rng(seed)))
    return image * (HIGHEST_HU - AIR_HU) + AIR_HU


def test_augmentation_is_a_function_of_what_is_random() -> None:
    made = [augment_cohort(IMAGE, LABELS, np.random.default_rng(seed), 48) for seed in (1, 1, 2)]
    for first, second in zip(made[0], made[1], strict=True):
        np.testing.assert_array_equal(first, second)
    assert (made[0][0] != made[2][0]).any()
    assert made[0][0].shape == made[0][1].shape == (48, 48)
    assert made[0][0].dtype == np.float32 and made[0][1].dtype == np.uint8


def middle(kind: np.ndarray) -> Callable[[np.ndarray], float]:
    return lambda hu: float(np.median(hu[kind]))


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [(DENSE, -80, 140), ((LABELS > 0) & ~DENSE, -1024, -600), (BODY & (LABELS == 0), -80, 180), (~BODY, -1024, -800)],
    ids=["dense lung", "air in lung", "soft tissue", "air outside"],
)
def test_gentle_looks_leave_everything_near_what_it_was(kind: np.ndarray, low: float, high: float) -> None:
    values = [middle(kind)(dressed(seed)) for seed in range(40)]
    assert np.quantile(values, 0.15) > low and np.quantile(values, 0.85) < high
    assert np.std(values) > 3


def wide(seed: int) -> np.ndarray:
    image = dress(IMAGE, LABELS, draw_wide_looks(np.random.default_rng(seed), has_lung=True))
    return image * (HIGHEST_HU - AIR_HU) + AIR_HU


def test_wide_looks_are_rougher_and_keep_dense_lung_denser_than_air() -> None:
    air = (LABELS > 0) & ~DENSE
    made = [wide(seed) for seed in range(40)]
    for kind in (air, BODY & (LABELS == 0), ~BODY):
        gentle_hu, wide_hu = (
            np.mean([np.std(hu[kind]) for hu in looks]) for looks in ([dressed(seed) for seed in range(40)], made)
        )
        assert wide_hu > 1.3 * gentle_hu
    assert np.mean([middle(DENSE)(hu) > middle(air)(hu) + 300 for hu in made]) > 0.8


def test_wide_looks_make_lungs_as_dark_as_emphysema_whatever_they_were() -> None:
    air = (LABELS > 0) & ~DENSE
    values = [middle(air)(wide(seed)) for seed in range(60)]
    assert np.mean(np.less(values, -920)) > 0.15 and np.mean(np.greater(values, -800)) > 0.2


def test_gentle_looks_tell_a_lung_apart_by_its_air_alone() -> None:
    dense = [middle(DENSE)(dressed(seed)) for seed in range(40)]
    air = [middle((LABELS > 0) & ~DENSE)(dressed(seed)) for seed in range(40)]
    assert all(one > other + 300 for one, other in zip(dense, air, strict=True))


def test_a_part_shows_less_of_the_slice_and_never_what_is_beyond_it() -> None:
    inside = np.ones((SIZE, SIZE), np.float32)
    for seed in range(20):
        random = np.random.default_rng(seed)
        part = part_of(draw_deformation(random), random)
        seen, _ = deform(inside, LABELS, part, SIZE)
        assert seen.mean() > 0.8
        assert np.linalg.det(part.matrix[:, :2]) < 0.8


def test_a_part_often_shows_one_lung() -> None:
    shown = []
    for seed in range(60):
        random = np.random.default_rng(seed)
        _, labels = deform(IMAGE, LABELS, part_of(draw_deformation(random), random), SIZE)
        shown.append(len(set(np.unique(labels)) - {0}))
    assert shown.count(1) > 5 and shown.count(2) > 5


def test_coarse_pixels_are_the_mean_of_fine_ones() -> None:
    noise = np.random.default_rng(1).standard_normal((64, 64)).astype(np.float32)
    made = coarse(noise, 4.0)
    assert made.shape == noise.shape and made.dtype == np.float32
    assert made.std() < 0.3
    np.testing.assert_allclose(coarse(np.full((64, 64), 0.25, np.float32), 4.0), 0.25, atol=1e-6)
    np.testing.assert_array_equal(coarse(noise, 0.8), noise)


def test_healthy_lungs_stay_healthy() -> None:
    healthy = np.where(DENSE, np.float32(0.1), IMAGE)

    def most_dense(ill: bool) -> float:
        shares = []
        for seed in range(60):
            image, labels = augment_cohort(healthy, LABELS, np.random.default_rng(seed), SIZE, ill=ill)
            hu = image * (HIGHEST_HU - AIR_HU) + AIR_HU
            smooth = ndimage.uniform_filter(hu, 9)  # strands and noise are no disease
            shares.append((smooth[ndimage.binary_erosion(labels > 0, iterations=5)] > -150).mean())
        return float(np.nanmax(shares))

    assert most_dense(True) > 0.2 > 0.05 > most_dense(False)


def test_beyond_a_round_field_of_view_there_is_nothing() -> None:
    image, labels = round_view(np.full((64, 64), 0.7, np.float32), np.ones((64, 64), np.uint8), 0.45)
    np.testing.assert_array_equal(image > 0, labels > 0)
    assert labels.mean() == pytest.approx(np.pi * 0.45**2, rel=0.02)
    assert image.dtype == np.float32 and labels.dtype == np.uint8
