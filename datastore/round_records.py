"""Retrains and the models they make, as the registry hands them out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class RoundState(StrEnum):
    """How far a retrain has come."""

    QUEUED = "queued"
    RUNNING = "running"
    JUDGING = "judging"
    INTERRUPTED = "interrupted"
    PUBLISHED = "published"
    HELD_BACK = "held back"
    FAILED = "failed"
    CANCELLED = "cancelled"


AT_WORK = (RoundState.RUNNING, RoundState.JUDGING, RoundState.INTERRUPTED)
ENDED = (RoundState.PUBLISHED, RoundState.HELD_BACK, RoundState.FAILED, RoundState.CANCELLED)


@dataclass(frozen=True)
class Round:
    """One retrain.

    Attributes:
        label_ids: The exact label versions that it trains on.
        champion: Version of the model that served when it began.
        candidate: Version of the model that it made.
        decision: Published or held back, and why; or why it failed.
        snapshot_at: When `label_ids` were settled, or None.
        progress: What the worker last told: `step`, and what that step has to say; see `Rounds.report_progress`.
        progressed_at: When that was, or None.
        attempts: How often a worker has taken it up since it last got on.
        cancel_by: Who asked for it to be stopped, or None.
        refreshed_at: When the preliminary masks of open cases were made anew, or None.
    """

    number: int
    trigger: str
    state: RoundState
    config: dict[str, Any]
    seed: int
    label_ids: tuple[str, ...]
    metrics: dict[str, Any]
    champion: str | None
    candidate: str | None
    decision: str | None
    queued_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    snapshot_at: datetime | None
    progress: dict[str, Any]
    progressed_at: datetime | None
    attempts: int
    cancel_by: str | None
    refreshed_at: datetime | None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more becomes of it."""
        return self.state in ENDED


@dataclass(frozen=True)
class ModelVersion:
    """A model version and where it comes from."""

    version: str
    architecture: str
    weights_sha256: str
    parent: str | None
    round_number: int | None
    metrics: dict[str, Any]
    created_at: datetime
    published_at: datetime | None
