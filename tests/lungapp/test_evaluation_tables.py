from __future__ import annotations

import math
import statistics
from dataclasses import replace

import numpy as np
import pytest
from made_up_evaluations import (
    absent,
    by_dice,
    evaluation_of,
    invented,
    lung,
    many_results,
    missed,
    result,
    unscored,
)

from lungapp.evaluation.records import CaseResult, Evaluation, Outcome
from lungapp.evaluation.tables import (
    Cell,
    Table,
    failures,
    segmentation_table,
    structure_table,
    text_of,
    tumour_table,
    worst,
)

ALL_COLUMNS = ("All DSC±STD", "All HD95(mm)±STD", "All MSD(mm)±STD")


def cell(table: Table, model: str, column: str) -> Cell:
    return dict(table.rows)[model][table.columns.index(column)]


def best(table: Table, column: str) -> list[str]:
    place = table.columns.index(column)
    return [model for model, cells in table.rows if cells[place].is_best]


def three_groups() -> Evaluation:
    """Two models; the means below are worked out by hand."""
    dice = {
        ("RRT", "r1"): (0.90, 0.95),
        ("RRT", "r2"): (0.92, 0.93),
        ("LTRC", "l1"): (0.99, 0.98),
        ("LTRC", "l2"): (0.97, 0.98),
        ("Trauma", "t1"): (0.80, 0.90),
    }
    return evaluation_of(
        [
            result(model, case, value, group=group)
            for (group, case), both in dice.items()
            for model, value in zip("ab", both, strict=True)
        ]
    )


def test_the_table_has_the_papers_columns() -> None:
    table = segmentation_table(three_groups())
    assert table.title == "Test datasets (DSC)"
    assert table.columns == ("RRT", "LTRC", "Trauma", "All(L) DSC±STD", *ALL_COLUMNS)
    assert [model for model, _ in table.rows] == ["a", "b"]


def test_means_and_deviations_are_those_worked_out_by_hand() -> None:
    table = segmentation_table(three_groups())
    assert [item.text for item in dict(table.rows)["a"][:3]] == ["0.910", "0.980", "0.800"]
    # a without LTRC: 0.90, 0.92, 0.80: mean 2.62 / 3, deviations 0.02667, 0.04667, -0.07333
    # sample variance (0.000711 + 0.002178 + 0.005378) / 2 = 0.004133
    everything = cell(table, "a", "All DSC±STD")
    assert everything.text == "0.873±0.064"
    assert everything.mean == pytest.approx(2.62 / 3) and everything.std == pytest.approx(
        math.sqrt(0.00413333), rel=1e-5
    )
    assert cell(table, "a", "All(L) DSC±STD").mean == pytest.approx((0.90 + 0.92 + 0.99 + 0.97 + 0.80) / 5)
    assert (everything.cases, everything.of) == (3, 3)
    assert "All(L) has every case (N=5), All leaves out LTRC (N=3)." in table.note


def test_a_case_counts_with_the_mean_of_its_lungs() -> None:
    table = segmentation_table(evaluation_of([result("a", "c", lung("", 0.9, 4, 1), lung("", 0.7, 8, 2))]))
    assert [item.text for item in table.rows[0][1]] == ["0.800±0.000", "6.00±0.00", "1.50±0.00"]


@pytest.mark.parametrize("group", ["", "RRT"])
def test_one_group_has_no_column_beside_all(group: str) -> None:
    table = segmentation_table(by_dice({"a": [0.9, 0.8]}, group))
    assert table.columns == ALL_COLUMNS
    assert "All has every case (N=2)." in table.note


def test_all_l_is_there_only_if_a_left_out_group_is() -> None:
    results = [result("a", "1", 0.9, group="RRT"), result("a", "2", 0.8, group="VESS12")]
    assert segmentation_table(evaluation_of(results)).columns == ("RRT", "VESS12", *ALL_COLUMNS)
    left_out = segmentation_table(replace(evaluation_of(results), left_out=("Vess12",)))  # whatever the case
    assert left_out.columns == ("RRT", "VESS12", "All(L) DSC±STD", *ALL_COLUMNS)
    assert cell(left_out, "a", "All DSC±STD").mean == pytest.approx(0.9)
    assert cell(left_out, "a", "All(L) DSC±STD").mean == pytest.approx(0.85)


