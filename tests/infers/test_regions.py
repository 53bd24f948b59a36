"""Regions, what touches them and how they join, against what a loop over voxels finds."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from infers.region_merging import RegionMerging
from infers.regions import Connectivity, Regions, bounding_box, find_regions

CROSS = ndimage.generate_binary_structure(3, 1)
images = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, max_side=6), elements=st.integers(0, 3))


def numbers_by_scipy(image: np.ndarray, connectivity: int) -> set[tuple[int, ...]]:
    """The flat voxels of each region, as a set of tuples."""
    found = set()
    for label in np.unique(image[image > 0]):
        structure = CROSS if connectivity == 6 else np.ones((3, 3, 3))
        numbers, count = ndimage.label(image == label, structure)
        found |= {tuple(np.flatnonzero(numbers == number).tolist()) for number in range(1, count + 1)}
    return found


def around(regions: Regions, members: list[int]) -> np.ndarray:
    """Flat voxels of other regions that touch these by a face."""
    inside = np.isin(regions.numbers, members)
    return np.flatnonzero(ndimage.binary_dilation(inside, CROSS) & ~inside & (regions.numbers > 0))


@given(images, st.sampled_from([6, 26]))
@settings(max_examples=100, deadline=None)
def test_regions_are_the_connected_voxels_of_each_label(image: np.ndarray, connectivity: Connectivity) -> None:
    regions = find_regions(image, connectivity)
    found = [tuple(np.flatnonzero(regions.numbers == number).tolist()) for number in range(1, len(regions) + 1)]
    assert set(found) == numbers_by_scipy(image, connectivity)
    assert [voxels[0] for voxels in found] == regions.first[1:].tolist() == sorted(regions.first[1:].tolist())
    assert [len(voxels) for voxels in found] == regions.voxels[1:].tolist()
    np.testing.assert_array_equal(regions.mapped(regions.labels), image)


def test_regions_of_an_image_in_another_memory_order_are_numbered_the_same() -> None:
    image = (np.random.default_rng(0).random((6, 7, 8)) < 0.05).astype(np.uint8)
    np.testing.assert_array_equal(
        find_regions(np.asfortranarray(image), 26).numbers,
        find_regions(image, 26).numbers,
    )


def test_as_many_regions_as_can_be_are_found_at_26_neighbours() -> None:
    image = np.zeros((1, 5, 5), np.uint8)
    image[:, ::2, ::2] = 1
    assert len(find_regions(image, 26)) == 9


@given(images)
@settings(max_examples=100, deadline=None)
def test_outer_voxels_are_those_across_a_face(image: np.ndarray) -> None:
    regions = find_regions(image, 6)
    wanted = np.arange(len(regions), 0, -2)  # some of them, and not in order
    expected = [around(regions, [number]).tolist() for number in wanted.tolist()]
    assert [voxels.tolist() for voxels in regions.outer_voxels(wanted)] == expected


@given(images, st.sampled_from([6, 26]))
@settings(max_examples=100, deadline=None)
def test_contacts_are_all_pairs_of_regions_that_touch(image: np.ndarray, connectivity: Connectivity) -> None:
    regions = find_regions(image, 6)
    wanted = np.arange(len(regions), 0, -2)
    structure = CROSS if connectivity == 6 else np.ones((3, 3, 3))
    expected = [
        (number, int(other))
        for number in wanted.tolist()
        for other in np.unique(regions.numbers[ndimage.binary_dilation(regions.numbers == number, structure)])
        if other not in (0, number)
    ]
    first, second = regions.contacts(wanted, connectivity)
    assert sorted(zip(first.tolist(), second.tolist(), strict=True)) == sorted(expected)


@given(images, st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_neighbours_are_counted_after_every_join(image: np.ndarray, random) -> None:  # type: ignore[no-untyped-def]
    regions = find_regions(image, 6)
    order = np.arange(1, len(regions) + 1)
    random.shuffle(order)
    merging = RegionMerging(regions, order[: len(order) // 2])  # the others are asked for as well
    for region in order.tolist():
        members = np.flatnonzero(merging.group == region).tolist()
        assert merging.voxels[region] == np.isin(regions.numbers, members).sum()
        outside = merging.group[regions.numbers.flat[around(regions, members)]]
        groups, counts = merging.neighbours(region)
        assert dict(zip(groups.tolist(), counts.tolist(), strict=True)) == {
            int(group): int((outside == group).sum()) for group in np.unique(outside)
        }
        if groups.size:
            merging.join(region, int(random.choice(groups.tolist())))


def test_columns_count_the_voxels_of_each_group_at_each_x() -> None:
    image = np.array([[[1, 1, 0, 2], [0, 0, 0, 2]], [[0, 0, 0, 0], [1, 0, 2, 2]]], np.uint8)
    regions = find_regions(image, 6)
    np.testing.assert_array_equal(regions.columns(regions.labels, 2), [[2, 3, 3, 1], [2, 1, 0, 0], [0, 0, 1, 3]])


@given(images)
def test_a_bounding_box_is_the_smallest_with_everything_inside(image: np.ndarray) -> None:
    box = bounding_box(image)
    if not image.any():
        assert image[box].size == 0
        return
    assert box == ndimage.find_objects((image > 0).astype(np.uint8))[0]
