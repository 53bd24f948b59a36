"""The physics of acquisition measured as a medical physicist measures a scanner."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import scipy.ndimage as ndimage

from datastore.phantom import chest_phantom
from datastore.phantom.acquisition import Acquisition, acquire, draw_acquisition
from datastore.phantom.detector import Detector
from datastore.phantom.field_of_view import FieldOfView
from datastore.phantom.kernels import Kernel, SliceProfile, kernel_of
from datastore.phantom.motion import Motion, draw_motion
from datastore.phantom.noise import SECTORS, Noise, NoiseField, noise_gain
from datastore.phantom.projection import CoarseGrid, projector
from datastore.phantom.storage import Storage
from datastore.phantom.streaks import Streaks

WATER = (16, 160, 160)
SPACING_MM = (2.0, 0.7, 0.7)
STILL = Motion(0.0, 20.0, 0.0, 0.0, 0.0, 0.3, 30.0)
NO_STREAKS = Streaks(0.0, 0.0, 0.0, 0.1, 200.0, 50.0)
WHOLE_SQUARE = FieldOfView(None, (0.0, 0.0), (0.0, 0.0, 0.0, 0.0), -1024, 0.0)


def ideal(**parts: object) -> Acquisition:
    """A scanner without noise and faults, but for the given parts."""
    perfect = Acquisition(
        kernel=kernel_of(40),
        profile=SliceProfile(1.0, triangular=False),
        noise=Noise(0.0, 0.7, 0.7, 0.0),
        streaks=NO_STREAKS,
        motion=STILL,
        detector=Detector(1.0, 0.0, 0.0, (0.0, 0.0)),
        view=WHOLE_SQUARE,
        storage=Storage(1.0, 1.0, 0.0, -1024, 3071),
    )
    return replace(perfect, **parts)


def scan(scene: np.ndarray, acquisition: Acquisition, seed: int = 1, **masks: np.ndarray) -> np.ndarray:
    return acquire(scene.astype(np.float32), SPACING_MM, acquisition, np.random.default_rng(seed), **masks).astype(
        np.float32
    )


def water(shape: tuple[int, int, int] = WATER) -> np.ndarray:
    return np.zeros(shape, np.float32)


def thorax(shape: tuple[int, int, int] = (6, 128, 128), pixel: float = 3.4) -> np.ndarray:
    """Broad shoulders: a flat body with two lungs and two humeral heads."""
    y, x = (((np.arange(count) - count / 2) * pixel) for count in shape[1:])
    hu = np.full(shape[1:], -1000.0, np.float32)

    def ellipse(centre: tuple[float, float], radii: tuple[float, float]) -> np.ndarray:
        return ((y[:, None] - centre[0]) / radii[0]) ** 2 + ((x[None, :] - centre[1]) / radii[1]) ** 2 < 1

    hu[ellipse((0, 0), (95, 200))] = 40
    for side in (-1, 1):
        hu[ellipse((0, side * 55), (55, 35))] = -850
        hu[ellipse((10, side * 150), (24, 24))] = 700
    return np.repeat(hu[None], shape[0], axis=0)


def spectrum(images: np.ndarray, spacing_mm: float, size: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Radial noise power spectrum of square pieces: frequency per mm and power."""
    pieces = images[:, : images.shape[1] // size * size, : images.shape[2] // size * size]
    pieces = pieces.reshape(len(images), -1, size, pieces.shape[2] // size, size)
    pieces = pieces - pieces.mean((2, 4), keepdims=True)
    power = (np.abs(np.fft.fft2(pieces, axes=(2, 4))) ** 2).mean((0, 1, 3))
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size, spacing_mm), np.fft.fftfreq(size, spacing_mm)))
    edges = np.arange(0.5, size // 2 + 0.5) / (size * spacing_mm)
    band = np.digitize(frequency, edges)
    bands = np.arange(1, len(edges))
    return bands / (size * spacing_mm), np.array([power[band == one].mean() for one in bands])


def measured_mtf50(kernel: Kernel) -> float:
    """Frequency where the transfer of a thin wire, scanned on a fine grid, falls to one half."""
    wire = np.zeros((1, 129, 129), np.float32)
    wire[0, 64, 64] = 1e5
    acquisition = ideal(kernel=kernel, storage=Storage(1.0, 1.0, 0.0, -20000, 20000))
    seen = acquire(wire, (2.0, 0.15, 0.15), acquisition, np.random.default_rng(0))[0].astype(float)
    transfer = np.abs(np.fft.fft(seen.sum(0)))[:64]
    below = np.flatnonzero(transfer < 0.5 * transfer[0])[0]
    return float(below / (129 * 0.15))


@pytest.mark.parametrize("std_hu", [5.0, 30.0])
@pytest.mark.parametrize("sharpness", [22.0, 75.0])
def test_noise_in_water_has_the_asked_strength_and_no_bias(std_hu: float, sharpness: float) -> None:
    image = scan(water(), ideal(kernel=kernel_of(sharpness), noise=Noise(std_hu, 0.7, 0.7, 0.3)))
    assert image[2:-2].std() == pytest.approx(std_hu, rel=0.1)
    assert abs(image.mean()) < 0.5


def test_the_peak_of_the_noise_moves_up_with_sharpness() -> None:
    peaks, low_share = [], []
    for sharpness in (20.0, 40.0, 60.0, 80.0):
        frequency, power = spectrum(
            scan(water(), ideal(kernel=kernel_of(sharpness), noise=Noise(20, 0.7, 0.7, 0))), 0.7
        )
        peaks.append(float(frequency[power.argmax()]))
        low_share.append(float(power[0] / power.max()))
    assert peaks[0] < 0.3 < peaks[3]
    assert np.all(np.diff(peaks) > 0)
    assert max(low_share) < 0.8


def test_denoising_makes_noise_coarser_at_the_same_strength() -> None:
    centres = []
    for denoising in (0.0, 0.9):
        image = scan(water(), ideal(noise=Noise(20, 0.7, 0.7, denoising)))
        frequency, power = spectrum(image, 0.7)
        centres.append(float((frequency**2 * power).sum() / (frequency * power).sum()))
        assert image.std() == pytest.approx(20, rel=0.1)
    assert centres[1] < 0.9 * centres[0]


@pytest.mark.parametrize("sharpness", [20.0, 40.0, 60.0, 80.0])
def test_contrast_of_a_wire_falls_to_half_at_the_kernels_frequency(sharpness: float) -> None:
    kernel = kernel_of(sharpness)
    assert measured_mtf50(kernel) == pytest.approx(kernel.mtf50_per_mm, rel=0.12)


def test_a_lung_kernel_overshoots_at_an_edge_and_a_soft_one_does_not() -> None:
    edge = np.where(np.arange(96) < 48, -850.0, 40.0) * np.ones((3, 96, 1))
    assert scan(edge, ideal(kernel=kernel_of(30))).max() < 48
    assert scan(edge, ideal(kernel=kernel_of(70)))[1].max() > 100


def test_a_sharp_kernel_has_several_times_the_noise_of_a_soft_one() -> None:
    gains = [noise_gain(kernel_of(sharpness)) for sharpness in (20.0, 40.0, 70.0)]
    assert gains[0] < 0.7
    assert gains[1] == pytest.approx(1.0)
    assert 2.5 < gains[2] < 4.5


def test_neighbouring_slices_share_noise_as_their_profiles_overlap() -> None:
    correlations = []
    for thickness in (1.0, 1.5, 2.0, 3.0):
        image = scan(water(), ideal(profile=SliceProfile(thickness, triangular=False), noise=Noise(20, 0.7, 0.7, 0)))
        correlations.append(float(np.corrcoef(image[:-1].ravel(), image[1:].ravel())[0, 1]))
        assert image[8:].std() == pytest.approx(20, rel=0.1)
    assert correlations == pytest.approx([0.0, 1 / 3, 0.5, 2 / 3], abs=0.05)
    assert SliceProfile(1.0, triangular=True).correlation() > SliceProfile(1.0, triangular=False).correlation()


def test_thick_slices_blur_a_step_along_z_without_moving_it() -> None:
    step = np.where(np.arange(21) < 11, -850.0, 50.0)[:, None, None] * np.ones((1, 16, 16))
    rises = []
    for thickness in (1.0, 5.0):
        line = scan(step, ideal(profile=SliceProfile(thickness, triangular=False)))[:, 8, 8]
        rises.append(int(((line > -800) & (line < 0)).sum()))
        assert np.interp(-400.0, line, np.arange(21)) == pytest.approx(10.5, abs=0.05)
    assert rises[1] > rises[0]


@pytest.mark.parametrize("triangular", [False, True])
@pytest.mark.parametrize("thickness", [0.5, 1.0, 2.3])
@pytest.mark.parametrize("offset", [0.0, 0.4])
def test_a_slice_profile_weighs_to_one_about_its_centre(triangular: bool, thickness: float, offset: float) -> None:
    first, weights = SliceProfile(thickness, triangular).weights(offset)
    places = first + np.arange(len(weights))
    assert weights.sum() == pytest.approx(1.0)
    assert (weights * places).sum() == pytest.approx(offset, abs=0.02)


def test_uniform_regions_keep_their_hounsfield_units() -> None:
    scene = thorax()
    streaks = Streaks(0.02, 0.0, 0.0, 0.1, 200.0, 50.0)
    image = acquire(
        scene, (3.0, 3.4, 3.4), ideal(noise=Noise(15, 0.9, 0.5, 0), streaks=streaks), np.random.default_rng(2)
    )
    # away from the edges, and from the bones between which the beam hardens
    for value, limit in ((40.0, 2.0), (-850.0, 2.0)):
        inner = ndimage.binary_erosion(scene == value, np.ones((1, 7, 7)))
        assert abs(image[inner].mean() - value) < limit
    far_air = ndimage.binary_erosion(scene == -1000, np.ones((1, 15, 15)))
    assert abs(scan(scene, ideal(noise=Noise(4, 0.9, 0.5, 0)))[far_air].mean() + 1000) < 2


def test_calibration_scales_from_air_and_shifts() -> None:
    image = scan(np.full(WATER, 100.0), ideal(detector=Detector(1.01, 3.0, 0.0, (0.0, 0.0))))
    assert image.mean() == pytest.approx(100 + 11 + 3, abs=0.5)


def test_noise_runs_along_the_rays_that_starve() -> None:
    scene = thorax((24, 128, 128))
    noise = scan_at(scene, Noise(20, 1.0, 0.5, 0)) - scan_at(scene, Noise(0, 1.0, 0.5, 0))
    between = noise[:, 58:72, 30:98]
    along_x = np.diff(between, axis=2).var()
    along_y = np.diff(between, axis=1).var()
    assert along_y > 1.5 * along_x
    even = scan_at(scene, Noise(20, 0.0, 0.5, 0)) - scan_at(scene, Noise(0, 0.0, 0.5, 0))
    middle = even[:, 58:72, 30:98]
    assert np.diff(middle, axis=1).var() == pytest.approx(np.diff(middle, axis=2).var(), rel=0.15)


def scan_at(scene: np.ndarray, noise: Noise) -> np.ndarray:
    acquisition = ideal(noise=noise, kernel=Kernel(0.1, 0.0), storage=Storage(1.0, 1.0, 0.0, -3000, 3071))
    return acquire(scene, (3.0, 3.4, 3.4), acquisition, np.random.default_rng(3)).astype(np.float32)


def test_air_around_the_body_is_less_noisy_than_its_middle() -> None:
    scene = thorax()
    noise = scan_at(scene, Noise(20, 0.9, 0.5, 0)) - scan_at(scene, Noise(0, 0.9, 0.5, 0))
    assert noise[:, :15].std() < 0.6 * noise[:, 50:78, 40:88].std()
    assert noise[scene > -500].std() == pytest.approx(20, rel=0.15)


def test_tube_current_modulation_evens_out_thick_and_thin_slices() -> None:
    thick = thorax((4, 128, 128))
    scene = np.concatenate([thick, np.where(ndimage.binary_erosion(thick > -500, np.ones((1, 25, 25))), 0, -1000)])
    ratios = []
    for modulation in (0.0, 1.0):
        noise = scan_at(scene, Noise(20, 0.9, modulation, 0)) - scan_at(scene, Noise(0, 0.9, modulation, 0))
        ratios.append(noise[:3][scene[:3] > -500].std() / noise[-3:][scene[-3:] > -500].std())
    assert ratios[0] > 1.8
    assert ratios[1] == pytest.approx(1.0, abs=0.25)


def test_dense_bones_draw_a_dark_band_between_them() -> None:
    scene = thorax()
    streaks = Streaks(0.12, 0.0, 0.0, 0.1, 200.0, 50.0)
    change = acquire(scene, (3.0, 3.4, 3.4), ideal(streaks=streaks), np.random.default_rng(0)).astype(float)
    change -= acquire(scene, (3.0, 3.4, 3.4), ideal(), np.random.default_rng(0))
    assert change[3, 64:70, 58:70].mean() < -5
    assert change[3, 64:70, 58:70].mean() < change[3, 40:46, 58:70].mean() - 5
    flesh = np.abs(scene - 40) < 1
    assert abs(change[flesh].mean()) < 2


def test_cupping_darkens_the_middle_of_a_cylinder() -> None:
    y, x = np.ogrid[-64:64, -64:64]
    cylinder = np.repeat(np.where(y**2 + x**2 < 45**2, 0.0, -1000.0)[None].astype(np.float32), 3, 0)
    streaks = Streaks(0.0, 0.002, 0.0, 0.1, 200.0, 50.0)
    image = acquire(cylinder, (3.0, 3.4, 3.4), ideal(streaks=streaks), np.random.default_rng(0)).astype(float)
    assert image[1, 60:68, 60:68].mean() < image[1, 60:68, 25:30].mean() - 5
    assert abs(image[1][ndimage.binary_erosion(cylinder[1] == 0, iterations=2)].mean()) < 2.5


def test_windmills_turn_where_dense_matter_changes_along_z() -> None:
    scene = thorax((24, 128, 128))
    scene[12:, :, :][scene[12:] == 700] = 40
    streaks = Streaks(0.0, 0.0, 0.05, 0.1, 200.0, 50.0)
    change = acquire(scene, (3.0, 3.4, 3.4), ideal(streaks=streaks), np.random.default_rng(0)).astype(float)
    change -= acquire(scene, (3.0, 3.4, 3.4), ideal(), np.random.default_rng(0))
    assert np.abs(change[11]).max() > 10
    assert np.abs(change[1]).max() < 3


def test_metal_draws_streaks_that_fade_away_from_it() -> None:
    scene = water((3, 128, 128))
    metal = np.zeros(scene.shape, bool)
    metal[1, 60:70, 60:70] = True
    change = scan(scene, ideal(), metal=metal) - scan(scene, ideal())
    ring = np.hypot(*np.ogrid[-64.5:63.5, -64.5:63.5])
    near, far = change[1][(ring > 10) & (ring < 18)], change[1][ring > 55]
    assert near.std() > 40
    assert far.std() < 0.5 * near.std()
    assert not change[0].any() and not change[2].any()
    scene[metal] = 3071
    assert scan(scene, ideal())[1][(ring > 10) & (ring < 18)].std() > 40


def test_rings_are_concentric_about_the_axis_of_rotation() -> None:
    image = scan(water(), ideal(detector=Detector(1.0, 0.0, 10.0, (20.0, -10.0))))
    y, x = np.indices(WATER[1:])
    radius = np.hypot(y - 99.5, x - 69.5).astype(int)
    mean = np.bincount(radius.ravel(), image[0].ravel()) / np.bincount(radius.ravel())
    assert image.std() > 0.5
    assert (image[0] - mean[radius]).std() < 0.7 * image[0].std()
    assert np.array_equal(image[0], image[-1])


def test_a_breath_doubles_the_diaphragm_but_not_the_lungs_top() -> None:
    lungs = np.zeros((40, 64, 64), np.uint8)
    lungs[10:, 10:54, 8:28], lungs[10:, 10:54, 36:56] = 1, 2
    scene = np.where(lungs > 0, -850.0, 40.0)
    scene[35:] = 40.0
    moved = Motion(0.0, 20.0, 0.0, 0.0, 12.0, 0.0, 12.0)
    change = scan(scene, ideal(motion=moved), lungs=lungs) - scan(scene, ideal(), lungs=lungs)
    assert np.abs(change[8:13, 32, 18]).max() > 200
    assert np.abs(change[33:37]).max() < 50
    assert np.abs(change[8:13, 2, 2]).max() < 1


def test_a_beat_doubles_the_hearts_contour_and_leaves_the_chest_wall() -> None:
    lungs = np.zeros((20, 96, 96), np.uint8)
    lungs[:, 15:80, 10:45], lungs[:, 15:80, 55:86] = 1, 2
    scene = np.where(lungs > 0, -850.0, 40.0)
    beating = Motion(6.0, 15.0, 0.0, 0.0, 0.0, 0.3, 30.0)
    change = scan(scene, ideal(motion=beating), lungs=lungs) - scan(scene, ideal(), lungs=lungs)
    assert np.abs(change[:, 40:50, 50:60]).max() > 200
    assert np.abs(change[:, :, :14]).max() == 0
    doubled = change[:, 45, 50:62]
    assert np.abs(doubled).sum() > 1000
    assert np.abs(doubled.sum(1)).max() < 100, "the two contours lie on either side of the true one"
    assert not (scan(scene, ideal(motion=beating)) - scan(scene, ideal())).any(), "without lungs nothing moves"


@pytest.mark.parametrize("padding_hu", [-1024, -2000, -3024])
def test_outside_of_the_circle_stands_the_padding(padding_hu: int) -> None:
    view = FieldOfView(0.8, (0.0, 0.0), (0.0, 0.0, 0.0, 0.0), padding_hu, 0.0)
    image = scan(water(), ideal(view=view))
    radius = np.hypot(*np.ogrid[-79.5:80.5, -79.5:80.5])
    assert (image[:, radius > 64.5] == padding_hu).all()
    assert (image[:, radius < 63.5] == 0).all()


def test_a_body_that_leaves_the_circle_is_brighter_at_the_rim() -> None:
    view = FieldOfView(0.8, (0.0, 0.0), (0.0, 0.0, 0.0, 0.0), -2000, 150.0)
    image = scan(water(), ideal(view=view))[0]
    assert image[80, 17] > 80
    assert abs(image[80, 80]) < 1


def test_margins_are_cut_off_on_the_named_sides() -> None:
    view = FieldOfView(None, (0.0, 0.0), (0.1, 0.0, 0.2, 0.0), -1024, 0.0)
    image = scan(water(), ideal(view=view))[0]
    assert (image[:16] == -1024).all() and (image[:, :32] == -1024).all()
    assert (image[16:, 32:] == 0).all()


def test_values_are_clipped_as_stored() -> None:
    scene = np.stack([np.full((24, 24), -1300.0), np.full((24, 24), 9000.0)])
    image = scan(np.repeat(scene, 4, 0), ideal(storage=Storage(1.0, 1.0, 0.0, -1000, 3071)))
    assert (image.min(), image.max()) == (-1000, 3071)


def test_a_resampled_scan_has_lost_its_fine_detail() -> None:
    noise = Noise(20.0, 0.7, 0.7, 0.0)
    sharp = ideal(kernel=kernel_of(70), noise=noise)
    frequency, as_scanned = spectrum(scan(water(), sharp), 0.7)
    _, resampled = spectrum(scan(water(), replace(sharp, storage=Storage(1.8, 1.0, 0.0, -1024, 3071))), 0.7)
    fine = frequency > 0.55
    assert resampled[fine].sum() / resampled.sum() < 0.1 * as_scanned[fine].sum() / as_scanned.sum()


@pytest.mark.parametrize("axis", [1, 2])
def test_a_resampled_scan_shows_no_lines_finer_than_its_first_grid(axis: int) -> None:
    lines = 100 * np.cos(2 * np.pi * 0.4 * np.arange(96))
    scene = np.broadcast_to(lines[:, None] if axis == 1 else lines[None, :], (2, 96, 96))
    sharp = ideal(kernel=kernel_of(75))
    inner = np.s_[:, 20:76, 20:76]
    assert scan(scene, sharp)[inner].std() > 30
    assert scan(scene, replace(sharp, storage=Storage(1.8, 1.0, 0.0, -1024, 3071)))[inner].std() < 5


def test_resampled_slices_are_means_of_the_scanned_ones() -> None:
    ramp = np.linspace(-500, 500, 20)[:, None, None] * np.ones((1, 16, 16))
    image = scan(ramp, ideal(storage=Storage(1.0, 2.5, 0.0, -1024, 3071)))
    assert image[3:-3, 8, 8] == pytest.approx(ramp[3:-3, 8, 8], abs=2)
    noisy = scan(water(), ideal(storage=Storage(1.0, 2.0, 0.0, -1024, 3071), noise=Noise(20, 0.7, 0.7, 0)))
    assert noisy[5] == pytest.approx((noisy[4] + noisy[6]) / 2, abs=1.01)


def test_lossy_compression_leaves_blocks_of_the_mean_and_odd_sizes_work() -> None:
    noisy = ideal(noise=Noise(20, 0.7, 0.7, 0))
    plain = scan(water((4, 83, 61)), noisy)
    lossy = scan(water((4, 83, 61)), replace(noisy, storage=Storage(1.0, 1.0, 30.0, -1024, 3071)))
    assert 1 < (lossy - plain).std() < 30
    within = np.abs(np.diff(lossy[:, :, :56], axis=2)).mean((0, 1))
    at_borders = within[7::8].mean()
    assert at_borders > 1.1 * np.delete(within, np.s_[7::8]).mean()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 7, 13), (3, 33, 5), (5, 40, 31)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_small_and_odd_grids_are_scanned(shape: tuple[int, int, int], seed: int) -> None:
    random = np.random.default_rng(seed)
    scene = random.uniform(-1000, 4000, shape).astype(np.float32)
    lungs = (scene < -500).astype(np.uint8)
    acquisition = replace(draw_acquisition(random), motion=Motion(4.0, 20.0, 0.1, 0.3, 8.0, 0.2, 30.0))
    image = acquire(scene, (2.0, 0.9, 1.3), acquisition, random, lungs=lungs, bone=scene > 2000)
    assert image.shape == shape
    assert image.dtype == np.int16


