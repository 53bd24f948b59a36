from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from datastore.labels import LABEL_MAPS, LOBES, LUNGS, Structure, check_sides, renumber, structure_named

MASK = np.array([[[0, 1, 2]]], dtype=np.uint8)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (None, [0, 1, 2]),
        (["right_lung", "left_lung"], [0, 1, 2]),
        (["left_lung", "right_lung"], [0, 2, 1]),
        (["Left Lung", " RIGHT-LUNG "], [0, 2, 1]),
        (["left_lung", "right_lung", "spleen"], [0, 2, 1]),  # an unused number may be anything
    ],
)
def test_values_are_numbered_by_the_names_of_their_segments(names: list[str] | None, expected: list[int]) -> None:
    assert renumber(MASK, names)[0, 0].tolist() == expected


@pytest.mark.parametrize(
    ("values", "names", "message"),
    [
        ([0, 1, 7], None, "label value 7 is unknown: expected 0 background, 1 right_lung, 2 left_lung"),
        ([0, 1, 3], ["right_lung", "left_lung"], "label value 3 is unknown"),
        ([0, 1, 2], ["right_lung", "spleen"], "unknown segment 'spleen': expected one of right_lung, left_lung"),
        ([0, 1, 2], ["right_lung", None], "label value 2 has no segment name"),
        ([0, 1, 2], ["right_lung", "right lung"], "two label values are the same segment"),
    ],
)
def test_what_cannot_be_told_is_refused(values: list[int], names: list[str | None] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        renumber(np.array([[values]], np.uint8), names)


def test_swapped_lungs_are_refused_and_a_single_lung_may_lie_anywhere() -> None:
    check_sides(MASK)  # x grows to the patient's left
    check_sides(np.array([[[2, 0, 0]]], np.uint8))
    with pytest.raises(ValueError, match="are the segments swapped"):
        check_sides(MASK[..., ::-1])


@pytest.mark.parametrize("structures", LABEL_MAPS.values(), ids=LABEL_MAPS.keys())
def test_structures_are_numbered_from_1_and_can_be_told_apart(structures: tuple[Structure, ...]) -> None:
    assert [structure.value for structure in structures] == list(range(1, len(structures) + 1))
    for one, other in combinations(structures, 2):
        assert one.name != other.name
        assert np.abs(np.subtract(one.colour, other.colour)).max() > 0.3
    assert all(0 <= part <= 1 for structure in structures for part in structure.colour)


def test_lungs_are_numbered_as_ever_and_lobes_are_no_segments_to_submit() -> None:
    assert [(structure.value, structure.name) for structure in LUNGS] == [(1, "right_lung"), (2, "left_lung")]
    for lobe in LOBES:
        with pytest.raises(ValueError, match="expected one of right_lung, left_lung"):
            structure_named(lobe.name)
