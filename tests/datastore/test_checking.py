"""The quality checks that follow a submission: once, beside the client's back, and before anything is accepted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from conftest import REPOSITORY, PhantomProject
from fastapi.testclient import TestClient
from registries import label

from datastore.checking import CHECKER, check_label
from datastore.image_files import write_mask
from datastore.records import Kind, Label, Severity
from datastore.registry import Registry, UnknownCaseError
from datastore.served_images import ServedImages
from datastore.volume import Volume
from lungapp.app import LungApp
from lungapp.cli import main
from lungapp.server import create_app

SMALL = {"shape": (24, 48, 48), "spacing_mm": (13.0, 8.0, 8.0)}


@pytest.fixture
def made(
    make_project: Callable[..., PhantomProject], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> PhantomProject:
    monkeypatch.setenv("LUNGAPP_DATABASE__URL", database_url)
    return make_project(1, **SMALL)


@pytest.fixture
def registry(made: PhantomProject) -> Iterator[Registry]:
    opened = made.project.registry()
    yield opened
    opened.close()


@pytest.fixture
def images(made: PhantomProject) -> ServedImages:
    return made.project.images()


def right_lung_alone(made: PhantomProject) -> Volume:
    lungs = made.phantoms["0001"].lungs
    return lungs.with_array((lungs.array == 1).astype(np.uint8))


def codes(checked: Label) -> list[str]:
    return [finding.code for finding in checked.findings or ()]


def checks_of(registry: Registry) -> int:
    return sum(event.action == "label.checked" for event in registry.events("0001"))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_findings_are_made_once_and_stay(made: PhantomProject, registry: Registry, images: ServedImages) -> None:
    stored = registry.add_label("0001", right_lung_alone(made), label())
    assert stored.findings is None
    checked = check_label(registry, images, stored.id)
    assert {"left_lung.missing", "mask.uncovered"} <= set(codes(checked))
    assert registry.label(stored.id) == checked
    assert (checked.kind, checked.sha256) == (Kind.SUBMITTED, stored.sha256)
    registry.case("0001").source.path.unlink()  # neither is looked at again
    stored.path.unlink()
    assert check_label(registry, images, stored.id) == checked
    events = [event for event in registry.events("0001") if event.action == "label.checked"]
    assert [(event.actor, event.label_id, event.detail) for event in events] == [
        (CHECKER, stored.id, {"findings": len(codes(checked))})
    ]


def test_a_mask_with_nothing_odd_is_checked_too(made: PhantomProject, registry: Registry, images: ServedImages) -> None:
    stored = registry.add_label("0001", made.phantoms["0001"].lungs, label())
    checked = check_label(registry, images, stored.id)
    assert checked.findings is not None
    assert not [finding for finding in checked.findings if finding.severity is not Severity.NOTE]
    assert registry.accept(stored.id, "rita").kind is Kind.ACCEPTED


@pytest.mark.parametrize("content", [None, b"torn"])
def test_a_mask_whose_image_cannot_be_had_is_for_a_reviewer(
    made: PhantomProject, registry: Registry, images: ServedImages, content: bytes | None
) -> None:
    stored = registry.add_label("0001", right_lung_alone(made), label())
    source = registry.case("0001").source.path
    source.unlink()
    if content is not None:
        source.write_bytes(content)
    checked = check_label(registry, images, stored.id)
    assert codes(checked)[0] == "image.unreadable"
    assert "left_lung.missing" in codes(checked)  # which the mask alone shows
    assert checked.findings is not None and checked.findings[0].severity is Severity.REVIEW
    assert str(source.parent) not in checked.findings[0].text
    with pytest.raises(ValueError, match="not compared with the image"):
        registry.accept(stored.id, "rita")


def test_a_mask_that_is_gone_is_no_clean_mask(made: PhantomProject, registry: Registry, images: ServedImages) -> None:
    stored = registry.add_label("0001", right_lung_alone(made), label())
    stored.path.unlink()
    with pytest.raises(OSError):
        check_label(registry, images, stored.id)
    assert registry.label(stored.id).findings is None
    with pytest.raises(UnknownCaseError):
        check_label(registry, images, "0001-00000000")


def test_a_submission_over_http_is_checked_afterwards_and_once(made: PhantomProject, tmp_path: Path) -> None:
    app = LungApp(str(REPOSITORY / "lungapp"), str(made.project.folder), {})
    upload = tmp_path / "mask.nii.gz"
    write_mask(right_lung_alone(made), upload)
    with TestClient(create_app(app), base_url="http://127.0.0.1") as client:
        files = {"label": ("m.nii.gz", upload.read_bytes())}
        label_id = client.put("/datastore/label?image=0001", files=files).json()["label"]
        app.finish_checks()
        checked = app.registry.label(label_id)
        assert "left_lung.missing" in codes(checked)
        app.on_save_label("0001", label_id)
        app.on_save_label("0001", "0001-00000000")  # which is logged, and keeps nobody waiting
        app.finish_checks()
        assert app.registry.label(label_id) == checked
        assert checks_of(app.registry) == 1


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_answer_to_a_submission_does_not_wait_for_the_check(
    made: PhantomProject, registry: Registry, tmp_path: Path
) -> None:
    app = LungApp(str(REPOSITORY / "lungapp"), str(made.project.folder), {})
    upload = tmp_path / "mask.nii.gz"
    write_mask(right_lung_alone(made), upload)
    earlier_checks = threading.Event()
    app._checks.submit(earlier_checks.wait, 60)
    with TestClient(create_app(app), base_url="http://127.0.0.1") as client:
        answer = client.put("/datastore/label?image=0001", files={"label": ("m.nii.gz", upload.read_bytes())})
        assert answer.status_code == 200
        assert registry.label(answer.json()["label"]).findings is None
        earlier_checks.set()
    assert "left_lung.missing" in codes(registry.label(answer.json()["label"]))  # a server that stops finishes first


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_check_that_a_killed_server_did_not_make_is_made_before_acceptance(
    made: PhantomProject, registry: Registry
) -> None:
    label_id = registry.add_label("0001", right_lung_alone(made), label()).id  # all that such a server leaves
    with pytest.raises(ValueError, match="was not checked yet: it cannot be accepted"):
        registry.accept(label_id, "rita", "I know best")
    refused = run("cases", "accept", label_id, "--by", "rita", "-p", made.project.folder)
    assert refused.exit_code == 1
    assert "has a finding" in refused.output and "expected a comment" in refused.output
    assert checks_of(registry) == 1
    commented = ("--comment", "a pneumonectomy", "--by", "rita")
    accepted = run("cases", "accept", label_id, *commented, "-p", made.project.folder)
    assert accepted.exit_code == 0, accepted.output
    assert registry.label(label_id).kind is Kind.ACCEPTED
    assert "left_lung.missing" in codes(registry.label(label_id))
    assert checks_of(registry) == 1
