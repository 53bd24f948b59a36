"""Projects of small phantoms whose settings are there before the first case, so that it is known who may train."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from conftest import PhantomProject

from datastore.nifti import write_nifti
from datastore.phantom import Phantom, chest_phantom
from datastore.registry import Registry
from lungapp.ingest import ingest
from lungapp.project import Project, init_project, open_project

ALL_TRAIN = {"train": "1.0", "validation": "0.0", "test": "0.0"}
ALL_LOCKED = {"train": "0.0", "validation": "1.0", "test": "0.0"}
SMALL = {"shape": (24, 96, 96), "spacing_mm": (12.0, 4.0, 4.0)}
DENSE_HU, DENSE_FROM = 30.0, (0.5, 0.7)


def small_phantom(seed: int) -> Phantom:
    return chest_phantom(seed, **SMALL)  # type: ignore[arg-type]


def sick_phantom(seed: int) -> Phantom:
    """The dorsal third or half of both lungs is dense, as where somebody lies in bed with pneumonia."""
    made, random = small_phantom(seed), np.random.default_rng(seed)
    hu, lungs = made.image.array.copy(), made.lungs.array
    rows = np.arange(lungs.shape[1])[np.newaxis, :, np.newaxis]
    for lung in (lungs == 1, lungs == 2):
        ventral, dorsal = np.flatnonzero(lung.any(axis=(0, 2)))[[0, -1]]
        dense = lung & (rows > ventral + random.uniform(*DENSE_FROM) * (dorsal - ventral))
        hu[dense] = random.normal(DENSE_HU, 20, np.count_nonzero(dense))
    return replace(made, image=made.image.with_array(hu))


def changed(project: Project, **settings: object) -> Project:
    """A project after some of its settings were changed, whatever section they stand in."""
    path = project.folder / "lungapp.toml"
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines):
        name = line.split(" = ")[0]
        if name in settings:
            lines[number] = f"{name} = {settings[name]}"
    path.write_text("\n".join(lines) + "\n")
    return open_project(project.folder)


def phantom_study(
    folder: Path, count: int, *, locked: int = 0, make: Callable[[int], Phantom] = small_phantom, **settings: object
) -> PhantomProject:
    """A project in `folder` with phantoms in the split train, then some in the split validation."""
    project = changed(init_project(folder / "study"), **settings)
    phantoms = {f"{number:04d}": make(number) for number in range(1, count + locked + 1)}
    for split, first, end in ((ALL_TRAIN, 1, count), (ALL_LOCKED, count + 1, count + locked)):
        if end < first:
            continue
        scans = folder / f"scans-from-{first}"
        scans.mkdir()
        chosen = [f"{number:04d}" for number in range(first, end + 1)]
        for case_id in chosen:
            write_nifti(phantoms[case_id].image, scans / f"phantom-{case_id}.nii.gz", compression=1)
        project = changed(project, **split)
        registry = project.registry()
        report = ingest(registry, [scans], lambda: None)
        registry.close()
        assert [case.id for case in report.added] == chosen
    return PhantomProject(project, phantoms)


def accept_truth(registry: Registry, made: PhantomProject, case_id: str, **how: object) -> str:
    """The true lungs of a phantom as its accepted mask; the id of the label version."""
    from registries import label

    stored = registry.add_label(case_id, made.phantoms[case_id].lungs, label(findings=(), **how))  # type: ignore[arg-type]
    return registry.accept(stored.id, "rita").id
