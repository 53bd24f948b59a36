"""Half of each minibatch has lung."""

from __future__ import annotations

import numpy as np
import pytest

from trainers.batches import draw_batch

HAS_LUNG = np.arange(40) % 4 == 0  # 10 with lung, 30 without


def test_a_minibatch_is_seven_with_lung_and_seven_without() -> None:
    for step in range(50):
        batch = draw_batch(HAS_LUNG, seed=1, step=step)
        assert HAS_LUNG[batch].tolist() == [True] * 7 + [False] * 7
        assert len(set(batch.tolist())) == 14


def test_seed_and_step_decide_the_minibatch() -> None:
    first = draw_batch(HAS_LUNG, seed=1, step=3)
    np.testing.assert_array_equal(draw_batch(HAS_LUNG, seed=1, step=3), first)
    assert draw_batch(HAS_LUNG, seed=2, step=3).tolist() != first.tolist()
    assert draw_batch(HAS_LUNG, seed=1, step=4).tolist() != first.tolist()


def test_every_slice_comes_in_time() -> None:
    assert {int(index) for step in range(60) for index in draw_batch(HAS_LUNG, 1, step)} == set(range(40))


def test_few_slices_come_twice_rather_than_not() -> None:
    batch = draw_batch(np.array([True, True, False]), seed=1, step=0, with_lung=3, without_lung=2)
    assert len(batch) == 5 and set(batch[:3].tolist()) <= {0, 1} and set(batch[3:].tolist()) == {2}


@pytest.mark.parametrize(("has_lung", "kind"), [(np.zeros(5, bool), "with"), (np.ones(5, bool), "without")])
def test_a_kind_that_is_missing_is_named(has_lung: np.ndarray, kind: str) -> None:
    with pytest.raises(ValueError, match=f"expected slices {kind} lung, got none among 5"):
        draw_batch(has_lung, seed=1, step=0)


def test_a_kind_that_is_not_wanted_may_be_missing() -> None:
    assert len(draw_batch(np.ones(9, bool), seed=1, step=0, without_lung=0)) == 7