def test_where_all_groups_are_left_out_none_is() -> None:
    results = [result("a", "1", 0.9, group="LTRC"), result("a", "2", 0.8, group="LCTSC")]
    table = segmentation_table(evaluation_of(results))
    assert table.columns == ("LTRC", "LCTSC", *ALL_COLUMNS)
    assert cell(table, "a", "All DSC±STD").mean == pytest.approx(0.85)
    assert "All has every case (N=2): there are none besides LTRC, LCTSC." in table.note


def test_cases_of_no_group_have_a_column_among_groups() -> None:
    results = [result("a", "1", 0.9, group="RRT"), result("a", "2", 0.8)]
    assert segmentation_table(evaluation_of(results)).columns[:2] == ("RRT", "no group")


def test_a_missed_lung_is_0_in_dice_and_left_out_of_distances_aloud() -> None:
    results = [result("a", "1", lung("", 0.9, 4)), result("a", "2", missed("")), result("a", "3", lung("", 0.8, 6))]
    table = segmentation_table(evaluation_of(results))
    assert cell(table, "a", "All DSC±STD").text == "0.567±0.493"
    distance = cell(table, "a", "All HD95(mm)±STD")
    assert distance.text == "5.00±1.41 (2/3)"
    assert (distance.mean, distance.cases, distance.of) == (5.0, 2, 3)
    assert "(19/20): 19 of 20 cases have a value" in table.note


@pytest.mark.parametrize("outcome", [Outcome.NO_PREDICTION, Outcome.FAILED])
def test_a_case_without_a_score_is_missing_from_every_cell(outcome: Outcome) -> None:
    results = [result("a", "1", 0.9, group="RRT"), unscored("a", "2", outcome, "RRT"), result("a", "3", 0.7, group="x")]
    table = segmentation_table(evaluation_of(results))
    assert [item.text for item in table.rows[0][1]][:3] == ["0.900 (1/2)", "0.700", "0.800±0.141 (2/3)"]


def test_a_case_without_a_reference_is_in_no_cell_but_in_the_note() -> None:
    results = [result("a", "1", 0.9, group="RRT"), unscored("a", "2", Outcome.NO_REFERENCE, "RRT")]
    results += [result("b", "1", 0.8, group="RRT"), unscored("b", "2", Outcome.NO_PREDICTION, "RRT")]
    results += [unscored("a", "3", Outcome.NO_REFERENCE, "Lung1"), unscored("b", "3", Outcome.NO_REFERENCE, "Lung1")]
    table = segmentation_table(evaluation_of(results))
    assert table.columns == ALL_COLUMNS
    assert [cells[0].text for _, cells in table.rows] == ["0.900±0.000", "0.800±0.000"]
    assert "Without a reference and in no column: 2 cases." in table.note


def test_a_model_without_any_value_has_a_dash() -> None:
    results = [result("a", "1", 0.9), unscored("b", "1", Outcome.NO_PREDICTION)]
    found = cell(segmentation_table(evaluation_of(results)), "b", "All DSC±STD")
    assert (found.text, found.mean, found.std, found.cases, found.of) == ("– (0/1)", None, None, 0, 1)


def test_a_scan_without_lungs_counts_only_where_one_is_found() -> None:
    results = [result("a", "1", 0.9), result("a", "head", absent("")), result("b", "1", 0.9)]
    results += [result("b", "head", invented(""))]
    table = segmentation_table(evaluation_of(results))
    assert cell(table, "a", "All DSC±STD").text == "0.900±0.000"
    assert cell(table, "b", "All DSC±STD").text == "0.450±0.636"
    assert best(table, "All DSC±STD") == ["a"]
    assert "Without any structure in the reference: 1 case" in table.note


def test_a_scan_without_lungs_in_which_every_model_finds_some_is_counted_too() -> None:
    table = segmentation_table(evaluation_of([result("a", "1", 0.9), result("a", "head", invented(""))]))
    assert cell(table, "a", "All DSC±STD").text == "0.450±0.636"
    assert "Without any structure in the reference: 1 case" in table.note


@pytest.mark.parametrize(
    ("dice", "text"), [(0.996, "0.996"), (0.9995, "0.9995"), (0.99962, "0.9996"), (1.0, "1.000"), (0.0, "0.000")]
)
def test_dice_is_never_rounded_up_to_1(dice: float, text: str) -> None:
    assert segmentation_table(by_dice({"a": [dice]})).rows[0][1][0].text == f"{text}±0.000"


