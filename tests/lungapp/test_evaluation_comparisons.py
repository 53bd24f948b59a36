from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from made_up_evaluations import absent, by_dice, evaluation_of, lung, many_results, missed, result, unscored
from scipy.stats import wilcoxon

from infers.comparison import PairedComparison
from lungapp.evaluation.records import CaseResult, Evaluation, Outcome
from lungapp.evaluation.tables import ModelComparison, comparisons

FOUND = PairedComparison(31, 0, 0.96, 0.972, 0.012, 0.004, 0.019, 0.003, 0.003, "second")


def one(evaluation: Evaluation, metric: str = "dice", group: str = "All") -> ModelComparison:
    (found,) = [item for item in comparisons(evaluation) if (item.metric, item.group) == (metric, group)]
    return found


def pairs(count: int, gain: float, group: str = "", start: int = 0) -> list[CaseResult]:
    """Model b is better by about `gain` in Dice and 10 `gain` in both distances."""
    random = np.random.default_rng(count)
    found = []
    for number in range(start, start + count):
        base, more = random.uniform(0.8, 0.9), gain * random.uniform(0.5, 1.5)
        found.append(result("a", f"{group}{number}", lung("", base, 9, 5), group=group))
        found.append(result("b", f"{group}{number}", lung("", base + more, 9 - 10 * more, 5 - 10 * more), group=group))
    return found


def test_each_pair_of_models_is_compared_by_three_metrics_over_all_and_each_group() -> None:
    results = many_results(1, ["a", "b", "c"], {"RRT": 20, "LTRC": 20, "Trauma": 20})
    found = comparisons(evaluation_of(results))
    assert len({(item.first, item.second, item.metric, item.group) for item in found}) == len(found) == 3 * 3 * 4
    assert {(item.first, item.second) for item in found} == {("a", "b"), ("a", "c"), ("b", "c")}
    assert [item.group for item in found[::9]] == ["All", "RRT", "LTRC", "Trauma"]
    assert {item.metric for item in found} == {"dice", "hausdorff95_mm", "mean_surface_distance_mm"}


def test_one_model_has_nothing_to_compare_with() -> None:
    assert comparisons(by_dice({"a": [0.9] * 10})) == ()
    assert comparisons(Evaluation((), (), ())) == ()


def test_values_are_paired_by_case_and_not_by_place() -> None:
    results = pairs(10, 0.02)
    shuffled = [results[place] for place in np.random.default_rng(1).permutation(len(results))]
    shuffled.sort(key=lambda item: item.model)
    first, second = (one(evaluation_of(some)).result for some in (results, shuffled))
    assert second.p == first.p == pytest.approx(2 / 2**10)
    assert second.low == pytest.approx(first.low, abs=0.002)


def test_all_leaves_out_what_the_table_leaves_out() -> None:
    found = evaluation_of([*pairs(7, 0.02, "RRT"), *pairs(9, 0.02, "Trauma"), *pairs(30, -0.02, "LTRC")])
    assert one(found).result.cases == 16
    assert one(found).result.winner == "second"
    assert one(found, "hausdorff95_mm").result.winner == "second"  # whose distances are lower
    assert one(found, group="LTRC").result.winner == "first"


def test_groups_of_less_than_5_cases_and_groups_that_are_all_there_is_are_not_compared() -> None:
    found = comparisons(evaluation_of([*pairs(8, 0.02, "RRT"), *pairs(4, 0.02, "Fibr."), *pairs(5, 0.02, "LTRC")]))
    assert list(dict.fromkeys(item.group for item in found)) == ["All", "RRT", "LTRC"]
    found = comparisons(evaluation_of([*pairs(8, 0.02, "RRT"), *pairs(8, 0.02, "LTRC")]))
    assert list(dict.fromkeys(item.group for item in found)) == ["All", "LTRC"]  # RRT is All


def test_p_is_corrected_for_all_tests_that_can_be_made() -> None:
    found = comparisons(evaluation_of([*pairs(12, 0.02, "RRT"), *pairs(12, 0.02, "Fibr."), *pairs(5, 0.02, "Trauma")]))
    assert len(found) == 12
    for item in found:
        tests = 3 if item.group == "All" else 6  # RRT and Fibr. by three metrics: 5 cases are no test
        assert item.comparisons == tests
        if item.group != "Trauma":
            assert item.result.p is not None
            assert item.result.p_corrected == pytest.approx(tests * item.result.p)


def test_p_is_that_of_scipy_on_the_raw_records() -> None:
    results = many_results(2, ["a", "b"], {"RRT": 80, "Fibr.": 60})
    for metric, higher_is_better in (("dice", True), ("hausdorff95_mm", False)):
        values: dict[str, dict[str, float]] = {"a": {}, "b": {}}
        for item in results:
            there = [score for score in item.structures if score.reference_ml + score.prediction_ml > 0]
            if there:
                values[item.model][item.case] = float(np.mean([getattr(score, metric) for score in there]))
        both = [case for case in values["a"] if case in values["b"]]
        differences = np.array([values["b"][case] - values["a"][case] for case in both])
        differences = differences[np.isfinite(differences)]
        found = one(evaluation_of(results), metric)
        assert found.result.cases == len(differences)
        assert found.result.mean_difference == pytest.approx(differences.mean())
        assert found.result.p == pytest.approx(wilcoxon(differences[differences != 0], method="asymptotic").pvalue)
        winner = found.result.winner
        assert winner is None or (winner == "second") == ((differences.mean() > 0) == higher_is_better)


