from __future__ import annotations

import itertools
import math
import tracemalloc
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap, rankdata, wilcoxon

from infers.comparison import PairedComparison, compare_paired, fewest_pairs

COUNTABLE = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=6, max_size=11)
ANY_VALUE = st.one_of(st.floats(0, 1), st.floats(0, 500), st.sampled_from([math.nan, math.inf, None, 0.0, 1.0]))


def dice(first: object, second: object, **how: object) -> PairedComparison:
    return compare_paired(first, second, higher_is_better=True, **{"resamples": 500, **how})  # type: ignore[arg-type]


def from_differences(differences: object, **how: object) -> PairedComparison:
    second = np.asarray(differences, dtype=float)
    return dice(np.zeros(len(second)), second, **how)


def p_of_all_signs(differences: np.ndarray) -> float:
    """Share of all ways to sign the ranks that are as far from the middle."""
    there = differences[differences != 0]
    ranks = rankdata(np.abs(there))
    found = abs((np.sign(there) * ranks).sum())
    sums = [abs(np.dot(signs, ranks)) for signs in itertools.product((-1, 1), repeat=len(there))]
    return float(np.mean([value >= found - 1e-9 for value in sums]))


def test_wilcoxons_own_example_has_his_p() -> None:
    # scipy's documentation: corn, cross- against self-fertilized
    found = from_differences([6, 8, 14, 16, 23, 24, 28, 29, 41, -48, 49, 56, 60, -67, 75])
    assert found.p == pytest.approx(0.041259765625, abs=1e-12)


def test_six_gains_in_six_cases_are_1_of_32() -> None:
    found = from_differences([1, 2, 3, 4, 5, 6])
    assert found.p == pytest.approx(2 / 2**6, abs=1e-15)
    assert found.winner == "second"


@settings(max_examples=40, deadline=None)
@given(COUNTABLE)
def test_p_is_that_of_all_signs_with_ties_and_zeros(pairs: list[tuple[int, int]]) -> None:
    first, second = np.array(pairs, dtype=float).T / 100  # hundredths: equal differences differ by round-off
    exact = np.array([other - one for one, other in pairs])
    found = dice(first, second, resamples=10)
    if not exact.any():
        assert found.p is None and found.winner is None
    else:
        assert found.p == pytest.approx(p_of_all_signs(exact), abs=1e-12)


@pytest.mark.parametrize("count", [6, 14, 50])
def test_without_ties_p_is_scipys_exact_one(count: int) -> None:
    differences = np.random.default_rng(count).normal(0.3, 1, count)
    assert from_differences(differences).p == pytest.approx(wilcoxon(differences, method="exact").pvalue, rel=1e-9)


def test_many_pairs_have_scipys_normal_approximation_without_the_zeros() -> None:
    differences = np.random.default_rng(2).integers(-9, 11, 400).astype(float)
    expected = wilcoxon(differences[differences != 0], method="asymptotic").pvalue
    assert from_differences(differences).p == pytest.approx(expected, rel=1e-9)


def test_exact_and_approximate_p_meet_where_one_takes_over() -> None:
    differences = np.random.default_rng(3).integers(-9, 12, 50).astype(float)
    differences[differences == 0] = 4.5
    assert from_differences(differences).p == pytest.approx(wilcoxon(differences, method="asymptotic").pvalue, rel=0.05)


def test_bonferroni_multiplies_p_and_stops_at_1() -> None:
    differences = [1, 2, 3, 4, 5, 6, -1.5, 7]
    alone = from_differences(differences)
    assert alone.p is not None and alone.p_corrected == alone.p
    together = from_differences(differences, comparisons=7)
    assert together.p == alone.p
    assert together.p_corrected == pytest.approx(7 * alone.p)
    assert from_differences(differences, comparisons=1000).p_corrected == 1.0


def test_a_winner_of_one_comparison_need_not_be_one_of_many() -> None:
    differences = np.linspace(0.01, 0.02, 8)  # p = 1 / 128
    assert [from_differences(differences, comparisons=many).winner for many in (1, 6, 7)] == ["second", "second", None]


def test_the_level_decides() -> None:
    differences = np.linspace(0.01, 0.02, 8)
    assert from_differences(differences, level=0.0079).winner == "second"
    assert from_differences(differences, level=0.0078).winner is None


