"""When a project trains again: after so many accepted corrections (Hofmanninger et al. 2020: every 20 to 30)."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_AFTER = 25


@dataclass(frozen=True)
class RetrainRule:
    """How many corrections start a round.

    >>> RetrainRule(25).is_due(corrections=25, untried=25)
    True
    >>> RetrainRule(25).is_due(corrections=31, untried=6)  # a round with the first 25 failed or was cancelled
    False

    Attributes:
        after: Accepted corrections; 0 starts none.

    Raises:
        ValueError: If it is below 0.
    """

    after: int = DEFAULT_AFTER

    def __post_init__(self) -> None:
        if self.after < 0:
            raise ValueError(f"expected a number of corrections, or 0 for no rounds by themselves, got {self.after}")

    def is_due(self, corrections: int, untried: int) -> bool:
        """Whether a round is to start by itself.

        Args:
            corrections: Accepted ones that the last round did not take along, not counting rounds that failed or were
                cancelled.
            untried: Those among them that no round at all took along. So many have to be new: else each further
                correction would start again what has just failed, or what somebody has just stopped.
        """
        return 0 < self.after <= min(corrections, untried)
