"""The paper's tables III, IV and V from an evaluation, with the comparisons and the worst cases that belong to them.

Source: Hofmanninger et al. 2020, tables III to V. Dice has three decimals where the paper has two.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import nan

import numpy as np

from datastore.wording import printable
from infers.metrics import Presence
from lungapp.evaluation.cells import (
    Cell,
    Reading,
    Values,
    mean_and_std_cell,
    mean_cell,
    show_ml,
    show_mm,
    show_percent,
    show_share,
    summary_cell,
    values_of,
    with_best,
)
from lungapp.evaluation.comparisons import ModelComparison, comparisons
from lungapp.evaluation.failures import failures, worst
from lungapp.evaluation.notes import (
    BEST_OF,
    COUNTS,
    NO_DISTANCE,
    NO_MASK,
    STD,
    about_empty,
    about_selection,
    cases_text,
)
from lungapp.evaluation.records import CaseResult, Evaluation, Outcome
from lungapp.evaluation.selection import ALL, group_title, select

__all__ = [
    "Cell",
    "ModelComparison",
    "Table",
    "comparisons",
    "failures",
    "segmentation_table",
    "structure_table",
    "text_of",
    "tumour_table",
    "worst",
]

LITTLE, MUCH = 0.05, 0.95  # of a tumour
BEST = "*"
NOTE_WIDTH = 100
LINE_WIDTH = 160  # of a table on a terminal; a wider one goes on below
GAP = "  "

Column = tuple[str, Sequence[Cell]]


@dataclass(frozen=True)
class Table:
    """Numbers of each model side by side.

    Attributes:
        title: What it shows.
        note: What a reader has to know, in sentences.
        columns: Their heads, without that of the models' names.
        rows: Name and cells of each model, in the order of the evaluation.
    """

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


@dataclass(frozen=True)
class _Measure:
    """How a metric is shown."""

    key: str
    title: str
    show: Callable[[float], str]
    show_std: Callable[[float], str]
    merit: Callable[[float], float]

    def column(self, head: str, results: Iterable[Iterable[CaseResult]], reading: Reading, *, std: bool) -> Column:
        values = [values_of(some, reading) for some in results]
        cells = [
            mean_and_std_cell(item, self.show, self.show_std) if std else mean_cell(item, self.show) for item in values
        ]
        return head, with_best(cells, values, self.merit, self.show)


DICE = _Measure("dice", "DSC", show_share, lambda std: f"{std:.3f}", lambda mean: mean)
HD95 = _Measure("hausdorff95_mm", "HD95(mm)", show_mm, show_mm, lambda mean: -mean)
MSD = _Measure("mean_surface_distance_mm", "MSD(mm)", show_mm, show_mm, lambda mean: -mean)
VOLUME_ERROR = _Measure(
    "volume_error_ml", "volume error(ml)", show_ml, lambda std: f"{std:.1f}", lambda mean: -abs(mean)
)
SURFACE_DICE = _Measure("surface_dice", "surface DSC", show_share, lambda std: f"{std:.3f}", lambda mean: mean)


def segmentation_table(evaluation: Evaluation) -> Table:
    """Tables III and IV: Dice of each group, then Dice, HD95 and mean surface distance over all."""
    chosen = select(evaluation)
    columns = [
        DICE.column(group_title(group), chosen.of_groups([group]), _case_reading(DICE), std=False)
        for group in (chosen.groups if len(chosen.groups) > 1 else ())
    ]
    if chosen.left_out:
        columns.append(
            DICE.column(f"{ALL}(L) {DICE.title}±STD", chosen.of_groups(chosen.groups), _case_reading(DICE), std=True)
        )
    columns += [
        measure.column(f"{ALL} {measure.title}±STD", chosen.of_all(), _case_reading(measure), std=True)
        for measure in (DICE, HD95, MSD)
    ]
    note = [*about_selection(chosen), *about_empty(chosen), STD]
    return _table("Test datasets (DSC)", note, evaluation, columns, NO_DISTANCE)


def structure_table(evaluation: Evaluation) -> Table:
    """Dice, HD95, mean surface distance, volume error and surface Dice of each structure over the cases of "All"."""
    chosen = select(evaluation)
    columns = [
        measure.column(
            f"{structure.replace('_', ' ')} {measure.title}±STD",
            chosen.of_all(),
            _structure_reading(structure, measure),
            std=True,
        )
        for structure in evaluation.structures
        for measure in (DICE, HD95, MSD, VOLUME_ERROR, SURFACE_DICE)
    ]
    note = [
        *about_selection(chosen),
        "A structure that is in neither the reference nor the mask does not count.",
        "Volume error is mask minus reference; the nearest to 0 is best.",
        f"Surface DSC has a tolerance of {evaluation.tolerance_mm:g} mm.",
        STD,
    ]
    return _table("Structures", note, evaluation, columns, NO_DISTANCE)


def tumour_table(evaluation: Evaluation) -> Table | None:
    """Table V: how much of the tumours the lungs cover, over all cases with a tumour's mask; None if there is none."""
    with_tumour = {(case.group, case.case) for case in evaluation.cases if case.tumour is not None}
    with_tumour |= {(item.group, item.case) for item in evaluation.results if item.tumour_overlap is not None}
    if not with_tumour:
        return None
    values = [
        values_of(
            (item for item in evaluation.of_model(model) if (item.group, item.case) in with_tumour),
            lambda item: nan if item.tumour_overlap is None else item.tumour_overlap,
        )
        for model in evaluation.models
    ]
    columns = [
        _tumour_column("Mean", values, lambda shares: float(np.mean(shares)), show_percent, 1),
        _tumour_column("Median", values, lambda shares: float(np.median(shares)), show_percent, 1),
        _tumour_column("< 5%", values, lambda shares: sum(share < LITTLE for share in shares), _show_count, -1),
        _tumour_column("> 95%", values, lambda shares: sum(share > MUCH for share in shares), _show_count, 1),
    ]
    note = [
        f"Share of the tumour inside the lungs, over the {cases_text(len(with_tumour))} with a tumour's mask; "
        "< 5% and > 95% are numbers of cases."
    ]
    return _table("Tumour overlap", note, evaluation, columns, NO_MASK)


