"""One column of a table: the models' values of a metric, summed up, counted, written out, and the best of them marked.

Numbers are written with as many decimals as a difference between two good models needs: three for Dice where the paper
has two, because 0.996 is not 1.00.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lungapp.evaluation.records import CaseResult

NOTHING = "–"
MOST_DECIMALS = 9

Key = tuple[str, str]  # group and name of a case
Reading = Callable[[CaseResult], float | None]


@dataclass(frozen=True)
class Cell:
    """One number of a table.

    Attributes:
        text: As it is shown, e.g. `9.19±18.15 (19/20)`; the counts only where cases are missing or infinite.
        mean: Mean over the cases, or the median or the number of cases where the column says so, in the metric's own
            unit (shares 0..1); None if there is no case.
        std: Sample standard deviation (n - 1), 0 for one case; None where the text has none.
        cases: How many cases have a finite value.
        of: How many cases should have one.
        is_best: Whether it is the best of its column, of two models or more.
    """

    text: str
    mean: float | None
    std: float | None
    cases: int
    of: int
    is_best: bool


@dataclass(frozen=True)
class Values:
    """A metric of one model over some cases.

    Attributes:
        finite: The value of each case that has one.
        missing: The cases that should have one and have none: no mask, or an infinite distance.
    """

    finite: Mapping[Key, float]
    missing: frozenset[Key]


def values_of(results: Iterable[CaseResult], reading: Reading) -> Values:
    """Read a metric of each case.

    Args:
        results: Of one model.
        reading: Gives the value; nan or infinite where it is missing, None where the case does not count.
    """
    read = [((result.group, result.case), reading(result)) for result in results]
    return Values(
        {key: value for key, value in read if value is not None and math.isfinite(value)},
        frozenset(key for key, value in read if value is not None and not math.isfinite(value)),
    )


def mean_cell(values: Values, show: Callable[[float], str]) -> Cell:
    """The mean alone."""
    return summary_cell(values, lambda numbers: float(np.mean(numbers)), show)


def mean_and_std_cell(values: Values, show: Callable[[float], str], show_std: Callable[[float], str]) -> Cell:
    """The mean and the sample standard deviation."""
    cell = mean_cell(values, show)
    if cell.mean is None:
        return cell
    std = float(np.std(list(values.finite.values()), ddof=1)) if cell.cases > 1 else 0.0
    return replace(cell, text=f"{show(cell.mean)}±{show_std(std)}{_counts(values)}", std=std)


def summary_cell(values: Values, summary: Callable[[Sequence[float]], float], show: Callable[[float], str]) -> Cell:
    """Whatever sums up the cases that have a value."""
    numbers = list(values.finite.values())
    mean = summary(numbers) if numbers else None
    text = (NOTHING if mean is None else show(mean)) + _counts(values)
    return Cell(text, mean, None, len(numbers), len(numbers) + len(values.missing), False)


def with_best(
    cells: Sequence[Cell], values: Sequence[Values], merit: Callable[[float], float], show: Callable[[float], str]
) -> tuple[Cell, ...]:
    """Mark the best cells of a column.

    A cell is best if no other shows a better number and no other model has a value for a case that is missing here:
    a model that fails on the hard cases is not better for it. What is shown as equal is equal.

    Args:
        cells: One for each model.
        values: What they sum up.
        merit: The higher, the better.
        show: As in the cells.
    """
    merits = [None if cell.mean is None else merit(cell.mean) for cell in cells]
    highest = max((value for value in merits if value is not None), default=None)
    if len(cells) < 2 or highest is None:
        return tuple(cells)
    everything = frozenset().union(*(item.finite for item in values))
    return tuple(
        replace(cell, is_best=value is not None and show(value) == show(highest) and not own.missing & everything)
        for cell, value, own in zip(cells, merits, values, strict=True)
    )


def show_share(value: float) -> str:
    """Three decimals, and more where they would round up to 1.

    >>> show_share(0.99649), show_share(0.99962), show_share(1.0)
    ('0.996', '0.9996', '1.000')
    """
    return _below(value, 1.0, 3)


def show_percent(value: float) -> str:
    """A share in percent with one decimal, and more where it would round up to 100.

    >>> show_percent(0.6), show_percent(0.9998), show_percent(1.0)
    ('60.0%', '99.98%', '100.0%')
    """
    return f"{_below(100 * value, 100.0, 1)}%"


def show_mm(value: float) -> str:
    """Two decimals."""
    return f"{value:z.2f}"


def show_ml(value: float) -> str:
    """One decimal and the sign of an error."""
    return f"{value:+z.1f}"


def _below(value: float, top: float, decimals: int) -> str:
    text = f"{value:z.{decimals}f}"
    while value < top and float(text) >= top and decimals < MOST_DECIMALS:
        decimals += 1
        text = f"{value:z.{decimals}f}"
    return text


def _counts(values: Values) -> str:
    return f" ({len(values.finite)}/{len(values.finite) + len(values.missing)})" if values.missing else ""
