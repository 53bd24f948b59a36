"""Voxel counts and surfaces of two masks, against DeepMind's surface-distance."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from infers import native_surfaces
from infers.agreement import Agreement, UnknownLabelError
from infers.mask_agreement import agreements
from infers.native import surface_kernels
from infers.native_surfaces import native_agreements
from infers.plain_surfaces import plain_agreements

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import surface_distance

Spacing = tuple[float, float, float]
Way = Callable[[np.ndarray, np.ndarray, Sequence[int], Spacing], Iterator[Agreement]]


def compiled(threads: int) -> Way:
    kernels = surface_kernels()
    assert kernels is not None
    return lambda one, other, values, spacing_mm: native_agreements(kernels, one, other, values, spacing_mm, threads)


def compiled_with_short_search(monkeypatch: pytest.MonkeyPatch) -> Way:
    monkeypatch.setattr(native_surfaces, "ROWS", 2)
    return compiled(2)


@pytest.fixture(params=["plain", "compiled", "compiled, two threads", "compiled, nothing near"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Way:
    if request.param == "plain":
        return plain_agreements
    if surface_kernels() is None:
        pytest.skip("the surfaces were not compiled here")
    if request.param == "compiled, nothing near":
        return compiled_with_short_search(monkeypatch)
    return compiled(1 if request.param == "compiled" else 2)


def check(way: Way, one: np.ndarray, other: np.ndarray, spacing_mm: Spacing) -> None:
    (found,) = way(one.astype(np.uint8), other.astype(np.uint8), [1], spacing_mm)
    surfaces = found.surfaces
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        published: dict[str, Any] = surface_distance.compute_surface_distances(one, other, spacing_mm)
        hausdorff = {
            percent: surface_distance.compute_robust_hausdorff(published, percent) for percent in (50, 95, 100)
        }
        means = surface_distance.compute_average_surface_distance(published)
        surface_dice = surface_distance.compute_surface_dice_at_tolerance(published, 1.0)
        dice = surface_distance.compute_dice_coefficient(one, other)
    for directed, name in ((surfaces.of_reference, "gt"), (surfaces.of_prediction, "pred")):
        mm, areas = directed.elements()
        towards = "gt_to_pred" if name == "gt" else "pred_to_gt"
        np.testing.assert_allclose(mm, published[f"distances_{towards}"], atol=1e-9)
        assert areas.sum() == pytest.approx(published[f"surfel_areas_{name}"].sum(), rel=1e-12)
    for percent, expected in hausdorff.items():
        assert surfaces.hausdorff_mm(percent) == pytest.approx(expected, abs=1e-9), f"percentile {percent}"
    assert (surfaces.of_reference.mean_mm, surfaces.of_prediction.mean_mm) == pytest.approx(means, nan_ok=True)
    assert surfaces.surface_dice(1.0) == pytest.approx(surface_dice, nan_ok=True)
    voxels = found.reference_voxels + found.prediction_voxels
    assert (2 * found.common_voxels / voxels if voxels else np.nan) == pytest.approx(dice, nan_ok=True)


def random_pair(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, Spacing]:
    """Specks, blobs or shells that fill little or much, alike or not, on a grid of any size."""
    shape = random.integers(1, (14, 18, 140))  # columns in one, two or three words of bits
    blur = random.choice([0.0, 1.0, 2.0])
    field = ndimage.gaussian_filter(random.random(shape), blur)
    change = ndimage.gaussian_filter(random.random(shape), blur) * random.choice([0.0, 0.3, 3.0])
    one, other = field > np.quantile(field, random.random()), field + change > np.quantile(field, random.random())
    z, y, x = random.choice([1.0, 0.7, 2.5, 0.3, 3.0], 3).tolist()
    return one, other, ((1.0, 1.0, 1.0) if random.random() < 0.3 else (z, y, x))


def test_two_hundred_random_pairs_agree_with_surface_distance(way: Way) -> None:
    random = np.random.default_rng(7)
    for _ in range(200):
        check(way, *random_pair(random))


SHAPE = (5, 6, 70)
MASKS = {name: np.zeros(SHAPE, bool) for name in ("empty", "one voxel", "corner", "far corner", "slab", "two")}
MASKS["full"] = np.ones(SHAPE, bool)
MASKS["one voxel"][2, 3, 4] = True
MASKS["corner"][0, 0, 0] = True
MASKS["far corner"][-1, -1, -1] = True
MASKS["slab"][:, :, 60:68] = True
MASKS["two"][1:3, 2:4, [1, 64]] = True


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (5.0, 0.7, 0.8)])
def test_edge_cases_agree_with_surface_distance(way: Way, spacing_mm: Spacing) -> None:
    for one, other in product(MASKS.values(), repeat=2):
        check(way, one, other, spacing_mm)


def test_rounding_at_the_very_percentile_is_that_of_surface_distance(way: Way) -> None:
    """Nineteen of twenty equal elements at 0: whether the 95th percentile is 0 hangs on the last bit of the sums."""
    for slices in range(1, 60):
        one = np.zeros((1, 3, slices + 2), bool)
        one[0, 1, 1:-1] = True
        other = one.copy()
        other[0, 0, 1] = True
        check(way, one, other, (1.0, 1.0, 1.0))


def test_far_masks_agree_with_surface_distance(way: Way) -> None:
    one = np.zeros((20, 40, 150), bool)
    other = one.copy()
    one[1:4, 2:8, 3:9] = True
    other[15:19, 30:38, 100:149] = True
    other[2, 39, 0] = True
    check(way, one, other, (5.0, 0.7, 0.7))
    check(way, one, other, (0.5, 3.0, 1.0))


def test_structures_are_kept_apart() -> None:
    reference = np.zeros((6, 8, 130), np.uint8)
    reference[1:4, 2:6, 3:60] = 1
    reference[1:4, 2:6, 64:129] = 2  # a whole word of bits and more
    prediction = reference.copy()
    prediction[1:4, 2:6, 50:60] = 2
    right, left = agreements(reference, prediction, [1, 2], (1.0, 1.0, 1.0))
    assert (right.reference_voxels, right.prediction_voxels, right.common_voxels) == (12 * 57, 12 * 47, 12 * 47)
    assert (left.reference_voxels, left.prediction_voxels, left.common_voxels) == (12 * 65, 12 * 75, 12 * 65)
    assert left.surfaces.hausdorff_mm() == 14.0


@pytest.mark.parametrize("columns", [1, 63, 64, 65, 128, 200])
def test_every_voxel_is_counted_whatever_the_width(way: Way, columns: int) -> None:
    random = np.random.default_rng(columns)
    one, other = random.integers(0, 3, (2, 7, 5, columns), np.uint8)
    for value, found in zip((2, 1), way(one, other, [2, 1], (1.0, 1.0, 1.0)), strict=True):
        expected = (one == value).sum(), (other == value).sum(), ((one == value) & (other == value)).sum()
        assert (found.reference_voxels, found.prediction_voxels, found.common_voxels) == expected


@pytest.mark.parametrize("place", [0, 5, 63, 64, 69])
def test_a_value_that_is_no_structures_is_refused_wherever_it_is(way: Way, place: int) -> None:
    mask, other = np.ones((2, 3, 4, 70), np.uint8)
    other[2, 3, place] = 7
    for pair in ((mask, other), (other, mask)):
        with pytest.raises(UnknownLabelError, match="7"):
            list(way(*pair, [1, 2], (1.0, 1.0, 1.0)))
    with pytest.raises(UnknownLabelError, match="9"):
        list(way(np.full_like(mask, 9), mask, [1, 2], (1.0, 1.0, 1.0)))


@pytest.mark.parametrize("turn", [np.s_[::-1], np.s_[:, ::-1, ::-1], np.s_[..., ::-1]])
def test_the_order_of_axes_in_memory_does_not_matter(turn: Any) -> None:
    random = np.random.default_rng(3)
    one, other = (ndimage.gaussian_filter(random.random((12, 20, 30)), 1) > 0.5 for _ in range(2))
    one, other = one.astype(np.uint8), other.astype(np.uint8)
    (expected,) = agreements(one, other, [1], (3.0, 0.7, 0.9))
    views = [np.asfortranarray(mask[turn])[turn] for mask in (one, other)]
    (found,) = agreements(*views, [1], (3.0, 0.7, 0.9))
    assert found.common_voxels == expected.common_voxels
    assert found.surfaces.hausdorff_mm(95) == pytest.approx(expected.surfaces.hausdorff_mm(95))
    assert found.surfaces.mean_mm == pytest.approx(expected.surfaces.mean_mm)
    assert found.surfaces.average_mm == pytest.approx(expected.surfaces.average_mm)


def test_masks_of_two_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3, 4\) and \(2, 3, 5\)"):
        agreements(np.zeros((2, 3, 4), np.uint8), np.zeros((2, 3, 5), np.uint8), [1], (1.0, 1.0, 1.0))
