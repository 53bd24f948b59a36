"""Saving a label, the next sample, listing the unlabelled, the status: our registry against MONAI Label's store.

Both keep the same number of cases in the same run, one after the other; what is timed is what MONAI Label's server
calls for each request (save label: `Datastore.save_label`; next sample: the random strategy and the note of whom the
case was given to; list: `get_unlabeled_images`; status: `status`). Ours alone goes on to 100,000 cases, to see whether
it is flat. A list of everything unlabelled cannot be flat; a page of it can: `list page` is our page of 100. Then the
headers of 5,000 small DICOM series are taken in. The last line is JSON.

    python benchmarks/registry.py [--quick] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import nibabel
import numpy as np

from datastore.adapter import RegistryDatastore
from datastore.geometry import Geometry
from datastore.nifti import write_nifti
from datastore.records import NewCase, Source
from datastore.registry import CaseFilter, Registry
from datastore.served_images import ServedImages
from datastore.volume import Volume
from strategies.adapter import LeasingStrategy
from strategies.random import order

SHAPE = (4, 8, 8)
GRID = Geometry((1.0, 1.0, 1.0))
TASKS = ("save label", "next sample", "list unlabelled", "status")


def median_seconds(call: Callable[[int], object], repeats: int) -> float:
    seconds = []
    for number in range(repeats):
        start = time.perf_counter()
        call(number)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def a_mask(folder: Path) -> Path:
    path = folder / "mask.nii.gz"
    array = np.zeros(SHAPE, np.uint8)
    array[1:3, 2:6, 2:4] = 1
    write_nifti(Volume(array, GRID), path)
    return path


def ours(count: int, folder: Path, repeats: int) -> dict[str, float]:
    """Median seconds of each task with `count` cases."""
    registry = Registry.open(f"sqlite:///{folder / 'registry.sqlite'}", folder / "labels")
    for start in range(0, count, 1000):
        registry.add_cases(
            [
                NewCase(Source(Path(f"/scans/{number}.nii.gz")), SHAPE, GRID, patient=f"p{number}")
                for number in range(start, min(start + 1000, count))
            ]
        )
    store = RegistryDatastore(registry, ServedImages(folder / "cache"), "benchmark")
    next_sample = LeasingStrategy(registry, order(0), "random", timedelta(minutes=30))
    next_sample({"client_id": "warm-up"}, store)  # the order is made once
    mask = a_mask(folder)
    todo = CaseFilter()
    results = {
        "save label": median_seconds(
            lambda number: store.save_label(f"{number + 1:04d}", str(mask), "final", {"client_id": "ann"}), repeats
        ),
        "next sample": median_seconds(lambda number: next_sample({"client_id": f"ann-{number}"}, store), repeats),
        "list unlabelled": median_seconds(lambda _: store.get_unlabeled_images(), repeats),
        "list page": median_seconds(lambda _: registry.case_ids(todo, after=f"{count // 2:04d}", limit=100), repeats),
        "status": median_seconds(lambda _: store.status(), repeats),
    }
    registry.close()
    return results


def theirs(count: int, folder: Path, repeats: int) -> dict[str, float]:
    """The same with MONAI Label's LocalDatastore and its random strategy."""
    from monailabel.datastore.local import LocalDatastore
    from monailabel.interfaces.datastore import DefaultLabelTag
    from monailabel.tasks.activelearning.random import Random

    images = folder / "images"
    images.mkdir()
    first = images / "scan-000000.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros(SHAPE[::-1], np.int16), np.eye(4)), first)
    for number in range(1, count):
        os.link(first, images / f"scan-{number:06d}.nii.gz")
    store = LocalDatastore(str(images), extensions=["*.nii.gz"], auto_reload=False)
    strategy = Random()
    mask = a_mask(folder)

    def next_sample(number: int) -> None:  # as the server's /activelearning/random does
        sample = strategy({"client_id": f"ann-{number}", "strategy": "random"}, store)
        info = {"ts": int(time.time()), "client_id": f"ann-{number}"}
        store.update_image_info(sample["id"], {"strategy": {"random": info}})

    return {
        "save label": median_seconds(
            lambda number: store.save_label(f"scan-{number:06d}", str(mask), DefaultLabelTag.FINAL.value, {}), repeats
        ),
        "next sample": median_seconds(next_sample, repeats),
        "list unlabelled": median_seconds(lambda _: store.get_unlabeled_images(), repeats),
        "status": median_seconds(lambda _: store.status(), repeats),
    }


def floor(folder: Path, repeats: int) -> float:
    """Median seconds of what saving a label cannot do without: two small files, synced with their folder."""

    def sync(number: int) -> None:
        for name in ("a", "b"):
            path = folder / f"{name}-{number}"
            path.write_bytes(b"x" * 500)
            for place in (path, folder):
                descriptor = os.open(place, os.O_RDONLY)
                os.fsync(descriptor)
                os.close(descriptor)

    return median_seconds(sync, repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="up to 5,000 cases and 1,000 series")
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    arguments = parser.parse_args()
    compared, alone = ([1000, 5000], [20_000]) if arguments.quick else ([1000, 5000, 20_000], [100_000])
    say = (lambda _: None) if arguments.json else print
    medians: dict[str, dict[str, dict[str, float]]] = {"lungapp": {}, "monailabel": {}}
    for count in (*compared, *alone):
        for name, measure, repeats in (("lungapp", ours, 51), ("monailabel", theirs, 5)):
            if name == "monailabel" and count in alone:
                continue
            with tempfile.TemporaryDirectory() as folder:
                medians[name][str(count)] = measure(count, Path(folder), repeats)
            listed = ", ".join(f"{task} {1000 * seconds:.2f} ms" for task, seconds in medians[name][str(count)].items())
            say(f"{count:>7} cases  {name:<10}  {listed}")
    with tempfile.TemporaryDirectory() as folder:
        sync = floor(Path(folder), 51)
    largest, smallest = str(compared[-1]), str(compared[0])
    ratios = {
        f"{task} at {largest}": round(medians["monailabel"][largest][task] / medians["lungapp"][largest][task], 1)
        for task in TASKS
    }
    page = medians["monailabel"][largest]["list unlabelled"] / medians["lungapp"][largest]["list page"]
    ratios[f"list page at {largest}"] = round(page, 1)
    flat = {
        f"{task} at {alone[-1]} / at {smallest}": round(
            medians["lungapp"][str(alone[-1])][task] / medians["lungapp"][smallest][task], 2
        )
        for task in (*TASKS, "list page")
    }
    from benchmarks_ingest import ingest_speed

    series = 1000 if arguments.quick else 5000
    ingest = ingest_speed(series)
    say(f"two synced files: {1000 * sync:.2f} ms; ingest: {ingest}")
    print(
        json.dumps(
            {
                "ratios": ratios,
                "flat": flat,
                "ingest": ingest,
                "two_synced_files_seconds": sync,
                "median_seconds": medians,
            }
        )
    )


if __name__ == "__main__":
    main()
