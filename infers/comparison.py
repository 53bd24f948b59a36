"""Whether one model is better than another on the same cases: a paired test and a paired interval.

Source: Xie et al. 2020 (CTSU-Net), "Evaluation metrics": Wilcoxon's signed-rank test with Bonferroni's correction. The
interval is ours: a test says that there is a difference, and only an interval says how large it may be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import rankdata, wilcoxon

LEVEL = 0.05  # of significance; CTSU-Net has 0.01
FEWEST_PAIRS = 6  # with 5, the smallest two-sided p is 2 / 2**5 = 0.0625
CONFIDENCE = 0.95
STEPS = 1e12  # differences are whole multiples of the largest value / STEPS: equal ones are equal despite round-off
EXACT_PAIRS = 50  # as many non-zero differences get an exact p
DRAWS_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class PairedComparison:
    """Two models on the same cases.

    Attributes:
        cases: Pairs that both have a finite value.
        left_out: Pairs where one is missing (nan, None) or infinite.
        mean_first: Mean of the first model over `cases`; nan without any.
        mean_second: The same of the second.
        mean_difference: Second minus first.
        low: Lower end of the 95 % paired bootstrap interval of the mean difference; nan with fewer than 6 cases.
        high: Its upper end.
        p: Of the two-sided Wilcoxon signed-rank test; None with fewer than 6 cases or where all differences are 0.
        p_corrected: Bonferroni: min(1, p * comparisons); None where p is.
        winner: `first`, `second`, or None: no difference shown.
    """

    cases: int
    left_out: int
    mean_first: float
    mean_second: float
    mean_difference: float
    low: float
    high: float
    p: float | None
    p_corrected: float | None
    winner: str | None


def compare_paired(
    first: Sequence[float | None] | np.ndarray,
    second: Sequence[float | None] | np.ndarray,
    *,
    higher_is_better: bool,
    comparisons: int = 1,
    level: float = LEVEL,
    resamples: int = 10_000,
    seed: int = 0,
) -> PairedComparison:
    """Compare two models by a metric that both have for the same cases.

    The test is Wilcoxon's own: differences of 0 are dropped, ties share their mean rank. Up to 50 differences that are
    not 0, p is exact, ties included; above, it is scipy's normal approximation with its correction for ties. The
    interval is the bias-corrected and accelerated bootstrap (BCa) over pairs, those of difference 0 included: the few
    failures that make up most differences skew the mean, and the plain percentiles miss that more often.

    There is a winner only if the corrected p is below the level, the interval excludes 0, and the ranks point where the
    mean does: many small gains do not make up for a few collapses, nor the other way round. A pair with one infinite
    value has no part in the mean, but ranks: the winner has to win with it as the largest difference, too, so that
    nobody wins by leaving out the lungs that it missed.

    Args:
        first: (n,) values of the first model; None, nan or inf where there is none.
        second: (n,) values of the second model for the same cases in the same order.
        higher_is_better: True for Dice, False for distances.
        comparisons: How many are made together: p is multiplied by it.
        level: Of significance.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        ValueError: If the two are not of one length, or a number is out of range.

    >>> better = compare_paired([0.91, 0.90, 0.95, 0.93, 0.96, 0.92, 0.94], [0.97] * 7, higher_is_better=True)
    >>> better.winner, better.cases, round(better.mean_difference, 3), better.p
    ('second', 7, 0.04, 0.015625)
    """
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.ndim != 1 or one.shape != other.shape:
        raise ValueError(f"expected two lists of one length, got shapes {one.shape} and {other.shape}")
    if comparisons < 1 or resamples < 1 or not 0 < level < 1:
        raise ValueError(
            f"expected comparisons >= 1, resamples >= 1 and a level in 0..1, got {comparisons}, {resamples}, {level}"
        )
    finite = np.isfinite(one) & np.isfinite(other)
    cases = int(finite.sum())
    means = [float(values[finite].mean()) if cases else np.nan for values in (one, other)]
    difference = means[1] - means[0]
    low = high = np.nan
    p = corrected = winner = None
    if cases >= FEWEST_PAIRS:
        steps, step = _in_steps(one[finite], other[finite])
        low, high = (step * end for end in _interval(steps, resamples, np.random.default_rng(seed)))
        if steps.any():
            p = _signed_rank_p(steps)
            corrected = min(1.0, p * comparisons)
            better = np.sign(difference)
            against = _with_infinite(steps, one, other)
            is_shown = low * high > 0 and all(
                _rank_sum(values) * better > 0 and _signed_rank_p(values) * comparisons < level
                for values in (steps, against)
            )
            if is_shown:
                winner = "second" if (better > 0) == higher_is_better else "first"
    return PairedComparison(
        cases, len(one) - cases, means[0], means[1], difference, float(low), float(high), p, corrected, winner
    )


def fewest_pairs(comparisons: int, level: float = LEVEL) -> int:
    """How many pairs it takes until the corrected p can be below the level at all.

    >>> fewest_pairs(1), fewest_pairs(12)
    (6, 9)
    """
    return math.floor(math.log2(comparisons / level)) + 2


def _in_steps(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, float]:
    """Differences as whole numbers, and what one of them is worth: 0.97 - 0.96 and 0.96 - 0.95 are one difference."""
    largest = float(max(np.abs(one).max(), np.abs(other).max()))
    if largest == 0:
        return np.zeros(len(one)), 0.0
    return np.rint((other / largest - one / largest) * STEPS), largest / STEPS


def _with_infinite(steps: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The differences with those of one infinite value, which are larger than all others."""
    known = ~np.isnan(one) & ~np.isnan(other) & (one != other)
    signs = [np.sign(other[known & np.isinf(other)]), -np.sign(one[known & np.isinf(one) & ~np.isinf(other)])]
    return np.concatenate([steps, *(sign * (np.abs(steps).max() + 1) for sign in signs)])


