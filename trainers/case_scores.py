"""How well a model did on a locked case, and the file that keeps such scores while the judging goes on."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datastore.atomic import write_bytes
from infers.metrics import Presence, StructureScore, mean_score

PERFECT = {"dice": 1.0, "hausdorff95_mm": 0.0, "mean_surface_distance_mm": 0.0}
JUDGED_BY = tuple(PERFECT)  # keys of `StructureScore`


@dataclass(frozen=True)
class CaseScores:
    """One model on one locked case.

    Attributes:
        case_id: Of the case.
        model: Version of the model, e.g. `unet-0123456789ab`.
        tags: Words that the case is found by; the gate looks at each of them.
        lungs: One score for each lung; none if the case could not be judged.
        reference_id: The label version that it was compared with, or "".
        failure: Why it could not be judged, or None.
    """

    case_id: str
    model: str
    tags: tuple[str, ...]
    lungs: tuple[StructureScore, ...]
    reference_id: str = ""
    failure: str | None = None

    def mean(self, metric: str) -> float | None:
        """Mean over the lungs that are in at least one of the two masks; a lung in only one has Dice 0, distance inf.

        Args:
            metric: One of `JUDGED_BY`.

        Returns:
            None if the case could not be judged. Where there is no lung and none was found, all is as it should be.
        """
        if self.failure is not None:
            return None
        mean = mean_score(self.lungs, metric)
        return PERFECT[metric] if mean is None else mean

    def lung(self, name: str, metric: str) -> float | None:
        """The score of one lung; None if it is in neither mask, or the case could not be judged."""
        found = next((item for item in self.lungs if item.name == name), None)
        return None if found is None or found.presence is Presence.ABSENT else float(getattr(found, metric))

    @property
    def missed(self) -> tuple[str, ...]:
        """Lungs of the reference of which nothing was found."""
        return tuple(item.name for item in self.lungs if item.presence is Presence.MISSED)

    @property
    def found_ml(self) -> float:
        """How much lung the model found."""
        return sum(item.prediction_ml for item in self.lungs)

    def to_plain(self) -> dict[str, Any]:
        """Values for JSON: null for what is not defined, "inf" for infinity."""
        lungs = [{name: finite(value) for name, value in asdict(item).items()} for item in self.lungs]
        return {**asdict(self), "tags": list(self.tags), "lungs": lungs}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> CaseScores:
        """The inverse of `to_plain`.

        Raises:
            ValueError: If it is none of ours.
        """
        try:
            lungs = tuple(
                StructureScore(**{name: _number(name, value) for name, value in item.items()})
                for item in plain["lungs"]
            )
            return cls(**{**plain, "tags": tuple(plain["tags"]), "lungs": lungs})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"expected the scores of a case, got {str(plain)[:80]}") from error


class JudgedFile:
    """The scores of a round's judging as JSON, written anew after each case, so that a killed judging goes on.

    Args:
        path: Made with the first score.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._scores: list[CaseScores] | None = None

    def scores(self) -> tuple[CaseScores, ...]:
        """All that is kept, of every model.

        Raises:
            ValueError: If the file is damaged.
        """
        if self._scores is None:
            try:
                content = self.path.read_bytes()
            except FileNotFoundError:
                content = b"[]"
            try:
                self._scores = [CaseScores.from_plain(item) for item in json.loads(content)]
            except (ValueError, TypeError) as error:
                raise ValueError(f"{self.path}: damaged: remove it, and judging begins anew: {error}") from error
        return tuple(self._scores)

    def keep(self, scores: CaseScores) -> None:
        """Add a score, in place of an older one of that model and case; it survives a power cut."""
        key = scores.model, scores.case_id
        kept = [item for item in self.scores() if (item.model, item.case_id) != key]
        self._scores = [*kept, scores]
        text = json.dumps([item.to_plain() for item in self._scores], indent=1, allow_nan=False)
        write_bytes(self.path, f"{text}\n".encode(), overwrite=True)


def finite(value: Any) -> Any:
    """A number that every reader of JSON knows; anything else as it is.

    >>> finite(0.5), finite(math.inf), finite(math.nan)
    (0.5, 'inf', None)
    """
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def _number(name: str, value: Any) -> Any:
    """The inverse of `finite`, for the fields of a `StructureScore`."""
    if name == "name":
        return value
    return math.nan if value is None else float(value)