def test_the_highest_dice_and_the_lowest_distances_are_best() -> None:
    results = [result("a", "1", lung("", 0.9, 5, 1)), result("b", "1", lung("", 0.95, 4, 2))]
    table = segmentation_table(evaluation_of(results))
    assert [best(table, column) for column in ALL_COLUMNS] == [["b"], ["b"], ["a"]]


def test_all_that_are_shown_as_equal_are_best() -> None:
    table = segmentation_table(by_dice({"a": [0.95001], "b": [0.94], "c": [0.95]}))
    assert best(table, "All DSC±STD") == ["a", "c"]


def test_one_model_alone_is_not_best() -> None:
    assert best(segmentation_table(by_dice({"a": [0.95]})), "All DSC±STD") == []


def test_a_model_that_has_no_value_for_a_hard_case_is_not_best() -> None:
    results = [result("a", "easy", 0.99), result("a", "hard", 0.7)]
    results += [result("b", "easy", 0.98), unscored("b", "hard", Outcome.NO_PREDICTION)]
    assert best(segmentation_table(evaluation_of(results)), "All DSC±STD") == []
    results[1] = unscored("a", "hard", Outcome.NO_PREDICTION)
    assert best(segmentation_table(evaluation_of(results)), "All DSC±STD") == ["a"]
    results[0] = result("a", "easy", 0.5)
    results[1] = result("a", "hard", 0.999)
    results[2] = result("b", "easy", 0.6)
    assert best(segmentation_table(evaluation_of(results)), "All DSC±STD") == ["a"]  # more cases, and better


def test_each_structure_has_its_own_columns() -> None:
    right = lung("", 0.9, 4, 1, volume_error_ml=-20.0, surface_dice=0.8)
    left = lung("", 0.7, 8, 2, volume_error_ml=30.0, surface_dice=0.6)
    table = structure_table(evaluation_of([result("a", "1", right, left)]))
    assert table.columns[:5] == (
        "right lung DSC±STD",
        "right lung HD95(mm)±STD",
        "right lung MSD(mm)±STD",
        "right lung volume error(ml)±STD",
        "right lung surface DSC±STD",
    )
    assert [item.text for item in table.rows[0][1]] == [
        *("0.900±0.000", "4.00±0.00", "1.00±0.00", "-20.0±0.0", "0.800±0.000"),
        *("0.700±0.000", "8.00±0.00", "2.00±0.00", "+30.0±0.0", "0.600±0.000"),
    ]
    assert "tolerance of 2 mm" in table.note


def test_a_lung_that_is_nowhere_does_not_count_and_a_missed_one_does() -> None:
    results = [result("a", "1", 0.9), result("a", "2", 0.8, absent("")), result("a", "3", 0.7, missed(""))]
    table = structure_table(evaluation_of(results))
    assert cell(table, "a", "left lung DSC±STD").text == "0.450±0.636"
    assert cell(table, "a", "left lung HD95(mm)±STD").text == "3.00±0.00 (1/2)"
    assert cell(table, "a", "right lung DSC±STD").text == "0.800±0.100"


def test_the_volume_error_nearest_to_0_is_best() -> None:
    results = [
        result(model, "1", lung("", 0.9, volume_error_ml=error))
        for model, error in (("a", -50.0), ("b", 20.0), ("c", -20.0), ("d", 30.0))
    ]
    assert best(structure_table(evaluation_of(results)), "left lung volume error(ml)±STD") == ["b", "c"]


def with_overlaps(overlaps: dict[str, list[float | None]]) -> Evaluation:
    results = [
        replace(result(model, f"case{place}", 0.9), tumour_overlap=value)
        for model, values in overlaps.items()
        for place, value in enumerate(values)
    ]
    return evaluation_of(results, tumours=[f"case{place}" for place in range(4)])


def test_tumour_overlap_is_summed_up_as_in_table_v() -> None:
    table = tumour_table(with_overlaps({"a": [0.049, 0.05, 0.60, 1.0], "b": [0.0, 0.04, 0.952, 0.964]}))
    assert table is not None
    assert table.columns == ("Mean", "Median", "< 5%", "> 95%")
    assert [item.text for item in dict(table.rows)["a"]] == ["42.5%", "32.5%", "1", "1"]  # 0.05 is not below 5%
    assert [item.text for item in dict(table.rows)["b"]] == ["48.9%", "49.6%", "2", "2"]
    assert [item.is_best for item in dict(table.rows)["a"]] == [False, False, True, False]
    assert [item.is_best for item in dict(table.rows)["b"]] == [True, True, False, True]


