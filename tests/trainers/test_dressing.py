"""Random looks change what a slice looks like, each where it belongs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from trainers.dressing import AIR_HU, HIGHEST_HU, dress
from trainers.looks import CURVE_HU, Ellipse, Looks, draw_looks

PLAIN = Looks(
    tissue_curve_hu=CURVE_HU,
    tissue_texture_hu=0.0,
    fat_share=0.0,
    fat_hu=-100.0,
    lung_hu=(-850.0, -850.0),
    lung_contrast=1.0,
    lung_texture_hu=0.0,
    lung_slope_hu=0.0,
    strands_hu=0.0,
    strands_width=0.1,
    dense_share=(0.0, 0.0),
    dense_hu=40.0,
    hazy_share=0.0,
    hazy_hu=200.0,
    layer_share=(0.0, 0.0),
    layer_hu=10.0,
    air_hu=0.0,
    air_texture_hu=0.0,
    blanket_distance=0.0,
    blanket_hu=-500.0,
    blur_pixels=0.0,
    noise_hu=0.0,
    grain_hu=0.0,
    streaks_hu=0.0,
    seed=1,
)
LABELS = np.zeros((96, 96), np.uint8)
LABELS[30:70, 20:42], LABELS[30:70, 54:76] = 1, 2
BODY = np.zeros(LABELS.shape, bool)
BODY[16:84, 10:86] = True
HU = np.where(LABELS > 0, -850.0, np.where(BODY, 50.0, -1000.0)).astype(np.float32)
SOFT, OUTSIDE = BODY & (LABELS == 0), ~BODY


def dressed_hu(**changes: object) -> np.ndarray:
    image = (HU - AIR_HU) / (HIGHEST_HU - AIR_HU)
    made = dress(image, LABELS, replace(PLAIN, **changes))  # type: ignore[arg-type]
    assert made.dtype == np.float32 and made.shape == image.shape and made.min() >= 0 and made.max() <= 1
    return made * (HIGHEST_HU - AIR_HU) + AIR_HU


def test_plain_looks_change_nothing() -> None:
    np.testing.assert_allclose(dressed_hu(), HU, atol=0.1)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"tissue_curve_hu": CURVE_HU + 60}, SOFT),
        ({"tissue_texture_hu": 30.0}, SOFT),
        ({"fat_share": 0.4}, SOFT),
        ({"lung_hu": (-700.0, -900.0)}, LABELS > 0),
        ({"lung_texture_hu": 50.0}, LABELS > 0),
        ({"lung_slope_hu": 50.0}, LABELS > 0),
        ({"strands_hu": 400.0}, LABELS > 0),
        ({"hazy_share": 0.5}, LABELS > 0),
        ({"dense_share": (0.3, 0.0)}, LABELS == 1),
        ({"dense_share": (0.0, 0.3)}, LABELS == 2),
        ({"layer_share": (0.3, 0.0)}, LABELS == 1),
        ({"layer_share": (0.0, 0.3)}, LABELS == 2),
        ({"gas": (Ellipse(0.0, 0.0, 0.5, 0.5, 0.0, -900.0),)}, SOFT),
        ({"air_hu": 100.0}, OUTSIDE),
        ({"air_texture_hu": 50.0}, OUTSIDE),
        ({"blanket_distance": 0.05}, OUTSIDE),
        ({"around": (Ellipse(0.4, 0.0, 0.2, 0.5, 0.3, 0.0),)}, OUTSIDE),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_each_look_changes_its_own_region_alone(changes: dict[str, object], where: np.ndarray) -> None:
    difference = np.abs(dressed_hu(**changes) - HU) > 1
    assert np.mean(difference[where]) > 0.02
    assert not difference[~where].any()


def test_a_consolidation_has_its_share_and_its_value() -> None:
    right = dressed_hu(dense_share=(0.3, 0.0))[LABELS == 1]
    assert np.mean(right > 0) == pytest.approx(0.3, abs=0.02)
    np.testing.assert_allclose(right[right > 0], 40, atol=0.5)


def test_fluid_lies_at_the_back() -> None:
    fluid = (dressed_hu(layer_share=(0.25, 0.25)) > -100) & (LABELS > 0)
    assert np.mean(fluid[LABELS > 0]) == pytest.approx(0.25, abs=0.04)
    assert np.argwhere(fluid)[:, 0].min() > 48


def test_gas_in_the_gut_does_not_touch_the_lung() -> None:
    gas = (dressed_hu(gas=(Ellipse(0.0, 0.0, 0.5, 0.5, 0.0, -900.0),)) < -800) & SOFT
    assert gas.any()
    assert not gas[29:71, 19:43].any()


@pytest.mark.parametrize("look", ["noise_hu", "grain_hu", "streaks_hu"])
def test_noise_has_about_its_standard_deviation(look: str) -> None:
    assert np.std((dressed_hu(**{look: 40.0}) - HU)[SOFT]) == pytest.approx(40, rel=0.35)


def test_blur_softens_edges_and_sharpening_overshoots() -> None:
    soft, sharp = dressed_hu(blur_pixels=2.0), dressed_hu(blur_pixels=-2.0)
    assert soft[50, 20] > HU[50, 20] + 50  # the lung's outermost column
    assert sharp[50, 20] < HU[50, 20] - 50


def test_the_same_looks_give_the_same_slice() -> None:
    image = (HU - AIR_HU) / (HIGHEST_HU - AIR_HU)
    for seed in range(20):
        looks = draw_looks(np.random.default_rng(seed), has_lung=True)
        again = draw_looks(np.random.default_rng(seed), has_lung=True)
        np.testing.assert_array_equal(dress(image, LABELS, looks), dress(image, LABELS, again))
    other = replace(looks, seed=looks.seed + 1)
    assert (dress(image, LABELS, looks) != dress(image, LABELS, other)).any()


def test_slices_without_lung_and_without_air_can_be_dressed() -> None:
    for hu in (np.full(LABELS.shape, 40.0), np.full(LABELS.shape, -1000.0)):
        image = ((hu - AIR_HU) / (HIGHEST_HU - AIR_HU)).astype(np.float32)
        for seed in range(10):
            made = dress(image, np.zeros_like(LABELS), draw_looks(np.random.default_rng(seed), has_lung=False))
            assert np.isfinite(made).all()
