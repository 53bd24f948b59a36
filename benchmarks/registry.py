"""Saving a label, the next sample, listing the unlabelled, the status: our registry against MONAI Label's store.

Both keep the same number of cases in the same run, one after the other, half of them labelled as in the middle of a
project. What is timed is what MONAI Label's server calls for each request (save label: `Datastore.save_label`; next
sample: the random strategy and the note of whom the case was given to; list: `get_unlabeled_images`; status:
`status`). Ours alone goes on to 100,000 cases, to see whether it is flat. A list of everything unlabelled cannot be
flat, a page of it can: `list page` is our page of 100, which MONAI Label does not have, against its whole list. Then
5,000 small DICOM series (10 slices of 64 x 64) are taken in, headers and database. The last line is JSON.

    python benchmarks/registry.py [--quick] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import nibabel
import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from sqlalchemy import func, insert, literal, select, update

from datastore.adapter import RegistryDatastore
from datastore.geometry import Geometry
from datastore.nifti import write_nifti
from datastore.records import NewCase, Source, Status
from datastore.registry import CaseFilter, Registry
from datastore.schema import CaseRow, LabelRow, TallyRow
from datastore.served_images import ServedImages
from datastore.volume import Volume
from lungapp.project import init_project
from strategies.adapter import LeasingStrategy
from strategies.random import order

REPOSITORY = Path(__file__).resolve().parents[1]
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
    label_half(registry)
    store = RegistryDatastore(registry, ServedImages(folder / "cache"), "benchmark")
    next_sample = LeasingStrategy(registry, order(0), "random", timedelta(minutes=30))
    next_sample({"client_id": "warm-up"}, store)  # the order is made once
    mask = a_mask(folder)
    todo = CaseFilter(offered=True)
    results = {
        "save label": median_seconds(
            lambda number: store.save_label(f"{2 * number + 2:04d}", str(mask), "final", {"client_id": "ann"}), repeats
        ),
        "next sample": median_seconds(lambda number: next_sample({"client_id": f"ann-{number}"}, store), repeats),
        "list unlabelled": median_seconds(lambda _: store.get_unlabeled_images(), repeats),
        "list page": median_seconds(lambda _: registry.case_ids(todo, after=f"{count // 2:04d}", limit=100), repeats),
        "status": median_seconds(lambda _: store.status(), repeats),
    }
    registry.close()
    return results


def label_half(registry: Registry) -> None:
    """Rows of a submitted mask for every other case, as the registry would write them, but all at once."""
    with registry.engine.execution_options(writes=True).begin() as connection:
        odd = CaseRow.number % 2 == 1
        label_id = func.printf("%04d-00000000", CaseRow.number)
        values = {
            "id": label_id, "case_id": CaseRow.id, "number": literal(1), "kind": literal("submitted"),
            "made_as": literal("submitted"), "author": literal("local"), "tool": literal("benchmark"),
            "client_id": literal("bob"), "conflict": literal(False), "sha256": literal("0" * 64), "path": label_id,
            "target": literal("lungs"), "created_at": literal(datetime.now(UTC), CaseRow.added_at.type),
        }  # fmt: skip
        connection.execute(insert(LabelRow).from_select(list(values), select(*values.values()).where(odd)))
        done = {"status": str(Status.SUBMITTED), "offered": False, "label_count": 1, "head_id": label_id}
        connection.execute(update(CaseRow).where(odd).values(**done))
        submitted = connection.scalar(select(func.count()).select_from(CaseRow).where(odd))
        connection.execute(update(TallyRow).values(count=TallyRow.count - submitted))
        connection.execute(insert(TallyRow).values(status=done["status"], eligible=True, count=submitted))


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
    mask = a_mask(folder)
    labels = images / "labels" / DefaultLabelTag.FINAL.value
    labels.mkdir(parents=True)
    for number in range(1, count, 2):
        os.link(mask, labels / f"scan-{number:06d}.nii.gz")
    store = LocalDatastore(str(images), extensions=["*.nii.gz"], auto_reload=False)
    strategy = Random()

    def next_sample(number: int) -> None:  # as the server's /activelearning/random does
        sample = strategy({"client_id": f"ann-{number}", "strategy": "random"}, store)
        info = {"ts": int(time.time()), "client_id": f"ann-{number}"}
        store.update_image_info(sample["id"], {"strategy": {"random": info}})

    return {
        "save label": median_seconds(
            lambda number: store.save_label(f"scan-{2 * number:06d}", str(mask), DefaultLabelTag.FINAL.value, {}),
            repeats,
        ),
        "next sample": median_seconds(next_sample, repeats),
        "list unlabelled": median_seconds(lambda _: store.get_unlabeled_images(), repeats),
        "status": median_seconds(lambda _: store.status(), repeats),
    }


def ingest_speeds(folder: Path, count: int) -> dict[str, float]:
    """Series per second, registered for the first time and found again, each in a process of its own."""
    write_dicom(folder / "ct", count)
    project = init_project(folder / "study")
    speeds = {}
    for name in ("first", "again"):
        start = time.perf_counter()
        command = [sys.executable, "-m", "lungapp", "ingest", str(folder / "ct"), "-p", str(project.folder), "--json"]
        report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd=REPOSITORY).stdout)
        speeds[name] = count / (time.perf_counter() - start)
        assert (len(report["added"]), report["known"]) == ((count, 0) if name == "first" else (0, count))
    return speeds


def write_dicom(folder: Path, count: int, slices: int = 10) -> None:
    """Series as scanners write them; UIDs and positions are written over the marks of one template."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = meta.MediaStorageSOPInstanceUID = CTImageStorage
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    template = FileDataset("template", {}, file_meta=meta, preamble=b"\0" * 128)
    template.is_little_endian, template.is_implicit_VR = True, False
    for name, value in {
        "SOPClassUID": CTImageStorage, "SOPInstanceUID": "1.2.3.999999991", "Modality": "CT",
        "StudyInstanceUID": "1.2.4.999999992", "SeriesInstanceUID": "1.2.5.999999993", "PatientID": "999999994",
        "SeriesDescription": "Thorax 1.0", "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2", "Rows": 64, "Columns": 64, "PixelSpacing": ["0.7", "0.7"],
        "SliceThickness": "1", "ImagePositionPatient": ["0", "0", "999999995"], "BitsAllocated": 16, "BitsStored": 16,
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "HighBit": 15, "PixelRepresentation": 0, "RescaleSlope": "1",
        "RescaleIntercept": "-1024", "PixelData": bytes(2 * 64 * 64),
    }.items():  # fmt: skip
        setattr(template, name, value)
    buffer = BytesIO()
    template.save_as(buffer, write_like_original=False)
    for series in range(count):
        place = folder / f"{series:05d}"
        place.mkdir(parents=True)
        for number in range(slices):
            content = buffer.getvalue()
            for mark, value in (
                (b"999999991", series * slices + number), (b"999999992", series), (b"999999993", series),
                (b"999999994", series), (b"999999995", number),
            ):  # fmt: skip
                content = content.replace(mark, f"1{value:08d}".encode())
            (place / f"IM{number}").write_bytes(content)


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
    with tempfile.TemporaryDirectory() as folder:
        speeds = ingest_speeds(Path(folder), 1000 if arguments.quick else 5000)
    say(f"ingest: {speeds['first']:.0f} series/s, again {speeds['again']:.0f} series/s")
    summary = {"ratios": ratios, "flat": flat, "ingest_series_per_second": speeds, "two_synced_files_seconds": sync}
    print(json.dumps({**summary, "median_seconds": medians}))


if __name__ == "__main__":
    main()
