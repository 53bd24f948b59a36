"""The unmodified MONAI Label client class starts, follows and stops a training, on our server and on the stock one."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import PhantomProject, free_port, live_server, our_server, stock_server
from phantom_studies import phantom_study
from registries import label

with warnings.catch_warnings():  # its `import cgi`
    warnings.simplefilter("ignore", DeprecationWarning)
    from monailabel.client import MONAILabelClient
    from monailabel.client.client import MONAILabelClientException

from datastore.registry import Registry
from datastore.round_records import RoundState
from lungapp.rounds.queueing import cancel

PATIENCE_SECONDS = 200


@pytest.fixture
def made(tmp_path: Path) -> PhantomProject:
    return phantom_study(tmp_path, 2)


@pytest.fixture
def registry(made: PhantomProject) -> Iterator[Registry]:
    opened = made.project.registry()
    yield opened
    opened.close()


def accept_all(registry: Registry, made: PhantomProject) -> None:
    for case_id, phantom in made.phantoms.items():
        registry.accept(registry.add_label(case_id, phantom.lungs, label(findings=())).id, "rita")


def until(seen: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := seen()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_start_status_and_stop_on_our_server(made: PhantomProject, registry: Registry, tmp_path: Path) -> None:
    port = free_port()
    with live_server(our_server(made.project, port), port, tmp_path / "server.log", worker=True) as server:
        slicer = MONAILabelClient(server.address, str(tmp_path), client_id="slicer-ann")
        assert list(slicer.info()["trainers"]) == ["unet"]
        assert slicer.train_status(check_if_running=True) is False
        with pytest.raises(MONAILabelClientException, match="nothing to train on"):
            slicer.train_start("unet", {})
        accept_all(registry, made)
        task = slicer.train_start("unet", {"max_epochs": 3})
        assert {"id", "status", "start_ts"} <= set(task)
        assert slicer.train_status(check_if_running=True) is True
        with pytest.raises(MONAILabelClientException, match="429"):
            slicer.train_start("unet", {})
        until(lambda: slicer.train_status()["status"] == "RUNNING")
        until(lambda: "training" in slicer.train_status()["details"][0])
        assert slicer.info()["train_stats"]["unet"]["state"] == "running"
        assert slicer.train_stop()["status"] == "STOPPED"
        until(lambda: slicer.train_status(check_if_running=True) is False)
        assert slicer.train_status()["status"] == "STOPPED"
    assert registry.round(1).state is RoundState.CANCELLED
    with live_server(our_server(made.project, port), port, tmp_path / "server.log", worker=True) as server:
        again = MONAILabelClient(server.address, str(tmp_path), client_id="slicer-ann")
        assert (again.train_status()["id"], again.train_status()["status"]) == ("round-0001", "STOPPED")
        assert again.info()["train_stats"]["unet"]["state"] == "cancelled"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_stock_server_runs_the_same_rounds(made: PhantomProject, registry: Registry, tmp_path: Path) -> None:
    """Its Stop kills the process that trains: the round is interrupted, and the next Train goes on with it."""
    port = free_port()
    with live_server(stock_server(made.project, port), port, tmp_path / "server.log") as server:
        slicer = MONAILabelClient(server.address, str(tmp_path), client_id="slicer-ann")
        slicer.train_start("unet", {})
        until(lambda: slicer.train_status()["status"] == "ERROR")
        assert any("there is nothing to train on" in line for line in slicer.train_status()["details"])
        accept_all(registry, made)
        assert {"id", "status", "start_ts"} <= set(slicer.train_start("unet", {}))
        until(lambda: registry.rounds() and registry.round(1).progress.get("step") == "train")
        assert slicer.info()["train_stats"]["unet"]["state"] == "running"
        assert slicer.train_status(check_if_running=True) is True
        slicer.train_stop()
        assert slicer.train_status(check_if_running=True) is False
        until(lambda: slicer.info()["train_stats"]["unet"]["state"] == "interrupted")
        slicer.train_start("unet", {})
        until(lambda: registry.round(1).state is RoundState.RUNNING)
        cancel(made.project, registry, 1)
        until(lambda: slicer.train_status()["status"] == "ERROR")
        assert any("round 1 cancelled" in line for line in slicer.train_status()["details"])
    assert [made.state for made in registry.rounds()] == [RoundState.CANCELLED]
