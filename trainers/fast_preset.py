"""Trains the narrow U-net of `--preset fast` on synthetic chests alone: python -m trainers.fast_preset --help."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from datastore.atomic import sha256_of, write_bytes
from datastore.phantom import chest_phantom
from infers.metrics import score
from infers.models import Model, load_model
from infers.segment import segment
from trainers.phantom_slices import PhantomPlan, augment_phantom, phantom_slices
from trainers.pretraining import fast_training, train_and_save
from trainers.slices import TrainingSlices, cache_slices

WEIGHTS_FILE, METRICS_FILE, CACHE_FOLDER = "fast.safetensors", "metrics.json", "cache"
WATCHED_SEED, HELD_OUT_SEED = 1_000_000, 2_000_000  # far from the seeds that training uses
SLICE_LIMIT = 8_000  # 1.5 GB
log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> None:
    """Render, train, measure and write; goes on where it was if it was stopped."""
    asked = _parser().parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    torch.set_num_threads(1)  # the sums then have one order, and the weights are the same to the bit
    asked.out.mkdir(parents=True, exist_ok=True)
    learn_from = PhantomPlan(first_seed=10_000 * asked.seed, phantoms=asked.phantoms)
    watch = PhantomPlan(first_seed=WATCHED_SEED, phantoms=asked.held_out, slices=9, partial_share=0.0)
    plan = fast_training(asked.seed, asked.steps, asked.base_channels, asked.learning_rate, asked.small_share)
    slices, watched = _cached(asked.out, "training", learn_from), _cached(asked.out, "watched", watch)
    log.info("%d slices, %d of them with lung", len(slices), int(slices.has_lung.sum()))
    weights = asked.out / WEIGHTS_FILE
    train_and_save(plan, slices, watched, augment_phantom, weights, log.info)
    metrics = {
        "command": "python -m trainers.fast_preset " + " ".join(sys.argv[1:] if arguments is None else arguments),
        "sha256": sha256_of(weights),
        "training": asdict(plan),
        "training_phantoms": asdict(learn_from),
        "training_slices": len(slices),
        "watched_phantoms": asdict(watch),
        "held_out_phantoms": _held_out_dice(load_model(weights, "cpu"), asked.held_out),
    }
    write_bytes(asked.out / METRICS_FILE, json.dumps(metrics, indent=2).encode(), overwrite=True)
    log.info("wrote %s", weights)


def _held_out_dice(model: Model, phantoms: int) -> list[dict[str, float]]:
    """Dice of whole phantoms that training did not see, on their own grid; every other one has a lesion."""
    rows: list[dict[str, float]] = []
    for seed in range(HELD_OUT_SEED, HELD_OUT_SEED + phantoms):
        made = chest_phantom(seed, lesion=bool(seed % 2))
        right, left = (one.dice for one in score(made.lungs, segment(made.image, model)))
        rows.append({"seed": seed, "right_dice": right, "left_dice": left})
        log.info("held-out phantom %d: Dice right %.4f, left %.4f", seed, right, left)
    return rows


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trainers.fast_preset", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for cache, checkpoint, weights and metrics")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=2500, help="minibatches of 14 slices")
    parser.add_argument("--phantoms", type=int, default=200, help="rendered for training")
    parser.add_argument("--held-out", type=int, default=10, help="phantoms to measure on")
    parser.add_argument("--base-channels", type=int, default=16, help="width of the U-net")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--small-share", type=float, default=0.5, help="share of the steps on slices of half the size")
    return parser


def _cached(out: Path, name: str, plan: PhantomPlan) -> TrainingSlices:
    return cache_slices(out / CACHE_FOLDER / name, phantom_slices(plan), SLICE_LIMIT, asdict(plan))


if __name__ == "__main__":
    main()