def text_of(table: Table) -> str:
    """A table as aligned lines; the best of each column has a `*`."""
    rows = [("Model", *table.columns)]
    rows += [(name, *(cell.text + (BEST if cell.is_best else "") for cell in cells)) for name, cells in table.rows]
    shown = [[printable(text) for text in row] for row in rows]
    pad = any(cell.is_best for _, cells in table.rows for cell in cells)
    # a mark stands to the right of the numbers, which stay in line
    shown = [
        [name, *(text if not pad or text.endswith(BEST) else f"{text} " for text in cells)] for name, *cells in shown
    ]
    lines = [line for some in _fitting(shown) for line in _aligned(some)]
    note = f"{table.note} {BEST} best of its column." if pad else table.note
    return "\n".join([printable(table.title), *lines, *textwrap.wrap(printable(note), NOTE_WIDTH)])


def _fitting(rows: Sequence[Sequence[str]]) -> Iterator[list[list[str]]]:
    """The rows with as many columns at a time as a terminal has room for, the first one each time."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    some: list[int] = []
    for column in range(1, len(widths)):
        if some and sum(widths[place] + len(GAP) for place in [0, *some, column]) > LINE_WIDTH:
            yield [[row[place] for place in [0, *some]] for row in rows]
            some = []
        some.append(column)
    yield [[row[place] for place in [0, *some]] for row in rows]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [GAP.join([name.ljust(widths[0]), *map(str.rjust, cells, widths[1:])]).rstrip() for name, *cells in rows]


def _case_reading(measure: _Measure) -> Reading:
    return lambda result: result.value(measure.key) if result.outcome is Outcome.SCORED else nan


def _structure_reading(structure: str, measure: _Measure) -> Reading:
    def read(result: CaseResult) -> float | None:
        found = [item for item in result.structures if item.name == structure]
        if result.outcome is not Outcome.SCORED or not found:
            return nan
        return None if found[0].presence is Presence.ABSENT else float(getattr(found[0], measure.key))

    return read


def _tumour_column(
    head: str,
    values: Sequence[Values],
    summary: Callable[[Sequence[float]], float],
    show: Callable[[float], str],
    sign: int,
) -> Column:
    cells = [summary_cell(item, summary, show) for item in values]
    return head, with_best(cells, values, lambda number: sign * number, show)


def _show_count(count: float) -> str:
    return f"{count:.0f}"


def _table(title: str, note: Sequence[str], evaluation: Evaluation, columns: Sequence[Column], others: str) -> Table:
    rows = tuple((model, tuple(cells[place] for _, cells in columns)) for place, model in enumerate(evaluation.models))
    sentences = list(note)
    if any(cell.cases < cell.of for _, cells in rows for cell in cells):
        sentences += [COUNTS + others, *([BEST_OF] if len(rows) > 1 else [])]
    return Table(title, " ".join(sentences), tuple(head for head, _ in columns), rows)
