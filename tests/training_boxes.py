"""Small slices with boxes for lungs, and what trains a tiny network on them within a second."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from networks import random_network
from torch import Tensor

from trainers.launching import Seat
from trainers.recipe import Recipe
from trainers.slices import SliceSet, TrainingSlices, VolumeSlices
from trainers.training import Progress, train

RECIPE = Recipe(
    epochs=3, steps_per_epoch=3, base_channels=2, with_lung=2, without_lung=2, learning_rate=0.01, seed=1, patience=0
)
KILLED = replace(RECIPE, epochs=6, patience=2, learning_rate=0.05)  # ends after 3 epochs, the first being the best
Weights = dict[str, Tensor]


def boxes(noise_seed: int = 0) -> SliceSet:
    """32 slices of 32 x 32; every other one shows a right and a left lung, dark on bright."""
    labels = np.zeros((32, 32, 32), np.uint8)
    for index in range(0, 32, 2):
        top = 4 + index // 4
        labels[index, top : top + 14, 3:14], labels[index, top : top + 14, 18:29] = 1, 2
    noise = np.random.default_rng(noise_seed).normal(0, 0.03, labels.shape)
    images = (np.where(labels > 0, 0.1, 0.7) + noise).astype(np.float16)
    return SliceSet([VolumeSlices(TrainingSlices(images, labels, labels.any(axis=(1, 2))), "patient")])


def noisy(images: Tensor, labels: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    noise = torch.from_numpy(random.normal(0, 0.02, tuple(images.shape)).astype(np.float32))
    return images + noise.to(images.device), labels


def small_noisy(images: Tensor, labels: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    return noisy(images[:, :, ::2, ::2], labels[:, ::2, ::2], random)


def trained(folder: Path, recipe: Recipe = RECIPE, **how: object) -> Weights:
    how = {"augment": noisy, "half_size_augment": small_noisy, "validation": boxes(7), "device": "cpu", **how}
    folder.mkdir(exist_ok=True)
    return train(recipe, boxes(), folder, **how).state_dict()  # type: ignore[arg-type]


def equal(first: Weights, second: Weights) -> bool:
    return first.keys() == second.keys() and all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def sit(folder: Path, recipe: Recipe, kill_at: int, seat: Seat) -> None:
    """What each of several processes does, until it kills itself; its minibatches go to a file of its own."""
    seen: list[np.ndarray] = []
    asked: list[int] = []

    def note(images: Tensor, labels: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        made = noisy(images, labels, random)
        seen.append(made[0].numpy().copy())
        return made

    def should_stop() -> bool:
        asked.append(1)
        if len(asked) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return seat.should_stop()

    start = random_network(recipe.base_channels)  # where rounding does not grow from step to step
    weights = trained(folder, recipe, start_from=start, augment=note, device=seat.device, parts=seat.parts,
                      report=seat.report, should_stop=should_stop, report_every_s=0.0)  # fmt: skip
    np.save(folder / f"seen-{seat.rank}.npy", np.stack(seen))
    torch.save(weights, folder / f"weights-{seat.rank}.pt")


def killed_training(folder: Path, step: int, save_every_s: float) -> None:
    """Train alone, and die without notice at a step."""

    def kill(progress: Progress) -> None:
        if progress.step == step:
            os.kill(os.getpid(), signal.SIGKILL)

    trained(folder, KILLED, report=kill, report_every_s=0.0, save_every_s=save_every_s)


if __name__ == "__main__":
    torch.set_num_threads(1)
    killed_training(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
