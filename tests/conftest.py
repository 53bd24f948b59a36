"""Phantoms, throw-away projects and live servers for all tests."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import postgres
import pytest
import torch
from sqlalchemy import create_engine, text

from datastore.geometry import Geometry
from datastore.nifti import write_nifti
from datastore.phantom import Phantom, chest_phantom
from datastore.registry import Registry
from datastore.secret import SECRET_FILE
from datastore.volume import Volume
from infers.model_store import STORE_VARIABLE
from lungapp.ingest import ingest
from lungapp.project import Project, init_project

torch.set_num_threads(1)

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED_DATA = REPOSITORY.parent / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def no_models_of_your_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whoever runs the tests may have imported models; they stay out of it."""
    os.environ[STORE_VARIABLE] = str(tmp_path_factory.mktemp("models"))


@pytest.fixture
def own_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own folder of models, not made yet."""
    monkeypatch.setenv(STORE_VARIABLE, str(tmp_path / "own-models"))
    return tmp_path / "own-models"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real CT; tests that need it are skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real CT is not here: {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session")
def phantom() -> Phantom:
    return chest_phantom(seed=1)


@pytest.fixture
def small_volume() -> Volume:
    """A volume of 4 x 5 x 6 different Hounsfield units on an oblique grid."""
    array = np.arange(120, dtype=np.int16).reshape(4, 5, 6) - 60
    angle = np.deg2rad(20)
    direction = (np.cos(angle), -np.sin(angle), 0.0, np.sin(angle), np.cos(angle), 0.0, 0.0, 0.0, 1.0)
    geometry = Geometry((0.7, 0.8, 2.5), (-101.25, 33.3, -700.125), tuple(float(v) for v in direction))
    return Volume(array, geometry)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    with postgres.cluster() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty database, on each of the two."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'registry.sqlite'}"
    url = str(request.getfixturevalue("postgres_url"))
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
    return url


@pytest.fixture
def registry(database_url: str, tmp_path: Path) -> Iterator[Registry]:
    """An empty registry on each of the two databases."""
    (tmp_path / SECRET_FILE).write_text("5a" * 32)  # patients fall into the same splits in every run
    opened = Registry.open(database_url, tmp_path / "labels")
    yield opened
    opened.close()


@dataclass(frozen=True)
class PhantomProject:
    """A project of phantoms; `phantoms` by case id."""

    project: Project
    phantoms: dict[str, Phantom]


@pytest.fixture
def make_project(tmp_path: Path) -> Callable[..., PhantomProject]:
    """Makes a project with some phantoms ingested."""

    def make(count: int = 2, **how: object) -> PhantomProject:
        project = init_project(tmp_path / "study")
        scans = tmp_path / "scans"
        scans.mkdir()
        phantoms = {}
        for number in range(1, count + 1):
            made = chest_phantom(number, **how)  # type: ignore[arg-type]
            write_nifti(made.image, scans / f"phantom-{number:02d}.nii.gz", compression=1)
            phantoms[f"{number:04d}"] = made
        registry = project.registry()
        report = ingest(registry, [scans], lambda: None)
        registry.close()
        assert [case.id for case in report.added] == list(phantoms)
        return PhantomProject(project, phantoms)

    return make


@dataclass
class LiveServer:
    """A server process on a real port."""

    address: str
    process: subprocess.Popen[bytes]


@contextmanager
def live_server(command: list[str], port: int, log: Path, *, worker: bool = False) -> Iterator[LiveServer]:
    """Run a server until the block ends, with a worker beside it or without; its output goes to `log`."""
    keeps = {"LUNGAPP_ROUNDS__WORKER": str(worker).lower()}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **keeps}
    with open(log, "wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment, cwd=REPOSITORY)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_until_it_answers(address, process, log)
        yield LiveServer(address, process)
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def our_server(project: Project, port: int) -> list[str]:
    return [sys.executable, "-m", "lungapp", "serve", "-p", str(project.folder), "--port", str(port)]


def stock_server(project: Project, port: int) -> list[str]:
    monailabel = [sys.executable, "-m", "monailabel.main", "start_server"]
    app = ["--app", str(REPOSITORY / "lungapp"), "--studies", str(project.folder)]
    return [*monailabel, *app, "--host", "127.0.0.1", "--port", str(port)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_it_answers(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"the server stopped with code {process.returncode}: {log.read_text()[-2000:]}")
        try:
            urllib.request.urlopen(address + "/info/", timeout=60).read()
            return
        except urllib.error.HTTPError as error:
            pytest.fail(f"/info/ answered {error.code}: {log.read_text()[-2000:]}")
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"the server did not answer within two minutes: {log.read_text()[-2000:]}")
