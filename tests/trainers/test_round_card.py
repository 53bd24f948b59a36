from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from made_up_scores import case_scores, many_scores, usual_dices

from trainers.decision import Decision
from trainers.gate import decide
from trainers.round_card import round_card
from trainers.round_facts import RoundFacts, UsedLabel, round_metrics

TRAINED = (
    UsedLabel("0011-bb", "0011", "routine", ("effusion",)),
    UsedLabel("0010-aa", "0010", "routine", ("effusion", "fibrosis")),
    UsedLabel("0012-cc", "0012", "anatomy3"),
)
JUDGED = (UsedLabel("0001-aa", "0001", "routine", ("effusion",)), UsedLabel("0002-aa", "0002"))
FACTS = RoundFacts(
    number=7,
    name="round-0007",
    trigger="25 corrections",
    started_at=datetime(2026, 3, 4, 5, 6, tzinfo=UTC),
    parent="round-0006",
    champion="R231",
    seed=42,
    config={"preset": "r231", "epochs": 3, "learning_rate": 0.05},
    versions={"torch": "2.9", "lungapp": "0.1"},
    commit="abc123",
    trained_on=TRAINED,
    judged_on=JUDGED,
    sha256="5d" * 32,
)


@pytest.fixture
def decision() -> Decision:
    before = usual_dices(12)
    tags = [("effusion",)] * 9 + [()] * 3
    champion, candidate = many_scores(before, tags, model="unet-old"), many_scores(before + 0.01, tags)
    candidate[4] = case_scores(5, 0.9, 0.0, tags=("effusion",))
    return decide(champion, candidate)


def rows(card: str) -> set[str]:
    return {line for line in card.splitlines() if line.startswith("|")}


def test_the_card_says_what_the_model_saw_by_cohort_and_tag(decision: Decision) -> None:
    found = rows(round_card(FACTS, decision))
    for line in (
        "| cohort routine | 2 | 1 |",
        "| cohort anatomy3 | 1 | 0 |",
        "| cohort (none) | 0 | 1 |",
        "| tag effusion | 2 | 1 |",
        "| tag fibrosis | 1 | 0 |",
        "| all | 3 | 2 |",
    ):
        assert line in found


def test_the_card_says_where_the_model_comes_from(decision: Decision) -> None:
    card = round_card(FACTS, decision)
    assert card.startswith("# round-0007\n")
    assert "round 7 of its project (25 corrections, begun 2026-03-04 05:06 UTC)" in card
    for line in (
        "| began with | round-0006 |",
        "| judged against | R231 |",
        "| seed | 42 |",
        "| border beside air | by the network alone |",
        f"| SHA-256 | `{'5d' * 32}` |",
    ):
        assert line in rows(card)
    trained, judged = card.split("## Lineage")[1].split("For judging:")
    assert trained.splitlines()[6:9] == ["    0010  0010-aa", "    0011  0011-bb", "    0012  0012-cc"]
    assert "    0001  0001-aa\n    0002  0002-aa" in judged
    assert "Versions: lungapp 0.1, torch 2.9; commit `abc123`." in card
    assert '      "learning_rate": 0.05' in card
    assert "Eur Radiol Exp 4, 50 (2020)" in card


def test_the_card_keeps_apart_who_was_watched_and_who_gave_slices_without_lung(decision: Decision) -> None:
    watched = (UsedLabel("0020-aa", "0020", "routine", ("covid",)),)
    facts = replace(FACTS, trained_on=TRAINED[:2], negatives_of=TRAINED[2:], watched_on=watched)
    card = round_card(facts, decision)
    assert "| | training | watching | slices without lung | judging |" in rows(card)
    assert "| cohort anatomy3 | 0 | 0 | 1 | 0 |" in rows(card) and "| tag covid | 0 | 1 | 0 | 0 |" in rows(card)
    assert "| all | 2 | 1 | 1 | 2 |" in rows(card)
    assert "For watching:\n\n    0020  0020-aa\n\nFor slices without lung:\n\n    0012  0012-cc\n\nFor judging:" in card
    metrics = round_metrics(facts, decision)
    assert (metrics["watched_on"], metrics["negatives_of"]) == (["0020-aa"], ["0012-cc"])
    assert metrics["trained_on"] == ["0011-bb", "0010-aa"]


