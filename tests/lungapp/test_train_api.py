"""Training over HTTP, as MONAI Label's clients ask for and read it. No worker runs: rounds stay where they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import REPOSITORY
from fastapi.testclient import TestClient
from registries import mask, new_case, submit_and_accept

from datastore.image_files import write_mask
from datastore.records import Split
from datastore.registry import CaseFilter, Registry
from datastore.round_records import RoundState
from lungapp import train_api
from lungapp.app import LungApp
from lungapp.project import Project, init_project
from lungapp.rounds.lock import WorkerLock
from lungapp.server import create_app


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = init_project(tmp_path / "study")
    registry = made.registry()
    registry.add_cases([new_case(f"case-{number}", study_uid=f"1.{number}") for number in range(20)])
    registry.close()
    return made


@pytest.fixture
def registry(project: Project) -> Iterator[Registry]:
    opened = project.registry()
    yield opened
    opened.close()


def client_of(project: Project) -> TestClient:
    app = LungApp(str(REPOSITORY / "lungapp"), str(project.folder), {})
    return TestClient(create_app(app), base_url="http://127.0.0.1")


@pytest.fixture
def client(project: Project) -> Iterator[TestClient]:
    with client_of(project) as opened:
        yield opened


def accept_one(registry: Registry) -> str:
    return submit_and_accept(registry, registry.case_ids(CaseFilter(split=Split.TRAIN))[0])


def test_before_the_first_round_nothing_runs_and_the_trainer_is_there(client: TestClient) -> None:
    assert client.get("/train/?check_if_running=true").status_code == 404
    assert client.get("/train/").status_code == 404
    assert client.get("/train/?all=true").json() == []
    assert client.delete("/train/").json() == {}
    info = client.get("/info/").json()
    assert list(info["trainers"]) == ["unet"] and info["trainers"]["unet"]["config"] == {}
    assert info["train_stats"] == {"unet": {}}


def test_what_cannot_be_trained_is_refused_in_one_line(client: TestClient, registry: Registry) -> None:
    nothing = client.post("/train/unet", json={"client_id": "slicer"})
    assert nothing.status_code == 409
    assert nothing.json()["detail"].startswith(
        "there is nothing to train on: no case of the split train has an accepted"
    )
    unknown = client.post("/train/segmentation_spleen", json={})
    assert (unknown.status_code, unknown.json()["detail"]) == (404, "no trainer 'segmentation_spleen': expected unet")
    assert registry.rounds() == []


@pytest.mark.parametrize("path", ["/train/unet", "/train/"])
def test_the_train_button_queues_one_round(client: TestClient, registry: Registry, path: str) -> None:
    accept_one(registry)
    answer = client.post(path, json={"max_epochs": 1, "client_id": "slicer"}).json()
    task = answer if path == "/train/unet" else answer["unet"]["result"]
    assert (task["id"], task["status"], "start_ts" in task) == ("round-0001", "SUBMITTED", True)
    again = client.post(path, json={})
    assert again.status_code == 429
    assert again.json()["detail"] == "training is running already: round 1 is queued"
    (made,) = registry.rounds()
    assert (made.trigger, made.state) == ("Train button", RoundState.QUEUED)
    assert client.get("/train/?check_if_running=true").json()["id"] == "round-0001"


def test_status_and_statistics_follow_the_round_and_survive_the_server(project: Project, registry: Registry) -> None:
    accept_one(registry)
    registry.request_round("by hand", {}, 0)
    registry.begin_round(1)
    training = {"epoch": 3, "epochs": 20, "loss": 0.0312, "best_dice": 0.91, "left_s": 720.0}
    told = {"step": "train", "done": 600, "total": 4000, "training": training}
    registry.report_progress(1, told)
    lock = WorkerLock(project.rounds)
    assert lock.acquire()  # a worker is at it
    for _ in range(2):  # another server knows as much
        with client_of(project) as client:
            task = client.get("/train/").json()
            assert (task["id"], task["status"]) == ("round-0001", "RUNNING")
            assert task["details"] == ["training, epoch 3 of 20, loss 0.0312, best Dice 0.9100, 12 min left"]
            assert "end_ts" not in task
            assert client.get("/train/?check_if_running=true").status_code == 200
            stats = client.get("/info/").json()["train_stats"]["unet"]
            assert (stats["epoch"], stats["total_epochs"], stats["best_metric"]) == (3, 20, 0.91)
            assert "total_time" not in stats and stats["current_time"].startswith("0:00:")
            assert client.post("/train/unet", json={}).status_code == 429
    registry.report_progress(1, {"step": "judge", "done": 1, "total": 4})
    lock.release()  # it dies
    with client_of(project) as client:
        task = client.get("/train/").json()
        assert (task["status"], task["details"]) == (
            "RUNNING",
            ["interrupted at judging 1 of 4", "no worker is running: `lungapp worker` does the work"],
        )
        assert client.get("/info/").json()["train_stats"]["unet"]["epoch"] == 3
        registry.end_round(1, RoundState.PUBLISHED, decision="better in fibrosis")
        task = client.get("/train/").json()
        assert (task["status"], task["details"]) == ("DONE", ["better in fibrosis"]) and task["end_ts"]
        assert client.get("/train/?check_if_running=true").status_code == 404
        stats = client.get("/info/").json()["train_stats"]["unet"]
        assert stats["total_time"].startswith("0:00:") and "current_time" not in stats
        assert stats["state"] == "published"


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (RoundState.HELD_BACK, "DONE"),
        (RoundState.FAILED, "ERROR"),
        (RoundState.CANCELLED, "STOPPED"),
    ],
)
def test_an_end_has_the_status_that_clients_know(
    client: TestClient, registry: Registry, state: RoundState, status: str
) -> None:
    registry.request_round("by hand", {}, 0)
    registry.begin_round(1)
    registry.end_round(1, state, decision="why")
    task = client.get("/train/").json()
    assert (task["status"], task["details"]) == (status, ["why"])
    assert [each["id"] for each in client.get("/train/?all=true").json()] == ["round-0001"]


def test_the_round_at_work_is_shown_and_stopped_before_the_one_in_line(client: TestClient, registry: Registry) -> None:
    registry.request_round("by hand", {}, 0)
    registry.begin_round(1)
    registry.request_round("25 corrections", {}, 0)
    assert client.get("/train/").json()["id"] == "round-0001"
    stopped = client.delete("/train/").json()
    assert (stopped["id"], stopped["status"]) == ("round-0001", "STOPPED")
    assert registry.round(1).state is RoundState.CANCELLED  # at once: no worker is there
    assert client.get("/train/").json()["id"] == "round-0002"
    assert client.delete("/train/").json()["status"] == "STOPPED"
    assert registry.round(2).state is RoundState.CANCELLED
    assert client.delete("/train/").json() == {}


def submit(client: TestClient, project: Project, case_id: str) -> None:
    path = project.cache / "mask.nii.gz"
    two = mask()
    two.array[:, :, 3:] = 2
    write_mask(two, path, overwrite=True)
    with open(path, "rb") as file:
        answer = client.put(f"/datastore/label?image={case_id}", files={"label": ("mask.nii.gz", file)})
    assert answer.status_code == 200, answer.text


def test_a_submission_never_stops_a_round(
    client: TestClient, project: Project, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """3D Slicer's automatic training: a stop and a new training after each submission."""
    registry.request_round("by hand", {}, 0)
    registry.begin_round(1)
    submit(client, project, "0001")
    refused = client.delete("/train/")
    assert refused.status_code == 409 and "round 1 goes on: a mask was submitted just now" in refused.json()["detail"]
    assert client.post("/train/unet", json={}).status_code == 429
    assert registry.round(1).state is RoundState.RUNNING
    monkeypatch.setattr(train_api, "AUTOMATIC_SECONDS", 0.0)  # somebody presses Stop later
    assert client.delete("/train/").json()["status"] == "STOPPED"
