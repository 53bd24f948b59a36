"""Minibatches are made ahead, in order, each once."""

from __future__ import annotations

import threading

import pytest
import torch

from trainers.prefetching import AHEAD, Minibatch, Prefetching


def numbered(step: int) -> Minibatch:
    return torch.tensor(step), torch.tensor(-step)


def test_minibatches_come_in_order_from_the_first_wanted_to_the_last() -> None:
    made: list[int] = []

    def make(step: int) -> Minibatch:
        made.append(step)
        return numbered(step)

    with Prefetching(make, 3, 9) as coming:
        assert [int(coming.take()[0]) for _ in range(6)] == [3, 4, 5, 6, 7, 8]
    assert made == [3, 4, 5, 6, 7, 8]


def test_the_next_ones_are_made_while_nobody_waits_and_no_more_than_those() -> None:
    made = [threading.Event() for _ in range(9)]

    def make(step: int) -> Minibatch:
        made[step].set()
        return numbered(step)

    with Prefetching(make, 0, 9) as coming:
        assert all(event.wait(10) for event in made[:AHEAD])
        assert not made[AHEAD].is_set()
        coming.take()
        assert made[AHEAD].wait(10) and not made[AHEAD + 1].is_set()


def test_they_are_made_in_another_thread_with_as_many_threads_of_torch() -> None:
    seen: list[tuple[threading.Thread, int]] = []

    def make(step: int) -> Minibatch:
        seen.append((threading.current_thread(), torch.get_num_threads()))
        return numbered(step)

    with Prefetching(make, 0, 1) as coming:
        coming.take()
    ((thread, threads),) = seen
    assert thread is not threading.main_thread() and threads == torch.get_num_threads()
    assert not thread.is_alive()


def test_waiting_is_counted() -> None:
    may_go_on = threading.Event()

    def make(step: int) -> Minibatch:
        may_go_on.wait(10)
        return numbered(step)

    with Prefetching(make, 0, 1) as coming:
        threading.Timer(0.2, may_go_on.set).start()
        coming.take()
    assert 0.1 < coming.waited_s < 5


def test_what_went_wrong_is_raised_where_the_minibatch_is_taken() -> None:
    def make(step: int) -> Minibatch:
        if step == 1:
            raise ValueError("slice 7 is torn")
        return numbered(step)

    with Prefetching(make, 0, 5) as coming:
        coming.take()
        with pytest.raises(ValueError, match="slice 7 is torn"):
            coming.take()
        assert int(coming.take()[0]) == 2