def test_a_winner_is_named_with_difference_interval_p_and_cases() -> None:
    assert ModelComparison("a", "b", "dice", "All", FOUND).sentence() == (
        "b scores 0.012 higher DSC than a (95 % interval 0.004 to 0.019, p = 0.003, 31 cases)"
    )


def test_a_lower_distance_wins_in_mm() -> None:
    better = PairedComparison(31, 0, 5.0, 3.75, -1.25, -2.0, -0.5, 0.00001, 0.0004, "second")
    assert ModelComparison("a", "b", "hausdorff95_mm", "All", better, comparisons=40).sentence() == (
        "b scores 1.25 mm lower HD95 than a (95 % interval 0.50 to 2.00 mm, corrected p < 0.001, 31 cases)"
    )
    worse = replace(better, mean_difference=1.25, low=0.5, high=2.0, winner="first")
    assert (
        ModelComparison("a", "b", "hausdorff95_mm", "All", worse)
        .sentence()
        .startswith("a scores 1.25 mm lower HD95 than b (95 % interval 0.50 to 2.00 mm")
    )


def test_small_numbers_of_a_winner_are_not_written_as_0() -> None:
    small = replace(FOUND, mean_difference=0.00041, low=0.00004, high=0.0012)
    assert "scores 0.0004 higher DSC than a (95 % interval 0.00004 to 0.001," in (
        ModelComparison("a", "b", "dice", "All", small).sentence()
    )


def test_no_winner_is_no_difference_shown() -> None:
    none = replace(FOUND, mean_difference=0.002, low=-0.004, high=0.009, p=0.31, p_corrected=0.31, winner=None)
    assert ModelComparison("a", "b", "dice", "All", none).sentence() == (
        "no difference shown: DSC of b minus that of a is 0.002 on average "
        "(95 % interval -0.004 to 0.009, p = 0.31, 31 cases)"
    )


def test_too_few_cases_are_the_reason() -> None:
    assert one(by_dice({"a": [0.1] * 4, "b": [0.9] * 4})).sentence() == (
        "no difference shown: 4 cases are too few to compare DSC of a and b"
    )
    assert "1 case is too few" in one(by_dice({"a": [0.1], "b": [0.9]})).sentence()


def test_too_few_cases_for_so_many_comparisons_are_the_reason() -> None:
    groups = [result for group in ("w", "x", "y", "z") for result in pairs(7, 0.02, group)]
    found = one(evaluation_of(groups), group="x")
    assert found.comparisons == 12
    assert found.sentence().endswith("corrected p = 0.188, 7 cases); 7 cases are too few for 12 comparisons")


def test_the_number_of_groups_does_not_matter_over_all() -> None:
    groups = [result for group in ("w", "x", "y", "z") for result in pairs(7, 0.02, group)]
    assert one(evaluation_of(groups)).comparisons == 3


def test_equal_models_are_the_same_in_all_cases() -> None:
    assert one(by_dice({"a": [0.9] * 8, "b": [0.9] * 8})).sentence() == (
        "no difference shown: DSC of a and b is the same in all 8 cases"
    )


def test_an_interval_or_ranks_that_forbid_a_winner_are_the_reason() -> None:
    collapse = by_dice({"a": [0.5] * 31, "b": [0.51] * 30 + [0.2]})
    assert one(collapse).sentence().endswith("; the interval includes 0")
    torn = by_dice({"a": [0.8] * 100, "b": [0.801 + place / 1e5 for place in range(85)] + [0.3] * 15})
    assert one(torn).sentence().endswith("do not bear the mean out")


def test_pairs_that_are_left_out_are_named_with_the_model_that_is_to_blame() -> None:
    results = pairs(10, 0.02)
    results += [result("a", "x", 0.9), result("b", "x", missed(""))]
    results += [result("a", "y", 0.9), result("b", "y", 0.9, missed(""))]
    results += [result("a", "z", missed("")), result("b", "z", missed(""))]
    results += [unscored("a", "w", Outcome.FAILED), result("b", "w", 0.9)]
    found = one(evaluation_of(results), "hausdorff95_mm")
    assert (found.infinite, found.missing) == ((1, 3), (1, 0))
    assert found.result.left_out == 4
    assert found.sentence().endswith("; 4 pairs left out: infinite for a in 1, infinite for b in 3, no value of a in 1")
    assert one(evaluation_of(results), "dice").sentence().endswith("; 1 pair left out: no value of a in 1")


def test_a_group_with_missed_lungs_is_not_left_out_for_having_few_distances() -> None:
    results = [*pairs(8, 0.02, "RRT"), *pairs(3, 0.02, "Fibr.")]
    for number in range(3):
        results += [result("a", f"f{number}", 0.9, group="Fibr."), result("b", f"f{number}", missed(""), group="Fibr.")]
    sentence = one(evaluation_of(results), "hausdorff95_mm", "Fibr.").sentence()
    assert re.search("3 cases are too few .* 3 pairs left out: infinite for b in 3$", sentence)


def test_cases_without_reference_are_no_pairs_and_those_without_lungs_have_no_value() -> None:
    results = [*pairs(8, 0.02), *(unscored(model, "n", Outcome.NO_REFERENCE) for model in "ab")]
    results += [result(model, "head", absent("")) for model in "ab"]
    found = one(evaluation_of(results))
    assert (found.result.cases, found.result.left_out, found.missing) == (8, 1, (1, 1))
