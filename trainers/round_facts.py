"""What a round leaves behind besides its weights: for the model card, for `metrics.json` and for the registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from datastore.labels import LUNGS, Structure
from infers.preprocess import Preprocessing
from infers.weights_metadata import Border
from trainers.decision import Decision


@dataclass(frozen=True)
class UsedLabel:
    """A mask that a round trained on, or was judged on.

    Attributes:
        label_id: The label version.
        case_id: Its case.
        cohort: Where the case comes from, or "".
        tags: Words that the case is found by.
    """

    label_id: str
    case_id: str
    cohort: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class RoundFacts:
    """What the card says besides the judging.

    Attributes:
        number: Of the round.
        name: Of the model, e.g. `round-0007`.
        trigger: What started it, in words.
        started_at: UTC, or None.
        parent: The model that the training began with; None from scratch.
        champion: The model that it was judged against; None if none was served.
        seed: Of the training.
        config: All settings of the training; plain values.
        versions: Of the program and the libraries, by name.
        commit: Of the program, or None.
        trained_on: Every mask that it learned from.
        judged_on: Every locked mask.
        sha256: Of the weights.
        watched_on: Masks of patients that the training was watched on.
        negatives_of: Masks of scans whose slices without lung alone were learned from.
        preprocessing: How the network's input is made.
        left_out: Label versions that could not be used, and why.
        structures: What its classes mean.
        border: How the network is used.
    """

    number: int
    name: str
    trigger: str
    started_at: datetime | None
    parent: str | None
    champion: str | None
    seed: int
    config: Mapping[str, Any]
    versions: Mapping[str, str]
    commit: str | None
    trained_on: Sequence[UsedLabel]
    judged_on: Sequence[UsedLabel]
    sha256: str
    watched_on: Sequence[UsedLabel] = ()
    negatives_of: Sequence[UsedLabel] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    preprocessing: Preprocessing = Preprocessing()
    structures: tuple[Structure, ...] = LUNGS
    border: Border = Border.NETWORK


def round_metrics(facts: RoundFacts, decision: Decision) -> dict[str, Any]:
    """The round as plain values; all that decides the weights is among them.

    Args:
        facts: Of the round.
        decision: Of the gate.
    """
    return {
        "round": facts.number,
        "trigger": facts.trigger,
        "started_at": facts.started_at.isoformat(timespec="seconds") if facts.started_at else None,
        "parent": facts.parent,
        "champion": facts.champion,
        "seed": facts.seed,
        "config": dict(facts.config),
        "versions": dict(facts.versions),
        "commit": facts.commit,
        "sha256": facts.sha256,
        "trained_on": [used.label_id for used in facts.trained_on],
        "watched_on": [used.label_id for used in facts.watched_on],
        "negatives_of": [used.label_id for used in facts.negatives_of],
        "left_out": dict(facts.left_out),
        "judged_on": [used.label_id for used in facts.judged_on],
        "judging": decision.to_plain(),
    }