def test_the_same_seed_gives_the_same_scan_and_another_does_not() -> None:
    phantom = chest_phantom(3, (12, 48, 48), (8.0, 8.0, 8.0))
    scene, spacing_mm = phantom.image.array.astype(np.float32), (8.0, 8.0, 8.0)
    before = scene.copy()
    acquisition = draw_acquisition(np.random.default_rng(4))
    assert acquisition == draw_acquisition(np.random.default_rng(4))
    images = [acquire(scene, spacing_mm, acquisition, np.random.default_rng(seed)) for seed in (5, 5, 6)]
    assert np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])
    assert np.array_equal(scene, before)


def test_every_part_varies_from_scan_to_scan() -> None:
    random = np.random.default_rng(0)
    drawn = [draw_acquisition(random) for _ in range(60)]
    for field in fields(Acquisition):
        assert len({getattr(acquisition, field.name) for acquisition in drawn}) > 3, field.name
    paddings = {acquisition.view.padding_hu for acquisition in drawn}
    assert {-1024, -2000, -3024} <= paddings
    stds = [acquisition.noise.std_hu for acquisition in drawn]
    assert min(stds) < 6 and max(stds) > 35
    assert any(draw_motion(random).breath_mm for _ in range(60))


def test_noise_is_drawn_for_the_kernel_slice_and_pixel_of_the_scan() -> None:
    def median_hu(spacing_mm: tuple[float, float, float], sharpness: float) -> float:
        draws = [
            draw_acquisition(np.random.default_rng(seed), spacing_mm, kernel=kernel_of(sharpness)).noise.std_hu
            for seed in range(60)
        ]
        return float(np.median(draws))

    assert median_hu((1.0, 0.7, 0.7), 70.0) > 2 * median_hu((1.0, 0.7, 0.7), 35.0)
    assert median_hu((1.0, 0.7, 0.7), 35.0) > 1.3 * median_hu((5.0, 0.7, 0.7), 35.0)
    assert median_hu((1.0, 3.0, 3.0), 35.0) < 0.8 * median_hu((1.0, 0.7, 0.7), 35.0)


