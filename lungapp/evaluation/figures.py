"""The box plots of an evaluation: which values go into which plot, and what is said beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from infers.metrics import METRICS
from lungapp.evaluation.axes import Axis, axis_for
from lungapp.evaluation.plots import Sample, box_plot, shown_points
from lungapp.evaluation.records import CaseResult, Evaluation, scored
from lungapp.evaluation.selection import ALL, group_title, select

SHOWN = ("dice", "hausdorff95_mm", "mean_surface_distance_mm")
NAMED = 60  # infinite values in a note
GROUPS_IN_A_ROW, BOXES_IN_A_ROW = 12, 34  # more go into further plots with the same axis


@dataclass(frozen=True)
class Plot:
    """One figure.

    Attributes:
        title: What is shown.
        svgs: Its rows.
        notes: What is not on the axis, or not drawn.
    """

    title: str
    svgs: tuple[str, ...]
    notes: tuple[str, ...]


def metric_plots(evaluation: Evaluation) -> list[Plot]:
    """A plot each of Dice, HD95 and MSD, by model and group; none where nothing is scored."""
    plots = []
    for metric in METRICS:
        if metric.key not in SHOWN:
            continue
        groups = _grouped(evaluation, lambda result, key=metric.key: result.value(key))  # type: ignore[misc]
        finite = [sample.finite for _, samples in groups for sample in samples]
        if not groups:
            continue
        if any(finite):
            perfect, worst = (1.0, 0.0) if metric.higher_is_better else (0.0, None)
            axis = axis_for(finite, perfect=perfect, worst=worst)
        else:
            axis = Axis(0.0, 1.0)
        label = f"{metric.title} ({metric.unit})" if metric.unit else metric.title
        plots.append(_plot(evaluation.models, groups, metric.title, label, axis))
    return plots


def tumour_plots(evaluation: Evaluation) -> list[Plot]:
    """How much of each tumour the masks cover, as in figure 4 of the paper; none without tumours."""

    def percent(result: CaseResult) -> float | None:
        return None if result.tumour_overlap is None else 100 * result.tumour_overlap

    samples = [_sample(evaluation.of_model(model), percent) for model in evaluation.models]
    if not any(sample.values for sample in samples):
        return []
    axis = Axis(0.0, 100.0)
    return [_plot(evaluation.models, [("all tumours", samples)], "Tumour overlap", "tumour covered (%)", axis)]


def _plot(
    models: Sequence[str], groups: Sequence[tuple[str, Sequence[Sample]]], title: str, label: str, axis: Axis
) -> Plot:
    at_once = max(1, min(GROUPS_IN_A_ROW, BOXES_IN_A_ROW // len(models)))
    svgs = tuple(
        box_plot(f"Box plots of {title} by model and group", label, axis, models, groups[start : start + at_once])
        for start in range(0, len(groups), at_once)
    )
    return Plot(title, svgs, tuple(_notes(models, groups, axis)))


def _notes(models: Sequence[str], groups: Sequence[tuple[str, Sequence[Sample]]], axis: Axis) -> Iterator[str]:
    if axis.perfect is not None:
        yield f"The axis is stretched towards {axis.perfect:g} (by the square root of the distance to it)."
    samples = [(model, sample) for _, of_group in groups for model, sample in zip(models, of_group, strict=True)]
    infinite = {
        f"{case} ({model})": None
        for model, sample in samples
        for case, value in zip(sample.cases, sample.values, strict=True)
        if math.isinf(value)
    }
    if infinite:
        more = f" and {len(infinite) - NAMED} more, see every case" if len(infinite) > NAMED else ""
        yield f"Infinite, as a structure is in only one of the two masks: {', '.join(list(infinite)[:NAMED])}{more}."
    thinned = sum(len(sample.finite) > len(shown_points(sample)) for _, sample in samples)
    if thinned:
        yield "Of very large samples all outliers are drawn, and evenly chosen ones of the other points."


def _grouped(evaluation: Evaluation, value_of: Callable[[CaseResult], float | None]) -> list[tuple[str, list[Sample]]]:
    """Samples by group: "All(L)" and "All" as in the tables, and each group, where these differ."""
    chosen = select(evaluation)
    sets = [(f"{ALL}(L)", chosen.of_groups(chosen.groups))] if chosen.left_out else []
    sets.append((ALL, chosen.of_all()))
    if len(chosen.groups) > 1:
        sets += [(group_title(group), chosen.of_groups([group])) for group in chosen.groups]
    found = [(name, [_sample(scored(results), value_of) for results in by_model]) for name, by_model in sets]
    return [(name, samples) for name, samples in found if any(sample.values for sample in samples)]


def _sample(results: Sequence[CaseResult], value_of: Callable[[CaseResult], float | None]) -> Sample:
    pairs = [(result.case, value_of(result)) for result in results]
    known = [(case, value) for case, value in pairs if value is not None and not math.isnan(value)]
    return Sample(tuple(case for case, _ in known), tuple(value for _, value in known))
