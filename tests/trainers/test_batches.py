"""Half of each minibatch has lung; pathologies and patients come equally often."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from trainers.batches import StratifiedBatches
from trainers.slices import SliceSet, TrainingSlices, VolumeSlices


def volume(
    patient: str, slices: int, groups: tuple[str, ...] = (), every: int = 2, negatives_only: bool = False
) -> VolumeSlices:
    """Every second slice has lung, or whichever."""
    has_lung = np.arange(slices) % every == 0 if every else np.zeros(slices, bool)
    empty = np.zeros((slices, 2, 2))
    return VolumeSlices(
        TrainingSlices(empty.astype(np.float16), empty.astype(np.uint8), has_lung), patient, groups, negatives_only
    )


ONE = SliceSet([volume("a", 40, every=4)])  # 10 with lung, 30 without
MANY = SliceSet(
    [volume("a", 300, ("covid",)), volume("b", 12, ("covid",)), volume("c", 8, ("mass",)), volume("d", 100),
     volume("e", 60), volume("e", 20)]
)  # fmt: skip


def owners(slices: SliceSet, indices: np.ndarray) -> Counter[str]:
    return Counter(slices.volumes[int(np.searchsorted(slices.first, i, "right")) - 1].patient for i in indices)


def drawn(batches: StratifiedBatches, steps: int, first: int = 0) -> np.ndarray:
    return np.stack([batches.draw(step) for step in range(first, first + steps)])


def test_a_minibatch_is_seven_with_lung_and_seven_without() -> None:
    for slices in (ONE, MANY):
        for batch in drawn(StratifiedBatches(slices, seed=1), 50):
            assert slices.has_lung[batch].tolist() == [True] * 7 + [False] * 7
            assert len(set(batch.tolist())) == 14


def test_seed_and_step_decide_the_minibatch() -> None:
    first = drawn(StratifiedBatches(MANY, seed=1), 40)
    assert not np.array_equal(drawn(StratifiedBatches(MANY, seed=2), 40), first)
    assert len({tuple(batch) for batch in first.tolist()}) == 40
    for step in (0, 39, 17, 3):  # by another object, in any order
        np.testing.assert_array_equal(StratifiedBatches(MANY, seed=1).draw(step), first[step])
    late = StratifiedBatches(MANY, seed=1)
    np.testing.assert_array_equal(drawn(late, 20, first=20), first[20:])
    np.testing.assert_array_equal(late.draw(0), first[0])


def test_every_slice_of_a_patient_comes_before_one_comes_again() -> None:
    lungs, others = np.split(drawn(StratifiedBatches(ONE, seed=1, with_lung=5, without_lung=6), 20), [5], axis=1)
    for order, count in ((lungs.ravel(), 10), (others.ravel(), 30)):
        for start in range(0, len(order) - count + 1, count):
            assert len(set(order[start : start + count])) == count
    assert lungs[:2].ravel().tolist() != lungs[2:4].ravel().tolist()  # another order each time


def test_pathologies_come_equally_often_and_so_do_their_patients() -> None:
    batches = drawn(StratifiedBatches(MANY, seed=1), 60)
    for half in np.split(batches, 2, axis=1):
        counts = owners(MANY, half.ravel())
        covid, mass, none = counts["a"] + counts["b"], counts["c"], counts["d"] + counts["e"]
        assert max(covid, mass, none) - min(covid, mass, none) <= 1
        assert abs(counts["a"] - counts["b"]) <= 1 and abs(counts["d"] - counts["e"]) <= 1


def test_the_volumes_of_a_patient_are_one() -> None:
    counts = Counter(int(np.searchsorted(MANY.first, i, "right")) - 1
                     for i in drawn(StratifiedBatches(MANY, seed=1), 400)[:, :7].ravel())  # fmt: skip
    assert counts[4] / counts[5] == pytest.approx(3, rel=0.1)  # 60 slices and 20


def test_turns_are_in_no_fixed_order() -> None:
    patients = SliceSet([volume(str(number), 10, (str(number),)) for number in range(7)])
    orders = {
        tuple(patients.first.searchsorted(batch[:7], "right")) for batch in drawn(StratifiedBatches(patients, 1), 30)
    }
    assert len(orders) == 30 and all(sorted(order) == list(range(1, 8)) for order in orders)


def test_a_case_of_several_pathologies_belongs_to_each() -> None:
    slices = SliceSet([volume("a", 200, ("covid", "mass")), volume("b", 200, ("covid",))])
    counts = owners(slices, drawn(StratifiedBatches(slices, seed=1), 100).ravel())
    assert counts["a"] / counts["b"] == pytest.approx(3, rel=0.02)  # all of mass, half of covid


def test_another_order_of_volumes_changes_no_turn() -> None:
    turned = SliceSet(MANY.volumes[::-1])
    for batch, other in zip(drawn(StratifiedBatches(MANY, 1), 9), drawn(StratifiedBatches(turned, 1), 9), strict=True):
        assert owners(MANY, batch) == owners(turned, other)


def test_negatives_give_their_slices_without_lung_alone() -> None:
    bootstrap = volume("healthy", 50, ("anatomy3",), negatives_only=True)
    slices = SliceSet([volume("a", 50, ("covid",)), bootstrap])
    lungs, others = np.split(drawn(StratifiedBatches(slices, seed=1), 50), 2, axis=1)
    assert owners(slices, lungs.ravel()) == {"a": 350}
    assert owners(slices, others.ravel()) == {"a": 175, "healthy": 175}


def test_few_slices_come_twice_rather_than_not() -> None:
    slices = SliceSet([volume("a", 3)])  # two with lung
    batch = StratifiedBatches(slices, seed=1, with_lung=3, without_lung=2).draw(0)
    assert len(batch) == 5 and set(batch[:3].tolist()) == {0, 2} and set(batch[3:].tolist()) == {1}


@pytest.mark.parametrize(("every", "kind"), [(0, "with"), (1, "without")])
def test_a_kind_that_is_missing_is_named(every: int, kind: str) -> None:
    slices = SliceSet([volume("a", 5, every=every)])
    remedy = "; a minibatch of slices with lung alone has without_lung = 0" if kind == "without" else ""
    with pytest.raises(ValueError, match=f"expected slices {kind} lung, got none among 5 slices{remedy}$"):
        StratifiedBatches(slices, seed=1)
    lungs, others = (0, 7) if kind == "with" else (7, 0)
    assert len(StratifiedBatches(slices, seed=1, with_lung=lungs, without_lung=others).draw(3)) == 7


def test_lungs_that_are_left_out_are_spoken_of() -> None:
    slices = SliceSet([volume("a", 5, every=0), volume("b", 6, negatives_only=True)])
    with pytest.raises(ValueError, match="none among 11 slices; 3 of volumes for negatives only are left out"):
        StratifiedBatches(slices, seed=1)


def test_fewer_than_no_slices_are_refused() -> None:
    with pytest.raises(ValueError, match="expected 0 or more slices in a batch, got -1"):
        StratifiedBatches(ONE, seed=1, without_lung=-1)
