from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from infers.skipping import MARGIN_MM, STEP_MM, run_where_lungs_are, with_tissue


def run_over(truth: np.ndarray, spacing_z_mm: float) -> tuple[list[int], np.ndarray]:
    """The slices that are run, in order, and the mask's slices as far as they were."""
    seen = np.zeros_like(truth)
    order: list[int] = []

    def run(indices: Sequence[int]) -> None:
        order.extend(indices)
        seen[indices] = truth[indices]

    count = run_where_lungs_are(len(truth), spacing_z_mm, run, lambda index: bool(seen[index]))
    assert count == len(order) == len(set(order))
    return order, seen


def test_a_whole_body_is_run_around_the_lungs_only():
    truth = np.zeros(1000, dtype=bool)
    truth[600:750] = True
    order, seen = run_over(truth, 1.5)
    np.testing.assert_array_equal(seen, truth)
    assert len(order) == 50 + 1 + (150 + 2 * 30) - 10  # every 20th and the last; lungs and margins; counted once


def test_lungs_that_touch_the_ends_are_run_to_the_ends():
    truth = np.zeros(203, dtype=bool)
    truth[:40] = True
    truth[-3:] = True
    _, seen = run_over(truth, 2.0)
    np.testing.assert_array_equal(seen, truth)


def test_thick_slices_are_all_run():
    order, _ = run_over(np.zeros(12, dtype=bool), 16.0)
    assert sorted(order) == list(range(12))


def test_a_scan_without_lungs_costs_every_nth_slice():
    order, _ = run_over(np.zeros(300, dtype=bool), 1.0)
    assert order == [*range(0, 300, 30), 299]


@given(
    spacing_z_mm=st.floats(0.3, 12.0),
    slices=st.integers(1, 400),
    lungs=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=3),
)
def test_nothing_taller_than_a_step_is_missed(spacing_z_mm, slices, lungs):
    truth = np.zeros(slices, dtype=bool)
    for bottom, top in lungs:
        low, high = sorted((int(bottom * slices), int(top * slices)))
        if (high - low) * spacing_z_mm > STEP_MM:
            truth[low:high] = True
    _, seen = run_over(truth, spacing_z_mm)
    np.testing.assert_array_equal(seen, truth)


@given(gap_mm=st.floats(0, MARGIN_MM - 3), thickness=st.integers(1, 3))
def test_a_thin_piece_beside_a_lung_is_found(gap_mm, thickness):
    truth = np.zeros(500, dtype=bool)
    truth[200:300] = True
    first = 300 + int(gap_mm)
    truth[first : first + thickness] = True
    _, seen = run_over(truth, 1.0)
    np.testing.assert_array_equal(seen, truth)


def test_slices_of_air_are_passed_over() -> None:
    hu = np.full((4, 40, 40), -1000, np.int16)
    hu[1, :2, :3] = 40  # a tube
    hu[2, 10:20, 10:20] = 40
    hu[3] = 60
    assert with_tissue(hu, [0, 1, 2, 3]) == [2, 3]
    assert with_tissue(hu, [3, 1]) == [3]
