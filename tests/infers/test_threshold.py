"""The weight-free segmenter on phantoms, on their distortions, and on real CT where it is at hand."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from datastore.image_files import read_ct
from datastore.phantom import Phantom, chest_phantom
from infers.sides import separate_sides
from infers.threshold import threshold_lungs

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
SPACING_MM = (5.0, 3.0, 3.0)
VOXEL_ML = 0.045


@lru_cache
def chest(seed: int) -> Phantom:
    return chest_phantom(seed)


def hu_of(seed: int) -> np.ndarray:
    return chest(seed).image.array.copy()


def dice(found: np.ndarray, true: np.ndarray, label: int) -> float:
    both = np.count_nonzero((found == label) & (true == label))
    return 2 * both / max(1, np.count_nonzero(found == label) + np.count_nonzero(true == label))


def expect_both_lungs(found: np.ndarray, true: np.ndarray, least: float) -> None:
    assert found.dtype == np.uint8 and found.shape == true.shape
    assert min(dice(found, true, 1), dice(found, true, 2)) > least


def mm_grid(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    return (z - shape[0] / 2) * 5.0, (y - shape[1] / 2) * 3.0, (x - shape[2] / 2) * 3.0


@pytest.mark.parametrize("seed", range(4))
def test_both_lungs_of_a_phantom_are_found(seed: int) -> None:
    expect_both_lungs(threshold_lungs(hu_of(seed), SPACING_MM), chest(seed).lungs.array, 0.98)


def test_trachea_is_not_lung() -> None:
    phantom = chest(0)
    lumen = (phantom.image.array < -900) & (phantom.lungs.array == 0)
    lumen[:, :, :58] = lumen[:, :, 70:] = False
    lumen[:42, :, :] = lumen[:, :50, :] = lumen[:, 75:, :] = False
    assert lumen.sum() > 100
    assert (threshold_lungs(phantom.image.array, SPACING_MM)[lumen] > 0).mean() < 0.05


def test_same_image_gives_same_mask() -> None:
    assert np.array_equal(threshold_lungs(hu_of(1), SPACING_MM), threshold_lungs(hu_of(1), SPACING_MM))


def test_noise_of_a_sharp_kernel_is_survived() -> None:
    noise = np.random.default_rng(0).normal(0, 80, chest(0).image.array.shape)
    noisy = np.clip(hu_of(0) + noise, -1024, 3071).astype(np.int16)
    expect_both_lungs(threshold_lungs(noisy, SPACING_MM), chest(0).lungs.array, 0.96)


def test_thick_slices_are_survived() -> None:
    phantom = chest_phantom(5, (40, 170, 170), (8.0, 2.2, 2.2))
    expect_both_lungs(threshold_lungs(phantom.image.array, (8.0, 2.2, 2.2)), phantom.lungs.array, 0.97)


@pytest.mark.parametrize("slices", [slice(35, 38), slice(36, 37), slice(30, 64), slice(0, 22), slice(44, 64)])
def test_part_of_the_stack_gives_part_of_the_mask(slices: slice) -> None:
    found = threshold_lungs(hu_of(2)[slices], SPACING_MM)
    expect_both_lungs(found, chest(2).lungs.array[slices], 0.95)


@pytest.mark.parametrize("padding_hu", [-1024, -2000, -3024])
def test_lungs_cut_by_a_circular_field_of_view_are_kept(padding_hu: int) -> None:
    hu, true = hu_of(0), chest(0).lungs.array.copy()
    _, y, x = mm_grid(hu.shape)
    outside = (y**2 + x**2)[0] > 110**2
    assert (true[:, outside] > 0).sum() * VOXEL_ML > 100
    hu[:, outside] = padding_hu
    true[:, outside] = 0
    expect_both_lungs(threshold_lungs(hu, SPACING_MM), true, 0.95)


def test_lungs_cut_by_both_flanks_of_the_field_of_view_are_kept() -> None:
    columns = np.flatnonzero((chest(0).lungs.array > 0).any(axis=(0, 1)))
    view = np.s_[:, :, columns[0] + 5 : columns[-1] - 5]
    expect_both_lungs(threshold_lungs(hu_of(0)[view], SPACING_MM), chest(0).lungs.array[view], 0.97)


def test_field_of_view_inside_the_lungs_is_segmented() -> None:
    view = np.s_[20:50, 42:86, 32:96]
    expect_both_lungs(threshold_lungs(hu_of(0)[view], SPACING_MM), chest(0).lungs.array[view], 0.95)


@pytest.mark.parametrize(("columns", "label"), [(slice(0, 66), 1), (slice(62, 128), 2)])
def test_lung_alone_in_view_gets_its_side(columns: slice, label: int) -> None:
    found = threshold_lungs(hu_of(3)[:, :, columns], SPACING_MM)
    assert dice(found, chest(3).lungs.array[:, :, columns], label) > 0.97


@pytest.mark.parametrize("missing", [1, 2])
def test_lung_whose_partner_is_opaque_gets_its_side(missing: int) -> None:
    hu = hu_of(3)
    hu[chest(3).lungs.array == missing] = 30
    found = threshold_lungs(hu, SPACING_MM)
    assert dice(found, chest(3).lungs.array, 3 - missing) > 0.97
    assert np.count_nonzero(found == missing) * VOXEL_ML < 30


def test_lungs_joined_before_the_heart_are_separated() -> None:
    hu = hu_of(0)
    hu[30:48, 40:52, 58:70] = -850
    found = threshold_lungs(hu, SPACING_MM)
    expect_both_lungs(found, chest(0).lungs.array, 0.97)


@pytest.mark.parametrize("noise_hu", [0, 60])
def test_gas_in_a_stomach_under_the_left_lung_is_not_lung(noise_hu: int) -> None:
    hu, true = hu_of(0), chest(0).lungs.array
    z, y, x = mm_grid(hu.shape)
    left = true == 2
    below = np.flip(np.maximum.accumulate(np.flip(left, 0), 0), 0) & (true == 0)
    wall = np.zeros_like(below)
    wall[:-2] = left[2:]
    wall |= np.roll(left, -1, 0)
    gas = below & ~wall & (((z + 85) / 45) ** 2 + ((y + 15) / 45) ** 2 + ((x - 65) / 45) ** 2 < 1)
    hu[gas] = -1000
    hu += np.random.default_rng(2).normal(0, noise_hu, hu.shape).astype(np.int16)
    assert gas.sum() * VOXEL_ML > 60
    found = threshold_lungs(hu, SPACING_MM)
    assert np.count_nonzero(found[gas]) * VOXEL_ML < 10
    expect_both_lungs(found, true, 0.96)


def test_emphysema_and_consolidation_leave_the_rest_of_the_lung() -> None:
    hu, true = hu_of(1), chest(1).lungs.array
    _, y, _ = mm_grid(hu.shape)
    emphysema = (true == 1) & (hu < -600)
    hu[emphysema] = np.random.default_rng(0).normal(-945, 25, int(emphysema.sum())).astype(np.int16)
    dense = (true == 2) & (y > 25)
    hu[dense] = 30
    found = threshold_lungs(hu, SPACING_MM)
    assert dice(found, true, 1) > 0.97
    assert dice(found, np.where(dense, 0, true), 2) > 0.95


def test_piece_of_lung_split_off_by_an_effusion_keeps_its_side() -> None:
    hu, true = hu_of(2), chest(2).lungs.array
    hu[28:33][true[28:33] == 2] = 15
    kept = true.copy()
    kept[28:33][true[28:33] == 2] = 0
    expect_both_lungs(threshold_lungs(hu, SPACING_MM), kept, 0.96)


def test_trachea_open_to_the_room_does_not_lose_the_lungs() -> None:
    hu = hu_of(0)
    hu[60:, :66, 62:66] = -1000
    expect_both_lungs(threshold_lungs(hu, SPACING_MM), chest(0).lungs.array, 0.97)


def test_head_with_sinuses_has_no_lung() -> None:
    shape = (60, 80, 80)
    z, y, x = mm_grid(shape)
    hu = np.full(shape, -1000, np.int16)
    hu[np.broadcast_to((y / 100) ** 2 + (x / 78) ** 2 < 1, shape)] = 40
    ring = (y / 92) ** 2 + (x / 70) ** 2
    hu[np.broadcast_to((ring < 1) & (ring > 0.85), shape)] = 900
    for side in (-1, 1):
        hu[((z + 60) / 18) ** 2 + ((y + 60) / 16) ** 2 + ((x - side * 25) / 14) ** 2 < 1] = -1000
        cells = ((z + 60) / 20) ** 2 + ((y - 15) / 16) ** 2 + ((x - side * 55) / 10) ** 2 < 1
        hu[cells] = np.random.default_rng(0).integers(-900, 300, int(cells.sum()))
    hu[np.broadcast_to((abs(x) < 8) & (abs(y + 5) < 8) & (z < -20), shape)] = -1000
    assert not threshold_lungs(hu, SPACING_MM).any()


@pytest.mark.parametrize(
    ("shape", "value"), [((6, 40, 40), -1000), ((6, 40, 40), 0), ((1, 1, 1), -850), ((2, 3, 1), -32768)]
)
def test_volume_of_one_value_has_no_lung(shape: tuple[int, int, int], value: int) -> None:
    assert not threshold_lungs(np.full(shape, value, np.int16), SPACING_MM).any()


@pytest.mark.parametrize("seed", range(3))
def test_random_voxels_raise_nothing(seed: int) -> None:
    random = np.random.default_rng(seed)
    shape = tuple(random.integers(1, 24, 3))
    found = threshold_lungs(random.integers(-32768, 32768, shape).astype(np.int16), (2.0, 1.0, 1.0))
    assert found.shape == shape


@pytest.mark.parametrize(
    ("hu", "spacing_mm", "words"),
    [
        (np.zeros((4, 4), np.int16), SPACING_MM, "three axes"),
        (np.zeros((4, 4, 4), np.float32), SPACING_MM, "int16"),
        (np.zeros((4, 4, 4), np.int16), (5.0, 0.0, 3.0), "above 0"),
        (np.zeros((4, 4, 4), np.int16), (5.0, float("nan"), 3.0), "above 0"),
    ],
)
def test_bad_input_is_named(hu: np.ndarray, spacing_mm: tuple[float, float, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        threshold_lungs(hu, spacing_mm)


def test_sides_of_a_mask_without_image_follow_position() -> None:
    true = chest(4).lungs.array
    assert np.array_equal(separate_sides(true > 0, SPACING_MM), true)


def real_case(name: str) -> tuple[np.ndarray, tuple[float, float, float], np.ndarray]:
    volume = pytest.importorskip("datastore.image_files")
    folder = DATA / "nifti" / name
    if not folder.is_dir():
        pytest.skip(f"no real CT at {folder}")
    image = volume.read_ct(folder / "image.nii.gz").to_lps()
    lung = volume.read_mask(folder / "lung.nii.gz").to_lps()
    return np.ascontiguousarray(image.array), image.spacing_zyx_mm, lung.array


def test_whole_real_chest_agrees_with_its_reference() -> None:
    hu, spacing_mm, true = real_case("cip-ct64")
    expect_both_lungs(threshold_lungs(hu, spacing_mm), true, 0.97)


def test_real_right_lung_alone_is_right() -> None:
    hu, spacing_mm, true = real_case("elastix-3dct-right")
    found = threshold_lungs(hu, spacing_mm)
    assert dice(found, true, 1) > 0.97
    assert not (found == 2).any()


def test_real_abdomen_shows_no_more_than_the_lung_bases() -> None:
    hu, spacing_mm, true = real_case("totalseg-abdomen")
    found = threshold_lungs(hu, spacing_mm)
    assert np.count_nonzero((found > 0) & (true == 0)) * np.prod(spacing_mm) / 1000 < 50
    expect_both_lungs(found, true, 0.93)


def test_the_air_of_a_room_is_no_lung_on_a_scanner_that_calls_it_minus_960() -> None:
    folder = DATA / "dicom" / "Lung_Dx-A0002" / "series-3-B40f"
    if not folder.is_dir():
        pytest.skip(f"real CT is not here: {folder}")
    scan = read_ct(folder).to_lps()
    expected = threshold_lungs(np.ascontiguousarray(scan.array), scan.spacing_zyx_mm)
    expect_both_lungs(threshold_lungs(scan.array + np.int16(40), scan.spacing_zyx_mm), expected, 0.98)
