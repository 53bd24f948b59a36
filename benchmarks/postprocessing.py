"""What follows the network: lungmask's postprocessing against ours, and our own on the scan's grid.

On the network's grid, 60 slices of 256 x 256: lungs (a phantom's) with 40 specks, and what random weights give (the
largest of three fields of smooth noise). Results are compared voxel by voxel. On the scan's grid, 300 and 2,000
slices of 512 x 512: such lungs through `postprocess`; specks far away make it look at nearly the whole scan, which is
its worst case. Each runs in a process of its own, on one core: CPU seconds are the best of several runs, memory is
what the process needed at most beyond what it had before (Linux). The last line is JSON.

    python benchmarks/postprocessing.py [--quick] [--json]
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from lungmask.logger import logger
from lungmask.utils import postprocessing
from scipy import ndimage

from datastore.phantom import chest_phantom
from infers.lungmask_postprocess import lungmask_postprocess
from infers.postprocess import postprocess

VOXEL_ML = 0.0005


@dataclass(frozen=True)
class Cost:
    """What one way of postprocessing took for one mask."""

    mask: str
    who: str
    cpu_s: float
    peak_mb: float


def lungs(shape: tuple[int, int, int]) -> np.ndarray:
    """A phantom's lungs, with specks all over the scan: of either label, or missing."""
    depth, height, width = shape
    small = chest_phantom(1, shape=(64, 128, 128)).lungs.array[8:56]
    places = [np.arange(size) * count // size for size, count in zip(shape, small.shape, strict=True)]
    mask = small[np.ix_(*places)]
    random = np.random.default_rng(3)
    for place in random.integers(0, shape, (40, 3)):
        size = random.integers(1, 6) * max(1, width // 256)
        mask[tuple(slice(start, start + size) for start in place)] = random.integers(0, 3)
    return mask


def random_weights(shape: tuple[int, int, int]) -> np.ndarray:
    random = np.random.default_rng(0)
    scores = [ndimage.gaussian_filter(random.standard_normal(shape, np.float32), (1.0, 1.5, 1.5)) for _ in range(3)]
    return np.argmax(scores, axis=0).astype(np.uint8)


def measure(mask: Path, who: str, runs: int) -> tuple[float, float]:
    """CPU seconds and MB."""
    logger.setLevel(logging.ERROR)
    ways: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "lungmask": lambda labels: postprocessing(labels, disable_tqdm=True),
        "ours": lungmask_postprocess,
        "default": lambda labels: postprocess(labels, VOXEL_ML),
    }
    labels = np.load(mask)
    ways[who](np.ascontiguousarray(labels[:4, :64, :64]))  # whatever is loaded on first use
    Path("/proc/self/clear_refs").write_text("5")  # begin the peak anew
    before = memory_mb("VmRSS")
    seconds = np.inf
    for _ in range(runs):
        start = time.process_time()
        result = ways[who](labels)
        seconds = min(seconds, time.process_time() - start)
    peak = memory_mb("VmHWM") - before
    if who == "ours":
        np.testing.assert_array_equal(result, ways["lungmask"](labels))
    return float(seconds), peak


def memory_mb(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller masks")
    parser.add_argument("--json", action="store_true", help="only the JSON line")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    slices = 20 if arguments.quick else 60
    tall = (60, 200) if arguments.quick else (300, 2000)
    masks = {
        "lungs with specks": (lungs((slices, 256, 256)), ("lungmask", "ours"), 5),
        "random weights": (random_weights((slices, 256, 256)), ("lungmask", "ours"), 1),
        f"scan of {tall[0]}": (lungs((tall[0], 512, 512)), ("default",), 3),
        f"scan of {tall[1]}": (lungs((tall[1], 512, 512)), ("default",), 1),
    }
    costs = []
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(1, maxtasksperchild=1) as pool, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mask.npy"
        for name, (mask, ways, runs) in masks.items():
            np.save(path, mask)
            for who in ways:
                cost = Cost(name, who, *pool.apply(measure, (path, who, runs)))
                costs.append(cost)
                if not arguments.json:
                    print(f"{name:20} {who:10} {cost.cpu_s:8.3f} s {cost.peak_mb:8.0f} MB")
    seconds = {(cost.mask, cost.who): cost.cpu_s for cost in costs}
    ratios = {mask: seconds[mask, "lungmask"] / seconds[mask, "ours"] for mask, way in seconds if way == "lungmask"}
    print(json.dumps({"ratios": ratios, "costs": [asdict(cost) for cost in costs]}))


if __name__ == "__main__":
    main()
