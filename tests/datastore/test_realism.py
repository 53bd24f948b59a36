"""Measures of realism on scans of known HU, noise and size."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from datastore.phantom import chest_phantom, published, realism

SPACING_MM = (5.0, 1.5, 1.5)
SHAPE = (8, 160, 200)


def ellipse(shape: tuple[int, int, int], radii_mm: tuple[float, float], middle_mm: tuple[float, float]) -> np.ndarray:
    y, x = (
        (np.arange(count) - (count - 1) / 2) * step - at
        for count, step, at in zip(shape[1:], SPACING_MM[1:], middle_mm, strict=True)
    )
    disc = (y[:, None] / radii_mm[0]) ** 2 + (x[None] / radii_mm[1]) ** 2 <= 1
    return np.broadcast_to(disc, shape).copy()


def chest(noise_hu: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """HU, lungs and body: muscle in fat, with a lung, a bone and a table."""
    hu = np.full(SHAPE, -997, np.float32)
    body = ellipse(SHAPE, (95, 130), (0, 0))
    hu[body] = -101
    hu[ellipse(SHAPE, (80, 115), (0, 0))] = 51
    lungs = ellipse(SHAPE, (45, 40), (0, -60))
    hu[lungs] = -841
    hu[ellipse(SHAPE, (14, 14), (55, 0))] = 601
    hu[:, -6:-3] = 101  # a table
    return hu + np.random.default_rng(0).normal(0, noise_hu, SHAPE).astype(np.float32), lungs.astype(np.uint8), body


@pytest.mark.parametrize("noise_hu", [0.0, 25.0])
def test_levels_are_those_of_the_tissues_whatever_the_noise(noise_hu: float) -> None:
    hu, lungs, body = chest(noise_hu)
    levels = realism.tissue_levels(hu, SPACING_MM, lungs, body)
    expected = {"aerated lung": -841, "fat": -101, "soft tissue": 51, "bone": 601, "air outside": -997}
    for name, value in expected.items():
        assert levels[name].hu == pytest.approx(value, abs=4 if name != "bone" else 25), name


def test_spread_is_the_standard_deviation_of_a_normal_distribution() -> None:
    values = np.random.default_rng(1).normal(-100, 15, 200_000)
    assert realism.level(values).spread_hu == pytest.approx(15, rel=0.02)
    assert realism.peak(values, -200, -20).spread_hu == pytest.approx(15, rel=0.15)


def test_the_highest_of_two_peaks_within_the_ends_is_found() -> None:
    random = np.random.default_rng(2)
    values = np.concatenate([random.normal(at, 8, count) for at, count in ((-100, 5000), (40, 3000), (90, 1000))])
    assert realism.peak(values, -10, 150).hu == pytest.approx(40, abs=4)
    assert math.isnan(realism.peak(values[:5000], -10, 150).hu)


def test_a_tissue_that_is_not_in_view_has_no_level() -> None:
    hu, lungs, body = chest()
    levels = realism.tissue_levels(np.where(hu > 300, 51, hu), SPACING_MM, np.zeros_like(lungs), body)
    assert math.isnan(levels["bone"].hu) and math.isnan(levels["aerated lung"].hu)


def test_what_fills_the_corners_is_no_air() -> None:
    hu, lungs, body = chest(10.0)
    hu[:, :, :30] = -1024
    hu[:, :, -30:] = -1024
    hu[:, -6:] = -1024
    hu[:, :6] = -1024
    assert realism.tissue_levels(hu, SPACING_MM, lungs, body)["air outside"].hu == pytest.approx(-997, abs=2)


def test_air_without_noise_is_air_though_it_fills_the_corners() -> None:
    hu, lungs, body = chest()
    assert realism.tissue_levels(hu, SPACING_MM, lungs, body)["air outside"].hu == -997


def test_trunk_holds_lungs_and_leaves_table_and_arms_out() -> None:
    hu, lungs, body = chest()
    arm = np.zeros_like(body)
    arm[:, 60:100, 2:10] = True
    found = realism.trunk(np.where(arm, 51, hu), SPACING_MM)
    assert (found & body).sum() * 2 / (found.sum() + body.sum()) > 0.98
    assert found[lungs > 0].all()
    assert not found[arm].any() and not found[:, -6:].any()


@pytest.mark.parametrize(("fine_mm", "coarse_mm", "slowest", "fastest"), [(0, 0.6, 0.25, 0.34), (1.5, 3, 0.06, 0.14)])
def test_noise_is_as_strong_and_as_coarse_as_it_was_made(
    fine_mm: float, coarse_mm: float, slowest: float, fastest: float
) -> None:
    hu, _, body = chest()
    white = np.random.default_rng(3).standard_normal(SHAPE)
    fine, coarse = (ndimage.gaussian_filter(white, (0, blur / 1.5, blur / 1.5)) for blur in (fine_mm, coarse_mm))
    field = fine - coarse
    noise = realism.noise_texture(hu + 12 * field / field.std(), SPACING_MM, body)
    assert noise.std_hu == pytest.approx(12, rel=0.12)
    assert slowest <= noise.peak_per_mm <= fastest
    assert slowest <= noise.mean_per_mm <= fastest + 0.05


def test_the_peak_of_the_noise_power_is_at_the_frequency_of_a_grating() -> None:
    hu, _, body = chest()
    x_mm = np.arange(SHAPE[2]) * SPACING_MM[2]
    noise = realism.noise_texture(hu + 10 * np.sin(2 * np.pi * 0.2 * x_mm), SPACING_MM, body)
    assert noise.peak_per_mm == pytest.approx(0.2, abs=0.03)
    assert noise.std_hu == pytest.approx(10 / math.sqrt(2), rel=0.1)


def test_anatomy_is_no_noise() -> None:
    hu, _, body = chest(8.0)
    steps = ellipse(SHAPE, (60, 40), (0, 60))
    assert realism.noise_texture(hu + 40 * steps, SPACING_MM, body).std_hu == pytest.approx(8, rel=0.1)
    slope = np.linspace(-15, 15, SHAPE[1])[None, :, None]
    assert realism.noise_texture(hu + slope, SPACING_MM, body).std_hu == pytest.approx(8, rel=0.1)


def test_noise_of_a_scan_without_soft_tissue_is_unknown() -> None:
    assert math.isnan(realism.noise_texture(np.full(SHAPE, -1000.0), SPACING_MM, np.ones(SHAPE, bool)).std_hu)


def test_a_disc_of_water_has_its_own_diameter_and_one_of_lung_a_lesser() -> None:
    disc = ellipse(SHAPE, (100, 100), (0, 0))
    for hu, diameter_mm in ((0, 200), (-750, 100)):
        found_mm = realism.water_diameter_mm(np.where(disc, hu, -1000), SPACING_MM, disc)
        assert found_mm == pytest.approx(diameter_mm, rel=0.01)


def test_gas_and_tissue_add_up_to_the_volume() -> None:
    mask = np.zeros(SHAPE, bool)
    mask[:, :50, :50] = True
    gas_ml, tissue_ml = realism.gas_and_tissue_ml(np.full(SHAPE, -800.0), SPACING_MM, mask)
    volume_ml = 8 * 50 * 50 * 5.0 * 1.5 * 1.5 / 1000
    assert (gas_ml, tissue_ml) == pytest.approx((0.8 * volume_ml, 0.2 * volume_ml))


def test_widths_are_measured_where_there_is_something() -> None:
    mask = np.zeros(SHAPE, bool)
    mask[2:5, 40:50, 60:66] = True
    assert realism.widths_mm(mask, SPACING_MM) == (15.0, 9.0)
    assert all(math.isnan(width) for width in realism.widths_mm(mask[:2], SPACING_MM))


def test_the_trunk_of_a_chest_is_as_large_as_its_lungs_at_least() -> None:
    phantom = chest_phantom(3, shape=(12, 96, 96))
    scan, lungs = phantom.image.to_lps(), phantom.lungs.to_lps().array > 0
    found = realism.trunk(scan.array, scan.spacing_zyx_mm)
    assert (found & lungs).sum() > 0.99 * lungs.sum()


def test_published_ranges_grow_with_size_and_are_narrower_than_anything_goes() -> None:
    small, tall = (published.breathable_gas_ml("male", height, 40) for height in (160, 190))
    assert small.low < tall.low and small.high < tall.high
    assert 4500 in small and 12_000 not in tall
    woman, man = (published.inspired_volume_ml(sex, 170, 70) for sex in ("female", "male"))
    assert man.low - woman.low == pytest.approx(605.3)
    assert published.inspired_volume_ml("male", 170, 90).high < man.high
    assert 445 in published.lung_weight_g("male", 1) and 900 not in published.lung_weight_g("female", 1)
    assert 12 not in published.tracheal_widths_mm("male")[0] and 12 in published.tracheal_widths_mm("female")[0]
