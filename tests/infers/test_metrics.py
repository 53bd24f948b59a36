from __future__ import annotations

import math

import numpy as np
import pytest

from datastore.geometry import Geometry
from datastore.labels import LOBES
from datastore.phantom import Phantom
from datastore.volume import Volume
from infers.metrics import METRICS, Presence, StructureScore, as_whole, mean_score, score, tumour_overlap

GRID = Geometry((1.0, 2.0, 3.0))  # (x, y, z) mm


def volume(array: np.ndarray) -> Volume:
    return Volume(array.astype(np.uint8), GRID)


def box(z: slice, y: slice, x: slice, value: int = 1) -> np.ndarray:
    mask = np.zeros((10, 12, 40), np.uint8)
    mask[z, y, x] = value
    return mask


TEN = box(slice(2, 6), slice(3, 8), slice(5, 15))  # 4 x 5 x 10 voxels


def right(reference: np.ndarray, prediction: np.ndarray, **how: float) -> StructureScore:
    return score(volume(reference), volume(prediction), **how)[0]  # type: ignore[arg-type]


def test_overlap_and_volume_are_as_counted_by_hand() -> None:
    found = right(TEN, box(slice(2, 6), slice(3, 8), slice(10, 18)))  # 8 columns, 5 of them common
    assert found.dice == pytest.approx(2 * 5 / 18)
    assert found.jaccard == pytest.approx(5 / 13)
    assert (found.precision, found.recall) == (pytest.approx(5 / 8), pytest.approx(5 / 10))
    assert found.specificity == pytest.approx((4800 - 20 * 13) / (4800 - 200))
    assert (found.reference_ml, found.prediction_ml) == (pytest.approx(1.2), pytest.approx(0.96))
    assert (found.volume_error_ml, found.volume_error_percent) == (pytest.approx(-0.24), pytest.approx(-20))


def test_distances_are_in_mm_along_each_axis() -> None:
    for axis, expected_mm in ((0, 3.0), (1, 2.0), (2, 1.0)):
        found = right(TEN, np.roll(TEN, 1, axis))
        assert found.hausdorff_mm == pytest.approx(expected_mm)
        assert 0 < found.average_symmetric_surface_distance_mm <= found.mean_surface_distance_mm < expected_mm


def test_the_mean_surface_distance_is_the_larger_directed_one() -> None:
    spike = TEN | box(slice(3, 4), slice(5, 6), slice(15, 35))
    one, other = right(TEN, spike), right(spike, TEN)
    assert one.mean_surface_distance_mm == pytest.approx(other.mean_surface_distance_mm)
    assert one.hausdorff_mm == pytest.approx(20.0)
    assert one.average_symmetric_surface_distance_mm < one.mean_surface_distance_mm


def test_the_surface_dice_depends_on_its_tolerance() -> None:
    shifted = np.roll(TEN, 2, 2)
    strict, loose = (right(TEN, shifted, tolerance_mm=mm).surface_dice for mm in (0.5, 2.0))
    assert 0 < strict < loose == 1.0


def test_a_perfect_mask_scores_perfectly() -> None:
    found = right(TEN, TEN)
    perfect = [metric for metric in METRICS if metric.higher_is_better]
    assert all(getattr(found, metric.key) == 1 for metric in perfect)
    assert all(getattr(found, metric.key) == 0 for metric in METRICS if metric not in perfect)
    assert found.presence is Presence.BOTH


def test_a_missed_structure_has_dice_0_and_infinite_distances() -> None:
    found = right(TEN, np.zeros_like(TEN))
    assert (found.dice, found.jaccard, found.recall, found.surface_dice) == (0, 0, 0, 0)
    assert math.isnan(found.precision) and found.volume_error_percent == -100
    assert found.hausdorff_mm == found.hausdorff95_mm == found.mean_surface_distance_mm == math.inf
    assert found.average_symmetric_surface_distance_mm == math.inf
    assert found.presence is Presence.MISSED


