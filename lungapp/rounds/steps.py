"""What a round does, step by step: the one place where rounds call training, judging and publishing."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from datastore.registry import Registry
from datastore.round_records import RoundState
from lungapp.project import Project
from lungapp.rounds.watch import WORKER, Watch

if TYPE_CHECKING:
    from lungapp.rounds.judging import Judging
    from lungapp.rounds.snapshot import Snapshot

logger = logging.getLogger(__name__)


class ProjectSteps:
    """The steps of a project's rounds; what they need is imported when it is needed, as a waiting worker is small.

    Every step finds its own work of an earlier attempt in the round's folder and the registry, and goes on there.
    """

    def __init__(self, project: Project, registry: Registry) -> None:
        self._project = project
        self._registry = registry
        self._images = project.images()

    def snapshot(self, number: int, watch: Watch) -> None:
        """What to train, to watch and to judge on, the network to begin with, and the recipe."""
        from lungapp.rounds.snapshot import take_snapshot

        snapshot = take_snapshot(self._project, self._registry, number, self._folder(number))
        counts = ", ".join(f"{len(getattr(snapshot, name))} {name}" for name in ("train", "watched", "negatives"))
        logger.info("masks: %s; to judge on: %d; begins with %s", counts, len(snapshot.locked), snapshot.parent)

    def cache(self, number: int, watch: Watch) -> None:
        """Every labelled volume as training slices."""
        from lungapp.rounds.candidate import Slices, preprocessing_of
        from lungapp.rounds.snapshot import is_prepared, leave_out

        folder, snapshot = self._folder(number), self._snapshot(number)
        slices, how = Slices(self._project, self._registry, self._images), preprocessing_of(self._project, snapshot)
        if not is_prepared(folder):
            leave_out(folder, slices.prepare(snapshot, how, watch))
        found = slices.of(self._snapshot(number), how, watch)
        slices.cache.prune(found.volumes)  # of masks that were corrected since, and of patients who are gone

    def train(self, number: int, watch: Watch) -> None:
        """The candidate's weights, from the last checkpoint on."""
        from lungapp.rounds.candidate import Slices, train_candidate

        slices = Slices(self._project, self._registry, self._images)
        train_candidate(self._project, self._snapshot(number), slices, self._folder(number), watch)

    def judge(self, number: int, watch: Watch) -> None:
        """Candidate and served model on the same locked cases."""
        self._registry.set_round_state(number, RoundState.JUDGING, WORKER)
        self._judging(number, watch).decide()

    def publish(self, number: int, watch: Watch) -> None:
        """Serve the candidate from the next request on, or keep it unserved; then the round has ended."""
        from lungapp.rounds.outcome import conclude

        judging = self._judging(number, watch)
        if not judging.is_through:
            watch.check()
        self._registry.set_round_state(number, RoundState.JUDGING, WORKER)  # it may have been interrupted here
        conclude(judging)

    def refresh(self, number: int, watch: Watch) -> None:
        """Preliminary masks of the served model for open cases; see `refresh.py`."""
        from lungapp.rounds.refresh import refresh_masks

        refresh_masks(self._project, self._registry, self._images, watch)

    def _folder(self, number: int) -> Path:
        folder = self._project.round_folder(number)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _snapshot(self, number: int) -> Snapshot:
        from lungapp.rounds.snapshot import read_snapshot

        return read_snapshot(self._folder(number))

    def _judging(self, number: int, watch: Watch) -> Judging:
        from lungapp.rounds.judging import Judging

        folder, snapshot = self._folder(number), self._snapshot(number)
        return Judging(self._project, self._registry, self._images, number, folder, snapshot, watch)
