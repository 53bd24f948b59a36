"""Box-and-swarm plots and intervals as SVG text, for a page that brings the colours (classes m0, m1, ...) along."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from datastore.wording import printable
from lungapp.evaluation.axes import Axis

COLOURS = 7  # classes m0 .. m6
BOX_FROM = 5  # cases: with fewer, quartiles say nothing and only points are drawn
POINTS_SHOWN = 150  # of a sample
HEIGHT, TOP, LEFT = 250, 30, 52  # pixels of the plot area, above it, and left of it
BELOW = 62  # pixels for the labels under the boxes
DOT = 4.4  # diameter in pixels
GROUP_GAP = 12
LETTER, NAME_WIDTH = 7.4, 130  # pixels of a letter, about, and of a group's name at most


@dataclass(frozen=True)
class Sample:
    """The values of one model in one group.

    Attributes:
        cases: Names of the cases.
        values: One for each of them; infinite ones are counted above the axis.
    """

    cases: tuple[str, ...]
    values: tuple[float, ...]

    @property
    def finite(self) -> tuple[float, ...]:
        """The values that can be drawn."""
        return tuple(value for value in self.values if math.isfinite(value))


@dataclass(frozen=True)
class Box:
    """What a box plot says of a sample.

    Attributes:
        quartiles: 25th, 50th and 75th percentile of the finite values, interpolated linearly.
        whiskers: Smallest and largest value within 1.5 interquartile ranges of the box.
    """

    quartiles: tuple[float, float, float]
    whiskers: tuple[float, float]

    @classmethod
    def of(cls, values: Sequence[float]) -> Box:
        """The box of some finite values, at least one."""
        low, middle, high = (float(value) for value in np.percentile(values, (25, 50, 75)))
        reach = 1.5 * (high - low)
        within = [value for value in values if low - reach <= value <= high + reach]
        return cls((low, middle, high), (min(within), max(within)))

    def is_outlier(self, value: float) -> bool:
        """Whether a value lies beyond the whiskers."""
        return not self.whiskers[0] <= value <= self.whiskers[1]


def shown_points(sample: Sample) -> list[tuple[str, float]]:
    """The finite points that are drawn, by value: every outlier, and evenly chosen others if there are very many."""
    points = sorted(
        ((case, value) for case, value in zip(sample.cases, sample.values, strict=True) if math.isfinite(value)),
        key=lambda point: (point[1], point[0]),
    )
    if len(points) <= POINTS_SHOWN:
        return points
    box = Box.of(sample.finite)
    others = [point for point in points if not box.is_outlier(point[1])]
    chosen = np.linspace(0, len(others) - 1, min(len(others), POINTS_SHOWN)).round().astype(int)
    kept = {others[index] for index in chosen}
    return [point for point in points if box.is_outlier(point[1]) or point in kept]


def swarm(places: Sequence[float], width: float) -> list[float]:
    """How far from the middle points are drawn, so that they cover each other as little as they can.

    Args:
        places: Where they lie along the axis in pixels, rising.
        width: Of the swarm in pixels.

    Returns:
        For each its offset in pixels, at most half the width; the same places give the same offsets.
    """
    rows: dict[int, list[int]] = {}
    for index, place in enumerate(places):
        rows.setdefault(round(place / DOT), []).append(index)
    offsets = [0.0] * len(places)
    for members in rows.values():
        step = min(DOT, width / max(1, len(members)))
        for number, index in enumerate(members):
            offsets[index] = step * ((number + 1) // 2) * (-1 if number % 2 else 1)
    return offsets


def box_plot(
    title: str, label: str, axis: Axis, models: Sequence[str], groups: Sequence[tuple[str, Sequence[Sample]]]
) -> str:
    """A box and a swarm for each model in each group.

    Args:
        title: For those who cannot see it.
        label: Of the axis, with its unit.
        axis: On which all finite values lie.
        models: Their names, in the order of the samples.
        groups: Name and a sample for each model.

    Returns:
        An `svg` element.
    """
    count = len(models) * len(groups)
    pitch = 72 if count <= 4 else 46 if count <= 9 else 30 if count <= 15 else 25
    across = max(len(models) * pitch + GROUP_GAP, *(min(NAME_WIDTH, 14 + LETTER * len(name)) for name, _ in groups))
    right = LEFT + len(groups) * across + 6
    has_infinite = any(math.isinf(value) for _, samples in groups for sample in samples for value in sample.values)
    head = TOP if has_infinite else 12
    base = head + HEIGHT

    def y(value: float) -> float:
        return base - axis.place(value) * HEIGHT

    parts = [
        f'<svg class="plot" role="img" aria-label="{_text(title)}" width="{right}" height="{base + BELOW}" '
        f'viewBox="0 0 {right} {base + BELOW}">',
        f'<text class="axis" transform="translate(11 {head + HEIGHT / 2:g}) rotate(-90)">{_text(label)}</text>',
    ]
    for tick in axis.ticks:
        parts.append(f'<path class="grid" d="M{LEFT} {y(tick):.1f}H{right - 6}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y(tick) + 4:.1f}">{tick:g}</text>')
    if has_infinite:
        parts.append(f'<path class="edge" d="M{LEFT} {head - 6}H{right - 6}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{head - 12}">∞</text>')
    for number, (name, samples) in enumerate(groups):
        middle = LEFT + (number + 0.5) * across
        if number:
            parts.append(f'<path class="grid" d="M{LEFT + number * across:g} {head}V{base + 52}"/>')
        for which, (model, sample) in enumerate(zip(models, samples, strict=True)):
            x = middle + (which + 0.5 - len(models) / 2) * pitch
            parts += [f'<g class="m{which % COLOURS}">', *_sample(sample, model, axis, x, pitch, base), "</g>"]
            parts.append(f'<text class="mark" x="{x:g}" y="{base + 16}">{which + 1}</text>')
            parts.append(f'<text class="count" x="{x:g}" y="{base + 29}">{len(sample.values)}</text>')
            infinite = sum(math.isinf(value) for value in sample.values)
            if infinite:
                parts.append(f'<text class="mark" x="{x:g}" y="{head - 12}">{infinite}×</text>')
        room = int((across - 8) / LETTER)
        short = name if len(name) <= room else name[: max(1, room - 1)] + "…"
        parts.append(
            f'<text class="group" x="{middle:g}" y="{base + 50}">{_text(short)}<title>{_text(name)}</title></text>'
        )
    parts.append(f'<path class="edge" d="M{LEFT} {base}H{right - 6}M{LEFT} {base}V{head}"/></svg>')
    return "".join(parts)


def interval_bar(
    difference: tuple[float, float, float], reach: float, models: tuple[int, int], winner: int | None
) -> str:
    """An interval on a line between two models; decoration for numbers that stand in words.

    Args:
        difference: Lower end, mean and upper end of how much better the second model is.
        reach: Value at the right end of the line; its left end is minus that.
        models: Numbers of the first model, which stands on the left, and of the second.
        winner: Number of the model that is shown to be better, or None.
    """
    width, height, edge = 250, 20, 24
    half = width / 2 - edge
    ends = [width / 2 + max(-1.0, min(1.0, value / reach)) * half for value in difference]
    shown = "" if winner is None else f" m{winner % COLOURS}"
    return (
        f'<svg class="bar{shown}" aria-hidden="true" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        f'<text x="8" y="14">{models[0] + 1}</text><text x="{width - 8}" y="14">{models[1] + 1}</text>'
        f'<path class="zero" d="M{edge} 10H{width - edge}M{width / 2:g} 1V{height - 1}"/>'
        f'<path class="reach" d="M{ends[0]:.1f} 10H{ends[2]:.1f}M{ends[0]:.1f} 6V14M{ends[2]:.1f} 6V14"/>'
        f'<circle cx="{ends[1]:.1f}" cy="10" r="4"/></svg>'
    )


def _sample(sample: Sample, model: str, axis: Axis, x: float, pitch: float, base: float) -> Iterator[str]:
    values = sample.finite
    if not values:
        return
    half = pitch * 0.36
    box = Box.of(values)

    def y(value: float) -> float:
        return base - axis.place(value) * HEIGHT

    if len(values) >= BOX_FROM:
        low, middle, high = (y(value) for value in box.quartiles)
        bottom, top = (y(value) for value in box.whiskers)
        yield (
            f'<path class="box" d="M{x - half:.1f} {low:.1f}V{high:.1f}H{x + half:.1f}V{low:.1f}Z'
            f"M{x:.1f} {low:.1f}V{bottom:.1f}M{x:.1f} {high:.1f}V{top:.1f}"
            f"M{x - half / 2:.1f} {bottom:.1f}H{x + half / 2:.1f}M{x - half / 2:.1f} {top:.1f}H{x + half / 2:.1f}"
            '"/>'
        )
    else:
        middle = y(box.quartiles[1])
    points = shown_points(sample)
    offsets = swarm([y(value) for _, value in reversed(points)], 2 * half)
    inner = []
    for (case, value), offset in zip(reversed(points), offsets, strict=True):
        if box.is_outlier(value) or len(values) < BOX_FROM:
            yield (
                f'<circle cx="{x + offset:.1f}" cy="{y(value):.1f}" r="2.4">'
                f"<title>{_text(case)}, {_text(model)}: {value:.4g}</title></circle>"
            )
        else:
            inner.append(f"M{x + offset:.1f} {y(value):.1f}h0")
    if inner:
        yield f'<path class="dots" d="{"".join(inner)}"/>'
    yield f'<path class="median" d="M{x - half:.1f} {middle:.1f}H{x + half:.1f}"/>'


def _text(text: str) -> str:
    return html.escape(printable(text))