def test_the_card_names_what_was_left_out(decision: Decision) -> None:
    facts = replace(FACTS, left_out={"0013-aa": "the image of case 0013 is gone"})
    assert "\nLeft out: 0013-aa (the image of case 0013 is gone).\n" in round_card(facts, decision)
    assert round_metrics(facts, decision)["left_out"] == {"0013-aa": "the image of case 0013 is gone"}
    assert "Left out" not in round_card(FACTS, decision)


def test_the_card_says_how_the_model_was_judged(decision: Decision) -> None:
    card = round_card(FACTS, decision)
    assert f"**{decision.reason}**" in card
    overall = next(row for row in decision.table if (row.tag, row.lung, row.metric) == ("", "", "dice"))
    assert (
        f"| all (12) | both lungs | DSC | {overall.champion:.3f} | {overall.candidate:.3f} | {overall.difference:+.4f} "
        f"({overall.low:+.4f} to {overall.high:+.4f}) |"
    ) in rows(card)
    assert any(line.startswith("| effusion (9) | left lung | DSC |") for line in rows(card))
    assert any(
        line.startswith("| effusion (8, 1 left out) | left lung | HD95, mm | 5.00 | 5.00 |") for line in rows(card)
    )
    worst = card[card.index("The 10 worst of 12 locked cases") :]
    assert worst.splitlines()[4].startswith("| 0005 | effusion |")
    assert worst.splitlines()[4].endswith("| misses left_lung |")


def test_a_first_model_from_scratch_has_a_card_too() -> None:
    decision = decide(None, many_scores([0.8, 0.9]))
    facts = replace(FACTS, parent=None, champion=None, started_at=None, commit=None)
    card = round_card(facts, decision)
    assert "| began with | random weights |" in card
    assert "| judged against | none: no model was served |" in card
    assert "| all (2) | both lungs | DSC |  | 0.850 |  |" in card
    assert "None" not in card


def test_a_model_that_was_not_judged_says_so() -> None:
    facts = replace(FACTS, judged_on=())
    card = round_card(facts, decide(None, []))
    assert "Not judged." in card
    assert "Held back: there are no locked cases" in card
    assert "the corrected masks of 0 cases" in card


def test_words_that_somebody_chose_make_no_tables(decision: Decision) -> None:
    odd = UsedLabel("0010-aa", "0010", "a|b\n# c", ("`x`",))
    facts = replace(FACTS, trigger="by hand\n# not a heading", trained_on=(odd,))
    card = round_card(facts, decision)
    assert "| cohort a\\|b # c | 1 | 0 |" in card
    assert "\n# not" not in card and "\n# c" not in card
    assert "| tag 'x' | 1 | 0 |" in card


def test_the_same_round_has_the_same_card_and_metrics_that_json_can_hold(decision: Decision) -> None:
    assert round_card(FACTS, decision) == round_card(FACTS, decision)
    plain = round_metrics(FACTS, decision)
    again = json.loads(json.dumps(plain, allow_nan=False))
    assert again == plain
    assert (again["round"], again["seed"], again["trained_on"]) == (7, 42, ["0011-bb", "0010-aa", "0012-cc"])
    assert Decision.from_plain(again["judging"]) == decision


def test_metrics_of_missed_lungs_are_no_infinities() -> None:
    candidate = many_scores(np.zeros(8))
    plain = round_metrics(FACTS, decide(many_scores(usual_dices(8)), candidate))
    json.dumps(plain, allow_nan=False)