def _rank_sum(steps: np.ndarray) -> float:
    """Ranks of the positive differences minus ranks of the negative ones."""
    there = steps[steps != 0]
    return float((np.sign(there) * rankdata(np.abs(there))).sum())


def _signed_rank_p(steps: np.ndarray) -> float:
    """Two-sided p of the Wilcoxon signed-rank test of differences, of which at least one is not 0."""
    there = steps[steps != 0]
    if len(there) > EXACT_PAIRS:
        return float(wilcoxon(there, method="asymptotic", correction=False).pvalue)
    doubled = np.rint(2 * rankdata(np.abs(there))).astype(np.int64)  # mean ranks are whole or half numbers
    smaller = min(doubled[there > 0].sum(), doubled[there < 0].sum())
    share = np.zeros(doubled.sum() + 1)  # of all ways to give signs, by the sum of the positive ranks
    share[0] = 1.0
    for rank in doubled:
        share[rank:] = (share[rank:] + share[:-rank]) / 2
        share[:rank] /= 2
    return min(1.0, float(2 * share[: smaller + 1].sum()))


def _interval(steps: np.ndarray, resamples: int, generator: np.random.Generator) -> tuple[float, float]:
    """BCa interval of the mean, in steps.

    Source: Efron 1987, "Better bootstrap confidence intervals"; the jackknife's acceleration of a mean is its skewness
    over 6 sqrt(n).
    """
    count = len(steps)
    if np.ptp(steps) == 0:
        return float(steps[0]), float(steps[0])
    at_once = max(1, DRAWS_AT_ONCE // count)
    sums = np.concatenate(
        [
            steps[generator.integers(0, count, (min(at_once, resamples - start), count))].sum(axis=1)
            for start in range(0, resamples, at_once)
        ]
    )
    total = steps.sum()  # of whole numbers: equal sums are found equal
    below = (sums < total).sum() + (sums == total).sum() / 2
    bias = ndtri((below + 0.5) / (resamples + 1))
    away = (steps - steps.mean()) / np.ptp(steps)
    acceleration = (away**3).sum() / (6 * (away**2).sum() ** 1.5)
    ends = bias + ndtri(np.array([(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]))
    low, high = np.quantile(sums / count, ndtr(bias + ends / (1 - acceleration * ends)))
    return float(low), float(high)
