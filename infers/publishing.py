"""Choosing what a project serves: by hand, by a round, and back; the registry keeps the history.

`models/current` is switched atomically and alone decides. A process that is killed between any two steps leaves a model
served and a registry that opens; calling the same function again ends what was begun.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datastore.atomic import sha256_of
from datastore.registry import LOCAL, Registry
from infers.manifest import WEIGHTS
from infers.model_names import JOINED
from infers.model_store import ModelStore
from infers.stored_model import StoredModel
from infers.weights_metadata import ARCHITECTURE

logger = logging.getLogger(__name__)


class PublishingError(ValueError):
    """What is served cannot be changed in that way now; the message says why, and nothing was changed."""


def publish(registry: Registry, store: ModelStore, name: str, by: str = LOCAL) -> tuple[StoredModel, str | None]:
    """Serve a model of the project from the next request on.

    Args:
        registry: Of the project.
        store: The project's models.
        name: Of a model there, in any case.
        by: Who decides it.

    Returns:
        The model, and the name of the one that was served until now.

    Raises:
        ValueError: If there is no such model, or it cannot be served.
    """
    with _alone(store.folder):
        model = store.servable(name)
        before = _enter_served(registry, store, by)
        _enter(registry, model, by)
        store.switch(model)
        registry.publish_model(model.name, by, before=before)
    return model, before


def publish_shipped(registry: Registry, store: ModelStore, by: str = LOCAL) -> str | None:
    """Serve what comes with the program again, as before anything was published; the name of what was served until now.

    Args:
        registry: Of the project.
        store: The project's models.
        by: Who decides it.
    """
    with _alone(store.folder):
        before = _enter_served(registry, store, by)
        if before is not None:
            store.withdraw()
            registry.publish_model(JOINED, by, before=before, shipped=True)
    return before


def keep_candidate(
    registry: Registry,
    store: ModelStore,
    weights: Path,
    name: str,
    round_number: int,
    card: str,
    metrics: Mapping[str, Any],
    *,
    parent: str | None = None,
    by: str = LOCAL,
) -> StoredModel:
    """Put the model of a round among the project's models, served or not; a second call finds it there.

    Args:
        registry: Of the project.
        store: The project's models.
        weights: The file that was judged.
        name: E.g. `round-0007`.
        round_number: In the registry.
        card: The model card, Markdown.
        metrics: Plain values.
        parent: The model of the project whose weights the training began with, or None.
        by: Who started the round.

    Raises:
        FileExistsError: If another model has that name.
        ValueError: If the weights cannot be read.
    """
    model, _ = store.add_trained(weights, name, round_number, card, metrics)
    if parent is not None and store.find(parent) is not None:
        parent = _enter(registry, store.model(parent), by)
    else:
        parent = None  # a model that came with the program, or a file
    _enter(registry, model, by, parent=parent, round_number=round_number, metrics=metrics)
    return model


def publish_round(
    registry: Registry,
    store: ModelStore,
    weights: Path,
    name: str,
    round_number: int,
    card: str,
    metrics: Mapping[str, Any],
    *,
    champion: str | None,
    parent: str | None = None,
    by: str = LOCAL,
) -> StoredModel:
    """Serve the model of a round from the next request on.

    It may be called again after a crash at any point. Once the model was served, a further call changes nothing:
    whoever chose another model since then is not overruled.

    Args:
        registry: See `keep_candidate`, as are the others.
        champion: The model that the candidate was judged against; None if none was served then.

    Raises:
        PublishingError: If another model than the champion is served by now: the candidate was not judged against it.
        FileExistsError: See `keep_candidate`.
        ValueError: See `keep_candidate`.
    """
    keep_candidate(registry, store, weights, name, round_number, card, metrics, parent=parent, by=by)
    with _alone(store.folder):
        model = store.servable(name)
        if registry.was_published(model.name):
            return model
        served = store.served()
        if served not in (champion, model.name):
            raise PublishingError(
                f"{model.name} was judged against {champion or 'no model'}, but {served or 'none'} is served by now: "
                "it is not published"
            )
        if served != model.name:  # else a call was killed right after the switch
            _enter_served(registry, store, by)
            store.switch(model)
        registry.publish_model(model.name, by, before=champion, round_number=round_number)
    return model


def rollback(registry: Registry, store: ModelStore, by: str = LOCAL) -> tuple[StoredModel | None, str]:
    """Serve again what was served before; twice goes back two models.

    Args:
        registry: Of the project.
        store: The project's models.
        by: Who decides it.

    Returns:
        The model that is served now, None if it is what comes with the program, and the name of the one that was taken
        back.

    Raises:
        PublishingError: If there is none to go back to, or it is gone.
        ValueError: If it cannot be served any more.
    """
    with _alone(store.folder):
        _enter_served(registry, store, by)
        turn = registry.served_models()
        if not turn or turn == (JOINED,):
            raise PublishingError("no model was ever published here: there is none to go back to")
        before, served = (JOINED, *turn)[-2:]
        if before == JOINED:
            registry.roll_back_model(JOINED, by, before=served, shipped=True)
            store.withdraw()
            return None, served
        if store.find(before) is None:
            raise PublishingError(
                f"{before} was served before {served}, but is not in {store.folder} any more: `lungapp models publish` "
                "serves another one"
            )
        model = store.servable(before)
        registry.roll_back_model(model.name, by, before=served)  # first: killed here, a second call goes the same way
        store.switch(model)
    return model, served


def _enter_served(registry: Registry, store: ModelStore, by: str) -> str | None:
    """What is served; the history has it from now on, whoever chose it, and even if it cannot be read any more."""
    served = store.served()
    if served is not None:
        if all(known.version != served for known in registry.models()):
            registry.add_model(served, ARCHITECTURE, _sha256(store, served), by)
        registry.publish_model(served, by, found=True)
    return served


def _sha256(store: ModelStore, name: str) -> str:
    try:
        return store.model(name).manifest.sha256
    except ValueError:  # damaged: all the more it has to give way to another one
        return sha256_of(store.folder / name / WEIGHTS)


def _enter(registry: Registry, model: StoredModel, by: str, **lineage: Any) -> str:
    registry.add_model(model.name, ARCHITECTURE, model.manifest.sha256, by, **lineage)
    return model.name


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep others from choosing what is served until the block ends: they wait.

    Where the file system knows no locks there is no such guard.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:
            logger.info("%s: cannot be locked", folder)
        yield
    finally:
        os.close(descriptor)
