"""When a retrained model is published, and whether the reason says what a data manager has to know."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from made_up_scores import case_scores, lung_score, many_scores, usual_dices

from infers.comparison import compare_paired
from trainers.case_scores import CaseScores
from trainers.decision import Decision
from trainers.gate import GateRules, decide

EFFUSION = [("effusion",)] * 9 + [()] * 15


def pair(
    change: float | np.ndarray, count: int = 24, tags: Sequence[tuple[str, ...]] = (), noise: float = 0.003
) -> tuple[list[CaseScores], list[CaseScores]]:
    """A champion and a candidate whose Dice differs by so much, more or less."""
    before = usual_dices(count)
    after = before + change + np.random.default_rng(1).normal(0, noise, count)
    return many_scores(before, tags, model="unet-old"), many_scores(after, tags)


def failed(scores: CaseScores, reason: str = "the image is gone") -> CaseScores:
    return replace(scores, lungs=(), failure=reason)


def row(decision: Decision, tag: str = "", lung: str = "", metric: str = "dice") -> dict[str, object]:
    (found,) = [item for item in decision.table if (item.tag, item.lung, item.metric) == (tag, lung, metric)]
    return vars(found)


def test_a_better_model_is_published_with_the_numbers() -> None:
    champion, candidate = pair(+0.02)
    decision = decide(champion, candidate)
    assert decision.publish
    table = row(decision)
    assert decision.reason.startswith(
        "Published: the mean Dice of both lungs (24 locked cases) goes from 0.950 to 0.970"
    )
    assert f"({table['difference']:+.4f}, 95 % interval {table['low']:+.4f} to {table['high']:+.4f})" in decision.reason
    assert "a loss of more than 0.01 is excluded" in decision.reason


def test_a_worse_model_is_held_back() -> None:
    decision = decide(*pair(-0.02))
    assert not decision.publish
    assert decision.reason.startswith(
        "Held back: the mean Dice of both lungs (24 locked cases) falls from 0.950 to 0.930"
    )
    assert "by more than the 0.01 that is allowed" in decision.reason


def test_a_model_that_is_as_good_is_published() -> None:
    assert decide(*pair(0.0)).publish
    champion, _ = pair(0.0)
    assert decide(champion, [replace(item, model="unet-new") for item in champion]).publish


def test_a_loss_within_the_margin_is_no_reason_to_hold_back() -> None:
    champion, candidate = pair(-0.005, noise=0.001)
    assert decide(champion, candidate).publish
    assert not decide(champion, candidate, GateRules(dice_margin=0.004)).publish


def test_a_model_that_may_be_worse_is_held_back_even_if_its_mean_is_not() -> None:
    changes = np.tile([+0.1, -0.1], 6)
    champion, candidate = pair(changes, count=12, noise=0)
    decision = decide(champion, candidate, GateRules(tag_dice_margin=1))
    assert row(decision)["difference"] == pytest.approx(0)
    assert not decision.publish
    assert "a loss of more than 0.01 cannot be excluded" in decision.reason


def test_the_interval_is_that_of_the_paired_bootstrap() -> None:
    champion, candidate = pair(-0.004)
    means = [[item.mean("dice") for item in scores] for scores in (champion, candidate)]
    found = compare_paired(*means, higher_is_better=True)
    assert (row(decide(champion, candidate))["low"], row(decide(champion, candidate))["high"]) == (
        found.low,
        found.high,
    )
    margin = -found.low
    assert decide(champion, candidate, GateRules(dice_margin=margin)).publish
    assert not decide(champion, candidate, GateRules(dice_margin=margin - 1e-9)).publish


def test_a_model_that_is_worse_in_one_tag_is_held_back() -> None:
    champion, candidate = pair(np.array([-0.05] * 9 + [+0.05] * 15), tags=EFFUSION)
    decision = decide(champion, candidate)
    assert row(decision)["low"] > -0.01  # type: ignore[operator]
    assert not decision.publish
    assert "the mean Dice with 'effusion' (9 locked cases) falls from" in decision.reason
    assert "by more than the 0.03 that is allowed" in decision.reason


def test_a_tag_with_few_cases_holds_nothing_back_but_stands_in_the_table() -> None:
    champion, candidate = pair(np.array([-0.05] * 9 + [+0.05] * 15), tags=EFFUSION)
    decision = decide(champion, candidate, GateRules(tag_cases=10))
    assert decision.publish
    assert row(decision, "effusion")["difference"] == pytest.approx(-0.05, abs=0.005)


def test_a_case_counts_in_each_of_its_tags() -> None:
    tags = [("effusion", "fibrosis")] * 9 + [("fibrosis",)] * 3 + [()] * 12
    decision = decide(*pair(0.0, tags=tags))
    assert [row(decision, tag)["cases"] for tag in ("", "effusion", "fibrosis")] == [24, 9, 12]
    assert "and in 2 tags with enough cases" in decision.reason


def test_a_model_that_trades_one_lung_for_the_other_is_held_back() -> None:
    champion = many_scores(usual_dices(24), model="unet-old")
    candidate = [case_scores(number, dice + 0.04, dice - 0.04) for number, dice in enumerate(usual_dices(24), start=1)]
    decision = decide(champion, candidate)
    assert row(decision)["difference"] == pytest.approx(0)
    assert not decision.publish
    assert "the mean Dice of the left lung (24 locked cases) falls" in decision.reason
    assert "right lung" not in decision.reason


def test_one_lung_that_is_missed_counts_as_0_and_is_named() -> None:
    champion, candidate = pair(+0.01, count=100)
    candidate[41] = case_scores(42, 0.96, 0.0)
    decision = decide(champion, candidate)
    assert not decision.publish
    assert "the worst is case 0042, from" in decision.reason and "to 0.480" in decision.reason
    assert "a lung is missed altogether in 1 of 100 locked cases: 0042" in decision.reason
    assert (decision.changes[0].case_id, decision.changes[0].missed) == ("0042", ("left_lung",))


def test_one_bad_case_among_many_is_seen_even_where_the_model_is_published() -> None:
    champion, candidate = pair(+0.02, count=100)
    candidate[41] = case_scores(42, 0.6)
    decision = decide(champion, candidate)
    assert decision.publish
    assert "the worst is case 0042" in decision.reason
    assert decision.changes[0].case_id == "0042"


def test_cases_come_from_the_largest_loss_to_the_largest_gain() -> None:
    champion, candidate = pair(0.0)
    differences = [change.difference for change in decide(champion, candidate).changes]
    assert differences == sorted(differences)  # type: ignore[type-var]
    assert len(differences) == 24
    alone = [change.candidate for change in decide(None, candidate).changes]
    assert alone == sorted(alone)  # type: ignore[type-var]


def test_a_lung_found_where_there_is_none_counts_as_0() -> None:
    champion = [case_scores(number, 0.95, math.nan, model="unet-old") for number in range(1, 9)]
    candidate = [case_scores(number, 0.95, math.nan) for number in range(1, 9)]
    assert decide(champion, candidate).publish
    false_lung = replace(lung_score("left_lung", 0.0), reference_ml=0.0, prediction_ml=900.0)
    candidate[2] = replace(candidate[2], lungs=(candidate[2].lungs[0], false_lung))
    decision = decide(champion, candidate)
    assert not decision.publish
    assert "the worst is case 0003, from 0.950 to 0.475" in decision.reason
    assert (row(decision, lung="left_lung")["cases"], row(decision, lung="left_lung")["candidate"]) == (1, 0.0)


def test_surfaces_that_are_shown_to_be_further_away_hold_a_model_back() -> None:
    champion, candidate = pair(+0.01)
    far = [
        replace(item, lungs=tuple(lung_score(lung.name, lung.dice, 7.5) for lung in item.lungs)) for item in candidate
    ]
    decision = decide(champion, far)
    assert not decision.publish
    assert "the mean HD95 of both lungs (24 locked cases) rises from 5.0 to 7.5 mm" in decision.reason
    assert decide(champion, far, GateRules(hd95_margin_mm=3)).publish


def test_surfaces_that_are_not_shown_to_be_further_away_hold_nothing_back() -> None:
    champion, candidate = pair(+0.01)
    lungs = tuple(lung_score(lung.name, lung.dice, 65.0) for lung in candidate[0].lungs)
    candidate[0] = replace(candidate[0], lungs=lungs)
    decision = decide(champion, candidate)
    assert row(decision, metric="hausdorff95_mm")["difference"] == pytest.approx(2.5)
    assert decision.publish


def test_a_model_that_finds_nothing_is_held_back_whatever_came_before() -> None:
    nothing = many_scores([0.0] * 24)
    for champion in (None, pair(0.0)[0], many_scores([0.0] * 24, model="unet-old")):
        decision = decide(champion, nothing)
        assert not decision.publish
        assert decision.reason.startswith("Held back: the new model finds no lung in any of 24 locked cases")


def test_the_first_model_is_published_if_it_is_plausible_at_all() -> None:
    decision = decide(None, many_scores([0.7, 0.8, 0.9]))
    assert decision.publish
    assert decision.reason.startswith(
        "Published: no model was served yet, and the first one has a mean Dice of 0.800 over 3 locked cases"
    )
    assert (row(decision)["champion"], row(decision)["candidate"]) == (None, pytest.approx(0.8))
    poor = decide(None, many_scores([0.3, 0.4, 0.5]))
    assert not poor.publish
    assert "the mean Dice of the first one is 0.400 over 3 locked cases, below the 0.5" in poor.reason
    assert decide(None, many_scores([0.3, 0.4, 0.5]), GateRules(first_dice=0.39)).publish


@pytest.mark.parametrize("champion", [None, []])
def test_without_locked_cases_the_setting_decides(champion: list[CaseScores] | None) -> None:
    held = decide(champion, [])
    assert not held.publish
    assert held.reason.startswith("Held back: there are no locked cases to judge on")
    assert "gate.publish_unjudged" in held.reason
    published = decide(champion, [], GateRules(publish_unjudged=True))
    assert published.publish
    assert published.reason.startswith("Published without being judged: there are no locked cases")


def test_with_too_few_cases_for_an_interval_the_means_decide_and_it_says_so() -> None:
    for change, publish in ((+0.02, True), (-0.005, True), (-0.02, False)):
        decision = decide(*pair(change, count=5, noise=0.001))
        assert decision.publish == publish
        assert "5 locked cases are too few for an interval" in decision.reason
    assert "too few" not in decide(*pair(+0.02, count=6)).reason


def test_cases_that_nobody_could_read_are_named() -> None:
    champion, candidate = pair(+0.02)
    for place in (3, 7):
        champion[place], candidate[place] = failed(champion[place]), failed(candidate[place])
    decision = decide(champion, candidate)
    assert decision.publish
    assert "2 of 24 locked cases could not be judged: 0004, 0008" in decision.reason
    assert (row(decision)["cases"], row(decision)["left_out"]) == (22, 2)
    assert [(change.case_id, change.failure) for change in decision.changes[:2]] == [
        ("0004", "the image is gone"),
        ("0008", "the image is gone"),
    ]


@pytest.mark.parametrize("readable", [0, 3])
def test_a_disk_that_is_away_publishes_nothing(readable: int) -> None:
    champion, candidate = pair(+0.02, count=8)
    for scores in (champion, candidate):
        scores[readable:] = [failed(item) for item in scores[readable:]]
    for before in (champion, None):
        decision = decide(before, candidate, GateRules(publish_unjudged=True))
        assert not decision.publish
        assert f"only {readable} of 8 locked cases could be judged (the image is gone)" in decision.reason


@pytest.mark.parametrize("whose", ["champion", "candidate"])
def test_a_case_that_only_one_of_the_two_was_judged_on_holds_back(whose: str) -> None:
    champion, candidate = pair(+0.02)
    scores = champion if whose == "champion" else candidate
    scores[5] = failed(scores[5])
    decision = decide(champion, candidate)
    assert not decision.publish
    assert "case 0006 could be judged for only one of the two models (the image is gone)" in decision.reason
    assert decision.changes[0].case_id == "0006"


def test_scores_of_different_cases_or_references_are_not_compared() -> None:
    champion, candidate = pair(0.0)
    others = (champion[1:], champion[::-1], [replace(champion[0], reference_id="0001-bb"), *champion[1:]])
    for other in others:
        with pytest.raises(ValueError, match="expected scores of the same locked cases"):
            decide(other, candidate)


def test_the_table_has_every_metric_of_every_group() -> None:
    decision = decide(*pair(0.0, tags=EFFUSION))
    assert [(item.tag, item.lung, item.metric) for item in decision.table] == [
        (tag, lung, metric)
        for tag in ("", "effusion")
        for lung in ("", "right_lung", "left_lung")
        for metric in ("dice", "hausdorff95_mm", "mean_surface_distance_mm")
    ]


def test_a_missed_lung_is_left_out_of_the_distances_and_counted() -> None:
    champion, candidate = pair(0.0)
    candidate[0] = case_scores(1, 0.9, 0.0)
    found = row(decide(champion, candidate), metric="hausdorff95_mm")
    assert (found["cases"], found["left_out"], found["candidate"]) == (23, 1, 5.0)


@pytest.mark.parametrize("champion", [True, False])
def test_a_decision_comes_back_from_json_as_it_was(champion: bool) -> None:
    before, after = pair(0.0, tags=EFFUSION)
    after[0], before[0] = failed(after[0]), failed(before[0])
    after[1] = case_scores(2, 0.9, 0.0, tags=("effusion",))
    decision = decide(before if champion else None, after, GateRules(tag_cases=7))
    text = json.dumps(decision.to_plain(), allow_nan=False)
    assert Decision.from_plain(json.loads(text)) == decision


@pytest.mark.parametrize("plain", [{}, {"publish": True}, {"table": 3}])
def test_what_is_no_decision_is_refused(plain: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected a decision of the gate"):
        Decision.from_plain(plain)


def test_what_may_have_fallen_and_what_has_risen_is_told_apart() -> None:
    """Small losses that are too uncertain, and distances that rise: neither is said to be a fall of the Dice."""
    random = np.random.default_rng(5)
    before = usual_dices(9)
    champion = many_scores(before, model="unet-old", hd95_mm=3.0)
    candidate = many_scores(before + random.normal(0.0, 0.06, 9).clip(-0.2, 0.04), hd95_mm=9.0)
    reason = decide(champion, candidate).reason
    assert "the mean HD95 of both lungs (9 locked cases) rises from 3.0 to 9.0 mm" in reason
    assert "may have fallen by up to 0.0" in reason


def test_a_reason_is_one_line_and_not_endless() -> None:
    tags = [tuple(f"tag-{number}" for number in range(30))] * 24
    reason = decide(*pair(-0.2, tags=tags)).reason
    assert "\n" not in reason and reason.endswith(".")
    assert "; nor is that all: the mean Dice of the right lung (24 locked cases) falls from 0.9" in reason
    assert "with 'tag-10' (24 locked cases) falls from" in reason and "and 27 more" in reason
    assert len(reason) < 800
