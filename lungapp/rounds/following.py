"""Following a round until it ends, from any process: everything is read from the registry."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from datastore.registry import Registry
from datastore.round_records import Round, RoundState

LOOK_SECONDS = 0.5
TITLES = {
    "snapshot": "settling what to train on",
    "cache": "preparing slices",
    "train": "training",
    "judge": "judging",
    "publish": "publishing",
    "refresh": "making masks anew",
}


def follow(registry: Registry, number: int, tell: Callable[[Round], None] = lambda _: None) -> Round:
    """Wait until a round has ended.

    Args:
        registry: Of the project.
        number: Of the round.
        tell: Called again and again with the round as it is.

    Returns:
        The round as it ended.
    """
    while not (seen := registry.round(number)).has_ended:
        tell(seen)
        time.sleep(LOOK_SECONDS)
    return seen


def progress_text(seen: Round) -> str:
    """What a round is doing, in a few words.

    Returns:
        E.g. `training, epoch 3 of 20, loss 0.0312, best Dice 0.9612, 12 min left`.
    """
    if seen.state is RoundState.QUEUED or seen.has_ended:
        return str(seen.state)
    said = seen.progress
    words = TITLES.get(str(said.get("step")), str(seen.state))
    if said.get("step") == "train" and said.get("training"):
        words += _training_text(said["training"])
    elif said.get("total"):
        words += f" {said['done']} of {said['total']}"
    if seen.state is RoundState.INTERRUPTED:
        words = f"interrupted at {words}"
    return f"{words} (to be cancelled)" if seen.cancel_by is not None else words


def outcome_text(ended: Round) -> str:
    """What became of a round, and why; the gate's sentences begin with the state themselves."""
    state, why = str(ended.state), ended.decision or ""
    if why.lower().startswith(state):
        return why[0].lower() + why[1:]
    return f"{state}: {why}" if why else state


def _training_text(said: dict[str, Any]) -> str:
    """Epoch, loss, Dice and time left, as far as they are known."""
    words = f", epoch {said.get('epoch')} of {said.get('epochs')}"
    for name, form in (("loss", ", loss {:.4f}"), ("best_dice", ", best Dice {:.4f}")):
        if said.get(name) is not None:
            words += form.format(said[name])
    return words if said.get("left_s") is None else f"{words}, {said['left_s'] / 60:.0f} min left"
