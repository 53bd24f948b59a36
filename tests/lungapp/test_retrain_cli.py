"""`lungapp retrain`, `lungapp rounds cancel` and `lungapp worker`."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from command_line import assert_refused, run, run_json
from phantom_studies import changed
from registries import label, mask, new_case, submit_and_accept
from stand_in_rounds import StandInSteps

from datastore.records import Split
from datastore.registry import CaseFilter, Registry
from datastore.round_records import RoundState
from lungapp.cli import retraining
from lungapp.project import Project, init_project
from lungapp.rounds import following, supervisor
from lungapp.rounds.lock import WorkerLock
from lungapp.rounds.worker import RoundWorker


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return init_project(tmp_path / "study")


@pytest.fixture
def registry(project: Project) -> Iterator[Registry]:
    opened = project.registry()
    opened.add_cases([new_case(f"case-{number}", study_uid=f"1.{number}") for number in range(100)])
    yield opened
    opened.close()


@pytest.fixture
def accepted(registry: Registry) -> Registry:
    """A registry with a mask to train on."""
    submit_and_accept(registry, registry.case_ids(CaseFilter(split=Split.TRAIN))[0])
    return registry


@pytest.fixture
def no_worker_starts(project: Project) -> Iterator[None]:
    """Somebody has the lock, and does nothing."""
    lock = WorkerLock(project.rounds)
    assert lock.acquire()
    yield
    lock.release()


@contextmanager
def stand_in_worker(project: Project) -> Iterator[None]:
    stopping = threading.Event()
    working = threading.Thread(target=RoundWorker(project, stopping, make_steps=StandInSteps).run)
    working.start()
    while WorkerLock(project.rounds).is_free():
        pass
    try:
        yield
    finally:
        stopping.set()
        working.join()


def test_without_an_accepted_mask_it_says_what_to_do(project: Project, registry: Registry) -> None:
    registry.add_label(registry.case_ids(CaseFilter(split=Split.TRAIN))[0], mask(), label(findings=()))
    submit_and_accept(registry, registry.case_ids(CaseFilter(split=Split.TEST))[0])
    assert_refused(
        run("retrain", "-p", project.folder),
        "there is nothing to train on: no case of the split train has an accepted mask",
        "lungapp cases accept",
    )
    assert registry.rounds() == []


@pytest.mark.usefixtures("no_worker_starts")
def test_a_round_is_queued_once(project: Project, accepted: Registry) -> None:
    first = run("retrain", "-p", project.folder, "--by", "mia", "--seed", 9)
    assert first.exit_code == 0 and "round 1 is queued" in first.output
    assert "The project's worker takes it up." in first.output
    assert f"lungapp rounds cancel 1 -p {project.folder}" in first.output
    again = run("retrain", "-p", project.folder)
    assert again.exit_code == 0 and "round 1 was queued already" in again.output
    (made,) = accepted.rounds()
    assert (made.trigger, made.seed) == ("by hand", 9)
    queued = next(event for event in accepted.events() if event.action == "round.queued")
    assert queued.actor == "mia"
    assert run_json("retrain", "-p", project.folder)["number"] == 1


def test_it_waits_for_the_end_and_tells_it(project: Project, accepted: Registry) -> None:
    with stand_in_worker(project):
        waited = run("retrain", "--wait", "-p", project.folder)
        assert waited.exit_code == 0, waited.output
        assert "round 1 published: better" in waited.output
        ended = run_json("retrain", "--wait", "-p", project.folder)
        assert (ended["number"], ended["state"], ended["decision"]) == (2, "published", "better")
        assert ended["label_ids"] == list(accepted.round(2).label_ids)


def test_a_round_that_failed_is_exit_code_1(project: Project, accepted: Registry) -> None:
    (project.folder / "break-train").touch()
    with stand_in_worker(project):
        waited = run("retrain", "--wait", "-p", project.folder)
    assert waited.exit_code == 1
    assert "round 1 failed: train: the loss is no number" in waited.output


def test_it_does_not_wait_for_a_worker_that_is_not_there(
    project: Project, accepted: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retraining, "GONE_SECONDS", 0.2)
    monkeypatch.setattr(supervisor, "worker_command", lambda *_: [sys.executable, "-c", "raise SystemExit(3)"])
    accepted.request_round("by hand", {}, 0)
    accepted.begin_round(1)
    waited = run("retrain", "--wait", "-p", project.folder)
    assert waited.exit_code == 1
    assert "no worker is at round" in waited.output and "worker.log may say why" in waited.output
    assert accepted.round(1).state is RoundState.INTERRUPTED


@pytest.mark.usefixtures("no_worker_starts")
@pytest.mark.parametrize("seed", [-1, 2**31])
def test_a_seed_that_no_registry_keeps_is_refused(project: Project, accepted: Registry, seed: int) -> None:
    assert run("retrain", "--seed", seed, "-p", project.folder).exit_code == 2
    assert accepted.rounds() == []


@pytest.mark.usefixtures("no_worker_starts")
def test_it_says_beforehand_that_nothing_can_judge(project: Project, accepted: Registry) -> None:
    assert "warning: no mask of the split validation is accepted" in run("retrain", "-p", project.folder).output
    changed(project, publish_unjudged="true")
    assert "warning" not in run("retrain", "-p", project.folder).output


@pytest.mark.usefixtures("no_worker_starts")
def test_ctrl_c_leaves_the_round(project: Project, accepted: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(following, "time", SimpleNamespace(sleep=interrupted))
    waited = run("retrain", "--wait", "-p", project.folder)
    assert waited.exit_code == 1
    assert f"round 1 goes on; lungapp rounds cancel 1 -p {project.folder} stops it" in waited.output
    assert accepted.round(1).state is RoundState.QUEUED and accepted.round(1).cancel_by is None


@pytest.mark.usefixtures("no_worker_starts")
def test_a_round_is_cancelled_by_whoever_says_so(project: Project, accepted: Registry) -> None:
    run("retrain", "-p", project.folder)
    assert "round 1 is cancelled" in run("rounds", "cancel", 1, "-p", project.folder, "--by", "mia").output
    assert accepted.round(1).cancel_by == "mia"
    assert_refused(run("rounds", "cancel", 1, "-p", project.folder), "round 1 is cancelled: it has ended")
    assert_refused(run("rounds", "cancel", 2, "-p", project.folder), "no round 2")
    run("retrain", "-p", project.folder)
    accepted.begin_round(2)
    assert run_json("rounds", "cancel", 2, "-p", project.folder)["state"] == "running"
    assert accepted.is_cancel_requested(2)


@pytest.mark.slow
def test_where_no_worker_is_one_is_started_for_the_round(project: Project, accepted: Registry) -> None:
    """The image of the case is not there: the worker says so and ends."""
    ended = run_json("retrain", "--wait", "-p", project.folder, exit_code=1)
    assert ended["state"] == "failed" and re.search(r"the image of case \d{4} is gone$", ended["decision"])
    lock = WorkerLock(project.rounds)
    for _ in range(600):
        if lock.is_free():
            break
        threading.Event().wait(0.1)
    assert lock.is_free()
    assert "round 1: failed: cache" in (project.rounds / "worker.log").read_text()


def test_a_worker_with_nothing_to_do_ends_if_asked_to(project: Project, registry: Registry) -> None:
    done = run("worker", "--until-idle", "-p", project.folder)
    assert (done.exit_code, done.output) == (0, "")


def test_accepting_the_last_missing_correction_queues_the_round(project: Project, registry: Registry) -> None:
    settings = project.folder / "lungapp.toml"
    settings.write_text(settings.read_text().replace("retrain_after = 25", "retrain_after = 2"))
    cases = registry.case_ids(CaseFilter(split=Split.TRAIN))
    made = [registry.add_label(case_id, mask(), label(findings=())).id for case_id in cases[:2]]
    assert "queued" not in run("cases", "accept", made[0], "-p", project.folder).output
    assert "round 1 is queued: 2 corrections" in run("cases", "accept", made[1], "-p", project.folder).output
    assert [made_round.trigger for made_round in registry.rounds()] == ["2 corrections"]
