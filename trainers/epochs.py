"""The epochs of a training: steps, measurements, checkpoints, curves, and what is told of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainers.learning import Learner
from trainers.optimization import learning_rate
from trainers.prefetching import Prefetching
from trainers.progress import Pace, Progress
from trainers.run_folder import curves, write_config
from trainers.slices import SliceSet
from trainers.stopping import TrainingStopped
from trainers.validation import mean_dice


@dataclass
class Run:
    """A training from step to step, and what happens between them.

    Attributes:
        learner: Takes the steps, and has the state.
        validation: Slices to measure on at the end of each epoch.
        folder: For config, checkpoints and curves.
        training: What tells this training from others.
        report: Hears of the progress.
        stop: Whether to stop.
        report_every_s: How often it hears between the ends of epochs.
        save_every_s: How often checkpoints are written between them.
    """

    learner: Learner
    validation: SliceSet | None
    folder: Path
    training: Mapping[str, Any]
    report: Callable[[Progress], None]
    stop: Callable[[], bool]
    report_every_s: float
    save_every_s: float

    @property
    def is_over(self) -> bool:
        """Whether all epochs have ended, or Dice has not got better for long enough."""
        state, recipe = self.learner.state, self.learner.recipe
        tired = state.best_dice is not None and state.epochs_ended - state.best_epoch >= recipe.patience > 0
        return tired or state.epochs_ended == recipe.epochs

    def go_on(self) -> None:
        """Until it is over.

        Raises:
            TrainingStopped: If it was told to stop; the checkpoint is written then.
        """
        learner, state, recipe = self.learner, self.learner.state, self.learner.recipe
        leads = learner.group.leads
        state.network.train()
        if leads:
            write_config(self.folder, self.training, learner.device, learner.group.size, state.step)
        with (
            curves(self.folder if leads else None, state.step) as draw,
            Prefetching(learner.minibatch, state.step, recipe.steps) as coming,
        ):
            pace, saved_at = Pace(state.step), time.monotonic()
            while not self.is_over:
                self._stop_if_told()
                if state.step == recipe.epoch_end(state.epochs_ended + 1):
                    dice, loss = self._dice(), self._mean_loss()
                    state.end_epoch(dice, recipe.keep_best)
                    progress = self._progress(pace.measure(state.step, coming.waited_s), loss, dice)
                    draw(progress, learning_rate(recipe, state.step - 1))
                    self._save()
                    saved_at = time.monotonic()
                    self._tell(progress)
                    continue
                learner.learn(coming)
                if time.monotonic() - saved_at > self.save_every_s:
                    self._save()
                    saved_at = time.monotonic()
                if pace.seconds > self.report_every_s:
                    self._tell(self._progress(pace.measure(state.step, coming.waited_s), self._mean_loss(), None))

    def _stop_if_told(self) -> None:
        """Between two steps, or within a measurement; all processes come here as often."""
        learner, state = self.learner, self.learner.state
        if learner.group.any(self.stop(), learner.device):
            self._save()
            raise TrainingStopped(f"{self.folder}: stopped after step {state.step} of {learner.recipe.steps}")

    def _save(self) -> None:
        if self.learner.group.leads:
            self.learner.state.save(self.folder, self.training)

    def _tell(self, progress: Progress) -> None:
        if self.learner.group.leads:
            self.report(progress)

    def _dice(self) -> float | None:
        if self.validation is None:
            return None
        return mean_dice(
            self.learner.state.network, self.validation, group=self.learner.group, between=self._stop_if_told
        )

    def _mean_loss(self) -> float:
        """Of the epoch so far."""
        state = self.learner.state
        return state.loss_sum / max(1, state.step - self.learner.recipe.epoch_end(state.epochs_ended))

    def _progress(self, pace: tuple[float, float], loss: float, dice: float | None) -> Progress:
        state, recipe = self.learner.state, self.learner.recipe
        steps_per_s, waited_share = pace
        has_ended = state.step == recipe.epoch_end(state.epochs_ended)
        left = 0 if self.is_over else recipe.steps - state.step
        return Progress(
            epoch=state.epochs_ended + (not has_ended),
            epochs=recipe.epochs,
            step=state.step,
            steps=recipe.steps,
            loss=loss,
            watched_dice=dice,
            best_dice=state.best_dice,
            slices_per_s=steps_per_s * recipe.batch,
            left_s=left / steps_per_s if steps_per_s else 0.0,
            waited_share=waited_share,
            parts=state.parts,
        )
