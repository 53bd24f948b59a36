from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rtstruct_files import outlines, to_patient, write_rtstruct

from datastore.datasets.rtstruct import PlacedContours, Structure, place_contours, read_structure_set
from datastore.geometry import Geometry
from datastore.orientation import to_lps
from datastore.volume import Volume

SHAPE = (8, 40, 50)
UPRIGHT = Geometry((0.9, 1.1, 2.5), (-21.5, -30.25, -400.0))
TILT = np.deg2rad(25)
OBLIQUE = Geometry(
    (0.9, 1.1, 2.5),
    (-21.5, 30.25, 100.0),
    (np.cos(TILT), 0.0, np.sin(TILT), 0.0, 1.0, 0.0, -np.sin(TILT), 0.0, np.cos(TILT)),
)
ANGLES = np.linspace(0, 2 * np.pi, 720, endpoint=False)


def disc(geometry: Geometry, k: float, i: float = 20.3, j: float = 18.2, radius: float = 11.4) -> np.ndarray:
    return to_patient(geometry, i + radius * np.cos(ANGLES), j + radius * np.sin(ANGLES), k)


def disc_mask(slices: range, i: float = 20.3, j: float = 18.2, radius: float = 11.4) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    rows, columns = np.ogrid[: SHAPE[1], : SHAPE[2]]
    mask[slices.start : slices.stop] = (rows - j) ** 2 + (columns - i) ** 2 < radius**2
    return mask


def placed(contours: list[np.ndarray], geometry: Geometry = UPRIGHT) -> PlacedContours:
    return place_contours(Structure("Lung_L", tuple(contours), ""), geometry, SHAPE)


@pytest.mark.parametrize("geometry", [UPRIGHT, OBLIQUE], ids=["upright", "oblique"])
def test_discs_become_the_voxels_within_their_radius(geometry: Geometry) -> None:
    mask = placed([disc(geometry, k) for k in (5, 2, 4, 3)], geometry).mask()
    np.testing.assert_array_equal(mask, disc_mask(range(2, 6)))


def test_a_contour_off_its_slice_by_less_than_half_a_slice_belongs_to_it() -> None:
    mask = placed([disc(UPRIGHT, k + 0.4) for k in (2, 3)]).mask()
    np.testing.assert_array_equal(mask, disc_mask(range(2, 4)))


def test_an_inner_contour_is_a_hole() -> None:
    contours = [disc(UPRIGHT, 3), disc(UPRIGHT, 3, radius=4.0)]
    expected = disc_mask(range(3, 4)) & ~disc_mask(range(3, 4), radius=4.0)
    np.testing.assert_array_equal(placed(contours).mask(), expected)


@pytest.mark.parametrize("turned", [(2, 1, 0), (1, 2, 0), (0, 2, 1)])
def test_contours_fill_the_same_places_of_a_grid_that_is_stored_otherwise(turned: tuple[int, int, int]) -> None:
    expected = Volume(disc_mask(range(2, 6)).astype(np.uint8), UPRIGHT)
    axes = [2 - turned[2 - n] for n in range(3)]
    affine = UPRIGHT.affine[:, [*axes, 3]].copy()
    shape = tuple(SHAPE[axis] for axis in turned)
    affine[:3, 3] += affine[:3, 0] * (shape[2] - 1)
    affine[:3, 0] *= -1  # stored from the other end too
    stored = Geometry.from_affine(affine)
    mask = place_contours(Structure("x", tuple(disc(UPRIGHT, k) for k in range(2, 6)), ""), stored, shape).mask()
    assert to_lps(stored).axes != (0, 1, 2) or turned == (0, 1, 2)
    np.testing.assert_array_equal(Volume(mask.astype(np.uint8), stored).on_grid_of(expected).array, expected.array)


@pytest.mark.parametrize(
    ("contours", "reason"),
    [
        ([], "has no contours"),
        ([disc(UPRIGHT, -1)], "outside the image"),
        ([disc(UPRIGHT, 8)], "outside the image"),
        ([disc(UPRIGHT, 3.0), disc(UPRIGHT, 3.3)], "two heights on 1 slices"),
        ([disc(UPRIGHT, k) for k in (0, 2, 4, 6)], "no contour on 3 of 7 slices"),
        ([disc(OBLIQUE, 3)], "oblique to the image's slices"),
    ],
)
def test_contours_that_do_not_fit_the_slices_are_refused(contours: list[np.ndarray], reason: str) -> None:
    with pytest.raises(ValueError, match=rf"Lung_L.*{reason}"):
        placed(contours)


def test_a_file_gives_back_its_structures_and_their_series(tmp_path: Path) -> None:
    contours = [disc(UPRIGHT, 2), disc(UPRIGHT, 3)]
    file = write_rtstruct(
        tmp_path / "1-1.dcm", {"Lung_L": contours, "Heart": []}, series_uid="1.2.3", frame_uid="1.2.9"
    )
    read = read_structure_set(file)
    assert read.series_uids == {"1.2.3"}
    lung, heart = read.structures
    assert (lung.name, heart.name, heart.contours, lung.frame_of_reference) == ("Lung_L", "Heart", (), "1.2.9")
    np.testing.assert_allclose(lung.contours[1], contours[1], atol=1e-5)


@pytest.mark.parametrize("kind", ["OPEN_PLANAR", "POINT", "OPEN_NONPLANAR"])
def test_contours_that_enclose_nothing_are_refused_by_their_type(tmp_path: Path, kind: str) -> None:
    contours = {"Lung_L": [disc(UPRIGHT, 2)]}
    file = write_rtstruct(tmp_path / "1-1.dcm", contours, series_uid="1.2.3", frame_uid="1.2.9", kind=kind)
    with pytest.raises(ValueError, match=f"Lung_L: contour of type {kind}, expected CLOSED_PLANAR"):
        place_contours(read_structure_set(file).structures[0], UPRIGHT, SHAPE)


def test_a_file_that_is_torn_or_something_else_is_refused_by_name(tmp_path: Path) -> None:
    file = write_rtstruct(tmp_path / "1-1.dcm", {"Lung_L": [disc(UPRIGHT, 2)]}, series_uid="1.2", frame_uid="1.9")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"1-1\.dcm: damaged or no RTSTRUCT"):
        read_structure_set(file)
    write_rtstruct(file, {}, series_uid="1.2", frame_uid="1.9", Modality="RTPLAN")
    with pytest.raises(ValueError, match=r"1-1\.dcm: .*modality RTPLAN, expected RTSTRUCT"):
        read_structure_set(file)


def test_a_mask_traced_and_filled_again_is_the_same_mask() -> None:
    mask = np.zeros(SHAPE, bool)
    mask[1:7] = np.random.default_rng(0).random((6, *SHAPE[1:])) > 0.4
    traced = place_contours(Structure("x", tuple(outlines(mask, OBLIQUE)), ""), OBLIQUE, SHAPE)
    np.testing.assert_array_equal(traced.mask(), mask)
