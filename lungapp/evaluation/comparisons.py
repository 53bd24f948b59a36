"""Each pair of models on the same cases, and what came of it in a sentence."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from infers.comparison import FEWEST_PAIRS, LEVEL, PairedComparison, compare_paired, fewest_pairs
from infers.metrics import METRICS
from lungapp.evaluation.notes import cases_text
from lungapp.evaluation.records import CaseResult, Evaluation, Outcome
from lungapp.evaluation.selection import ALL, select

COMPARED = ("dice", "hausdorff95_mm", "mean_surface_distance_mm")
SMALLEST_GROUP = 5  # cases
BY_KEY = {metric.key: metric for metric in METRICS}
MOST_DECIMALS = 6

Pair = tuple[float, float]


@dataclass(frozen=True)
class ModelComparison:
    """Two models by one metric.

    Attributes:
        first: Name of a model.
        second: Name of another.
        metric: Key of the metric, see `infers.metrics.METRICS`.
        group: `All`, or the group whose cases they are.
        result: What was found.
        infinite: How many of the pairs are infinite for the first model, and for the second.
        missing: How many of the pairs have no value of the first model, and of the second.
        comparisons: How many tests were made together, over "All" or within groups: p is corrected for them.
    """

    first: str
    second: str
    metric: str
    group: str
    result: PairedComparison
    infinite: tuple[int, int] = (0, 0)
    missing: tuple[int, int] = (0, 0)
    comparisons: int = 1

    def sentence(self) -> str:
        """What was found, e.g. `b scores 0.012 higher DSC than a (95 % interval 0.004 to 0.019, p = 0.003, 31 cases)`.

        It always says how many pairs are left out, and for which model they are infinite or have no value.
        """
        return self._finding() + self._left_out()

    def _finding(self) -> str:
        result, title, both = self.result, BY_KEY[self.metric].title, f"{self.first} and {self.second}"
        if result.cases < FEWEST_PAIRS:
            are = "is" if result.cases == 1 else "are"
            return f"no difference shown: {cases_text(result.cases)} {are} too few to compare {title} of {both}"
        if result.p_corrected is None:
            return f"no difference shown: {title} of {both} is the same in all {result.cases} cases"
        if result.winner is None:
            difference = self._amount(result.mean_difference)
            about = f"{title} of {self.second} minus that of {self.first} is {difference} on average"
            return f"no difference shown: {about} {self._figures(result.low, result.high)}{self._why_none()}"
        better, worse = (self.second, self.first) if result.winner == "second" else (self.first, self.second)
        direction = "higher" if BY_KEY[self.metric].higher_is_better else "lower"
        low, high = sorted((abs(result.low), abs(result.high)))
        amount = self._amount(abs(result.mean_difference))
        return f"{better} scores {amount} {direction} {title} than {worse} {self._figures(low, high)}"

    def _figures(self, low: float, high: float) -> str:
        p = self.result.p_corrected or 0.0
        name = "corrected p" if self.comparisons > 1 else "p"
        size = f"{name} < 0.001" if p < 0.001 else f"{name} = {p:.3g}"
        interval = f"{_number(low, self._decimals)} to {self._amount(high)}"
        return f"(95 % interval {interval}, {size}, {cases_text(self.result.cases)})"

    def _why_none(self) -> str:
        result = self.result
        if result.p_corrected is not None and result.p_corrected >= LEVEL:
            if result.cases < fewest_pairs(self.comparisons):
                return f"; {result.cases} cases are too few for {self.comparisons} comparisons"
            return ""
        if result.low * result.high <= 0:
            return "; the interval includes 0"
        return "; ranks, with infinite differences as the largest, do not bear the mean out"

    def _left_out(self) -> str:
        if not self.result.left_out:
            return ""
        reasons = [
            f"{what} {name} in {count}"
            for what, counts in (("infinite for", self.infinite), ("no value of", self.missing))
            for name, count in zip((self.first, self.second), counts, strict=True)
            if count
        ]
        pairs = "1 pair" if self.result.left_out == 1 else f"{self.result.left_out} pairs"
        return f"; {pairs} left out: {', '.join(reasons)}"

    @property
    def _decimals(self) -> int:
        return 2 if BY_KEY[self.metric].unit else 3

    def _amount(self, value: float) -> str:
        return f"{_number(value, self._decimals)} {BY_KEY[self.metric].unit}".rstrip()


def comparisons(evaluation: Evaluation) -> tuple[ModelComparison, ...]:
    """Each pair of models by Dice, HD95 and mean surface distance, over "All" and each group of 5 cases or more.

    A group that has the same cases as "All" is not tested twice. p is corrected (Bonferroni) for the tests over "All"
    (pairs of models x metrics), and for those within groups by themselves (x groups): how many groups there are shall
    not decide whether a difference over "All" is shown. Comparisons without cases enough for a test do not count.

    Args:
        evaluation: Of any number of models; with one there is nothing to compare.
    """
    chosen = select(evaluation)
    in_all = [group for group in chosen.groups if group not in chosen.left_out]
    sets = [(ALL, in_all), *((group, [group]) for group in chosen.groups if [group] != in_all)]
    found = []
    for group, groups in sets:
        results = zip(evaluation.models, chosen.of_groups(groups), strict=True)
        for (first, ones), (second, others) in combinations(results, 2):
            found += [(first, second, metric, group, _pairs(ones, others, metric)) for metric in COMPARED]
    found = [item for item in found if item[3] == ALL or len(item[4]) >= SMALLEST_GROUP]
    tests = Counter(item[3] == ALL for item in found if _finite(item[4]) >= FEWEST_PAIRS)
    return tuple(_compared(*item, max(1, tests[item[3] == ALL])) for item in found)


def _compared(first: str, second: str, metric: str, group: str, pairs: Sequence[Pair], tests: int) -> ModelComparison:
    ones, others = [one for one, _ in pairs], [other for _, other in pairs]
    higher_is_better = BY_KEY[metric].higher_is_better
    return ModelComparison(
        first,
        second,
        metric,
        group,
        compare_paired(ones, others, higher_is_better=higher_is_better, comparisons=tests, level=LEVEL),
        infinite=(sum(map(math.isinf, ones)), sum(map(math.isinf, others))),
        missing=(sum(map(math.isnan, ones)), sum(map(math.isnan, others))),
        comparisons=tests,
    )


def _pairs(first: Sequence[CaseResult], second: Sequence[CaseResult], metric: str) -> list[Pair]:
    """Values of both models for each case; nan where there is none."""
    ones, others = ({(item.group, item.case): _value(item, metric) for item in results} for results in (first, second))
    return [(ones.get(case, math.nan), others.get(case, math.nan)) for case in dict.fromkeys([*ones, *others])]


def _value(result: CaseResult, metric: str) -> float:
    value = result.value(metric) if result.outcome is Outcome.SCORED else None
    return math.nan if value is None else value


def _finite(pairs: Sequence[Pair]) -> int:
    return sum(math.isfinite(one) and math.isfinite(other) for one, other in pairs)


def _number(value: float, decimals: int) -> str:
    """A number with more decimals where fewer would make it 0."""
    while value and not float(f"{value:.{decimals}f}") and decimals < MOST_DECIMALS:
        decimals += 1
    return f"{value:z.{decimals}f}"