@pytest.mark.parametrize("comparisons", [1, 2, 12, 100])
def test_fewest_pairs_is_the_first_number_that_can_win(comparisons: int) -> None:
    fewest = fewest_pairs(comparisons)
    assert from_differences(np.arange(1.0, fewest + 1), comparisons=comparisons).winner == "second"
    assert from_differences(np.arange(1.0, fewest), comparisons=comparisons).winner is None


def test_the_interval_is_scipys_bca_and_not_its_percentiles() -> None:
    differences = np.random.default_rng(4).lognormal(-4, 1, 25) - 0.01
    found = from_differences(differences, resamples=100_000)
    expected, percentiles = (
        bootstrap((differences,), np.mean, n_resamples=100_000, method=method, rng=np.random.default_rng(5), batch=9999)
        for method in ("BCa", "percentile")
    )
    low, high = expected.confidence_interval
    assert abs(found.low - low) + abs(found.high - high) < 0.03 * (high - low)
    assert high - percentiles.confidence_interval.high > 0.1 * (high - low)


def test_of_symmetric_differences_it_is_the_percentiles_of_all_resamples() -> None:
    differences = np.array([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0]) + 5
    means = np.array(list(itertools.product(differences, repeat=6))).mean(axis=1)  # all 46,656
    found = from_differences(differences, resamples=40_000)
    np.testing.assert_allclose([found.low, found.high], np.quantile(means, [0.025, 0.975]), atol=0.05)


def test_the_interval_holds_the_mean_about_95_times_in_100() -> None:
    random = np.random.default_rng(6)
    holds = [
        found.low <= 0.01 <= found.high
        for found in (from_differences(random.normal(0.01, 0.02, 40), resamples=1000, seed=i) for i in range(300))
    ]
    assert 0.91 <= np.mean(holds) <= 0.98


def test_a_seed_gives_the_same_interval_and_another_seed_nearly_the_same() -> None:
    differences = np.random.default_rng(7).normal(0, 1, 30)
    one, again, other = (from_differences(differences, seed=seed) for seed in (1, 1, 2))
    assert astuple(one) == astuple(again)
    assert (one.low, one.high) != (other.low, other.high)
    assert one.low == pytest.approx(other.low, abs=0.1)


def test_one_difference_in_all_cases_is_an_interval_of_no_width() -> None:
    found = dice([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], [0.93, 0.83, 0.73, 0.63, 0.53, 0.43])
    assert (found.low, found.high) == (pytest.approx(0.03), pytest.approx(0.03))
    assert found.p == pytest.approx(1 / 32)  # all differences tie, though 0.93 - 0.9 is not 0.83 - 0.8 in floats


