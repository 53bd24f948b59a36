"""The network of a round: training slices out of the cache, and the training itself, on one device or several."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datastore.records import Case, Label
from datastore.registry import Registry
from datastore.served_images import ServedImages, identity_of
from datastore.wording import first_line, printable
from infers.manifest import WEIGHTS
from infers.preprocess import Preprocessing
from infers.torch_unet import give_back_memory, keep_freed_memory
from infers.weights import save_weights
from infers.weights_metadata import Border
from lungapp.project import Project
from lungapp.rounds.masks import accepted_mask, groups_of
from lungapp.rounds.performing import is_of_a_full_disk
from lungapp.rounds.snapshot import Snapshot
from lungapp.rounds.watch import Watch
from trainers.augmentation import AugmentationLimits, random_augmentation
from trainers.launching import Seat, run_on
from trainers.progress import Progress
from trainers.recipe import Recipe
from trainers.slice_cache import SliceCache
from trainers.slices import SliceSet, TrainingSlices, VolumeSlices
from trainers.training import train

REPORT_SECONDS = 2.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class RoundSlices:
    """What a round learns from.

    Attributes:
        train: To learn from.
        watched: To measure the progress on, or None.
    """

    train: SliceSet
    watched: SliceSet | None

    @property
    def volumes(self) -> list[TrainingSlices]:
        """Of all cases."""
        sets = (self.train, self.watched) if self.watched is not None else (self.train,)
        return [volume.slices for one in sets for volume in one.volumes]


class Slices:
    """The training slices of a project's cases.

    Args:
        project: The project.
        registry: Of the project.
        images: Of the project.
    """

    def __init__(self, project: Project, registry: Registry, images: ServedImages) -> None:
        self.cache = SliceCache(project.cache / "slices")
        self._registry = registry
        self._images = images

    def prepare(self, snapshot: Snapshot, how: Preprocessing, watch: Watch) -> dict[str, str]:
        """Put the slices of a round into the cache, as far as they are not there.

        Args:
            snapshot: Of the round.
            how: How the network's input is made.
            watch: Hears how far it is; may stop it.

        Returns:
            Masks that cannot be used, and why: their scan is gone, or one of the two is not what it was.

        Raises:
            ValueError: If that are more than half of them, or all that would train.
        """
        unusable: dict[str, str] = {}
        for done, label_id in enumerate(snapshot.used, start=1):
            watch.check()
            try:
                self._volume(label_id, how, False)
            except (ValueError, OSError) as error:
                if is_of_a_full_disk(error):
                    raise
                unusable[label_id] = printable(first_line(error))
                logger.warning("mask %s is left out: %s", label_id, unusable[label_id])
            watch.report(done, len(snapshot.used))
        if 2 * len(unusable) > len(snapshot.used) or not set(snapshot.train) - set(unusable):
            label_id, reason = next(iter(unusable.items()))
            count = f"{len(unusable)} of {len(snapshot.used)} masks"
            raise ValueError(f"{count} cannot be used, among them {label_id}: {reason}")
        return unusable

    def of(self, snapshot: Snapshot, how: Preprocessing, watch: Watch) -> RoundSlices:
        """The slices of a round; those that somebody has deleted from the cache are made again.

        Args:
            snapshot: Of the round.
            how: How the network's input is made.
            watch: May stop it.

        Raises:
            ValueError: If an image or a mask cannot be read, or is not what was accepted.
        """
        volumes: dict[str, VolumeSlices] = {}
        for label_id in snapshot.used:
            watch.check()
            volumes[label_id] = self._volume(label_id, how, label_id in snapshot.negatives)
        watched = [volumes[label_id] for label_id in snapshot.watched]
        learned = [volumes[label_id] for label_id in (*snapshot.train, *snapshot.negatives)]
        return RoundSlices(SliceSet(learned), SliceSet(watched) if watched else None)

    def _volume(self, label_id: str, how: Preprocessing, negatives_only: bool) -> VolumeSlices:
        label = self._registry.label(label_id)
        case = self._registry.case(label.case_id)
        make = partial(self._voxels, case, label)
        slices = self.cache.volume(identity_of(case), label.sha256, how, make)
        return VolumeSlices(slices, case.patient, groups_of(case), negatives_only)

    def _voxels(self, case: Case, label: Label) -> tuple[np.ndarray, np.ndarray]:
        return self._images.read(case).to_lps().array, accepted_mask(label).to_lps().array


@dataclass(frozen=True, eq=False)
class RoundTraining:
    """All that a process needs to train a round's network, or its share of it.

    Attributes:
        recipe: How.
        slices: From what.
        folder: Of the round; gets the weights.
        parent: Reads the network to begin with, or None.
        how: How the network's input is made.
        border: How the network is used.
        made_from: What else decides the outcome.
    """

    recipe: Recipe
    slices: RoundSlices
    folder: Path
    parent: Callable[[], Any] | None
    how: Preprocessing
    border: Border
    made_from: dict[str, Any]

    def sit(self, seat: Seat) -> None:
        """Train, on a device of its own; the first process writes the weights."""
        parent = self.parent() if self.parent is not None else None
        network = train(
            self.recipe,
            self.slices.train,
            self.folder,
            augment=random_augmentation(AugmentationLimits(window_hu=(self.how.hu_low, self.how.hu_high))),
            start_from=None if parent is None else parent.network,
            validation=self.slices.watched,
            made_from=self.made_from,
            report=seat.report,
            should_stop=seat.should_stop,
            device=seat.device,
            parts=seat.parts,
            report_every_s=REPORT_SECONDS,
        )
        if seat.rank == 0:
            save_weights(network, self.folder / WEIGHTS, self.how, border=self.border)


def train_candidate(project: Project, snapshot: Snapshot, slices: Slices, folder: Path, watch: Watch) -> None:
    """Write the weights of a round's network into its folder, or go on where that was stopped.

    Args:
        project: The project.
        snapshot: Of the round.
        slices: Of the project.
        folder: Of the round.
        watch: Hears of the progress; may stop it.

    Raises:
        TrainingStopped: If the watch says so.
        DivergedError: See `train`.
        ValueError: See `train`.
    """
    if (folder / WEIGHTS).exists():
        return
    keep_freed_memory()
    recipe, how = snapshot.training, preprocessing_of(project, snapshot)

    logged: set[int] = set()  # epochs

    def tell(progress: Progress) -> None:
        is_measured = progress.watched_dice is not None or not snapshot.watched
        if is_measured and progress.step == recipe.epoch_end(progress.epoch) and progress.epoch not in logged:
            logged.add(progress.epoch)
            logger.info("%s", progress)
        watch.train(progress)

    training = RoundTraining(
        recipe,
        slices.of(snapshot, how, watch),
        folder,
        None if snapshot.parent is None else partial(snapshot.parent_weights, project.models),
        how,
        Border(snapshot.border),
        {name: list(getattr(snapshot, name)) for name in ("train", "watched", "negatives")},
    )
    try:
        run_on(project.settings.training.devices, training.sit, report=tell, should_stop=watch.should_stop)
    finally:  # the worker waits on, and what the training had is the server's
        give_back_memory()
        torch.cuda.empty_cache()


def preprocessing_of(project: Project, snapshot: Snapshot) -> Preprocessing:
    """How the input of a round's network is made: as that of the network it begins with."""
    parent = snapshot.parent_weights(project.models)
    return Preprocessing() if parent is None else parent.preprocessing
