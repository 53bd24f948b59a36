"""Dice, HD95 and mean surface distance of both lungs: DeepMind's surface-distance against ours.

The reference is a phantom's lungs, 300 slices of 512 x 512. Predictions: `close` has the border displaced smoothly by
a few mm, `shifted` lies 30 mm to the side, `swapped` has right and left the wrong way round. Each way runs in a process
of its own with the masks in memory: seconds are the median of five runs (one for the far masks) on the wall clock,
memory is what the process needed at most beyond what it had before (Linux). Results have to agree to 1e-6. `limit` is
one look at every voxel of both masks (numpy counts them): nothing that starts from label masks can be faster. The last
line is JSON.

    python benchmarks/metrics.py [--quick] [--json]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from datastore.geometry import Geometry
from datastore.phantom import chest_phantom
from datastore.volume import Volume
from infers import mask_agreement
from infers.metrics import score

SPACING_MM = (1.0, 0.75, 0.75)  # of (z, y, x)
LABELS = (1, 2)
PEER = "surface-distance"

Numbers = list[float]  # Dice, HD95, mean surface distance of the right lung, then of the left


@dataclass(frozen=True)
class Cost:
    """What one way took for one pair of masks."""

    prediction: str
    who: str
    seconds: float
    peak_mb: float
    numbers: Numbers


def published(reference: np.ndarray, prediction: np.ndarray) -> Numbers:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import surface_distance

        numbers = []
        for label in LABELS:
            one, other = reference == label, prediction == label
            distances = surface_distance.compute_surface_distances(one, other, SPACING_MM)
            numbers += [
                float(surface_distance.compute_dice_coefficient(one, other)),
                float(surface_distance.compute_robust_hausdorff(distances, 95)),
                float(max(surface_distance.compute_average_surface_distance(distances))),
            ]
    return numbers


def ours(reference: np.ndarray, prediction: np.ndarray, threads: int) -> Numbers:
    z, y, x = SPACING_MM
    volume = Volume(reference, Geometry((x, y, z)))
    scores = score(volume, volume.with_array(prediction), threads=threads)
    return [number for item in scores for number in (item.dice, item.hausdorff95_mm, item.mean_surface_distance_mm)]


def plain(reference: np.ndarray, prediction: np.ndarray) -> Numbers:
    mask_agreement.surface_kernels = lambda: None
    return ours(reference, prediction, 1)


def limit(reference: np.ndarray, prediction: np.ndarray) -> Numbers:
    return [float(np.count_nonzero(reference)), float(np.count_nonzero(prediction))]


CORES = len(os.sched_getaffinity(0))
WAYS: dict[str, Callable[[np.ndarray, np.ndarray], Numbers]] = {
    PEER: published,
    "ours": lambda one, other: ours(one, other, CORES),
    "ours, one core": lambda one, other: ours(one, other, 1),
    "ours, not compiled": plain,
    "limit": limit,
}


def close(lungs: np.ndarray) -> np.ndarray:
    """The same lungs with a border that wanders in and out by up to some mm."""
    random = np.random.default_rng(0)
    coarse = random.standard_normal([size // 15 + 2 for size in lungs.shape]).astype(np.float32)
    wander = ndimage.zoom(coarse, [size / some for size, some in zip(lungs.shape, coarse.shape, strict=True)], order=1)
    result = np.zeros_like(lungs)
    for label in LABELS:
        inside = lungs == label
        depth = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
        result[depth + 2 * wander > 0] = label
    return result


def measure(folder: Path, prediction: str, who: str, runs: int) -> Cost:
    reference, other = np.load(folder / "reference.npy"), np.load(folder / f"{prediction}.npy")
    WAYS[who](reference[:8], other[:8])  # whatever is loaded on first use
    Path("/proc/self/clear_refs").write_text("5")  # begin the peak anew
    before = memory_mb("VmRSS")
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        numbers = WAYS[who](reference, other)
        seconds.append(time.perf_counter() - start)
    return Cost(prediction, who, statistics.median(seconds), memory_mb("VmHWM") - before, numbers)


def memory_mb(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="an eighth of the voxels, one run")
    parser.add_argument("--json", action="store_true", help="only the JSON line")
    arguments = parser.parse_args()
    step, most_runs = (2, 1) if arguments.quick else (1, 5)
    z, y, x = (mm * step for mm in SPACING_MM)
    lungs = chest_phantom(1, (300 // step, 512 // step, 512 // step), (z, y, x)).lungs.array
    right_left = np.array([0, 2, 1], np.uint8)
    predictions = {
        "close": close(lungs),
        "shifted": np.roll(lungs, 40 // step, axis=2),
        "swapped": right_left[lungs],
    }
    costs = []
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(1, maxtasksperchild=1) as pool, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "reference.npy", lungs)
        for prediction, mask in predictions.items():
            np.save(folder / f"{prediction}.npy", mask)
            runs = most_runs if prediction == "close" else 1
            for who in WAYS:
                cost = pool.apply(measure, (folder, prediction, who, runs))
                costs.append(cost)
                if not arguments.json:
                    print(f"{prediction:8} {who:20} {cost.seconds:8.3f} s {cost.peak_mb:8.0f} MB")
            expected = next(cost.numbers for cost in costs if cost.prediction == prediction and cost.who == PEER)
            for cost in costs:
                if cost.prediction == prediction and cost.who.startswith("ours"):
                    np.testing.assert_allclose(cost.numbers, expected, rtol=0, atol=1e-6)
    table = {(cost.prediction, cost.who): cost for cost in costs}
    ratios = {
        f"{prediction}: {who}": {
            "times faster": table[prediction, PEER].seconds / cost.seconds,
            "memory": cost.peak_mb / table[prediction, PEER].peak_mb,
        }
        for (prediction, who), cost in table.items()
        if who.startswith("ours")
    }
    print(json.dumps({"ratios": ratios, "costs": [asdict(cost) for cost in costs]}))


if __name__ == "__main__":
    main()
