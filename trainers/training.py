"""The training loop: seeded to the bit, and able to go on after a crash as if there had been none."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from infers.models import device_named
from infers.unet import UNet
from trainers.augmentation import BatchAugment
from trainers.checkpoints import CHECKPOINT_FILE, TrainingState
from trainers.distributed import Group, current_group, share_normalisation
from trainers.epochs import Run
from trainers.learning import DivergedError, Learner
from trainers.memory import OutOfMemoryError
from trainers.optimization import optimizer_for
from trainers.precision import precision_for
from trainers.progress import Progress
from trainers.recipe import Recipe
from trainers.run_folder import slices_summary, weights_sha256
from trainers.slices import SliceSet
from trainers.stopping import TrainingStopped, stop_signal

__all__ = ["CHECKPOINT_FILE", "DivergedError", "OutOfMemoryError", "Progress", "TrainingStopped", "train"]

log = logging.getLogger(__name__)


def train(
    recipe: Recipe,
    slices: SliceSet,
    folder: Path,
    *,
    augment: BatchAugment,
    half_size_augment: BatchAugment | None = None,
    start_from: UNet | None = None,
    validation: SliceSet | None = None,
    made_from: Mapping[str, Any] = {},
    report: Callable[[Progress], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
    device: str = "auto",
    parts: int = 1,
    report_every_s: float = 10.0,
    save_every_s: float = 300.0,
) -> UNet:
    """Train a U-net, or go on from the checkpoint in `folder`; the weights come out the same.

    On a CPU the same recipe, slices and number of torch's threads give the same weights to the bit, however often the
    training was stopped or killed. Where `torch.distributed` has joined several processes, all of them call this, each
    on its own device; they share every minibatch, and the outcome is that of one process, up to rounding.

    A minibatch that does not fit into memory is computed in two parts from then on, and so on; see `whole_gradient`.
    A program that does little else than train on a CPU gains a tenth by `keep_freed_memory` beforehand.

    Args:
        recipe: How to train.
        slices: To learn from.
        folder: Of the run, made if missing; gets `checkpoint.pt` at the end of each epoch, every `save_every_s` seconds
            and when the training is stopped, `config.json` with all that is needed to repeat it, and `events` for
            TensorBoard.
        augment: Varies a minibatch; called in another thread, with tensors on the device.
        half_size_augment: The same to half the size, for stages of half the size.
        start_from: Weights to start from, left as they are; None starts from random ones.
        validation: Slices to measure on at the end of each epoch; without any, nothing ends the training early, and the
            last weights come out.
        made_from: What else decides the outcome and is known to the caller alone, such as the versions of the labels,
            as JSON can hold it; it is written to `config.json`, and a checkpoint of anything else is refused.
        report: Hears of the progress, at the end of each epoch and every `report_every_s` seconds.
        should_stop: Asked before each step, so it has to be quick.
        device: `auto` (a GPU where there is one), `cpu`, `cuda` or `cuda:1`.
        parts: Into how many parts each process cuts its share of a minibatch to begin with.
        report_every_s: See `report`.
        save_every_s: See `folder`.

    Returns:
        The network with the best weights by watched Dice, or the last ones if the recipe says so; in evaluation
        mode, on the device.

    Raises:
        TrainingStopped: If `should_stop` said so or SIGTERM came.
        DivergedError: If the loss is no longer a number.
        OutOfMemoryError: If not even one slice at a time fits into memory.
        ValueError: If the checkpoint in `folder` belongs to another training, or slices and recipe do not fit.
    """
    where, group = device_named(device), current_group()
    if recipe.batch < group.size:
        raise ValueError(f"expected at most {recipe.batch} processes, one for each slice, got {group.size}")
    folder.mkdir(parents=True, exist_ok=True)
    validation = validation or None  # one without slices is none
    network = _first_network(recipe, start_from).to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if group.size > 1:
        share_normalisation(network)
    training = {
        "recipe": recipe.to_plain(),
        "made_from": dict(made_from),
        "start_from": weights_sha256(start_from) if start_from else None,
        "slices": slices_summary(slices),
        "validation": slices_summary(validation) if validation else None,
    }
    precision = precision_for(recipe, where)
    state = TrainingState(network, optimizer_for(recipe, network), precision.scaler())
    if state.resume(folder, training):
        log.info("%s: goes on after step %d of %d", folder, state.step, recipe.steps)
    state.parts = min(max(state.parts, parts), recipe.batch // group.size)
    augments = {False: augment, True: half_size_augment}
    learner = Learner(recipe, slices, augments, state, precision, group, where)
    with stop_signal(should_stop) as stop:
        run = Run(learner, validation, folder, training, report, stop, report_every_s, save_every_s)
        if not run.is_over:
            run.go_on()
    return _plain(state.best_network(), group)


def _first_network(recipe: Recipe, start_from: UNet | None) -> UNet:
    """Of the recipe's seed, or a copy of the one to start from."""
    if start_from is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            return UNet(recipe.classes, recipe.base_channels)
    found, expected = (start_from.classes, start_from.base_channels), (recipe.classes, recipe.base_channels)
    if found != expected:
        raise ValueError(
            f"expected weights of {expected[0]} classes and {expected[1]} base channels, got {found[0]} and {found[1]}"
        )
    return copy.deepcopy(start_from).float().requires_grad_()


def _plain(network: UNet, group: Group) -> UNet:
    """Without what only several processes need."""
    if group.size == 1:
        return network
    plain = UNet(network.classes, network.base_channels).to(next(network.parameters()).device)
    plain.load_state_dict(network.state_dict())
    return plain.eval()