def test_tumours_that_a_model_has_no_mask_for_are_counted() -> None:
    table = tumour_table(with_overlaps({"a": [0.2, 0.4, None, 0.99]}))
    assert table is not None
    assert [item.text for item in table.rows[0][1]] == ["53.0% (3/4)", "40.0% (3/4)", "0 (3/4)", "1 (3/4)"]


def test_tumours_count_without_a_reference_of_the_lungs() -> None:
    found = replace(unscored("a", "1", Outcome.NO_REFERENCE), tumour_overlap=0.9999)
    table = tumour_table(evaluation_of([found, result("a", "2", 0.9)], tumours=["1"]))
    assert table is not None
    assert table.rows[0][1][0].text == "99.99%"  # not 100.0%


def test_without_tumours_there_is_no_table() -> None:
    assert tumour_table(by_dice({"a": [0.9]})) is None


def raw_rows(results: list[CaseResult]) -> list[dict[str, object]]:
    """One row for each structure, or for a case without any, as a spreadsheet would have it."""
    return [
        {"model": item.model, "case": item.case, "group": item.group, "outcome": str(item.outcome), "score": score}
        for item in results
        for score in (item.structures or (None,))
    ]


def spelled(rows: list[dict[str, object]], key: str, decimals: int, structure: str | None = None) -> str:
    """A cell by other means: plain loops over rows, `statistics` for the numbers."""
    judged = {row["case"] for row in rows if row["outcome"] != "missing reference"}
    values, of = [], 0
    for case in sorted(map(str, judged)):
        own = [row for row in rows if row["case"] == case]
        scores = [row["score"] for row in own if row["score"] is not None]
        kept = [one for one in scores if structure in (None, one.name)]  # type: ignore[attr-defined]
        kept = [one for one in kept if one.reference_ml + one.prediction_ml > 0]  # type: ignore[attr-defined]
        if scores and not kept:
            continue
        of += 1
        numbers = [getattr(one, key) for one in kept]
        if numbers and all(number < math.inf for number in numbers):
            values.append(sum(numbers) / len(numbers))
    sign = "+" if key == "volume_error_ml" else ""
    text = f"{statistics.fmean(values):{sign}.{decimals}f}±{statistics.stdev(values):.{decimals}f}"
    return text if len(values) == of else f"{text} ({len(values)}/{of})"


@pytest.mark.parametrize("seed", [1, 2])
def test_the_tables_are_those_of_the_raw_records(seed: int) -> None:
    results = many_results(seed, ["a", "b", "c"], {"RRT": 40, "ltrc": 60, "Fibr.": 15})
    found = evaluation_of(results)
    table, structures = segmentation_table(found), structure_table(found)
    for model in "abc":
        rows = [row for row in raw_rows(results) if row["model"] == model]
        rest = [row for row in rows if row["group"] != "ltrc"]
        for column, expected in {
            "All(L) DSC±STD": spelled(rows, "dice", 3),
            "All DSC±STD": spelled(rest, "dice", 3),
            "All HD95(mm)±STD": spelled(rest, "hausdorff95_mm", 2),
            "All MSD(mm)±STD": spelled(rest, "mean_surface_distance_mm", 2),
        }.items():
            assert cell(table, model, column).text == expected, column
        for group in ("RRT", "ltrc", "Fibr."):
            expected = spelled([row for row in rows if row["group"] == group], "dice", 3)
            mean, _, counts = expected.partition("±")
            assert cell(table, model, group).text == (f"{mean} {counts.split(' ')[1]}" if " " in counts else mean)
        for column, key, decimals in (
            ("left lung DSC±STD", "dice", 3),
            ("right lung HD95(mm)±STD", "hausdorff95_mm", 2),
            ("left lung volume error(ml)±STD", "volume_error_ml", 1),
            ("right lung surface DSC±STD", "surface_dice", 3),
        ):
            structure = "_".join(column.split(" ")[:2])
            assert cell(structures, model, column).text == spelled(rest, key, decimals, structure), column


