from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from surface_distance import lookup_tables

from infers.surfels import CODES, surfel_areas

SPACINGS = [(1.0, 1.0, 1.0), (1.0, 2.0, 3.0), (5.0, 0.7, 0.8), (0.3, 3.0, 1.0), (2.5, 2.5, 0.1)]


@pytest.mark.parametrize("spacing_mm", SPACINGS)
def test_the_areas_are_those_of_surface_distance_for_every_neighbour_code(
    spacing_mm: tuple[float, float, float],
) -> None:
    published = lookup_tables.create_table_neighbour_code_to_surface_area(spacing_mm)
    np.testing.assert_allclose(surfel_areas(spacing_mm), published, rtol=1e-14)


def test_a_mask_and_its_opposite_have_one_surface() -> None:
    areas = surfel_areas((1.0, 2.0, 3.0))
    np.testing.assert_allclose(areas, areas[CODES - 1 - np.arange(CODES)])


def test_a_flat_surface_has_the_area_of_the_voxels_sides() -> None:
    areas = surfel_areas((1.0, 2.0, 3.0))
    below, before, left = 0b11110000, 0b11001100, 0b10101010
    assert areas[[below, before, left]].tolist() == [6.0, 3.0, 2.0]


def test_turning_mask_and_spacing_alike_changes_no_area() -> None:
    spacing = (1.0, 2.0, 3.0)
    areas = surfel_areas(spacing)
    codes = np.arange(CODES)
    cubes = ((codes[:, None] >> np.arange(7, -1, -1)) & 1).reshape(-1, 2, 2, 2)
    for axes in permutations(range(3)):
        turned = cubes.transpose(0, *(axis + 1 for axis in axes)).reshape(-1, 8) @ (128 >> np.arange(8))
        z, y, x = (spacing[axis] for axis in axes)
        np.testing.assert_allclose(surfel_areas((z, y, x))[turned], areas)
