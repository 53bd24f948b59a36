"""The comparisons of models as a report shows them: by metric, each with a sentence and a bar."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from infers.metrics import METRICS, Metric
from lungapp.evaluation.comparisons import ModelComparison
from lungapp.evaluation.plots import interval_bar
from lungapp.evaluation.selection import ALL

BY_KEY = {metric.key: metric for metric in METRICS}


@dataclass(frozen=True)
class Finding:
    """A comparison of two models.

    Attributes:
        group: Of cases.
        sentence: What was found.
        bar: The difference and its interval as SVG; "" where there is no interval.
    """

    group: str
    sentence: str
    bar: str


@dataclass(frozen=True)
class Findings:
    """All comparisons by one metric.

    Attributes:
        metric: By which the models are compared.
        reach: Difference at the right end of every bar.
        overall: Those over all cases.
        by_group: Those within one group.
    """

    metric: Metric
    reach: float
    overall: tuple[Finding, ...]
    by_group: tuple[Finding, ...]


def findings(found: Sequence[ModelComparison], models: Sequence[str]) -> list[Findings]:
    """The comparisons by metric, in the order in which they come.

    Args:
        found: The comparisons.
        models: Names of the models; a bar has their numbers.
    """
    result = []
    for key in dict.fromkeys(item.metric for item in found):
        of_metric = [item for item in found if item.metric == key]
        ends = [abs(end) for item in of_metric for end in (item.result.low, item.result.high) if math.isfinite(end)]
        reach = max(ends, default=0.0) or 1.0
        overall, by_group = (
            tuple(
                Finding(item.group, item.sentence(), _bar(item, models, reach))
                for item in of_metric
                if (item.group == ALL) is is_overall
            )
            for is_overall in (True, False)
        )
        result.append(Findings(BY_KEY[key], reach, overall, by_group))
    return result


def _bar(item: ModelComparison, models: Sequence[str], reach: float) -> str:
    """How much better the second model is."""
    low, middle, high = item.result.low, item.result.mean_difference, item.result.high
    if not all(map(math.isfinite, (low, middle, high))):
        return ""
    better = (low, middle, high) if BY_KEY[item.metric].higher_is_better else (-high, -middle, -low)
    first, second = models.index(item.first), models.index(item.second)
    winner = {"first": first, "second": second}.get(item.result.winner or "")
    return interval_bar(better, reach, (first, second), winner)
