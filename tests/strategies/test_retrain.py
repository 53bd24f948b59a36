from __future__ import annotations

import pytest

from strategies.retrain import RetrainRule


@pytest.mark.parametrize(
    ("after", "corrections", "untried", "due"),
    [
        (25, 24, 24, False),
        (25, 25, 25, True),
        (25, 40, 40, True),
        (25, 50, 24, False),  # a round with the others failed
        (25, 50, 25, True),
        (25, 20, 25, False),
        (1, 0, 0, False),
        (1, 1, 1, True),
        (0, 0, 0, False),
        (0, 100, 100, False),  # never by itself
    ],
)
def test_a_round_is_due_after_so_many_corrections(after: int, corrections: int, untried: int, due: bool) -> None:
    assert RetrainRule(after).is_due(corrections, untried) is due


def test_a_number_below_zero_is_no_rule() -> None:
    with pytest.raises(ValueError, match="expected a number of corrections.*got -1"):
        RetrainRule(-1)
