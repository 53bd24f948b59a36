"""Real rounds, small ones: whatever is killed, and whenever, the round ends with the weights of an undisturbed one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import REPOSITORY, free_port, live_server, our_server
from killed_worker import MOMENTS
from phantom_studies import accept_truth, phantom_study

from datastore.atomic import sha256_of
from datastore.round_records import RoundState
from infers.manifest import WEIGHTS
from infers.model_store import ModelStore
from lungapp.project import Project, open_project
from lungapp.rounds.lock import WorkerLock
from lungapp.rounds.supervisor import worker_command

TRAINED, OPEN, LOCKED = ("0001", "0002", "0003"), ("0004", "0005"), ("0006", "0007")
SHORT = {"epochs": 3, "steps_per_epoch": 4, "with_lung": 2, "without_lung": 1}
LENIENT = {"dice_margin": 1.0, "tag_dice_margin": 1.0, "hd95_margin_mm": 1000.0}  # so few steps may make it worse
PATIENCE_SECONDS = 200
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'tests'}",
}


@pytest.fixture
def prepared(tmp_path: Path) -> Project:
    """A project with accepted masks, open cases, locked ones, and a round in line."""
    made = phantom_study(tmp_path, len(TRAINED) + len(OPEN), locked=len(LOCKED), **SHORT, **LENIENT)
    registry = made.project.registry()
    for case_id in (*TRAINED, *LOCKED):
        accept_truth(registry, made, case_id)
    registry.request_round("by hand", made.project.settings.round_config(), seed=5)
    registry.close()
    return made.project


def copy_of(project: Project, name: str) -> Project:
    """The same study once more: its patients keep their keys, by which minibatches are drawn."""
    return open_project(shutil.copytree(project.folder, project.folder.with_name(name)))


def work(project: Project, *command: str) -> int:
    """Run a worker to its end, whatever that is; its exit code."""
    return subprocess.run(
        command or worker_command(project, "--until-idle"), env=ENVIRONMENT, cwd=REPOSITORY
    ).returncode


def outcome(project: Project) -> tuple[object, ...]:
    """What became of the round."""
    registry = project.registry()
    ended, masks = registry.round(1), [registry.labels(case_id)[-1] for case_id in OPEN]
    assert ended.refreshed_at is not None
    assert (ended.candidate, ended.champion) == ("round-0001", "bootstrap")
    assert {mask.number for mask in masks} == {1}, "each open case got one mask"
    models = [(model.version, model.round_number, model.published_at is not None) for model in registry.models()]
    assert models == [("round-0001", 1, True)]
    registry.close()
    store = ModelStore(project.models)
    assert store.served() == "round-0001" and list(store.check()) == []
    weights = sha256_of(store.folder / "round-0001" / WEIGHTS)
    assert weights == sha256_of(project.round_folder(1) / WEIGHTS)
    judged = ended.metrics["judging"]
    return ended.state, ended.decision, judged, weights, tuple(mask.sha256 for mask in masks), ended.label_ids


def until(seen: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not seen():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def undisturbed(project: Project) -> tuple[object, ...]:
    twin = copy_of(project, "undisturbed")
    assert work(twin) == 0
    ended = outcome(twin)
    assert ended[0] is RoundState.PUBLISHED, ended[1]
    return ended


@pytest.mark.slow
def test_a_worker_that_is_killed_in_each_step_comes_to_the_same_end(prepared: Project) -> None:
    script = str(REPOSITORY / "tests" / "killed_worker.py")
    for moment in MOMENTS:
        assert work(prepared, sys.executable, script, str(prepared.folder), moment) == -signal.SIGKILL, moment
    assert work(prepared) == 0
    assert outcome(prepared) == undisturbed(prepared)
    log = (prepared.round_folder(1) / "log.txt").read_text()
    assert "epoch 3/3, step 12/12" in log and "Traceback" not in log


def worker_of(project: Project) -> int:
    until(lambda: not WorkerLock(project.rounds).is_free() and WorkerLock(project.rounds).holder())
    return int(WorkerLock(project.rounds).holder().split()[1])


@pytest.mark.slow
def test_a_server_that_is_killed_alone_and_with_its_worker_changes_nothing(prepared: Project, tmp_path: Path) -> None:
    registry, port = prepared.registry(), free_port()

    def is_in(step: str) -> bool:
        return registry.round(1).progress.get("step") == step

    with live_server(our_server(prepared, port), port, tmp_path / "server.log", worker=True) as server:
        until(lambda: is_in("train"))
        worker = worker_of(prepared)
        server.process.kill()
        server.process.wait()
        until(WorkerLock(prepared.rounds).is_free)  # it noticed
        assert not registry.round(1).has_ended
    with live_server(our_server(prepared, port), port, tmp_path / "server.log", worker=True) as server:
        until(lambda: is_in("judge"))
        worker = worker_of(prepared)
        os.kill(worker, signal.SIGKILL)
        server.process.kill()
        server.process.wait()
        assert not registry.round(1).has_ended
    with live_server(our_server(prepared, port), port, tmp_path / "server.log", worker=True):
        until(lambda: registry.round(1).refreshed_at)
    registry.close()
    assert outcome(prepared) == undisturbed(prepared)
