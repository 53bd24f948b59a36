"""What the gate goes by and what it says, as records and as plain values for the registry and for JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from trainers.judging_table import CaseChange, Row


@dataclass(frozen=True)
class GateRules:
    """When a retrained model is published; Dice is the mean of a case's lungs, 0 for a lung that is missed.

    Attributes:
        dice_margin: The most that the mean Dice over all locked cases may fall.
        tag_dice_margin: The most that it may fall in one lung, or over the cases of one tag.
        hd95_margin_mm: A model whose HD95 is shown to be larger by more than this is held back.
        tag_cases: How many locked cases a tag needs to hold a model back.
        first_dice: The mean Dice that a model needs where none is served yet.
        publish_unjudged: Whether a model is published where there are no locked cases to judge it on.
    """

    dice_margin: float = 0.01
    tag_dice_margin: float = 0.03
    hd95_margin_mm: float = 1.0
    tag_cases: int = 8
    first_dice: float = 0.5
    publish_unjudged: bool = False


@dataclass(frozen=True)
class Decision:
    """What the gate says.

    Attributes:
        publish: Whether the candidate shall be served.
        reason: One sentence for people, with the numbers.
        rules: That it goes by.
        table: All cases and each tag; both lungs and each of them; each metric.
        changes: Every locked case, the worst first.
    """

    publish: bool
    reason: str
    rules: GateRules
    table: tuple[Row, ...] = ()
    changes: tuple[CaseChange, ...] = ()

    def to_plain(self) -> dict[str, Any]:
        """Values for JSON; all numbers are finite."""
        return {
            "publish": self.publish,
            "reason": self.reason,
            "rules": asdict(self.rules),
            "table": [asdict(row) for row in self.table],
            "cases": [{**asdict(item), "tags": list(item.tags), "missed": list(item.missed)} for item in self.changes],
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Decision:
        """The inverse of `to_plain`.

        Raises:
            ValueError: If it is none of ours.
        """
        try:
            changes = (
                CaseChange(**{**item, "tags": tuple(item["tags"]), "missed": tuple(item["missed"])})
                for item in plain["cases"]
            )
            table = tuple(Row(**row) for row in plain["table"])
            return cls(plain["publish"], plain["reason"], GateRules(**plain["rules"]), table, tuple(changes))
        except (KeyError, TypeError) as error:
            raise ValueError(f"expected a decision of the gate, got {str(plain)[:80]}") from error
