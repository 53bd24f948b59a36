"""Box-and-swarm plots, intervals and axes: numbers in, SVG out."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from lungapp.evaluation.axes import Axis, axis_for, round_step
from lungapp.evaluation.plots import POINTS_SHOWN, Box, Sample, box_plot, interval_bar, shown_points, swarm


def sample(*values: float) -> Sample:
    return Sample(tuple(f"case-{number}" for number in range(len(values))), values)


def drawn(*groups: tuple[str, list[Sample]], axis: Axis | None = None) -> ElementTree.Element:
    models = [f"model-{number}" for number in range(len(groups[0][1]))]
    return ElementTree.fromstring(box_plot("Title", "DSC", axis or Axis(0.0, 1.0), models, groups))


def texts(svg: ElementTree.Element, kind: str) -> list[str]:
    return [str(item.text) for item in svg.iter("text") if item.get("class") == kind]


def test_a_box_has_quartiles_and_whiskers_that_stop_at_the_last_point_within_1_5_ranges() -> None:
    box = Box.of([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 14.0])
    assert box.quartiles == (3.0, 5.0, 7.0)
    assert box.whiskers == (1.0, 8.0)
    assert [value for value in (0.9, 1.0, 8.0, 14.0) if box.is_outlier(value)] == [0.9, 14.0]


def test_the_boxes_lie_where_the_axis_says() -> None:
    svg = drawn(("All", [sample(0.0, 0.25, 0.5, 0.75, 1.0)]))
    box, median = (
        next(str(item.get("d")) for item in svg.iter("path") if item.get("class") == kind) for kind in ("box", "median")
    )
    low, high = (float(number) for number in re.findall(r"(?:M[\d.]+ |V)([\d.]+)", box)[:2])
    middle = float(median.split()[1].split("H")[0])
    assert low > middle > high  # upwards is less
    assert middle == pytest.approx((low + high) / 2)
    ticks = {item.text: float(str(item.get("y"))) - 4 for item in svg.iter("text") if item.get("class") == "tick"}
    assert middle == pytest.approx((ticks["0.4"] + ticks["0.6"]) / 2, abs=0.2)


def test_infinite_values_are_counted_above_the_axis_and_in_the_count_below_it() -> None:
    svg = drawn(("All", [sample(0.5, math.inf, math.inf), sample(0.5)]))
    assert "2×" in texts(svg, "mark")
    assert "∞" in texts(svg, "tick")
    assert texts(svg, "count") == ["3", "1"]
    assert "∞" not in texts(drawn(("All", [sample(0.5)])), "tick")


def test_a_sample_without_any_finite_value_has_no_box_but_a_count() -> None:
    svg = drawn(("All", [sample(math.inf), sample()]))
    assert texts(svg, "count") == ["1", "0"]
    assert not [item for item in svg.iter("path") if item.get("class") == "box"]


def test_fewer_than_five_cases_are_points_alone() -> None:
    svg = drawn(("All", [sample(0.1, 0.2, 0.3, 0.4)]))
    assert not [item for item in svg.iter("path") if item.get("class") == "box"]
    assert len(list(svg.iter("circle"))) == 4


def test_an_outlier_says_which_case_it_is() -> None:
    svg = drawn(("All", [sample(0.9, 0.91, 0.92, 0.93, 0.94, 0.1)]))
    assert [item[0].text for item in svg.iter("circle")] == ["case-5, model-0: 0.1"]


def test_names_cannot_break_out_of_the_svg() -> None:
    hostile = '"><script>alert(1)</script>&\udce9\x1b'
    text = box_plot(hostile, hostile, Axis(0.0, 1.0), [hostile], [(hostile, [Sample((hostile,), (0.5,))])])
    assert "<script" not in text
    assert "<script>alert(1)</script>&  " in [
        str(item.text).removeprefix('">') for item in ElementTree.fromstring(text).iter("title")
    ]
    text.encode()


def test_every_case_is_a_point() -> None:
    values = np.random.default_rng(1).normal(0.5, 0.1, 60).clip(0, 1)
    svg = drawn(("All", [sample(*values)]))
    dots = sum(str(item.get("d")).count("M") for item in svg.iter("path") if item.get("class") == "dots")
    assert dots + len(list(svg.iter("circle"))) == 60


def test_groups_stand_side_by_side_with_room_for_their_names() -> None:
    names = ["All", "Pneumothorax", "A name that is far too long for anyone to read"]
    svg = drawn(*((name, [sample(0.5)]) for name in names))
    labels = [item for item in svg.iter("text") if item.get("class") == "group"]
    assert [item.text for item in labels[:2]] == names[:2]
    assert str(labels[2].text).endswith("…")
    assert [item[0].text for item in labels] == names
    places = [float(str(item.get("x"))) for item in labels]
    assert min(np.diff(places)) > 80
    assert places[-1] < float(str(svg.get("width")))


def test_very_many_points_are_thinned_but_no_outlier_is() -> None:
    values = [*np.linspace(0.9, 1.0, 2000), 0.1, 0.2]
    kept = [value for _, value in shown_points(sample(*values))]
    assert kept[:2] == [0.1, 0.2]
    assert len(kept) == POINTS_SHOWN + 2
    assert kept[-1] == 1.0


def test_a_swarm_keeps_points_apart_and_within_its_width() -> None:
    offsets = swarm([10.0] * 5 + [50.0] + [90.0] * 100, 40.0)
    assert len({round(offset, 6) for offset in offsets[:5]}) == 5
    assert offsets[5] == 0.0
    assert max(abs(offset) for offset in offsets) <= 20.0
    assert swarm([10.0] * 5, 40.0) == swarm([10.0] * 5, 40.0)


@pytest.mark.parametrize("perfect", [0.0, 1.0])
def test_a_stretched_axis_has_its_ends_at_the_ends_and_keeps_the_order(perfect: float) -> None:
    axis = Axis(0.0, 1.0, perfect)
    places = [axis.place(value) for value in np.linspace(0.0, 1.0, 11)]
    assert places == sorted(places)
    assert (places[0], places[-1]) == (0.0, 1.0)
    near = places[1] if perfect == 0.0 else 1 - places[-2]
    assert near > 0.3  # a tenth of the values next to the best has a third of the axis


def test_an_axis_is_stretched_only_where_a_few_bad_cases_would_flatten_the_boxes() -> None:
    good = [0.96, 0.97, 0.98, 0.985, 0.99]
    assert axis_for([good], perfect=1.0, worst=0.0).perfect is None
    assert axis_for([[*good, 0.2]], perfect=1.0, worst=0.0).perfect == 1.0


@pytest.mark.parametrize(
    ("values", "worst"),
    [([1.0, 1.0], 0.0), ([0.0, 0.0], None), ([0.0], 0.0), ([37.2], None), ([40.0], None), ([0.97, 0.2], 0.0)],
)
def test_an_axis_holds_all_values_and_has_ticks(values: list[float], worst: float | None) -> None:
    axis = axis_for([values], perfect=0.0 if worst is None else 1.0, worst=worst)
    assert axis.low < axis.high
    assert all(0 <= axis.place(value) <= 1 for value in values)
    assert len(axis.ticks) >= 2
    assert all(axis.low <= tick <= axis.high for tick in axis.ticks)
    assert axis.high <= 1.0 or worst is None


@pytest.mark.parametrize(("roughly", "step"), [(1.0, 1.0), (1.1, 2.0), (0.021, 0.05), (9.0, 10.0)])
def test_steps_are_round(roughly: float, step: float) -> None:
    assert round_step(roughly) == step


def test_a_bar_lies_on_the_side_of_the_better_model_and_is_coloured_where_a_difference_is_shown() -> None:
    def ends(text: str) -> tuple[float, float]:
        reach = next(item for item in ElementTree.fromstring(text).iter("path") if item.get("class") == "reach")
        found = re.match(r"M([\d.]+) 10H([\d.]+)", str(reach.get("d")))
        assert found is not None
        return float(found[1]), float(found[2])

    second_better = interval_bar((0.1, 0.2, 0.3), 0.5, (0, 2), 2)
    assert min(ends(second_better)) > 125
    assert 'class="bar m2"' in second_better
    undecided = interval_bar((-0.3, 0.0, 0.3), 0.5, (0, 2), None)
    assert sum(ends(undecided)) == pytest.approx(250, abs=0.2)
    assert 'class="bar"' in undecided
