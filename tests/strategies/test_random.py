from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from strategies.random import order


def rank(ids: list[str], seed: int) -> list[str]:
    return sorted(ids, key=order(seed).position)


IDS = st.lists(st.from_regex(r"[0-9]{4}", fullmatch=True), unique=True, max_size=30)


@given(ids=IDS, seed=st.integers(0, 2**32))
def test_a_ranking_holds_the_same_cases_whatever_their_order(ids: list[str], seed: int) -> None:
    assert sorted(rank(ids, seed)) == sorted(ids)
    assert rank(ids[::-1], seed) == rank(ids, seed)


@given(ids=IDS.filter(bool), seed=st.integers(0, 2**32))
def test_a_case_that_goes_does_not_move_the_others(ids: list[str], seed: int) -> None:
    assert rank(ids[1:], seed) == [case_id for case_id in rank(ids, seed) if case_id != ids[0]]


def test_over_many_seeds_every_case_comes_first_equally_often() -> None:
    ids = [f"{number:04d}" for number in range(5)]
    firsts = Counter(rank(ids, seed)[0] for seed in range(2000))
    assert all(330 < firsts[case_id] < 470 for case_id in ids)
