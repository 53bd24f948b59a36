"""Leases over HTTP, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY
from fastapi.testclient import TestClient
from httpx import Response
from registries import label, mask, new_case
from sqlalchemy import create_engine, text

from datastore.image_files import write_mask
from datastore.nifti import write_nifti
from datastore.phantom import Phantom, chest_phantom
from datastore.records import NewCase, Source
from datastore.registry import Registry
from lungapp.app import MOST_UNREADABLE, LungApp
from lungapp.project import init_project
from lungapp.server import create_app

JSON = {"content-type": "application/json"}
HALF_A_MINUTE = timedelta(seconds=30)


class Served:
    """A project of small real images behind a test client."""

    def __init__(self, client: TestClient, registry: Registry, phantom: Phantom, scans: Path) -> None:
        self.client = client
        self.registry = registry
        self.phantom = phantom
        self.scans = scans

    def add_case(self, name: str, *, image: bool = True) -> str:
        path = self.scans / f"{name}.nii.gz"
        if image:
            write_nifti(self.phantom.image, path, compression=1)
        volume = self.phantom.image
        return self.registry.add_case(NewCase(Source(path), volume.array.shape, volume.geometry))[0].id

    def lease(self, case_id: str, action: str = "", /, **fields: Any) -> Response:
        return self.client.post(f"/lease/{case_id}{action}", json=fields)

    def next(self, client_id: str) -> str | None:
        answer = self.client.post("/activelearning/random", json={"client_id": client_id})
        assert answer.status_code == 200, answer.text
        return answer.json().get("id")

    def until(self, case_id: str) -> datetime:
        until = self.registry.case(case_id).leased_until
        assert until is not None
        return until


@pytest.fixture
def served(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("LUNGAPP_DATABASE__URL", database_url)
    project = init_project(tmp_path / "study")
    (tmp_path / "scans").mkdir()
    app = LungApp(str(REPOSITORY / "lungapp"), str(project.folder), {})
    with TestClient(create_app(app), base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        yield Served(client, app.registry, chest_phantom(1, (8, 16, 16), (40.0, 24.0, 24.0)), tmp_path / "scans")


def test_a_case_is_taken_kept_and_given_back(served: Served) -> None:
    for name in "ab":
        served.add_case(name)
    taken = served.lease("0001", client_id="ann")
    assert taken.status_code == 200
    assert taken.json()["case"] == "0001" and taken.json()["base"] is None
    until = datetime.fromisoformat(taken.json()["until"])
    assert HALF_A_MINUTE < until - datetime.now(UTC) <= timedelta(minutes=30)
    assert served.next("bob") == "0002"
    assert served.next("cid") is None
    later = served.lease("0001", "/heartbeat", client_id="ann")
    assert datetime.fromisoformat(later.json()["until"]) > until
    assert datetime.fromisoformat(served.lease("0001", client_id="ann").json()["until"]) > until
    assert served.lease("0001", "/release", client_id="ann").json() == {}
    assert served.next("cid") == "0001"
    assert served.lease("0001", "/heartbeat", client_id="ann").status_code == 404


def test_a_case_that_somebody_else_holds_is_refused_without_saying_who(served: Served) -> None:
    served.add_case("a")
    served.lease("0001", client_id="ann-of-radiology")
    refused = served.lease("0001", client_id="bob")
    assert refused.status_code == 409
    assert "case 0001 is held by somebody else until" in refused.json()["detail"]
    assert "ann" not in refused.text
    for action in ("/release", "/skip"):
        assert served.lease("0001", action, client_id="bob").status_code == 200
        assert served.registry.case("0001").leased_by == "ann-of-radiology"
    assert served.lease("0001", "/heartbeat", client_id="bob").status_code == 404


def test_a_skipped_case_goes_to_others_and_not_back(served: Served) -> None:
    served.add_case("a")
    assert served.next("ann") == "0001"
    assert served.lease("0001", "/skip", client_id="ann", reason="too noisy").json() == {}
    assert served.next("ann") is None
    assert served.next("bob") == "0001"
    skipped = [event for event in served.registry.events("0001") if event.action == "case.skipped"]
    assert [(event.actor, event.detail) for event in skipped] == [("ann", {"reason": "too noisy"})]


def test_a_taken_case_says_which_version_its_mask_goes_on_from(served: Served) -> None:
    served.registry.add_case(new_case("a"))
    made = served.registry.add_label("0001", mask(), label())
    assert served.lease("0001", client_id="bob").json()["base"] == made.id


@pytest.mark.parametrize("action", ["", "/heartbeat", "/skip", "/release"])
def test_bad_requests_are_refused_in_one_line(served: Served, action: str) -> None:
    served.add_case("a")
    for answer, status, reason in (
        (served.lease("0002", action, client_id="ann"), 404, "no case '0002'"),
        (served.lease("x", action, client_id="ann"), 400, "bad image id 'x'"),
        (served.lease("1e3", action, client_id="ann"), 400, "bad image id"),
        (served.lease("0001", action), 422, "client_id: Field required"),
        (served.lease("0001", action, client_id=""), 422, "client_id: "),
        (served.lease("0001", action, client_id="a" * 201), 422, "client_id: "),
        (served.lease("0001", action, client_id=7), 422, "client_id: "),
        (served.lease("0001", action, client_id="a\0b"), 422, "client_id: "),
        (served.lease("0001", action, client_id="ann", holder="bob"), 422, "holder: "),
        (served.client.post(f"/lease/0001{action}"), 422, "body: Field required"),
        (served.client.post(f"/lease/0001{action}", content=b"{", headers=JSON), 422, "JSON decode error"),
    ):
        assert answer.status_code == status, answer.text
        assert reason in answer.json()["detail"]
        assert "\n" not in answer.json()["detail"]
    assert served.client.post(f"/lease/..%2f0001{action}", json={"client_id": "ann"}).status_code == 404
    assert served.client.get(f"/lease/0001{action}").status_code == 405
    assert served.registry.leases() == []


def test_words_that_no_database_keeps_do_no_harm_wherever_they_come(served: Served) -> None:
    served.add_case("a")
    lungs = served.scans / "lungs.nii.gz"
    write_mask(served.phantom.lungs, lungs)
    for word in (r"a\u0000b", r"a\ud800b"):
        answers = [
            served.client.post("/activelearning/random", content=f'{{"client_id": "{word}"}}', headers=JSON),
            served.client.post("/infer/threshold?image=0001", data={"params": f'{{"client_id": "{word}"}}'}),
            served.client.post("/lease/0001/skip", content=f'{{"client_id": "ann", "reason": "{word}"}}', headers=JSON),
        ]
        for field in ("client_id", "parent", "tool", "model"):
            upload = {"label": ("m.nii.gz", lungs.read_bytes())}
            params = {"params": f'{{"{field}": "{word}"}}'}
            answers.append(served.client.put("/datastore/label?image=0001", files=upload, data=params))
        for answer in answers:
            assert answer.status_code in (200, 400, 422), answer.text
            assert answer.status_code == 200 or "\n" not in answer.json()["detail"]
    for made in served.registry.labels("0001"):
        assert "\0" not in f"{made.client_id}{made.tool}{made.model}"


def test_asking_for_a_mask_and_saving_a_draft_keep_the_lease(served: Served) -> None:
    served.add_case("a")
    assert served.next("ann") == "0001"
    before = served.until("0001")
    asked = {"params": '{"client_id": "ann"}'}
    assert served.client.post("/infer/threshold?image=0001", data=asked).status_code == 200
    after_infer = served.until("0001")
    assert after_infer > before
    lungs = served.scans / "lungs.nii.gz"
    write_mask(served.phantom.lungs, lungs)

    def save(tag: str) -> None:
        upload = {"label": ("m.nii.gz", lungs.read_bytes())}
        saved = served.client.put(f"/datastore/label?image=0001&tag={tag}", files=upload, data=asked)
        assert saved.status_code == 200, saved.text

    save("draft")
    assert served.until("0001") > after_infer
    assert served.next("bob") is None
    kept = served.until("0001")
    other = {"params": '{"client_id": "bob"}'}
    assert served.client.post("/infer/threshold?image=0001", data=other).status_code == 200
    assert served.until("0001") == kept
    save("final")
    assert served.registry.leases() == []


def test_work_on_a_lease_that_ran_out_does_not_take_the_case_again(served: Served) -> None:
    served.add_case("a")
    assert served.next("ann") == "0001"
    with create_engine(served.registry.engine.url).begin() as connection:
        connection.execute(text("UPDATE lease SET expires_at = granted_at"))
    assert served.next("bob") == "0001"
    asked = {"params": '{"client_id": "ann"}'}
    assert served.client.post("/infer/threshold?image=0001", data=asked).status_code == 200
    assert served.registry.case("0001").leased_by == "bob"
    assert served.lease("0001", "/heartbeat", client_id="ann").status_code == 404


def test_when_many_images_in_a_row_are_gone_it_is_the_disk(served: Served) -> None:
    for number in range(MOST_UNREADABLE):
        served.add_case(f"gone-{number}", image=False)
    answer = served.client.post("/activelearning/random", json={"client_id": "ann"})
    assert answer.status_code == 503
    assert answer.json()["detail"] == "the images of 20 cases in a row cannot be read: is their disk there?"
    assert served.registry.leases() == []
    write_nifti(served.phantom.image, served.scans / "gone-7.nii.gz", compression=1)
    assert served.next("ann") == "0008"
    assert [lease.case_id for lease in served.registry.leases()] == ["0008"]


def test_a_case_that_is_not_eligible_is_not_offered_but_can_be_taken(served: Served) -> None:
    served.registry.add_case(new_case("short", exclusion="62 slices < 100"))
    assert served.next("ann") is None
    assert served.lease("0001", client_id="ann").status_code == 200
