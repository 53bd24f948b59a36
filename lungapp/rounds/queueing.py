"""Asking for rounds: by the rule, by hand, and stopping one."""

from __future__ import annotations

import logging

from datastore.database import RegistryError
from datastore.records import Split
from datastore.registry import LOCAL, Registry, RoundError
from datastore.round_records import Round, RoundState
from lungapp.project import Project
from lungapp.rounds.folders import model_name
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
    settings = project.settings_now()
    rule = RetrainRule(settings.rounds.retrain_after)
    corrections = registry.corrections_since_last_round() if rule.after else 0
    if not rule.is_due(corrections, registry.untried_corrections() if corrections else 0):
        return None
    made = registry.request_round(
        f"{corrections} corrections",
        settings.round_config(),
        settings.rounds.seed,
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
        ValueError: If the settings cannot be read any more.
    """
    if not registry.trainable():
        submitted = "review submitted masks with `lungapp cases accept`, or import references with `lungapp ingest`"
        raise NothingToTrainOnError(
            f"there is nothing to train on: no case of the split train has an accepted mask: {submitted}"
        )
    settings = project.settings_now()
    chosen = settings.rounds.seed if seed is None else seed
    return registry.request_round(trigger, settings.round_config(), chosen, by)


def doubts(project: Project, registry: Registry) -> str | None:
    """Why a round would not publish anything, whatever it learns; None if it may."""
    if project.settings_now().gate.publish_unjudged or registry.accepted(Split.VALIDATION):
        return None
    return (
        "no mask of the split validation is accepted to judge a model on, so every round will be held back: have some "
        "corrected and accepted, or set gate.publish_unjudged"
    )


def cancel(project: Project, registry: Registry, number: int, by: str = LOCAL) -> Round:
    """Stop a round: its worker stops within seconds; without a worker it ends at once.

    Raises:
        UnknownCaseError: If there is no such round.
        RoundError: If it has ended, or its model is served already.
    """
    lock = WorkerLock(project.rounds)
    if not lock.acquire():
        return registry.request_cancel(number, by)
    try:
        _check_is_not_served(project, registry, number)
        asked = registry.request_cancel(number, by)
        return asked if asked.has_ended else registry.end_round(number, RoundState.CANCELLED, by=by)
    finally:
        lock.release()


def _check_is_not_served(project: Project, registry: Registry, number: int) -> None:
    from infers.model_store import ModelStore

    name = model_name(number)
    if registry.round(number).has_ended:
        return  # the registry says so better
    if ModelStore(project.models).served() == name or registry.was_published(name):
        raise RoundError(
            f"round {number} was killed while it was published, and its model is served: `lungapp worker` ends it, "
            "`lungapp rounds rollback` takes the model back"
        )


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
