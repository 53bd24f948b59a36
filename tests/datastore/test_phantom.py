"""The synthetic chest: sane anatomy, true masks, the same voxels for the same seed."""

from __future__ import annotations

import time

import numpy as np
import pytest
import scipy.ndimage as ndimage

from datastore.phantom import Phantom, chest_phantom


@pytest.fixture(scope="module")
def phantoms() -> list[Phantom]:
    return [chest_phantom(seed, lesion=True) for seed in range(6)]


def test_same_seed_gives_same_voxels() -> None:
    first, second = chest_phantom(7, lesion=True), chest_phantom(7, lesion=True)
    assert np.array_equal(first.image.array, second.image.array)
    assert np.array_equal(first.lungs.array, second.lungs.array)
    assert first.lesion is not None and second.lesion is not None
    assert np.array_equal(first.lesion.array, second.lesion.array)


def test_another_seed_gives_another_chest() -> None:
    assert (chest_phantom(1).lungs.array != chest_phantom(2).lungs.array).mean() > 0.005


def test_lungs_have_the_volume_of_an_adult(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        for label in (1, 2):
            volume_ml = np.count_nonzero(phantom.lungs.array == label) * phantom.lungs.geometry.voxel_ml
            assert 1200 < volume_ml < 4000


def test_right_lung_lies_at_small_x(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        right, left = (np.nonzero(phantom.lungs.array == label)[2].mean() for label in (1, 2))
        assert right < 60 and left > 68


def test_each_lung_is_nearly_one_piece(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        for label in (1, 2):
            pieces, _ = ndimage.label(phantom.lungs.array == label)
            counts = np.bincount(pieces.ravel())[1:]
            assert counts.max() / counts.sum() > 0.98


def test_lung_without_lesion_is_mostly_aerated(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        assert phantom.lesion is not None
        aerated = phantom.image.array[(phantom.lungs.array > 0) & (phantom.lesion.array == 0)]
        assert -900 < np.median(aerated) < -700
        assert 0.005 < (aerated > -300).mean() < 0.1


def test_airway_is_air_and_not_lung(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        top = phantom.image.array[-1, 50:78, 54:74]
        assert (top < -850).sum() > 8
        assert not phantom.lungs.array[-1].any()
        neck = np.s_[44:56, 54:74, 61:67]
        assert ((phantom.image.array[neck] < -900) & (phantom.lungs.array[neck] > 0)).mean() < 0.01


def test_lesion_is_dense_and_inside_one_lung(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        assert phantom.lesion is not None
        lesion = phantom.lesion.array > 0
        assert lesion.any()
        assert len(np.unique(phantom.lungs.array[lesion])) == 1 and phantom.lungs.array[lesion].all()
        core = ndimage.binary_erosion(lesion)
        assert 0 < phantom.image.array[core].mean() < 80


def test_phantom_without_lesion_has_none() -> None:
    assert chest_phantom(3).lesion is None


def test_some_stomachs_hold_gas_and_some_do_not() -> None:
    has_gas = set()
    for seed in range(8):
        phantom = chest_phantom(seed)
        gas = (phantom.image.array < -850) & (phantom.lungs.array == 0)
        has_gas.add(bool(gas[5:15, 34:60, 76:100].sum() > 20))
    assert has_gas == {True, False}


def test_spine_is_bone_in_the_midline_behind_the_lungs(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        bone = (phantom.image.array > 150)[:, 80:96].mean(axis=(0, 1))
        assert abs(int(bone.argmax()) - 63.5) < 7


def test_grid_is_along_lps_with_its_centre_at_zero() -> None:
    phantom = chest_phantom(0, (20, 31, 40), (4.0, 3.0, 2.0))
    geometry = phantom.image.geometry
    assert phantom.image.array.shape == (20, 31, 40) and phantom.image.array.dtype == np.int16
    assert phantom.lungs.array.dtype == np.uint8
    assert geometry.spacing_mm == (2.0, 3.0, 4.0)
    assert np.allclose(geometry.matrix, np.eye(3))
    centre = geometry.affine @ [19.5, 15.0, 9.5, 1.0]
    assert np.allclose(centre[:3], 0)


def test_anatomy_keeps_its_size_on_another_grid() -> None:
    coarse = chest_phantom(4)
    fine = chest_phantom(4, (80, 192, 192), (4.0, 2.0, 2.0))
    volumes_ml = [np.count_nonzero(p.lungs.array) * p.lungs.geometry.voxel_ml for p in (coarse, fine)]
    assert volumes_ml[0] == pytest.approx(volumes_ml[1], rel=0.03)


def test_lesion_out_of_view_is_empty() -> None:
    lesion = chest_phantom(0, (2, 8, 8), (1.0, 1.0, 1.0), lesion=True).lesion
    assert lesion is not None and not lesion.array.any()


def test_default_phantom_takes_less_than_a_second() -> None:
    started = time.perf_counter()
    chest_phantom(11)
    assert time.perf_counter() - started < 1.0


@pytest.mark.parametrize(
    ("shape", "spacing_mm", "words"),
    [((0, 4, 4), (1.0, 1.0, 1.0), "sizes above 0"), ((4, 4, 4), (1.0, -1.0, 1.0), "numbers above 0")],
)
def test_impossible_grid_is_named(
    shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        chest_phantom(0, shape, spacing_mm)
