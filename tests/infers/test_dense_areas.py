"""Dense areas leave a mask; vessels, walls and the border of healthy lung stay in it, on thin and on thick slices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datastore.geometry import Geometry
from datastore.image_files import read_ct, read_mask
from datastore.phantom import Phantom, chest_phantom
from datastore.volume import Volume
from infers.dense_areas import without_dense_areas
from infers.models import load_model
from infers.segment import segment

GRIDS = {
    "thin": ((150, 160, 160), (1.6, 2.2, 2.2)),
    "usual": ((96, 128, 128), (3.0, 2.6, 2.6)),
    "thick": ((40, 160, 160), (8.0, 2.2, 2.2)),
    "coarse": ((64, 128, 128), (5.0, 3.0, 3.0)),
}
LARGE_ML = 16.0  # a sphere of 31 mm; the smaller ones are cut by the lung's border to the width of a vessel


def scan(kind: str, seed: int, *, lesion: bool) -> Phantom:
    shape, spacing_mm = GRIDS[kind]
    return chest_phantom(seed, shape, spacing_mm, lesion=lesion)


@pytest.mark.parametrize("kind", GRIDS)
@pytest.mark.parametrize("seed", [3, 5, 8])
def test_a_lesion_goes_and_healthy_lung_stays(kind: str, seed: int) -> None:
    ill = scan(kind, seed, lesion=True)
    assert ill.lesion is not None
    result = without_dense_areas(ill.image, ill.lungs).array
    lesion, lungs = ill.lesion.array > 0, ill.lungs.array
    kept = result > 0
    if lesion.sum() * ill.lungs.geometry.voxel_ml > LARGE_ML:
        assert (~kept)[lesion].mean() > 0.9
    assert (~kept)[(lungs > 0) & ~lesion].mean() < 0.005
    np.testing.assert_array_equal(result[kept], lungs[kept])


@pytest.mark.parametrize("kind", GRIDS)
@pytest.mark.parametrize("seed", [1, 6])
def test_vessels_of_a_healthy_lung_stay(kind: str, seed: int) -> None:
    healthy = scan(kind, seed, lesion=False)
    result = without_dense_areas(healthy.image, healthy.lungs).array
    vessels = (healthy.image.array > -50) & (healthy.lungs.array > 0)
    assert vessels.sum() > 500
    assert (result[vessels] > 0).mean() > 0.98


def block(
    hu: float, size_mm: float, spacing_mm: tuple[float, float, float], noise_hu: float = 20.0
) -> tuple[Volume, Volume]:
    """A cube of lung of 90 mm with a plate of so many mm of something else, 60 mm long and wide, in its midst."""
    shape = tuple(round(120 / step) for step in spacing_mm)
    z, y, x = np.ix_(*((np.arange(n) + 0.5) * step - 60 for n, step in zip(shape, spacing_mm, strict=True)))
    mask = (abs(z) < 45) & (abs(y) < 45) & (abs(x) < 45)
    values = np.where(mask, -850.0, 40.0)
    values[(abs(z) < 30) & (abs(y) < 30) & (abs(x) < size_mm / 2)] = hu
    values += noise_hu * np.random.default_rng(0).standard_normal(shape)
    geometry = Geometry((spacing_mm[2], spacing_mm[1], spacing_mm[0]))
    return Volume(np.rint(values).astype(np.int16), geometry), Volume(mask.astype(np.uint8), geometry)


def removed_ml(image: Volume, mask: Volume) -> float:
    return float((mask.array != without_dense_areas(image, mask).array).sum() * mask.geometry.voxel_ml)


@pytest.mark.parametrize("spacing_mm", [(0.75, 0.75, 0.75), (5.0, 0.75, 0.75), (2.0, 1.5, 1.5)])
@pytest.mark.parametrize(
    ("hu", "size_mm", "expected_ml"),
    [(10, 30.0, 108.0), (60, 30.0, 108.0), (-40, 30.0, 108.0), (10, 7.5, 0.0), (200, 30.0, 0.0), (-300, 30.0, 0.0)],
)
def test_what_goes_depends_on_density_and_width_in_mm_not_on_spacing(
    spacing_mm: tuple[float, float, float], hu: float, size_mm: float, expected_ml: float
) -> None:
    assert removed_ml(*block(hu, size_mm, spacing_mm)) == pytest.approx(expected_ml, rel=0.08)


def test_the_noise_of_a_sharp_kernel_leaves_no_effusion_behind() -> None:
    assert removed_ml(*block(10.0, 30.0, (1.0, 0.75, 0.75), noise_hu=90.0)) == pytest.approx(108.0, rel=0.08)


def test_air_within_a_consolidation_goes_with_it() -> None:
    image, mask = block(30.0, 30.0, (1.5, 0.75, 0.75))
    bubbled = image.array.copy()
    bubbled[:, 76:80, 78:82] = -950  # a bronchus of 3 mm
    result = without_dense_areas(image.with_array(bubbled), mask).array
    within = (slice(26, 54), slice(76, 80), slice(78, 82))  # but for the openings at both ends
    assert not result[within].any()


def test_small_pieces_that_were_cut_off_go_and_what_lay_apart_before_stays() -> None:
    image, mask = block(30.0, 60.0, (1.5, 1.5, 1.5))
    hu, labels = image.array.copy(), mask.array.copy()
    cut_off = (slice(28, 34), slice(28, 34), slice(28, 34))  # 0.7 ml of lung within the area, wider than a bronchus
    apart = (slice(45, 51), slice(45, 51), slice(45, 51))  # as much, where the mask has had a gap around it
    labels[40:56, 40:56, 40:56] = 0
    labels[apart] = 1
    hu[cut_off] = hu[apart] = -850
    result = without_dense_areas(image.with_array(hu), mask.with_array(labels)).array
    assert not result[cut_off].any()
    assert result[apart].all()


def test_a_large_piece_that_was_cut_off_stays() -> None:
    image, mask = block(30.0, 60.0, (1.5, 1.5, 1.5))
    hu = image.array.copy()
    hu[32:48, 32:48, 32:48] = -850  # 13.8 ml
    result = without_dense_areas(image.with_array(hu), mask).array
    assert result[33:47, 33:47, 33:47].all()


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 1, 0)])
def test_the_order_of_axes_in_the_file_does_not_matter(axes: tuple[int, int, int]) -> None:
    ill = scan("coarse", 3, lesion=True)
    expected = without_dense_areas(ill.image, ill.lungs)
    turned = Geometry(
        tuple(ill.image.geometry.spacing_mm[2 - axes[2 - i]] for i in range(3)),  # type: ignore[arg-type]
        direction=tuple(np.eye(3)[:, [2 - axes[2 - i] for i in range(3)]].ravel() * -1.0),
    )
    image, lungs = (
        Volume(np.ascontiguousarray(np.transpose(item.array[::-1, ::-1, ::-1], axes)), turned)
        for item in (ill.image, ill.lungs)
    )
    result = without_dense_areas(image, lungs)
    np.testing.assert_array_equal(result.to_lps().array, expected.array)


def test_nothing_is_changed_in_place_and_a_mask_without_dense_areas_is_given_back() -> None:
    ill = scan("coarse", 3, lesion=True)
    image, lungs = ill.image.array.copy(), ill.lungs.array.copy()
    assert without_dense_areas(ill.image, ill.lungs) is not ill.lungs
    np.testing.assert_array_equal(ill.image.array, image)
    np.testing.assert_array_equal(ill.lungs.array, lungs)
    empty = ill.lungs.with_array(np.zeros_like(lungs))
    assert without_dense_areas(ill.image, empty) is empty
    assert without_dense_areas(*block(200.0, 30.0, (3.0, 1.5, 1.5))).array.any()


def test_a_mask_of_another_size_is_refused() -> None:
    image, mask = block(10.0, 30.0, (3.0, 3.0, 3.0))
    with pytest.raises(ValueError, match=r"mask grid \(40, 40, 39\) does not match image \(40, 40, 40\)"):
        without_dense_areas(image, Volume(mask.array[1:], mask.geometry))


def test_a_real_tumour_goes_and_the_vessels_of_its_lung_stay(real_data: Path) -> None:
    ct = read_ct(real_data / "dicom" / "Lung_Dx-A0001").to_lps()
    box = read_mask(real_data / "nifti" / "lungdx-a0001" / "tumour_box.nii.gz").on_grid_of(ct)
    lungs = segment(ct, load_model("threshold"))
    tumour = (box.array > 0) & (ct.array > -50) & (ct.array < 70) & (lungs.array == 0)
    mask = lungs.with_array(np.where(tumour, 2, lungs.array).astype(np.uint8))
    gone = without_dense_areas(ct, mask).array == 0
    assert gone[tumour].mean() > 0.85
    assert gone[lungs.array > 0].mean() < 0.01
