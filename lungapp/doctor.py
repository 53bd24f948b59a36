"""What is installed, what is missing, what is wrong with a project, and what to do about it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datastore.atomic import TEMPORARY_PREFIX
from datastore.database import RegistryError
from datastore.registry import Registry
from datastore.round_records import RoundState
from datastore.served_images import CaseImageError
from datastore.submission import REFUSED_FOLDER
from infers.model_store import ModelStore
from infers.native import kernels, reason_for_none, surface_kernels
from lungapp.project import SETTINGS_FILE, Project, open_project
from lungapp.rounds.following import outcome_text, progress_text
from lungapp.rounds.lock import WorkerLock
from lungapp.rounds.queueing import doubts

PACKAGES = (
    "torch",
    "monai",
    "monailabel",
    "nibabel",
    "SimpleITK",
    "pydicom",
    "SQLAlchemy",
    "alembic",
    "fastapi",
    "dbos",
)
LITTLE_SPACE_GB = 2.0
STILL_COPYING_SECONDS = 3600  # a younger copy of a series may be under way


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        ok: Whether it is as it should be.
        what: What was found, and what to do if it is wrong.
    """

    ok: bool
    what: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def examine(folder: Path, *, project_expected: bool) -> Iterator[Finding]:
    """Look at the installation, and at the project in a folder.

    Args:
        folder: Where to look.
        project_expected: Whether it is wrong if there is none.
    """
    yield from _installation()
    if not (folder / SETTINGS_FILE).is_file():
        yield Finding(not project_expected, f"{os.path.abspath(folder)}: no project here; `-p DIR` looks at one")
        return
    try:
        project = open_project(folder)
        yield Finding(True, f"{project.folder}: settings are valid")
        yield from _project(project)
    except (RegistryError, ValueError, OSError) as error:
        yield Finding(False, " ".join(str(error).split()))


def _installation() -> Iterator[Finding]:
    version = sys.version_info[:2]
    yield Finding(
        (3, 10) <= version <= (3, 11),
        f"Python {platform.python_version()}"
        + ("" if version in ((3, 10), (3, 11)) else ": MONAI Label needs 3.10 or 3.11"),
    )
    for package in PACKAGES:
        try:
            yield Finding(True, f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            yield Finding(False, f"{package} is missing: pip install -c constraints.txt -e .")
    import torch

    devices = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    yield Finding(True, f"networks run on {', '.join(devices) if devices else 'the CPU: no GPU found'}")
    compiled = kernels()
    how = f"the compiled kernels, {compiled.instruction_set}" if compiled else f"torch: {reason_for_none()}"
    yield Finding(True, f"on the CPU by {how}")
    slower = "numpy and scipy, which is slower: install again with a C compiler to have them compiled"
    yield Finding(
        True, f"distances of surfaces are measured by {'compiled functions' if surface_kernels() else slower}"
    )


def _project(project: Project) -> Iterator[Finding]:
    free_gb = shutil.disk_usage(project.folder).free / 1e9
    space = f"{free_gb:.1f} GB free on the project's disk"
    yield Finding(free_gb >= LITTLE_SPACE_GB, space if free_gb >= LITTLE_SPACE_GB else f"only {space}: make room")
    if not os.access(project.folder, os.W_OK):
        yield Finding(False, f"{project.folder}: cannot be written: masks could not be stored")
        return
    registry = project.registry()
    try:
        cases = registry.cases()
        counts = registry.counts()
        left_out = f", {counts.ineligible} more left out by the selection" if counts.ineligible else ""
        yield Finding(True, f"registry opens: {counts.total} cases, {counts.completed} submitted{left_out}")
        images = project.images()
        for case in cases:
            try:
                images.look_at(case)
            except CaseImageError as error:
                yield Finding(False, f"{error}: {case.source.path}")
        yield from _leftovers(project)
        yield from _models(project)
        yield from _rounds(project, registry)
        refused = sum(1 for _ in project.labels.glob(f"*/{REFUSED_FOLDER}/*"))
        if refused:
            yield Finding(True, f"{refused} refused uploads are kept in {project.labels}/*/{REFUSED_FOLDER}")
        faults = list(registry.check())
        for fault in faults:
            yield Finding(False, fault.what)
        if not faults:
            masks = sum(case.label_count for case in cases)
            yield Finding(
                True, f"all {masks} label files match their checksums, none is left over; the counts are right"
            )
    finally:
        registry.close()


def _leftovers(project: Project) -> Iterator[Finding]:
    """Series whose copying or fetching was interrupted, and models whose import was."""
    places = (
        (project.cache, f"*/{TEMPORARY_PREFIX}*"),
        (project.images_folder, f"{TEMPORARY_PREFIX}*"),
        (project.models, f"{TEMPORARY_PREFIX}*"),
    )
    for folder, pattern in places:
        for path in sorted(folder.glob(pattern)):
            if time.time() - path.stat().st_mtime > STILL_COPYING_SECONDS:
                yield Finding(False, f"{path}: left over from an interrupted copy; it can be removed")


def _models(project: Project) -> Iterator[Finding]:
    """Models whose weights were changed, or a `current` that names none."""
    store = ModelStore(project.models)
    faults = list(store.check())
    for fault in faults:
        yield Finding(False, fault)
    names = store.names()
    if names and not faults:
        yield Finding(True, f"all {len(names)} models match their checksums; {store.served() or 'none'} is served")


def _rounds(project: Project, registry: Registry) -> Iterator[Finding]:
    """A round that nobody is at, one that failed, and masks that nobody could judge a model on."""
    under_way, newest = registry.active_round() or registry.waiting_round(), registry.newest_round()
    if under_way is not None and WorkerLock(project.rounds).is_free():
        yield Finding(
            False,
            f"round {under_way.number}: {progress_text(under_way)}, and no worker is there: run `lungapp worker -p "
            f"{project.folder}`, or stop the round: `lungapp rounds cancel {under_way.number} -p {project.folder}`",
        )
    elif under_way is not None:
        yield Finding(True, f"round {under_way.number}: {progress_text(under_way)}")
    elif newest is not None:
        words = f"round {newest.number}: {outcome_text(newest)}"
        failed = newest.state is RoundState.FAILED
        yield Finding(
            not failed, f"{words}; `lungapp retrain -p {project.folder}` begins another one" if failed else words
        )
    if registry.trainable() >= max(project.settings.rounds.retrain_after, 1) and (doubt := doubts(project, registry)):
        yield Finding(False, doubt)
