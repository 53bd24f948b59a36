"""MONAI Label's scoring tasks: in-process, on our own server, and on the stock one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import REPOSITORY, PhantomProject, free_port, live_server, our_server, stock_server
from fastapi.testclient import TestClient
from registries import label

from datastore.mask_difference import Difference, compare
from datastore.records import Kind, NewLabel
from datastore.registry import Registry
from datastore.volume import Volume
from lungapp.app import LungApp
from lungapp.scoring import DiceScoring, scoring_methods
from lungapp.server import create_app

SMALL = {"shape": (24, 40, 40), "spacing_mm": (12.0, 9.0, 9.0)}
WAIT_S = 20.0


@pytest.fixture
def made(make_project: Callable[..., PhantomProject]) -> PhantomProject:
    """Case 0001 has an accepted correction, 0002 only a submitted one, 0003 an accepted mask made without a model."""
    made = make_project(3, **SMALL)
    registry = made.project.registry()
    for case_id, lowest in (("0001", 12), ("0002", 12)):
        preliminary(registry, made, case_id, lowest)
    accepted = registry.add_label("0001", lungs(registry, made, "0001", 10), label(findings=()))
    registry.accept(accepted.id, "rita")
    registry.add_label("0002", lungs(registry, made, "0002", 10), label(findings=()))
    registry.accept(registry.add_label("0003", lungs(registry, made, "0003", 0), label(findings=())).id, "rita")
    preliminary(registry, made, "0001", 0)  # of a later model: not what the correction began with
    registry.close()
    return made


def lungs(registry: Registry, made: PhantomProject, case_id: str, lowest: int) -> Volume:
    mask = made.phantoms[case_id].lungs.array.copy()
    mask[:lowest] = 0
    return Volume(mask, registry.case(case_id).geometry)


def preliminary(registry: Registry, made: PhantomProject, case_id: str, lowest: int) -> None:
    new = NewLabel(Kind.PRELIMINARY, author="lungapp", tool="unet", model=f"unet-{lowest}")
    registry.add_label(case_id, lungs(registry, made, case_id, lowest), new)


def expected(made: PhantomProject, before: int = 12, after: int = 10) -> Difference:
    registry = made.project.registry()
    found = compare(lungs(registry, made, "0001", before), lungs(registry, made, "0001", after))
    registry.close()
    return found


@pytest.fixture
def app(made: PhantomProject) -> Iterator[LungApp]:
    app = LungApp(str(REPOSITORY / "lungapp"), str(made.project.folder), {})
    yield app
    app.finish_checks()


@pytest.fixture
def client(app: LungApp) -> Iterator[TestClient]:
    with TestClient(create_app(app), base_url="http://127.0.0.1") as client:
        yield client


def ended(client: TestClient) -> dict[str, Any]:
    """The newest job once it has ended."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        job: dict[str, Any] = client.get("/scoring/").json()
        if job["status"] not in ("SUBMITTED", "RUNNING"):
            return job
        time.sleep(0.01)
    pytest.fail("the job did not end")


def test_models_masks_are_scored_against_accepted_ones(made: PhantomProject, app: LungApp) -> None:
    scores = app.scoring({"method": "dice"})
    dice = expected(made).dice
    assert list(scores) == ["0001"]
    assert scores["0001"] == pytest.approx((dice["right_lung"] + dice["left_lung"]) / 2)
    assert 0.5 < scores["0001"] < 1.0
    assert app.scoring({"method": "dice_per_lung"}) == {"0001": pytest.approx(dice)}
    assert set(app.info()["scoring"]) == {"dice", "dice_per_lung"}


def test_a_mask_accepted_without_a_model_is_scored_against_one_that_came_later(
    made: PhantomProject, app: LungApp
) -> None:
    preliminary(app.registry, made, "0003", 11)
    assert set(app.scoring({"method": "dice"})) == {"0001", "0003"}


def test_a_file_that_is_missing_is_no_score_and_stops_nothing(made: PhantomProject, app: LungApp) -> None:
    preliminary(app.registry, made, "0003", 11)
    app.registry.labels("0001")[0].path.unlink()
    scores = app.scoring({"method": "dice"})
    assert scores["0001"] is None
    assert scores["0003"] is not None


def test_scoring_changes_nothing(made: PhantomProject, app: LungApp) -> None:
    before = app.datastore().json(), app.registry.events()
    app.scoring({"method": "dice"})
    assert (app.datastore().json(), app.registry.events()) == before


