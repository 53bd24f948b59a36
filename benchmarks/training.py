"""What a training costs beside its network: waiting for slices, and memory.

The paper's U-net (64 to 1024 channels) is trained for a few steps on the CPU, on minibatches of 7 + 7 slices of
256 x 256. They are drawn from as many patients and slices as R231 was trained on, read from memory-mapped files (sparse
ones, which take no room on the disk) and augmented; the network is measured, and checkpoints are written. `waited` is
the share of a step's time in which the network had no minibatch to learn from, the first step left out; `making` is
what one minibatch takes by itself. `beyond` is the peak memory of that process minus that of another one, which runs
the same network, loss and optimizer for as many steps on one minibatch of noise (Linux). The last line is JSON.

    python benchmarks/training.py [--quick] [--json]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from infers.torch_unet import keep_freed_memory
from infers.unet import UNet
from trainers.augmentation import random_augmentation
from trainers.batches import StratifiedBatches
from trainers.losses import loss_named
from trainers.optimization import optimizer_for
from trainers.recipe import Recipe, recipe_named
from trainers.slices import SliceSet, TrainingSlices, VolumeSlices
from trainers.training import Progress, train

SLICES, WITH_LUNG, PATIENTS = 108_248, 62_224, 231  # of R231 (Hofmanninger et al. 2020, table I)
SIZE = 256
WAITED_TARGET, BEYOND_TARGET_MIB = 0.05, 2048


def recipe_for(asked: argparse.Namespace) -> Recipe:
    return recipe_named("r231", epochs=1, steps_per_epoch=asked.steps, base_channels=asked.base_channels, seed=1)


def large_set(folder: Path, slices: int = SLICES, patients: int = PATIENTS) -> SliceSet:
    """Blank slices, some of which are said to have lung."""
    folder.mkdir()
    volumes = []
    for patient, count in enumerate(len(part) for part in np.array_split(np.arange(slices), patients)):
        files = [(folder / f"{patient}-{name}.raw", kind) for name, kind in (("x", np.float16), ("y", np.uint8))]
        pixels = [np.memmap(path, kind, "w+", shape=(count, SIZE, SIZE)) for path, kind in files]
        made = TrainingSlices(pixels[0], pixels[1], np.arange(count) < count * WITH_LUNG / SLICES)
        volumes.append(VolumeSlices(made, str(patient)))
    return SliceSet(volumes)


def bare_steps(asked: argparse.Namespace) -> dict[str, Any]:
    recipe = recipe_for(asked)
    network = UNet(recipe.classes, recipe.base_channels).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer, loss = optimizer_for(recipe, network), loss_named(recipe.loss)
    images = torch.rand(recipe.batch, 1, SIZE, SIZE).contiguous(memory_format=torch.channels_last)
    labels = torch.zeros(recipe.batch, SIZE, SIZE, dtype=torch.int64)
    seconds = []
    for _ in range(recipe.steps):
        began = time.perf_counter()
        optimizer.zero_grad()
        loss(network(images), labels).backward()
        optimizer.step()
        seconds.append(time.perf_counter() - began)
    return {"step_s": statistics.median(seconds)}


def whole_training(asked: argparse.Namespace) -> dict[str, Any]:
    recipe, heard = recipe_for(asked), list[Progress]()
    with tempfile.TemporaryDirectory() as folder:
        slices = large_set(Path(folder) / "slices")
        batches, augment = StratifiedBatches(slices, recipe.seed), random_augmentation()
        watched = large_set(Path(folder) / "watched", slices=16, patients=2)
        making = []
        for step in range(3):
            began = time.perf_counter()
            images, labels = slices.read(batches.draw(step))
            augment(torch.from_numpy(images)[:, None], torch.from_numpy(labels), np.random.default_rng(step))
            making.append(time.perf_counter() - began)
        train(recipe, slices, Path(folder) / "run", augment=augment, validation=watched, report=heard.append,
              report_every_s=0.0, device="cpu")  # fmt: skip
    steps = [progress for progress in heard if progress.watched_dice is None][1:]
    return {
        "making_s": statistics.median(making),
        "step_s": statistics.median(recipe.batch / progress.slices_per_s for progress in steps),
        "waited_share": statistics.mean(progress.waited_share for progress in steps),
        "slices": len(slices),
    }


def measured(child: str, asked: argparse.Namespace) -> dict[str, Any]:
    """One of the two, in a process of its own."""
    how = ["--child", child, "--steps", asked.steps, "--base-channels", asked.base_channels]
    done = subprocess.run([sys.executable, __file__, *map(str, how)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{child} failed:\n{done.stdout}{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a quarter of the channels")
    parser.add_argument("--json", action="store_true", help="nothing but the last line")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--base-channels", type=int, default=None)
    parser.add_argument("--child", choices=["bare", "whole"], help=argparse.SUPPRESS)
    asked = parser.parse_args()
    asked.base_channels = asked.base_channels or (16 if asked.quick else 64)
    if asked.child:
        keep_freed_memory()
        found = bare_steps(asked) if asked.child == "bare" else whole_training(asked)
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(found | {"peak_mib": peak_mib}))
        return
    bare, whole = measured("bare", asked), measured("whole", asked)
    result = {
        "base_channels": asked.base_channels,
        "threads": torch.get_num_threads(),
        "slices": whole["slices"],
        "step_s": whole["step_s"],
        "bare_step_s": bare["step_s"],
        "making_s": whole["making_s"],
        "waited_share": whole["waited_share"],
        "waited_target": WAITED_TARGET,
        "network_mib": bare["peak_mib"],
        "beyond_mib": whole["peak_mib"] - bare["peak_mib"],
        "beyond_target_mib": BEYOND_TARGET_MIB,
    }
    if not asked.json:
        print(f"U-net of {asked.base_channels} to {16 * asked.base_channels} channels, {result['threads']} threads")
        print(f"a step     {result['step_s']:8.2f} s   the network alone {result['bare_step_s']:.2f} s")
        print(f"making     {result['making_s']:8.3f} s   a minibatch, by itself")
        print(f"waited     {100 * result['waited_share']:8.2f} %   target: below {100 * WAITED_TARGET:.0f} %")
        print(f"network    {result['network_mib']:8.0f} MiB peak, weights, gradients and activations")
        print(f"beyond     {result['beyond_mib']:8.0f} MiB peak, target: below {BEYOND_TARGET_MIB} MiB")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
