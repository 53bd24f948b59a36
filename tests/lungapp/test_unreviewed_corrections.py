"""Submissions that are accepted without a reviewer, and the round that they start."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY, PhantomProject
from fastapi.testclient import TestClient
from phantom_studies import changed, phantom_study
from registries import label

from datastore.checking import accept_if_sound, check_label
from datastore.image_files import write_mask
from datastore.records import Kind, Status
from datastore.round_records import RoundState
from lungapp.app import LungApp
from lungapp.server import create_app


@pytest.fixture
def made(tmp_path: Path) -> PhantomProject:
    return phantom_study(tmp_path, 4, retrain_after=3)


@pytest.fixture
def app(made: PhantomProject) -> LungApp:
    project = changed(made.project, accept_without_review="true")
    return LungApp(str(REPOSITORY / "lungapp"), str(project.folder), {})


def submit(
    client: TestClient, made: PhantomProject, case_id: str, folder: Path, array: np.ndarray | None = None
) -> str:
    lungs = made.phantoms[case_id].lungs
    path = folder / f"{case_id}.nii.gz"
    write_mask(lungs if array is None else lungs.with_array(array), path, overwrite=True)
    with open(path, "rb") as file:
        answer = client.put(f"/datastore/label?image={case_id}", files={"label": (path.name, file)})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["label"])


def test_a_sound_mask_is_accepted_and_a_doubtful_one_waits(app: LungApp, made: PhantomProject, tmp_path: Path) -> None:
    with TestClient(create_app(app), base_url="http://127.0.0.1") as client:
        sound = submit(client, made, "0001", tmp_path)
        one_lung = np.where(made.phantoms["0002"].lungs.array == 1, 1, 0).astype(np.uint8)
        doubtful = submit(client, made, "0002", tmp_path, one_lung)
        app.finish_checks()
        assert app.registry.label(sound).kind is Kind.ACCEPTED
        assert app.registry.label(doubtful).kind is Kind.SUBMITTED
        accepted = next(event for event in app.registry.events("0001") if event.action == "label.accepted")
        assert (accepted.actor, accepted.detail["comment"]) == ("lungapp", "nothing found")


def test_without_the_setting_a_reviewer_decides(made: PhantomProject, tmp_path: Path) -> None:
    app = LungApp(str(REPOSITORY / "lungapp"), str(made.project.folder), {})
    with TestClient(create_app(app), base_url="http://127.0.0.1") as client:
        sound = submit(client, made, "0001", tmp_path)
        app.finish_checks()
        assert app.registry.label(sound).kind is Kind.SUBMITTED
        assert app.registry.label(sound).findings is not None


def test_a_draft_or_a_conflict_is_never_accepted_by_itself(made: PhantomProject, app: LungApp) -> None:
    registry, lungs = app.registry, made.phantoms["0001"].lungs
    draft = registry.add_label("0001", lungs, label(Kind.DRAFT, findings=()))
    assert not accept_if_sound(registry, draft.id)
    registry.lease_case("0001", "slicer-bob", app.lease_duration)
    first = registry.add_label("0001", lungs, label(by="ann", findings=()))
    second = registry.add_label("0001", lungs, label(by="bob", findings=()))
    assert registry.case("0001").status is Status.CONFLICT
    assert not accept_if_sound(registry, first.id) and not accept_if_sound(registry, second.id)
    unchecked = registry.add_label("0002", made.phantoms["0002"].lungs, label())
    assert not accept_if_sound(registry, unchecked.id)
    check_label(registry, app.images, unchecked.id)
    assert accept_if_sound(registry, unchecked.id) and not accept_if_sound(registry, unchecked.id)


def test_three_annotators_who_submit_at_once_start_one_round(
    app: LungApp, made: PhantomProject, tmp_path: Path
) -> None:
    with TestClient(create_app(app), base_url="http://127.0.0.1") as client:
        with ThreadPoolExecutor(3) as annotators:
            list(annotators.map(lambda case_id: submit(client, made, case_id, tmp_path), list(made.phantoms)[:3]))
        app.finish_checks()
        (queued,) = app.registry.rounds()
        assert (queued.state, queued.trigger) == (RoundState.QUEUED, "3 corrections")
        submit(client, made, "0004", tmp_path)
        app.finish_checks()
        assert app.registry.rounds() == [queued]
        assert client.get("/train/?check_if_running=true").status_code == 200
