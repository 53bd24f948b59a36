"""The end of a round: its model among the project's models, served or not, and why."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from datastore.round_records import RoundState
from infers.manifest import WEIGHTS
from infers.model_names import JOINED
from infers.publishing import PublishingError, keep_candidate, publish_round
from infers.weights import load_weights
from lungapp.round_listing import JUDGING, MASKS
from lungapp.rounds.judging import Judging, Verdict
from lungapp.rounds.masks import groups_of
from lungapp.rounds.snapshot import Snapshot
from lungapp.rounds.watch import WORKER
from trainers.round_card import round_card
from trainers.round_facts import RoundFacts, UsedLabel, round_metrics
from trainers.run_folder import commit, versions

MOST_JUDGINGS = 3  # of a round under which the served model changes again and again

logger = logging.getLogger(__name__)


def conclude(judging: Judging) -> None:
    """Publish the candidate or hold it back, and enter the round's end; it may be called again at any point.

    Args:
        judging: Of the round.

    Raises:
        JudgingStoppedError: If it has to be judged anew, and the watch stops that.
        PublishingError: If the served model changes each time that the candidate was judged against it.
        FileExistsError: If another model of the project has the name of the candidate.
    """
    for attempt in range(1, MOST_JUDGINGS + 1):
        verdict = judging.decide()
        try:
            _put_in_place(judging, verdict)
            break
        except PublishingError as error:  # somebody chose another model a moment ago
            if attempt == MOST_JUDGINGS:
                raise
            logger.warning("%s", error)
    decision = verdict.decision
    judging.registry.end_round(
        judging.number,
        RoundState.PUBLISHED if decision.publish else RoundState.HELD_BACK,
        decision=decision.reason,
        metrics={JUDGING: decision.to_plain(), MASKS: _counts(judging.snapshot)},
        candidate=judging.name,
        champion=verdict.champion or JOINED,
        by=WORKER,
    )
    logger.info("round %d: %s", judging.number, decision.reason)


def _counts(snapshot: Snapshot) -> dict[str, int]:
    """How many masks were used for what."""
    return {use: len(getattr(snapshot, use)) for use in ("train", "watched", "negatives", "locked", "left_out")}


def _put_in_place(judging: Judging, verdict: Verdict) -> None:
    facts = facts_of(judging, verdict)
    card, metrics = round_card(facts, verdict.decision), round_metrics(facts, verdict.decision)
    made = (judging.registry, judging.store, judging.folder / WEIGHTS, judging.name, judging.number, card, metrics)
    if verdict.decision.publish:
        publish_round(*made, champion=verdict.champion, parent=facts.parent, by=WORKER)
    else:
        keep_candidate(*made, parent=facts.parent, by=WORKER)


def facts_of(judging: Judging, verdict: Verdict) -> RoundFacts:
    """What the model's card and `metrics.json` say besides the judging."""
    snapshot, weights = judging.snapshot, load_weights(judging.folder / WEIGHTS)
    made = judging.registry.round(judging.number)
    return RoundFacts(
        number=made.number,
        name=judging.name,
        trigger=made.trigger,
        started_at=made.started_at,
        parent=snapshot.parent,
        champion=verdict.champion or JOINED,
        seed=made.seed,
        config={"recipe": snapshot.recipe, "gate": snapshot.gate},
        versions=versions(),
        commit=commit(),
        trained_on=_used(judging, snapshot.train),
        watched_on=_used(judging, snapshot.watched),
        negatives_of=_used(judging, snapshot.negatives),
        judged_on=_used(judging, snapshot.locked),
        left_out=snapshot.left_out,
        sha256=weights.sha256,
        preprocessing=weights.preprocessing,
        border=weights.border,
    )


def _used(judging: Judging, label_ids: Iterable[str]) -> tuple[UsedLabel, ...]:
    labels = [judging.registry.label(label_id) for label_id in label_ids]
    cases = [judging.registry.case(label.case_id) for label in labels]
    return tuple(
        UsedLabel(label.id, case.id, case.cohort, groups_of(case)) for label, case in zip(labels, cases, strict=True)
    )
