from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path

import pytest
from made_up_scores import case_scores

from trainers.case_scores import CaseScores, JudgedFile


def plain(scores: CaseScores) -> str:
    """With nan as a word: it is not equal to itself."""
    return repr(asdict(scores))


EXAMPLES = [
    case_scores(1, 0.95, 0.9, tags=("effusion", "fibrosis")),
    case_scores(2, 0.95, 0.0),
    case_scores(3, 0.95, math.nan),
    CaseScores("0004", "unet-new", ("effusion",), (), "0004-aa", "the image of case 0004 is gone"),
]


@pytest.mark.parametrize("scores", EXAMPLES)
def test_scores_come_back_from_json_as_they_were(scores: CaseScores) -> None:
    text = json.dumps(scores.to_plain(), allow_nan=False)
    assert plain(CaseScores.from_plain(json.loads(text))) == plain(scores)


def test_a_case_counts_by_the_mean_of_its_lungs() -> None:
    assert EXAMPLES[0].mean("dice") == pytest.approx(0.925)
    assert EXAMPLES[0].lung("left_lung", "dice") == 0.9


def test_a_missed_lung_counts_as_0_and_makes_the_distances_infinite() -> None:
    assert EXAMPLES[1].mean("dice") == pytest.approx(0.475)
    assert EXAMPLES[1].mean("hausdorff95_mm") == math.inf
    assert EXAMPLES[1].missed == ("left_lung",)


def test_a_lung_that_is_in_neither_mask_does_not_count() -> None:
    assert EXAMPLES[2].mean("dice") == 0.95
    assert EXAMPLES[2].lung("left_lung", "dice") is None
    assert EXAMPLES[2].missed == ()


def test_no_lung_where_there_is_none_is_perfect() -> None:
    none = case_scores(5, math.nan, math.nan)
    assert (none.mean("dice"), none.mean("hausdorff95_mm")) == (1.0, 0.0)


def test_a_case_that_could_not_be_judged_has_no_mean() -> None:
    assert EXAMPLES[3].mean("dice") is None
    assert EXAMPLES[3].lung("left_lung", "dice") is None


def test_scores_are_kept_in_a_file_and_read_by_another_process(tmp_path: Path) -> None:
    file = JudgedFile(tmp_path / "judged.json")
    assert file.scores() == ()
    for scores in EXAMPLES:
        file.keep(scores)
    again = JudgedFile(tmp_path / "judged.json").scores()
    assert [plain(item) for item in again] == [plain(item) for item in EXAMPLES]


def test_a_later_score_takes_the_place_of_the_same_models_earlier_one(tmp_path: Path) -> None:
    file = JudgedFile(tmp_path / "judged.json")
    failed = CaseScores("0001", "unet-new", (), (), "", "its disk was away")
    for scores in (failed, case_scores(1, 0.9, model="unet-old"), case_scores(2, 0.8), case_scores(1, 0.7)):
        file.keep(scores)
    kept = {(item.model, item.case_id): item.mean("dice") for item in JudgedFile(file.path).scores()}
    assert kept == {("unet-old", "0001"): 0.9, ("unet-new", "0002"): 0.8, ("unet-new", "0001"): 0.7}


@pytest.mark.parametrize("damage", [b"", b"{", b"[1]", b'[{"case_id": "0001"}]', b'{"a": 1}', b'[{"lungs": [3]}]'])
def test_a_damaged_file_is_said_to_be_damaged(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "judged.json"
    path.write_bytes(damage)
    with pytest.raises(ValueError, match=r"judged\.json: damaged: remove it"):
        JudgedFile(path).scores()
