"""Asking for rounds: by the rule, by hand, and stopping one."""

from __future__ import annotations

import logging

from datastore.database import RegistryError
from datastore.records import Split
from datastore.registry import LOCAL, Registry
from datastore.round_records import Round, RoundState
from lungapp.project import Project
from lungapp.rounds.lock import WorkerLock
from lungapp.rounds.watch import WORKER
from strategies.retrain import RetrainRule

logger = logging.getLogger(__name__)


class NothingToTrainOnError(ValueError):
    """No mask may train yet; the message says what to do."""


def queue_if_due(project: Project, registry: Registry, by: str = WORKER) -> Round | None:
    """Put a round in line if enough corrections were accepted; None if not, or if one is there.

    It may be asked as often and by as many as like.
    """
    rule = RetrainRule(project.settings.rounds.retrain_after)
    corrections = registry.corrections_since_last_round() if rule.after else 0
    if not rule.is_due(corrections, registry.untried_corrections() if corrections else 0):
        return None
    made = registry.request_round(
        f"{corrections} corrections",
        project.settings.round_config(),
        project.settings.rounds.seed,
        by,
        at_least=rule.after,
        untried=rule.after,
    )
    if made is not None:
        logger.info("round %d is queued: %s", made.number, made.trigger)
    return made


def queue_now(
    project: Project, registry: Registry, trigger: str, by: str = LOCAL, seed: int | None = None
) -> Round | None:
    """Put a round in line, however few corrections there are; None if one waits already.

    Args:
        project: The project.
        registry: Of the project.
        trigger: Why, in words.
        by: Who asks.
        seed: Of the training; the project's setting if not given.

    Raises:
        NothingToTrainOnError: If there is none at all.
    """
    if not registry.trainable():
        submitted = "review submitted masks with `lungapp cases accept`, or import references with `lungapp ingest`"
        raise NothingToTrainOnError(
            f"there is nothing to train on: no case of the split train has an accepted mask: {submitted}"
        )
    chosen = project.settings.rounds.seed if seed is None else seed
    return registry.request_round(trigger, project.settings.round_config(), chosen, by)


def doubts(project: Project, registry: Registry) -> str | None:
    """Why a round would not publish anything, whatever it learns; None if it may."""
    if project.settings.gate.publish_unjudged or registry.accepted(Split.VALIDATION):
        return None
    return (
        "no mask of the split validation is accepted to judge a model on, so every round will be held back: have some "
        "corrected and accepted, or set gate.publish_unjudged"
    )


def cancel(project: Project, registry: Registry, number: int, by: str = LOCAL) -> Round:
    """Stop a round: its worker stops within seconds; without a worker it ends at once.

    Raises:
        UnknownCaseError: If there is no such round.
        RoundError: If it has ended.
    """
    asked = registry.request_cancel(number, by)
    lock = WorkerLock(project.rounds)
    if asked.has_ended or not lock.acquire():
        return asked
    try:
        return registry.end_round(number, RoundState.CANCELLED, by=by)
    finally:
        lock.release()


def settle(project: Project, registry: Registry) -> None:
    """Say of a round at work that it is interrupted if no worker is there who could be at it."""
    active = registry.active_round()
    lock = WorkerLock(project.rounds)
    if active is None or active.state is RoundState.INTERRUPTED or not lock.acquire():
        return
    try:
        registry.set_round_state(active.number, RoundState.INTERRUPTED, WORKER)
    except (ValueError, RegistryError) as error:  # it has just ended
        logger.info("round %d: %s", active.number, error)
    finally:
        lock.release()
