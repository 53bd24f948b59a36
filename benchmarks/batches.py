"""Minibatches for training: MONAI's dictionary transforms against ours, and the memory of a large cache of slices.

Batches: 7 slices with lung and 7 without, 256 x 256, are drawn, read from the cache of some phantoms, turned, deformed
and given noise, on one thread. MONAI does it slice by slice with RandRotated, Rand2DElasticd and RandGaussianNoised,
set to the same ranges, and puts them together with its own collate function; both read the same slices in the same
way. The two take turns; figures are medians of the repeats, on the wall clock and, for machines with other work to do,
of the core's own time. `reading` is our part of it without the augmentation.

Memory: as many patients and slices as R231 was trained on, each volume a real entry of the cache, its pixels a sparse
file that takes no room on the disk. Batches are drawn, read and augmented in a process of its own; peak memory is what
it needed at most beyond an interpreter that has imported nothing, and `imports` the part of torch and the rest (Linux).
The last line is JSON.

    python benchmarks/batches.py [--quick] [--json]
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: one core for everybody

import argparse
import json
import math
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from datastore.phantom import chest_phantom
from infers.preprocess import Preprocessing
from trainers.augmentation import AugmentationLimits, random_augmentation
from trainers.batches import StratifiedBatches
from trainers.slice_cache import SliceCache
from trainers.slice_file import RECORDS_FILE, Header, open_slices
from trainers.slices import SliceSet, VolumeSlices

SLICES, PATIENTS = 108_248, 231  # of R231 (Hofmanninger et al. 2020, section II-C)
SIZE, SEED = 256, 1
LIMITS = AugmentationLimits()
PEER = "MONAI"


@dataclass(frozen=True)
class Cost:
    """What a batch takes one way: medians."""

    who: str
    seconds: float
    core_seconds: float
    slices_per_s: float
    slices_per_core_s: float


Way = Callable[[int], object]  # takes the number of a step


def phantom_set(folder: Path, phantoms: int) -> SliceSet:
    cache = SliceCache(folder)
    volumes = []
    for seed in range(phantoms):
        made = chest_phantom(seed, (60, 256, 256), (8.0, 1.5, 1.5))
        key = f"{seed:064x}"
        slices = cache.volume(key, key, Preprocessing(), lambda made=made: (made.image.array, made.lungs.array))
        volumes.append(VolumeSlices(slices, str(seed)))
    return SliceSet(volumes)


def our_way(slices: SliceSet) -> Way:
    batches, augment = StratifiedBatches(slices, SEED), random_augmentation(LIMITS)

    def make(step: int) -> object:
        images, labels = slices.read(batches.draw(step))
        random = np.random.default_rng([SEED, step])
        return augment(torch.from_numpy(images)[:, None], torch.from_numpy(labels), random)

    return make


def reading(slices: SliceSet) -> Way:
    batches = StratifiedBatches(slices, SEED)
    return lambda step: slices.read(batches.draw(step))


def monai_way(slices: SliceSet) -> Way:
    from monai.data.utils import list_data_collate
    from monai.transforms import Compose, Rand2DElasticd, RandGaussianNoised, RandRotated

    both, modes = ("image", "label"), ("bilinear", "nearest")
    low, high = LIMITS.window_hu
    transform = Compose(
        [
            RandRotated(both, range_x=math.radians(LIMITS.rotation_degrees), prob=1, mode=modes, padding_mode="zeros"),
            Rand2DElasticd(
                both,
                spacing=(LIMITS.smoothness_share * SIZE,) * 2,
                magnitude_range=(0, LIMITS.displacement_share * SIZE),
                prob=1,
                mode=modes,
                padding_mode="zeros",
            ),
            RandGaussianNoised("image", prob=1, std=LIMITS.noise_hu / (high - low)),
        ]
    ).set_random_state(SEED)
    batches = StratifiedBatches(slices, SEED)

    def make(step: int) -> object:
        images, labels = (torch.from_numpy(part)[:, None] for part in slices.read(batches.draw(step)))
        made = [transform({"image": image, "label": label}) for image, label in zip(images, labels, strict=True)]
        batch = list_data_collate(made)
        return batch["image"], batch["label"]

    return make


def measure_speed(folder: Path, repeats: int, batches: int) -> list[Cost]:
    torch.set_num_threads(1)
    slices = phantom_set(folder, 6)
    ways = {PEER: monai_way(slices), "ours": our_way(slices), "reading": reading(slices)}
    for name, way in ways.items():
        made = way(0)
        if name != "reading":
            images, labels = made  # type: ignore[misc]
            if images.shape != (14, 1, SIZE, SIZE) or set(labels.unique().tolist()) != {0, 1, 2}:
                raise ValueError(f"{name} makes no such batches: {tuple(images.shape)}, {labels.unique()}")
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for repeat in range(repeats):
        for name, way in ways.items():
            start, core_start = time.perf_counter(), time.process_time()
            for step in range(batches):
                way(repeat * batches + step)
            taken[name].append((time.perf_counter() - start, time.process_time() - core_start))
    costs = []
    for name, times in taken.items():
        seconds, core_seconds = (statistics.median(column) / batches for column in zip(*times, strict=True))
        costs.append(Cost(name, seconds, core_seconds, 14 / seconds, 14 / core_seconds))
    return costs


def measure_memory(folder: Path, batches: int) -> dict[str, float]:
    """MB of this process, of which nothing is subtracted yet, and seconds to open all volumes."""
    torch.set_num_threads(1)
    imports_mb = memory_mb("VmRSS")
    write_large_cache(folder)
    start = time.perf_counter()
    volumes = []
    for path in sorted(folder.iterdir()):
        opened = open_slices(path)
        if opened is None:
            raise ValueError(f"{path} is torn")
        volumes.append(VolumeSlices(opened[0], path.name, (opened[1]["pathology"],)))
    slices = SliceSet(volumes)
    make = our_way(slices)
    opened_s = time.perf_counter() - start
    make(0)
    begun_mb = memory_mb("VmRSS")
    for step in range(batches):
        make(step)
    return {
        "slices": len(slices),
        "batches": batches,
        "open_s": opened_s,
        "imports_mb": imports_mb,
        "after_one_batch_mb": begun_mb,
        "peak_mb": memory_mb("VmHWM"),
    }


def write_large_cache(folder: Path) -> None:
    random = np.random.default_rng(SEED)
    for patient, count in enumerate(np.bincount(np.arange(SLICES) % PATIENTS)):
        entry = folder / f"{patient:04}"
        entry.mkdir()
        first, last = np.sort(random.integers(count, size=2))  # where the lungs are
        places = np.arange(count)
        header = Header({"pathology": f"{patient % 9}"}, SIZE, (places >= first) & (places <= last))
        header.write(entry)
        with open(entry / RECORDS_FILE, "wb") as file:
            file.truncate(int(count) * header.record_bytes)


def memory_mb(field: str) -> float:
    return next(int(line.split()[1]) for line in Path("/proc/self/status").open() if line.startswith(field)) / 1024


def empty_process_mb() -> float:
    code = "print(*(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    return int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few batches")
    parser.add_argument("--json", action="store_true", help="only the JSON line")
    arguments = parser.parse_args()
    repeats, batches, many = (3, 4, 50) if arguments.quick else (9, 10, 600)
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(1, maxtasksperchild=1) as pool:
        with tempfile.TemporaryDirectory() as name:
            costs = pool.apply(measure_speed, (Path(name), repeats, batches))
        with tempfile.TemporaryDirectory() as name:
            memory = pool.apply(measure_memory, (Path(name), many))
    memory["empty_mb"] = empty_process_mb()
    table = {cost.who: cost for cost in costs}
    faster = table[PEER].seconds / table["ours"].seconds
    core_faster = table[PEER].core_seconds / table["ours"].core_seconds
    report = {
        "ratios": {
            "ours": {"times faster": faster, "times faster by the core's time": core_faster},
            "memory": {"peak beyond an empty process, MB": memory["peak_mb"] - memory["empty_mb"]},
        },
        "costs": [asdict(cost) for cost in costs],
        "memory": memory,
    }
    if not arguments.json:
        for cost in costs:
            print(
                f"{cost.who:8} {1000 * cost.seconds:8.1f} ms for a batch, {cost.slices_per_s:6.0f} slices/s; of the "
                f"core's time {1000 * cost.core_seconds:8.1f} ms, {cost.slices_per_core_s:6.0f} slices/s"
            )
        print(f"ours is {faster:.1f} times as fast as {PEER}, {core_faster:.1f} times by the core's time")
        print(
            f"{memory['slices']} slices: at most {memory['peak_mb'] - memory['empty_mb']:.0f} MB beyond an empty "
            f"process in {many} batches, {memory['imports_mb'] - memory['empty_mb']:.0f} MB of them for imports; "
            f"all opened in {memory['open_s']:.2f} s"
        )
    print(json.dumps(report))


if __name__ == "__main__":
    main()
