"""The judging of a round: candidate and served model on the same locked cases, and what follows from it."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from datastore.atomic import write_bytes
from datastore.registry import Registry
from datastore.served_images import ServedImages
from datastore.wording import first_line
from infers.manifest import WEIGHTS
from infers.model_names import JOINED
from infers.model_store import ModelStore
from infers.models import Model, load_lung_model, load_model
from lungapp.project import Project
from lungapp.rounds.folders import model_name
from lungapp.rounds.masks import accepted_mask, groups_of
from lungapp.rounds.snapshot import Snapshot
from lungapp.rounds.watch import Watch
from trainers.case_scores import CaseScores, JudgedFile
from trainers.decision import Decision, GateRules
from trainers.gate import decide
from trainers.judging import LockedCase, judge

SCORES_FILE, DECISION_FILE = "judged.json", "decision.json"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Verdict:
    """What came of a judging.

    Attributes:
        champion: Name of the published model that the candidate was judged against; None is what comes with lungapp.
        decision: Of the gate.
    """

    champion: str | None
    decision: Decision


@dataclass(frozen=True, eq=False)
class Judging:
    """The judging of one round; scores are kept as they are made, so that a killed one goes on.

    Attributes:
        project: The project.
        registry: Of the project.
        images: Of the project.
        number: Of the round.
        folder: Of the round.
        snapshot: Of the round.
        watch: Hears how far it is; may stop it.
    """

    project: Project
    registry: Registry
    images: ServedImages
    number: int
    folder: Path
    snapshot: Snapshot
    watch: Watch

    @property
    def name(self) -> str:
        """Of the candidate, e.g. `round-0007`."""
        return model_name(self.number)

    @cached_property
    def store(self) -> ModelStore:
        """The project's models."""
        return ModelStore(self.project.models)

    @property
    def is_through(self) -> bool:
        """Whether the candidate was published already: then it is too late for another decision."""
        return self.store.served() == self.name or self.registry.was_published(self.name)

    def decide(self) -> Verdict:
        """Whether the round's network shall take the place of what is served; asked again, it answers at once.

        Where another model is served by now than the candidate was judged against, it is judged anew.

        Raises:
            JudgingStoppedError: If the watch says so.
            ValueError: If the candidate cannot be loaded.
        """
        path = self.folder / DECISION_FILE
        known = json.loads(path.read_bytes()) if path.exists() else None
        served = self.store.served()
        if known is not None and (self.is_through or known["champion"] == served):
            return Verdict(known["champion"], Decision.from_plain(known["decision"]))
        candidate = load_lung_model(self.folder / WEIGHTS, self._device)
        models = [*self._champions(served), candidate]
        *before, ours = [self._scores(model, place, len(models)) for place, model in enumerate(models)]
        decision = decide(before[0] if before else None, ours, GateRules(**self.snapshot.gate))
        plain: dict[str, Any] = {"champion": served, "decision": decision.to_plain()}
        write_bytes(path, json.dumps(plain, indent=2, allow_nan=False).encode(), overwrite=True)
        return Verdict(served, decision)

    @cached_property
    def cases(self) -> Sequence[LockedCase]:
        """What is judged on."""
        cases: list[LockedCase] = []
        for label in map(self.registry.label, self.snapshot.locked):
            case = self.registry.case(label.case_id)
            read, reference = partial(self.images.read, case), partial(accepted_mask, label)
            cases.append(LockedCase(case.id, read, reference, groups_of(case), label.id))
        return cases

    @property
    def _device(self) -> str:
        return self.project.settings.model.device

    def _champions(self, name: str | None) -> list[Model]:
        """The model that is served now, as it is served; none if it is damaged: it has to give way to a better one."""
        if name is None:
            return [load_model(JOINED, self._device)]
        try:
            return [load_lung_model(self.store.folder / name / WEIGHTS, self._device)]
        except (ValueError, OSError) as error:
            logger.warning("the served model cannot be judged: %s", first_line(error))
            return []

    def _scores(self, model: Model, place: int, models: int) -> tuple[CaseScores, ...]:
        file = JudgedFile(self.folder / SCORES_FILE)

        def tell(done: int, count: int) -> None:
            self.watch.report(place * count + done, models * count)

        return judge(model, self.cases, tell, self.watch.should_stop, known=file.scores(), keep=file.keep)