def test_tumour_numbers_are_those_of_the_raw_records() -> None:
    results = many_results(3, ["a", "b"], {"Lung1": 80})
    table = tumour_table(evaluation_of(results))
    assert table is not None
    with_tumour = {item.case for item in results if item.tumour_overlap is not None}
    for model in "ab":
        overlaps = [item.tumour_overlap for item in results if item.model == model and item.tumour_overlap is not None]
        cells = dict(table.rows)[model]
        expected = [statistics.fmean(overlaps), statistics.median(overlaps)]
        expected += [len([value for value in overlaps if value < 0.05]), len([o for o in overlaps if o > 0.95])]
        np.testing.assert_allclose([item.mean for item in cells], expected)  # type: ignore[arg-type]
        assert {(item.cases, item.of) for item in cells} == {(len(overlaps), len(with_tumour))}


def test_failures_come_worst_first() -> None:
    results = [
        result("a", "good", 0.95),
        result("a", "bad", 0.85),
        unscored("a", "no reference", Outcome.NO_REFERENCE),
        result("a", "worse", 0.2),
        unscored("a", "no mask", Outcome.NO_PREDICTION),
        result("b", "lost", missed("")),
        unscored("a", "unreadable", Outcome.FAILED),
        result("a", "at the limit", 0.9),
    ]
    found = [item.case for item in failures(evaluation_of(results))]
    assert found == ["unreadable", "no mask", "lost", "worse", "bad", "no reference"]


def test_the_worst_cases_are_those_of_the_lowest_dice_of_any_model_once_each() -> None:
    found = by_dice({"a": [0.9, 0.3, 0.8], "b": [0.5, 0.4, 0.85]})
    found = replace(
        found, results=(*found.results, unscored("a", "case9", Outcome.FAILED), result("a", "8", absent("")))
    )
    assert [(item.case, item.model) for item in worst(found, 2)] == [("case1", "a"), ("case0", "b")]
    assert [item.case for item in worst(found, 99)] == ["case1", "case0", "case2"]
    assert worst(found, 0) == () == worst(found, -1)


def test_a_table_as_text_is_aligned_and_marks_the_best() -> None:
    cells = Cell("0.98", 0.98, None, 1, 1, True), Cell("9.19±18.15 (19/20)", 9.19, 18.15, 19, 20, False)
    other = Cell("0.9", 0.9, None, 1, 1, False), Cell("3.00±1.00", 3.0, 1.0, 20, 20, True)
    table = Table("Some cases", "A note.", ("DSC", "HD95(mm)±STD"), (("unet", cells), ("a longer name", other)))
    assert text_of(table).splitlines() == [
        "Some cases",
        "Model           DSC         HD95(mm)±STD",
        "unet           0.98*  9.19±18.15 (19/20)",
        "a longer name   0.9            3.00±1.00*",
        "A note. * best of its column.",
    ]


def test_a_table_wider_than_a_terminal_goes_on_below_with_the_models_again() -> None:
    columns = tuple(f"column {number} of a wide table" for number in range(9))
    rows = tuple((model, tuple(Cell(f"{model}{n}", n, None, 1, 1, False) for n in range(9))) for model in "ab")
    lines = text_of(Table("Wide", "A note.", columns, rows)).splitlines()[1:-1]
    heads, models = lines[0::3], [line.split() for line in lines if line[0] in "ab"]
    assert len(heads) == 2 and all(head.startswith("Model") and len(head) <= 160 for head in heads)
    assert [name for head in heads for name in head.split("  ")[1:] if name] == list(columns)
    assert [cells[0] for cells in models] == ["a", "b", "a", "b"]
    assert models[0][1:] + models[2][1:] == [f"a{number}" for number in range(9)]


def test_text_without_a_best_has_no_mark_and_cannot_steer_a_terminal() -> None:
    text = text_of(segmentation_table(by_dice({"a\x1b[2J": [0.9]})))
    assert "*" not in text and "\x1b" not in text
    assert text.splitlines()[2].startswith("a [2J")


def test_an_evaluation_of_nothing_has_an_empty_table() -> None:
    nothing = Evaluation((), (), ())
    assert segmentation_table(nothing).rows == () == structure_table(nothing).rows
    assert text_of(segmentation_table(nothing)).startswith("Test datasets (DSC)\nModel")
    assert failures(nothing) == () == worst(nothing, 5)