def test_thousands_of_pairs_take_little_memory() -> None:
    differences = np.random.default_rng(8).normal(0.05, 1, 5000)
    tracemalloc.start()
    found = from_differences(differences, resamples=2000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6  # all at once: 160 MB
    half = 1.96 * differences.std() / np.sqrt(5000)
    np.testing.assert_allclose([found.low, found.high], differences.mean() + np.array([-half, half]), atol=0.1 * half)


def test_higher_dice_and_lower_distance_win() -> None:
    low, high = np.linspace(1, 2, 10), np.linspace(1.5, 2.8, 10)
    assert compare_paired(low, high, higher_is_better=True).winner == "second"
    assert compare_paired(low, high, higher_is_better=False).winner == "first"
    assert compare_paired(high, low, higher_is_better=False).winner == "second"


def test_means_and_difference_are_those_of_the_pairs() -> None:
    found = dice([0.9, 0.8, None, 0.7], [1.0, 0.7, 0.5, 0.7])
    assert (found.cases, found.left_out) == (3, 1)
    assert found.mean_first == pytest.approx(0.8)
    assert found.mean_second == pytest.approx(0.8)
    assert found.mean_difference == pytest.approx(0.0)


@pytest.mark.parametrize("count", range(6))
def test_fewer_than_6_cases_have_no_test_no_interval_and_no_winner(count: int) -> None:
    found = dice([0.1] * count, [0.9] * count)
    assert found.cases == count
    assert found.p is None and found.p_corrected is None and found.winner is None
    assert math.isnan(found.low) and math.isnan(found.high)


def test_equal_models_have_no_difference_and_no_p() -> None:
    same = np.random.default_rng(9).random(20)
    found = dice(same, same)
    assert (found.mean_difference, found.low, found.high, found.p, found.winner) == (0.0, 0.0, 0.0, None, None)
    assert dice([0.0] * 8, [0.0] * 8).p is None


def test_differences_that_are_all_0_but_5_cannot_win() -> None:
    found = from_differences([0.0] * 40 + [1, 2, 3, 4, 5])
    assert found.p == pytest.approx(2 / 2**5)
    assert found.winner is None


def test_significant_ranks_do_not_win_where_the_interval_holds_0() -> None:
    found = from_differences([0.01] * 30 + [-0.29])  # 30 small gains, one collapse
    assert found.p is not None and found.p < 0.001
    assert found.mean_difference > 0
    assert found.low < 0 < found.high
    assert found.winner is None


def test_ranks_that_contradict_the_mean_do_not_win() -> None:
    found = from_differences(np.concatenate([np.linspace(0.001, 0.002, 85), np.linspace(-0.6, -0.4, 15)]))
    assert found.p_corrected is not None and found.p_corrected < 0.05
    assert found.high < 0  # the mean is a loss, most cases are gains
    assert found.winner is None


def test_missing_and_infinite_values_are_left_out_of_the_means_and_counted() -> None:
    first = [1.0, 2.0, math.nan, math.inf, 3.0, math.inf, 4.0, None, 5.0, 6.0]
    second = [2.0, 4.0, 1.0, 1.0, 5.0, math.inf, 7.0, math.inf, math.inf, 8.0]
    found = compare_paired(first, second, higher_is_better=False)
    assert (found.cases, found.left_out) == (5, 5)
    assert found.mean_first == pytest.approx(16 / 5)
    assert found.mean_second == pytest.approx(26 / 5)


def test_a_few_missed_lungs_cost_the_victory_in_distance() -> None:
    first, second = np.linspace(5, 6, 12), np.linspace(4, 5.1, 12)
    assert compare_paired(first, second, higher_is_better=False).winner == "second"
    missed = np.concatenate([second[:9], [np.inf] * 3])
    found = compare_paired(first, missed, higher_is_better=False)
    assert (found.cases, found.left_out) == (9, 3)
    assert found.p is not None and found.p < 0.05 and found.high < 0  # of the nine others
    assert found.winner is None


@pytest.mark.parametrize("by_second", [0, np.inf])
def test_lungs_that_the_loser_or_both_missed_do_not(by_second: float) -> None:
    first, second = np.linspace(5, 6, 14), np.linspace(4, 5.1, 14)
    first[:5] = np.inf
    second[:5] = by_second or second[:5]
    found = compare_paired(first, second, higher_is_better=False)
    assert (found.cases, found.winner) == (9, "second")


def test_one_missed_lung_in_many_cases_does_not() -> None:
    first, second = np.linspace(5, 6, 30), np.linspace(4, 5.1, 30)
    second[3] = np.inf
    assert compare_paired(first, second, higher_is_better=False).winner == "second"


@pytest.mark.parametrize(("first", "second"), [([1.0], [1.0, 2.0]), ([[1.0]], [[2.0]])])
def test_lists_that_are_no_pairs_are_refused(first: object, second: object) -> None:
    with pytest.raises(ValueError, match="expected two lists of one length, got shapes"):
        dice(first, second)


@pytest.mark.parametrize("wrong", [{"comparisons": 0}, {"resamples": 0}, {"level": 0.0}, {"level": 1.0}])
def test_numbers_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=str(next(iter(wrong.values())))):
        dice([1.0], [1.0], **wrong)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(ANY_VALUE, ANY_VALUE), max_size=15), st.booleans())
def test_exchanging_the_models_exchanges_all_that_is_found(
    pairs: list[tuple[float | None, float | None]], higher_is_better: bool
) -> None:
    first, second = [one for one, _ in pairs], [other for _, other in pairs]
    found = compare_paired(first, second, higher_is_better=higher_is_better, resamples=200)
    mirrored = compare_paired(second, first, higher_is_better=higher_is_better, resamples=200)
    assert found.cases + found.left_out == len(pairs) == mirrored.cases + mirrored.left_out
    assert mirrored.winner == {None: None, "first": "second", "second": "first"}[found.winner]
    assert mirrored.p == found.p
    np.testing.assert_allclose(
        [mirrored.mean_first, mirrored.mean_second, -mirrored.mean_difference, -mirrored.high, -mirrored.low],
        [found.mean_second, found.mean_first, found.mean_difference, found.low, found.high],
        rtol=1e-6,
        atol=1e-9,
    )
    if found.cases >= 6:
        assert found.low <= found.high
    if found.winner:
        assert found.p_corrected is not None and found.p_corrected < 0.05 and found.low * found.high > 0
        assert (found.winner == "second") == ((found.mean_difference > 0) == higher_is_better)
