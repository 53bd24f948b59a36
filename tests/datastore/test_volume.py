from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datastore.geometry import IDENTITY, Geometry, Verbatim
from datastore.volume import Volume

AXES = [
    (order, signs) for order in itertools.permutations(range(3)) for signs in itertools.product((1.0, -1.0), repeat=3)
]


def turned(order: tuple[int, ...], signs: tuple[float, ...]) -> Geometry:
    matrix = np.zeros((3, 3))
    for index_axis, (patient_axis, sign) in enumerate(zip(order, signs, strict=True)):
        matrix[patient_axis, index_axis] = sign
    return Geometry((0.7, 1.1, 2.5), (10.0, -20.0, 30.0), tuple(matrix.ravel().tolist()))


@pytest.mark.parametrize(("order", "signs"), AXES)
def test_every_orientation_comes_to_lps_with_each_voxel_where_it_was(
    order: tuple[int, ...], signs: tuple[float, ...]
) -> None:
    volume = Volume(np.arange(2 * 3 * 4).reshape(2, 3, 4), turned(order, signs))
    upright = volume.to_lps()
    np.testing.assert_allclose(upright.geometry.matrix, np.eye(3))
    for k, j, i in itertools.product(range(2), range(3), range(4)):
        point = volume.geometry.affine @ [i, j, k, 1.0]
        x, y, z, _ = np.rint(np.linalg.solve(upright.geometry.affine, point)).astype(int)
        assert upright.array[z, y, x] == volume.array[k, j, i]


@pytest.mark.parametrize(("order", "signs"), AXES)
def test_an_lps_mask_goes_back_to_the_very_grid_it_came_from(order: tuple[int, ...], signs: tuple[float, ...]) -> None:
    volume = Volume(np.arange(2 * 3 * 4).reshape(2, 3, 4), turned(order, signs))
    back = volume.with_lps_array(volume.to_lps().array)
    np.testing.assert_array_equal(back.array, volume.array)
    assert back.geometry is volume.geometry


@settings(max_examples=60, deadline=None)
@given(angles=st.tuples(*[st.floats(-0.6, 0.6)] * 3), choice=st.sampled_from(AXES))
def test_oblique_axes_take_the_nearest_anatomical_axis(
    angles: tuple[float, float, float], choice: tuple[tuple[int, ...], tuple[float, ...]]
) -> None:
    a, b, c = angles
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    about_y = np.array([[np.cos(c), 0, np.sin(c)], [0, 1, 0], [-np.sin(c), 0, np.cos(c)]])
    if max(abs(a), abs(b), abs(c)) > 0.35 and np.abs(about_x @ about_z @ about_y - np.eye(3)).max() > 0.6:
        return  # beyond 45 degrees in sum: another axis is nearer
    tilted = about_x @ about_z @ about_y @ turned(*choice).matrix
    volume = Volume(np.zeros((2, 3, 4)), Geometry((1.0, 1.0, 1.0), direction=tuple(tilted.ravel().tolist())))
    assert (np.diag(volume.to_lps().geometry.matrix) > 0.4).all()


def test_a_mask_in_another_axis_order_lands_on_the_grid_of_its_image() -> None:
    image = Volume(np.arange(24).reshape(2, 3, 4), Geometry((1.0, 2.0, 3.0), (5.0, 6.0, 7.0)))
    flipped = Volume(
        image.array[:, ::-1, ::-1],
        Geometry((1.0, 2.0, 3.0), (5.0 + 3 * 1.0, 6.0 + 2 * 2.0, 7.0), (-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0)),
    )
    placed = flipped.on_grid_of(image)
    np.testing.assert_array_equal(placed.array, image.array)
    assert placed.geometry == image.geometry


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"origin_mm": (5.0, 6.0, 8.5)}, "1.50 mm apart"),
        ({"spacing_mm": (1.0, 2.0, 3.5)}, "apart"),
        ({"direction": (1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0)}, "apart"),
    ],
)
def test_a_mask_on_another_grid_is_refused(change: dict[str, tuple[float, ...]], message: str) -> None:
    image = Volume(np.zeros((2, 3, 4)), Geometry((1.0, 2.0, 3.0), (5.0, 6.0, 7.0)))
    other = Volume(image.array, dataclasses.replace(image.geometry, **change))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        other.on_grid_of(image)


def test_a_mask_with_a_slice_too_few_is_refused_with_both_sizes() -> None:
    image = Volume(np.zeros((64, 5, 6)), Geometry((1.0, 1.0, 1.0)))
    mask = Volume(np.zeros((60, 5, 6)), Geometry((1.0, 1.0, 1.0)))
    with pytest.raises(ValueError, match=r"mask grid \(6, 5, 60\) does not match image \(6, 5, 64\)"):
        mask.on_grid_of(image)


def test_geometries_differ_in_every_field_that_places_voxels_and_in_no_other() -> None:
    geometry = Geometry((1.0, 2.0, 3.0), (4.0, 5.0, 6.0), IDENTITY)
    assert geometry == dataclasses.replace(geometry, verbatim=Verbatim("nrrd", {}))
    for field, value in {
        "spacing_mm": (1.0, 2.0, 4.0),
        "origin_mm": (4.0, 5.0, 7.0),
        "direction": (1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0),
    }.items():
        assert geometry != dataclasses.replace(geometry, **{field: value})  # type: ignore[arg-type]


def test_a_geometry_survives_json(small_volume: Volume) -> None:
    import json

    geometry = dataclasses.replace(
        small_volume.geometry, verbatim=Verbatim("nifti", {"pixdim": np.arange(8, dtype=np.float32) / 3})
    )
    back = Geometry.from_dict(json.loads(json.dumps(geometry.to_dict())))
    assert back == geometry
    assert back.verbatim is not None
    np.testing.assert_array_equal(
        np.asarray(back.verbatim.fields["pixdim"], np.float32), np.arange(8, dtype=np.float32) / 3
    )


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"spacing_mm": (0.0, 1.0, 1.0)}, "spacing must be above 0"),
        ({"spacing_mm": (float("nan"), 1.0, 1.0)}, "not finite"),
        ({"direction": (1.0, 0.0)}, "9 numbers"),
        ({"direction": (1.0, 0, 0, 0, 1.0, 0.2, 0, 0, 0.98)}, "sheared"),
    ],
)
def test_an_impossible_grid_is_refused(how: dict[str, tuple[float, ...]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Geometry(**{"spacing_mm": (1.0, 1.0, 1.0), **how})  # type: ignore[arg-type]


def test_another_shape_on_the_same_grid_is_refused(small_volume: Volume) -> None:
    with pytest.raises(ValueError, match="expected shape"):
        small_volume.with_array(small_volume.array[1:])