def test_a_coarse_grid_is_not_drawn_as_resampled_from_a_coarser_one() -> None:
    random = np.random.default_rng(0)
    steps = [draw_acquisition(random, (8.0, 3.0, 3.0)).storage for _ in range(80)]
    assert all(storage.plane_step == 1 and storage.slice_step == 1 for storage in steps)


def test_given_parts_are_taken_and_unknown_ones_refused() -> None:
    given = draw_acquisition(np.random.default_rng(0), motion=STILL)
    free = draw_acquisition(np.random.default_rng(0))
    assert given == replace(free, motion=STILL)
    with pytest.raises(ValueError, match="expected parts among kernel, .*, got dose"):
        draw_acquisition(np.random.default_rng(0), dose=3)


def test_a_mask_on_another_grid_is_refused() -> None:
    with pytest.raises(ValueError, match=r"lungs grid \(2, 2, 2\) does not match scene \(16, 160, 160\)"):
        scan(water(), ideal(), lungs=np.zeros((2, 2, 2), np.uint8))
    with pytest.raises(ValueError, match="expected a scene"):
        scan(np.zeros((0, 4, 4)), ideal())
    with pytest.raises(ValueError, match="expected spacing_mm"):
        acquire(water(), (1.0, 0.0, 1.0), ideal(), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Kernel(0.0, 1.0), "frequency above 0"),
        (lambda: SliceProfile(0.0, triangular=True), "thickness above 0"),
        (lambda: Noise(-1.0, 0.5, 0.5, 0.0), "std_hu of at least 0"),
        (lambda: Noise(1.0, 0.5, 1.5, 0.0), "from 0 to 1"),
        (lambda: Storage(0.5, 1.0, 0.0, -1024, 3071), "steps of at least 1"),
        (lambda: kernel_of(90.0), "sharpness from 20 to 80, got 90"),
    ],
)
def test_impossible_parameters_are_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_reconstruction_undoes_projection() -> None:
    rays = projector(48, 60)
    y, x = np.ogrid[-23.5:24.5, -23.5:24.5]
    disc = (y**2 + (x - 4) ** 2 < 14**2).astype(np.float32)[None]
    again = rays.reconstruct(rays.project(disc))
    inner = ndimage.binary_erosion(disc[0] > 0, iterations=3)
    assert again[0][inner].mean() == pytest.approx(1.0, abs=0.03)
    assert rays.project(disc)[0, 30].max() == pytest.approx(28, abs=1)
    assert rays.project(disc)[0, 0].argmax() > rays.project(disc)[0, 30].argmax() + 2


def test_a_coarse_grid_keeps_means_and_comes_back_in_place() -> None:
    grid = CoarseGrid((60, 90), (1.0, 1.0), 30)
    ramp = np.broadcast_to(np.arange(90, dtype=np.float32), (60, 90))
    assert grid.refine(grid.coarsen(ramp))[30, 5:-5] == pytest.approx(ramp[30, 5:-5], abs=0.5)
    assert grid.coarsen(np.ones((60, 90), np.float32)).sum() == pytest.approx(60 * 90 / 9)


def test_each_sector_of_noise_carries_its_share_in_its_direction() -> None:
    field = NoiseField((128, 128), (1.0, 1.0), Kernel(0.25, 0.0), 0.0, 0.0, np.random.default_rng(0))
    std_hu = np.zeros((SECTORS, 1, 1), np.float32)
    std_hu[0] = 10.0
    waves_along_x = np.stack([field.next_slice(std_hu) for _ in range(8)])
    assert waves_along_x.std() == pytest.approx(10 / np.sqrt(SECTORS), rel=0.15)
    assert np.diff(waves_along_x, axis=2).var() > 4 * np.diff(waves_along_x, axis=1).var()
