"""A throw-away project that shows what the program does, a minute after installing it."""

from __future__ import annotations

import itertools
import shutil
import signal
import socket
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lungapp.project import Project, init_project

if TYPE_CHECKING:
    from datastore.phantom.plans import PatientPlan

DEFAULT_PORT = 8000
SHOWN, SIZE, SLICES = ("chest", "trunk"), 192, 110  # small, so that the first page is there soon


def run_demo(
    folder: Path | None,
    case_count: int,
    port: int | None,
    *,
    exit_when_ready: bool,
    say: Callable[[str], object],
) -> None:
    """Make phantoms, segment them, and serve the project until it is stopped.

    Args:
        folder: Where to keep the project; None for a temporary folder that goes when the server stops.
        case_count: How many phantoms.
        port: Port, or None for 8000, or a free one if that is taken.
        exit_when_ready: Stop as soon as the first page and `/info/` answered.
        say: Prints a line for people.
    """
    from lungapp.serving import serve

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the folder goes, whoever stops it
    place = folder or Path(tempfile.mkdtemp(prefix="lungapp-demo-"))
    try:
        project = make_demo_project(place, case_count, say)
        if folder is None:
            say(f"The project lies in {place} until you stop the server; --dir DIR keeps one.")
        serve(
            project,
            None,
            _free(DEFAULT_PORT) if port is None else port,
            say,
            when_ready=_answers if exit_when_ready else None,
        )
    finally:
        if folder is None:
            shutil.rmtree(place, ignore_errors=True)


def make_demo_project(folder: Path, case_count: int, say: Callable[[str], object]) -> Project:
    """A project of synthetic patients as they come to a hospital, with preliminary masks."""
    from datastore.nifti import write_nifti
    from datastore.phantom.cohorts import render_scan
    from infers import load_model
    from lungapp.bootstrap import bootstrap
    from lungapp.ingest import ingest

    project = init_project(folder, "demo")
    scans = project.folder / "scans"
    scans.mkdir(exist_ok=True)
    say(f"Making {case_count} synthetic chest CT scans ...")
    for plan in demo_patients(case_count):
        image = render_scan(plan, size=SIZE, slices=SLICES).image
        write_nifti(image, scans / f"{plan.name}.nii.gz", compression=1)
    registry = project.registry()
    try:
        ingest(registry, [scans], lambda: None)
        say("Making preliminary masks with the network that comes with lungapp ...")
        bootstrap(registry, project.images(), load_model(), lambda **_: None)
    finally:
        registry.close()
    return project


def demo_patients(count: int) -> list[PatientPlan]:
    """The first patients of a routine cohort of whom a chest is scanned."""
    from datastore.phantom.cohorts import draw_plan

    plans = (draw_plan("routine", number, seed=0) for number in itertools.count(1))
    return list(itertools.islice((plan for plan in plans if plan.view_kind in SHOWN), count))


def _free(port: int) -> int:
    """The port, or 0 (any) if something listens on it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
    return port


def _answers(address: str) -> bool:
    for path in ("/", "/info/"):
        with urllib.request.urlopen(address + path, timeout=60) as response:
            response.read()
    return True
