"""Rounds in MONAI Label's words: tasks and training statistics, as its clients read them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from datastore.registry import Registry
from datastore.round_records import Round, RoundState
from lungapp.rounds.following import progress_text

TRAINER = "unet"
TIME = "%Y-%m-%d %H:%M:%S"  # on the server's clock
STATUS = {
    RoundState.QUEUED: "SUBMITTED",
    RoundState.RUNNING: "RUNNING",
    RoundState.JUDGING: "RUNNING",
    RoundState.INTERRUPTED: "RUNNING",  # it goes on as soon as a worker is there
    RoundState.PUBLISHED: "DONE",
    RoundState.HELD_BACK: "DONE",
    RoundState.FAILED: "ERROR",
    RoundState.CANCELLED: "STOPPED",
}


def under_way(registry: Registry) -> Round | None:
    """The round at work, else the one in line, or None."""
    return registry.active_round() or registry.waiting_round()


def train_stats(registry: Registry) -> dict[str, Any]:
    """How far the round under way is, else how the newest went; `{}` before the first."""
    shown = under_way(registry) or registry.newest_round()
    if shown is None:
        return {}
    training, began = shown.progress.get("training") or {}, shown.started_at or shown.queued_at
    stats: dict[str, Any] = {
        "round": shown.number,
        "state": str(shown.state),
        "epoch": training.get("epoch", 0),
        "total_epochs": training.get("epochs", 0),
        "start_ts": int(began.timestamp()),
    }
    if training.get("best_dice") is not None:
        stats["best_metric"] = training["best_dice"]
    seconds = ((shown.ended_at or datetime.now(UTC)) - began).total_seconds()
    # 3D Slicer takes a training with a total time for one that has ended
    return {**stats, "total_time" if shown.has_ended else "current_time": _clock(seconds)}


def as_task(shown: Round) -> dict[str, Any]:
    """A round as MONAI Label tells of a task."""
    task: dict[str, Any] = {
        "id": f"round-{shown.number:04d}",
        "status": STATUS[shown.state],
        "request": {"model": TRAINER},
        "start_ts": _moment(shown.started_at or shown.queued_at),
        "details": [shown.decision or progress_text(shown)],
    }
    return task if shown.ended_at is None else {**task, "end_ts": _moment(shown.ended_at)}


def _moment(moment: datetime) -> str:
    return moment.astimezone().strftime(TIME)


def _clock(seconds: float) -> str:
    """A duration as MONAI Label writes it.

    >>> _clock(3725.2)
    '1:02:05'
    """
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