def test_our_server_scores_and_waits_if_asked(client: TestClient, made: PhantomProject) -> None:
    assert client.get("/scoring/").status_code == 404
    answer = client.post("/scoring/dice?run_sync=true")
    assert answer.status_code == 200
    assert answer.json() == {"0001": pytest.approx(expected(made).mean_dice)}
    assert client.post("/scoring/nonsense").status_code == 404
    assert client.post("/scoring/dice", content="[1]").status_code == 422


def test_a_job_is_told_of_as_monai_label_tells_it(client: TestClient) -> None:
    begun = client.post("/scoring/dice_per_lung", json={"dice": {}}).json()
    assert set(begun) >= {"id", "status", "request", "start_ts"}
    assert begun["request"] == {"method": "dice_per_lung"}
    job = ended(client)
    assert (job["id"], job["status"], job["details"]) == (begun["id"], "DONE", [])
    assert set(job["result"]["0001"]) == {"right_lung", "left_lung"}
    assert job["end_ts"] >= job["start_ts"]
    assert client.get("/scoring/?check_if_running=true").status_code == 404
    assert [each["id"] for each in client.get("/scoring/?all=true").json()] == [begun["id"]]
    assert client.delete("/scoring/").json() is None


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A scoring method that waits until this is set, or until it is stopped."""
    release = threading.Event()

    def wait(self: DiceScoring, request: object, datastore: object, is_stopped: Callable[[], bool]) -> dict[str, float]:
        deadline = time.monotonic() + WAIT_S
        while not (release.wait(0.01) or is_stopped()) and time.monotonic() < deadline:
            pass
        return {"0001": 0.5}

    monkeypatch.setattr(DiceScoring, "__call__", wait)
    yield release
    release.set()


def test_nothing_waits_for_scoring_and_a_second_job_is_refused(client: TestClient, held: threading.Event) -> None:
    first = client.post("/scoring/dice").json()
    assert client.get("/scoring/?check_if_running=true").json()["id"] == first["id"]
    assert client.get("/info/").status_code == 200
    assert client.post("/activelearning/random", json={"client_id": "ann"}).status_code == 200
    assert client.post("/scoring/dice").status_code == 429
    held.set()
    assert ended(client)["result"] == {"0001": 0.5}
    assert client.post("/scoring/dice?run_sync=true").json() == {"0001": 0.5}


def test_a_job_can_be_stopped(client: TestClient, held: threading.Event) -> None:
    client.post("/scoring/dice")
    assert client.delete("/scoring/").json()["status"] == "STOPPED"
    assert ended(client)["status"] == "STOPPED"
    assert not held.is_set()


def test_a_method_that_is_stopped_scores_no_further_case(made: PhantomProject, app: LungApp) -> None:
    preliminary(app.registry, made, "0003", 11)
    answers = iter([False, True])
    scores = scoring_methods(app.registry)["dice"]({}, app.datastore(), lambda: next(answers))
    assert list(scores) == ["0001"]


def test_a_job_that_fails_says_why(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: DiceScoring, *_: object) -> None:
        raise RuntimeError("no\nmemory")

    monkeypatch.setattr(DiceScoring, "__call__", fail)
    answer = client.post("/scoring/dice?run_sync=true")
    assert (answer.status_code, answer.json()["detail"]) == (500, "RuntimeError: no memory")
    assert (ended(client)["status"], ended(client)["details"]) == ("ERROR", ["RuntimeError: no memory"])


def test_a_server_that_stops_stops_its_scoring(app: LungApp, held: threading.Event) -> None:
    with TestClient(create_app(app), base_url="http://127.0.0.1") as client:
        client.post("/scoring/dice")
        begun = time.monotonic()
    assert time.monotonic() - begun < WAIT_S / 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ours", "stock"])
def test_both_servers_score_over_http(made: PhantomProject, tmp_path: Path, kind: str) -> None:
    port = free_port()
    command = {"ours": our_server, "stock": stock_server}[kind](made.project, port)
    dice = expected(made).mean_dice
    with live_server(command, port, tmp_path / "server.log") as server:
        assert set(requests.get(f"{server.address}/info/", timeout=60).json()["scoring"]) == {"dice", "dice_per_lung"}
        waited = requests.post(f"{server.address}/scoring/dice", params={"run_sync": "true"}, timeout=60)
        assert waited.json() == {"0001": pytest.approx(dice)}
        begun = requests.post(f"{server.address}/scoring/dice", timeout=60).json()
        deadline = time.monotonic() + 120
        job = begun
        while job["status"] in ("SUBMITTED", "RUNNING") and time.monotonic() < deadline:
            time.sleep(0.2)
            job = requests.get(f"{server.address}/scoring/", timeout=60).json()
        assert (job["id"], job["status"]) == (begun["id"], "DONE")
        told = str(job["result"] if kind == "ours" else job["details"])
        assert str(dice)[:8] in told