def test_a_structure_that_is_not_there_but_found_has_dice_0_and_infinite_distances() -> None:
    found = right(np.zeros_like(TEN), TEN)
    assert (found.dice, found.precision, found.surface_dice) == (0, 0, 0)
    assert math.isnan(found.recall) and math.isnan(found.volume_error_percent)
    assert found.hausdorff95_mm == found.mean_surface_distance_mm == math.inf
    assert found.presence is Presence.FALSE


def test_a_structure_in_neither_mask_does_not_count() -> None:
    scores = score(volume(TEN), volume(TEN))
    assert scores[1].presence is Presence.ABSENT and math.isnan(scores[1].dice)
    assert mean_score(scores, "dice") == 1.0
    assert mean_score(scores[1:], "dice") is None


def test_a_mean_over_both_lungs_counts_a_missed_one() -> None:
    both = TEN + box(slice(2, 6), slice(3, 8), slice(25, 35), value=2)
    scores = score(volume(both), volume(TEN))
    assert mean_score(scores, "dice") == pytest.approx(0.5)
    assert mean_score(scores, "hausdorff95_mm") == math.inf


def test_a_full_mask_has_no_specificity() -> None:
    full = np.ones_like(TEN)
    assert math.isnan(right(full, full).specificity)


def test_any_set_of_labels_can_be_scored() -> None:
    lobes = sum(
        box(slice(1, 9), slice(1, 9), slice(7 * number, 7 * number + 5), lobe.value)
        for number, lobe in enumerate(LOBES)
    )
    scores = score(volume(lobes), volume(lobes), LOBES)
    assert [item.name for item in scores] == [lobe.name for lobe in LOBES]
    assert all(item.dice == 1 for item in scores)


def test_a_label_that_is_no_structures_is_named() -> None:
    with pytest.raises(ValueError, match="label value 5 is unknown: expected 0 background, 1 right_lung, 2 left_lung"):
        score(volume(TEN), volume(TEN * 5))


def test_masks_without_sides_are_scored_as_one_lung() -> None:
    both = TEN + box(slice(2, 6), slice(3, 8), slice(25, 35), value=2)
    whole = as_whole(volume(both))
    assert right(np.minimum(both, 1), whole.array).dice == 1


def test_masks_on_two_grids_are_refused_and_one_grid_in_another_order_is_not(phantom: Phantom) -> None:
    lungs = phantom.lungs
    with pytest.raises(ValueError, match="does not match"):
        score(lungs, Volume(lungs.array[1:], lungs.geometry))
    moved = Geometry(lungs.geometry.spacing_mm, (0.0, 0.0, 999.0))
    with pytest.raises(ValueError, match="mm apart"):
        score(lungs, Volume(lungs.array, moved))
    corner = lungs.geometry.affine @ [lungs.array.shape[2] - 1, 0, 0, 1]
    mirrored = Geometry(lungs.geometry.spacing_mm, tuple(corner[:3]), (-1.0, 0, 0, 0, 1, 0, 0, 0, 1))
    assert all(item.dice == 1 for item in score(lungs, Volume(lungs.array[:, :, ::-1], mirrored)))


def test_the_number_of_threads_changes_nothing(phantom: Phantom) -> None:
    shifted = phantom.lungs.with_array(np.roll(phantom.lungs.array, (1, 2, -1), (0, 1, 2)))
    assert score(phantom.lungs, shifted, threads=1) == score(phantom.lungs, shifted, threads=3)


def test_tumour_overlap_is_the_covered_share() -> None:
    tumour = box(slice(2, 6), slice(3, 8), slice(10, 20), value=3)
    assert tumour_overlap(volume(tumour), volume(TEN)) == pytest.approx(0.5)
    assert tumour_overlap(volume(tumour), volume(np.zeros_like(TEN))) == 0
    with pytest.raises(ValueError, match="tumour's mask is empty"):
        tumour_overlap(volume(np.zeros_like(TEN)), volume(TEN))
    with pytest.raises(ValueError, match="does not match"):
        tumour_overlap(volume(tumour), Volume(TEN[1:], GRID))
