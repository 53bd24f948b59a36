from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datastore.datasets.polygons import fill_polygons


def square(low: float, high: float) -> np.ndarray:
    return np.array([(low, low), (low, high), (high, high), (high, low)])


def inside_by_definition(polygon: np.ndarray, row: float, column: float) -> bool:
    """Even-odd rule for one point: crossings of the ray to the left."""
    crossings = 0
    for (r0, c0), (r1, c1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if (r0 <= row) != (r1 <= row):
            crossings += c0 + (row - r0) * (c1 - c0) / (r1 - r0) < column
    return crossings % 2 == 1


def test_a_disc_fills_exactly_the_centres_within_its_radius() -> None:
    angles = np.linspace(0, 2 * np.pi, 2000, endpoint=False)
    disc = np.stack([15.3 + 9.7 * np.sin(angles), 18.1 + 9.7 * np.cos(angles)], axis=1)
    rows, columns = np.ogrid[:32, :40]
    expected = (rows - 15.3) ** 2 + (columns - 18.1) ** 2 < 9.7**2
    np.testing.assert_array_equal(fill_polygons([disc], (32, 40)), expected)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 9))
def test_any_polygon_is_filled_by_the_even_odd_rule_at_every_centre(seed: int, corners: int) -> None:
    polygon = np.round(np.random.default_rng(seed).uniform(-3, 15, (corners, 2)), 3) + 0.0005
    filled = fill_polygons([polygon], (12, 13))
    for row in range(12):
        for column in range(13):
            assert filled[row, column] == inside_by_definition(polygon, row, column)


def test_a_contour_inside_another_is_a_hole_and_an_island_within_it_is_filled() -> None:
    filled = fill_polygons([square(0.5, 10.5), square(2.5, 8.5), square(4.5, 6.5)], (12, 12))
    assert filled.sum() == 100 - 36 + 4
    assert not filled[4, 4] and filled[5, 5] and filled[1, 1]


def test_a_keyhole_leaves_no_trace_of_its_doubled_edge() -> None:
    outer = [(0.5, 0.5), (0.5, 9.5), (9.5, 9.5), (9.5, 0.5), (0.5, 0.5)]
    inner = [(3.1, 3.1), (6.7, 3.1), (6.7, 6.7), (3.1, 6.7), (3.1, 3.1)]
    keyhole = np.array(outer + inner)
    np.testing.assert_array_equal(
        fill_polygons([keyhole], (11, 11)), fill_polygons([np.array(outer), np.array(inner)], (11, 11))
    )


def test_polygons_that_share_an_edge_through_centres_neither_overlap_nor_leave_a_gap() -> None:
    left = np.array([(0, 0), (0, 5), (8, 3), (8, 0)])
    right = np.array([(0, 5), (0, 9), (8, 9), (8, 3)])
    first, second = fill_polygons([left], (10, 10)), fill_polygons([right], (10, 10))
    assert not (first & second).any()
    np.testing.assert_array_equal(
        first | second, fill_polygons([square(0, 9)], (10, 10)) & (np.arange(10) < 8)[:, None]
    )


def test_edges_through_centres_do_not_depend_on_the_noise_of_decimals() -> None:
    exact = fill_polygons([square(2, 7)], (10, 10))
    for noise in (1e-9, -1e-9, 3e-6):
        np.testing.assert_array_equal(fill_polygons([square(2, 7) + noise], (10, 10)), exact)
    assert exact.sum() == 25


@pytest.mark.parametrize("polygon", [square(-20, 30), square(-20, 30)[::-1]])
def test_what_lies_outside_the_grid_is_cut_off_whatever_the_winding(polygon: np.ndarray) -> None:
    assert fill_polygons([polygon], (6, 7)).all()
    assert not fill_polygons([polygon + 100], (6, 7)).any()
    assert not fill_polygons([polygon - 100], (6, 7)).any()


def test_nothing_gives_nothing() -> None:
    assert fill_polygons([], (3, 4)).shape == (3, 4)
    assert not fill_polygons([np.array([(1.0, 1.0)])], (3, 4)).any()
