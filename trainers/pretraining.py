"""First weights from synthetic cohorts alone: render, train, judge, and write weights, metrics and model card."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from datastore.atomic import sha256_of, write_bytes
from datastore.phantom.prevalence import STORIES
from infers.manifest import WEIGHTS
from infers.models import load_model
from infers.stored_model import CARD
from infers.unet import UNet
from infers.weights import save_weights
from trainers.augmentation import SliceAugment, each_slice
from trainers.cohort_augmentation import augment_cohort
from trainers.cohort_slices import CohortPlan, cohort_slices
from trainers.held_out import judge
from trainers.pretraining_card import pretraining_card
from trainers.recipe import Recipe, Stage, in_stages
from trainers.slice_cache import SliceCache
from trainers.slices import SliceSet, VolumeSlices
from trainers.training import Progress, train

METRICS_FILE, CACHE_FOLDER = "metrics.json", "cache"
SMALL_SHARE = 0.75  # of the steps run on slices of half the size
FIRST_WATCHED = 1_000_000  # far from the patients that training sees
WATCHED_PATIENTS, WATCHED_SLICES = 16, 11  # at most; of each
SAID_EVERY = 10  # patients
MEASURED_EVERY, TOLD_EVERY_S = 500, 60.0  # steps, seconds


@dataclass(frozen=True)
class Pretraining:
    """What decides the weights.

    Attributes:
        cohort: As `CohortPlan` has it.
        patients: Rendered for training.
        steps: Minibatches of 14 slices.
        base_channels: Width of the U-net.
        seed: Of patients, first weights, batches and augmentation.
        held_out: Patients of each disease to judge on; 0 leaves judging out.
    """

    cohort: str
    patients: int = 250
    steps: int = 3200
    base_channels: int = 16
    seed: int = 1
    held_out: int = 2

    def training(self) -> Recipe:
        """How the network is trained."""
        return fast_training(self.seed, self.base_channels, stages_of(self.steps))

    def augment(self) -> SliceAugment:
        """What is done to slices; a cohort without diseases stays without."""
        return partial(augment_cohort, ill=any(story.diseases for story in STORIES[self.cohort]))

    def learned(self) -> CohortPlan:
        """Patients to learn from."""
        return CohortPlan(self.cohort, self.seed, self.patients)

    def watched(self) -> CohortPlan:
        """Patients to watch the progress on."""
        patients = min(WATCHED_PATIENTS, max(1, self.patients // 10))
        return CohortPlan(self.cohort, self.seed, patients, first=FIRST_WATCHED, slices=WATCHED_SLICES)


def stages_of(steps: int) -> tuple[Stage, ...]:
    """Small slices, then full ones.

    The slow end of the first cosine is left out: it would only sharpen what the second stage changes again.

    >>> [stage.steps for stage in stages_of(3200)]
    [2400, 800]
    """
    small = round(SMALL_SHARE * steps)
    return (
        Stage(small, True, 2e-3, fall_steps=small / 0.8, warm_steps=round(0.05 * small)),
        Stage(steps - small, False, 8e-4, fall_steps=steps - small),
    )


def fast_training(seed: int, base_channels: int, stages: tuple[Stage, ...]) -> Recipe:
    """A training that gets furthest within an hour on one core: AdamW where the paper has SGD, small slices first."""
    recipe = Recipe(
        preset="pretraining",
        loss="dice_ce",
        optimizer="adamw",
        learning_rate=max(stage.learning_rate for stage in stages),
        weight_decay=1e-3,
        clip_norm=0.0,
        patience=0,
        keep_best=False,
        mixed_precision="on",
        steps_per_epoch=MEASURED_EVERY,
        base_channels=base_channels,
        seed=seed,
    )
    return in_stages(recipe, stages)


def pretrain(plan: Pretraining, out: Path, command: str, say: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Train and judge, or go on where that was stopped.

    With one thread of torch on a CPU the same plan gives the same weights to the bit.

    Args:
        plan: What to do.
        out: Gets cache, checkpoint, weights, metrics and model card.
        command: What was typed, for the metrics.
        say: Hears of the progress, line by line.

    Returns:
        The metrics as written.
    """
    out.mkdir(parents=True, exist_ok=True)
    cache = SliceCache(out / CACHE_FOLDER)
    slices, watched = (
        _rendered(name, one, cache, say) for name, one in (("training", plan.learned()), ("watched", plan.watched()))
    )
    say(f"{len(slices)} slices of {plan.patients} patients, {int(slices.has_lung.sum())} of them with lung")
    weights = out / WEIGHTS
    train_and_save(plan.training(), slices, watched, plan.augment(), weights, say)
    metrics = {
        "command": command,
        "sha256": sha256_of(weights),
        "pretraining": asdict(plan),
        "training": plan.training().to_plain(),
        "training_slices": len(slices),
        "training_slices_with_lung": int(slices.has_lung.sum()),
        "held_out": judge(load_model(weights, "cpu"), plan.seed, plan.held_out, say),
    }
    text = json.dumps(metrics, indent=2)
    metrics = json.loads(text)  # without tuples
    write_bytes(out / METRICS_FILE, text.encode(), overwrite=True)
    write_bytes(out / CARD, pretraining_card(metrics).encode(), overwrite=True)
    return metrics


def train_and_save(
    recipe: Recipe,
    slices: SliceSet,
    watched: SliceSet,
    augment: SliceAugment,
    weights: Path,
    say: Callable[[str], None],
) -> UNet:
    """Train in the folder of the weights, then write them in half precision, in place of older ones."""

    def tell(progress: Progress) -> None:
        say(str(progress))

    network = train(
        recipe,
        slices,
        weights.parent,
        augment=each_slice(augment, slices.size),
        half_size_augment=each_slice(augment, slices.size // 2),
        validation=watched,
        report=tell,
        report_every_s=TOLD_EVERY_S,
        device="cpu",
    )
    weights.unlink(missing_ok=True)
    save_weights(copy.deepcopy(network).to(torch.float16), weights)
    return network


def _rendered(name: str, plan: CohortPlan, cache: SliceCache, say: Callable[[str], None]) -> SliceSet:
    volumes: list[VolumeSlices] = []
    for volume in cohort_slices(plan, cache):
        volumes.append(volume)
        if len(volumes) % SAID_EVERY == 0 or len(volumes) == plan.patients:
            say(f"{name}: {len(volumes)} of {plan.patients} patients rendered")
    return SliceSet(volumes)
