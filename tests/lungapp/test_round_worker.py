"""The worker: killed with -9 in any step it goes on and ends in the same state; two never work at once."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY
from phantom_studies import changed
from registries import new_case, submit_and_accept
from sqlalchemy import Engine, create_engine, event, text
from stand_in_rounds import EPOCHS, StandInSteps, lines

from datastore.database import RegistryError
from datastore.records import Split
from datastore.registry import CaseFilter, Registry, RoundError
from datastore.round_records import Round, RoundState
from lungapp.project import Project, init_project, open_project
from lungapp.rounds import worker as worker_module
from lungapp.rounds.lock import WorkerLock
from lungapp.rounds.queueing import cancel, queue_if_due, queue_now, settle
from lungapp.rounds.watch import STEPS, InterruptedRound, RoundCancelledError, Watch
from lungapp.rounds.worker import MOST_ATTEMPTS, RoundWorker
from lungapp.rounds.workflow import RoundWorkflow

PATIENCE_SECONDS = 60


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Study]:
    yield from opened(init_project(tmp_path / "study"))


@pytest.fixture
def study_on_postgresql(tmp_path: Path, postgres_url: str) -> Iterator[Study]:
    """A project that keeps registry and steps in PostgreSQL."""
    project = init_project(tmp_path / "study")
    (project.folder / "registry.sqlite").unlink()
    with create_engine(postgres_url).begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    settings = project.folder / "lungapp.toml"
    settings.write_text(settings.read_text().replace('url = ""', f'url = "{postgres_url}"'))
    yield from opened(open_project(project.folder))


class Study:
    """A project with accepted masks, and worker processes on it."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.registry = project.registry()
        self.processes: list[subprocess.Popen[bytes]] = []
        self.registry.add_cases([new_case(f"case-{number}", study_uid=f"1.{number}") for number in range(40)])
        self.train = self.registry.case_ids(CaseFilter(split=Split.TRAIN))
        submit_and_accept(self.registry, self.train[0])

    def worker(self, *options: str) -> subprocess.Popen[bytes]:
        script = str(REPOSITORY / "tests" / "stand_in_rounds.py")
        environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'tests'}"}
        started = subprocess.Popen([sys.executable, script, str(self.project.folder), *options], env=environment)
        self.processes.append(started)
        return started

    def queue(self, **config: Any) -> Round:
        made = self.registry.request_round("by hand", config, 0)
        assert made is not None
        return made

    def until(self, seen: Callable[[], Any]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not seen():
            assert time.monotonic() < deadline, (self.steps(), self.registry.rounds())
            time.sleep(0.02)

    def until_ended(self, number: int = 1) -> Round:
        self.until(lambda: self.registry.round(number).has_ended)
        return self.registry.round(number)

    def pause(self, step: str) -> None:
        (self.project.folder / f"pause-{step}").touch()

    def until_in(self, step: str) -> None:
        self.until((self.project.folder / f"in-{step}").exists)

    def go_on(self, step: str) -> None:
        (self.project.folder / f"pause-{step}").unlink()

    def steps(self) -> list[str]:
        return lines(self.project.folder / "steps.txt")

    def actions(self) -> list[str]:
        return [event.action for event in self.registry.events() if event.action.startswith("round.")]


def opened(project: Project) -> Iterator[Study]:
    made = Study(project)
    yield made
    for process in made.processes:
        process.kill()
        process.wait()
    made.registry.close()


def work(study: Study, **how: Any) -> None:
    """A worker in this process, until nothing is left to do."""
    RoundWorker(study.project, threading.Event(), make_steps=how.get("make_steps", StandInSteps)).run(until_idle=True)


def test_a_round_goes_through_its_steps_in_order(study: Study) -> None:
    study.queue()
    work(study)
    ended = study.registry.round(1)
    assert (ended.state, ended.decision, ended.candidate) == (RoundState.PUBLISHED, "better", "round-0001")
    assert study.steps() == ["snapshot", "cache", "train", "judge", "publish", "refresh"]
    assert ended.refreshed_at is not None and len(ended.label_ids) == 1
    assert ended.progress["training"] == {"epoch": 3, "epochs": 3, "loss": 1 / 3, "best_dice": 0.8}
    log = (study.project.round_folder(1) / "log.txt").read_text()
    assert "round 1 is taken up: by hand" in log and "round 1: published: better" in log
    assert study.actions() == ["round.queued", "round.running", "round.snapshot", "round.judging", "round.published",
                               "round.refreshed"]  # fmt: skip


def test_a_round_is_quiet_and_talks_to_nobody(
    study: Study, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    called: list[object] = []

    def call(*address: object) -> None:
        called.append(address)
        raise OSError("no network here")

    monkeypatch.setattr(socket.socket, "connect", call)
    monkeypatch.setattr(socket, "getaddrinfo", call)
    study.queue()
    work(study)
    assert study.registry.round(1).state is RoundState.PUBLISHED
    assert called == [] and capfd.readouterr() == ("", "")


@pytest.mark.slow
@pytest.mark.parametrize("step", ["train"])  # the real ones are killed in every step by test_rounds_of_phantoms
def test_a_worker_that_is_killed_in_a_step_goes_on_there(study: Study, step: str) -> None:
    kill_in(study, step)


@pytest.mark.slow
def test_so_it_does_where_registry_and_steps_are_in_postgresql(study_on_postgresql: Study) -> None:
    kill_in(study_on_postgresql, "judge")
    assert not list(study_on_postgresql.project.folder.glob("*.sqlite"))


def kill_in(study: Study, step: str) -> None:
    study.pause(step)
    study.queue()
    first = study.worker()
    study.until_in(step)
    first.send_signal(signal.SIGKILL)
    first.wait()
    before = study.steps()
    study.go_on(step)
    second = study.worker("--until-idle")
    assert second.wait(PATIENCE_SECONDS) == 0
    ended = study.registry.round(1)
    assert (ended.state, ended.decision, ended.candidate) == (RoundState.PUBLISHED, "better", "round-0001")
    assert ended.refreshed_at is not None
    whole = ["snapshot", "cache", "train", "judge", "publish", "refresh"]
    assert before == whole[: len(before)] and before[-1] == step
    assert study.steps() == before + whole[len(before) - 1 :]  # the step that was killed once more, none before it
    assert lines(study.project.folder / "epochs.txt") == [f"1.{epoch}" for epoch in range(1, EPOCHS + 1)]
    assert len(study.registry.rounds()) == 1
    resumed = [] if step == "refresh" else ["round.resumed"]
    assert [action for action in study.actions() if action in ("round.running", "round.resumed")] == [
        "round.running",
        *resumed,
    ]


@pytest.mark.slow
def test_a_worker_that_is_killed_again_and_again_still_gets_there(study: Study) -> None:
    study.queue()
    places = ("cache", "train", "publish")
    for step in places:
        study.pause(step)
    for step in places:
        killed = study.worker()
        study.until_in(step)
        killed.kill()
        killed.wait()
        study.go_on(step)
    study.worker()
    assert study.until_ended().state is RoundState.PUBLISHED
    assert study.registry.round(1).attempts <= 2


def test_without_its_database_of_steps_a_round_goes_on_from_its_folder(study: Study) -> None:
    study.pause("judge")
    study.queue()
    first = study.worker()
    study.until_in("judge")
    first.kill()
    first.wait()
    for path in study.project.folder.glob("rounds.sqlite*"):
        path.unlink()
    study.go_on("judge")
    taken = study.registry.round(1).label_ids
    submit_and_accept(study.registry, study.train[1])
    work(study)
    ended = study.registry.round(1)
    assert ended.state is RoundState.PUBLISHED and ended.label_ids == taken
    assert len(lines(study.project.folder / "epochs.txt")) == EPOCHS


def test_a_number_that_is_given_a_second_time_is_another_round(study: Study) -> None:
    """After a backup was brought back, whose registry knows less than the database of steps."""
    study.queue()
    work(study)
    study.registry.close()
    for path in (*study.project.folder.glob("registry.sqlite*"), study.project.folder / "steps.txt"):
        path.unlink()
    (study.project.folder / "epochs.txt").unlink()
    (study.project.folder / "registry.sqlite").touch()
    for again in opened(study.project):
        again.queue()
        work(again)
        assert again.registry.round(1).state is RoundState.PUBLISHED
        assert again.steps() == ["snapshot", "cache", "train", "judge", "publish", "refresh"]


def test_a_database_of_steps_that_is_damaged_is_named(study: Study) -> None:
    (study.project.folder / "rounds.sqlite").write_text("not a database, but long enough to be looked at" * 100)
    study.queue()
    with pytest.raises(ValueError, match="rounds.sqlite may be removed"):
        work(study)
    (study.project.folder / "rounds.sqlite").unlink()
    work(study)
    assert study.registry.round(1).state is RoundState.PUBLISHED


@pytest.mark.slow
def test_two_workers_never_work_at_once_and_the_second_takes_over(study: Study) -> None:
    study.pause("train")
    study.queue()
    first = study.worker()
    study.until_in("train")
    second = study.worker()
    assert study.worker("--until-idle").wait(PATIENCE_SECONDS) == 0  # leaves the work to the one that is there
    assert study.registry.request_round("by hand", {}, 0) is not None  # the next one waits
    time.sleep(2.5)  # long enough for the second to do harm
    assert study.steps() == ["snapshot", "cache", "train"]
    assert [made.state for made in study.registry.rounds()] == [RoundState.RUNNING, RoundState.QUEUED]
    first.kill()
    first.wait()
    (study.project.folder / "in-train").unlink()
    study.until_in("train")
    assert second.poll() is None
    assert study.steps() == ["snapshot", "cache", "train", "train"]
    study.go_on("train")
    assert study.until_ended(1).state is RoundState.PUBLISHED
    assert study.until_ended(2).state is RoundState.PUBLISHED


@pytest.mark.parametrize("step", STEPS[:4])
def test_a_round_is_cancelled_in_any_step(study: Study, step: str) -> None:
    study.pause(step)
    study.queue()
    working = threading.Thread(target=work, args=(study,))
    working.start()
    study.until_in(step)
    asked = cancel(study.project, study.registry, 1, "mia")
    assert not asked.has_ended
    working.join(PATIENCE_SECONDS)
    ended = study.registry.round(1)
    assert (ended.state, ended.cancel_by, ended.decision) == (RoundState.CANCELLED, "mia", None)
    assert study.steps()[-2:] == [step, "refresh"]
    assert study.registry.corrections_since_last_round() == 1  # they count again


def test_a_round_without_a_worker_is_cancelled_at_once_and_stays_so(study: Study) -> None:
    study.pause("train")
    study.queue()
    killed = study.worker()
    study.until_in("train")
    killed.kill()
    killed.wait()
    assert cancel(study.project, study.registry, 1).state is RoundState.CANCELLED
    study.go_on("train")
    work(study)
    assert study.registry.round(1).state is RoundState.CANCELLED
    study.queue()
    work(study)
    assert study.registry.round(2).state is RoundState.PUBLISHED
    assert "1.3" not in lines(study.project.folder / "epochs.txt")  # nothing more was done for the first


class Stopped(StandInSteps):
    """Its training has a word of its own for having been stopped."""

    def train(self, number: int, watch: Watch) -> None:
        (self._project.folder / "in-train").touch()
        while not watch.should_stop():
            time.sleep(0.02)
        raise ValueError("stopped, the checkpoint is written")


def test_a_step_that_is_stopped_has_not_failed(study: Study) -> None:
    study.queue()
    stopping = threading.Event()
    worker = RoundWorker(study.project, stopping, make_steps=Stopped)
    working = threading.Thread(target=worker.run)
    working.start()
    study.until_in("train")
    stopping.set()
    working.join(PATIENCE_SECONDS)
    assert study.registry.round(1).state is RoundState.INTERRUPTED
    working = threading.Thread(target=work, args=(study,), kwargs={"make_steps": Stopped})
    working.start()
    study.until(lambda: study.registry.round(1).state is RoundState.RUNNING)
    cancel(study.project, study.registry, 1)
    working.join(PATIENCE_SECONDS)
    assert study.registry.round(1).state is RoundState.CANCELLED


def test_a_worker_that_is_told_to_stop_leaves_an_interrupted_round_to_the_next(study: Study) -> None:
    study.pause("train")
    study.queue()
    stopped = study.worker()
    study.until_in("train")
    stopped.terminate()
    assert stopped.wait(PATIENCE_SECONDS) == 0
    assert study.registry.round(1).state is RoundState.INTERRUPTED
    study.go_on("train")
    work(study)
    assert study.registry.round(1).state is RoundState.PUBLISHED
    assert study.steps() == ["snapshot", "cache", "train", "train", "judge", "publish", "refresh"]


def test_a_step_that_fails_fails_the_round_with_its_reason_in_one_line(study: Study) -> None:
    (study.project.folder / "break-train").touch()
    study.queue()
    work(study)
    ended = study.registry.round(1)
    assert (ended.state, ended.decision) == (RoundState.FAILED, "train: the loss is no number")
    assert 'stand_in_rounds.py", line' in (study.project.round_folder(1) / "log.txt").read_text()
    assert study.steps() == ["snapshot", "cache", "refresh"]


def test_a_round_with_nothing_to_train_on_fails_and_says_so(tmp_path: Path) -> None:
    project = init_project(tmp_path / "empty")
    registry = project.registry()
    registry.request_round("by hand", {}, 0)
    RoundWorker(project, threading.Event(), make_steps=StandInSteps).run(until_idle=True)
    ended = registry.round(1)
    registry.close()
    assert ended.state is RoundState.FAILED
    assert ended.decision == "snapshot: round 1 has nothing to train on: no accepted mask in the split train"


def test_a_round_that_comes_in_while_the_worker_leaves_is_not_forgotten(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = RoundWorkflow.close

    def and_queue(self: RoundWorkflow) -> None:
        close(self)
        if len(study.registry.rounds()) == 1:
            study.queue()  # by somebody who saw that a worker is there

    monkeypatch.setattr(RoundWorkflow, "close", and_queue)
    study.queue()
    work(study)
    assert [made.state for made in study.registry.rounds()] == [RoundState.PUBLISHED] * 2


def test_a_round_that_is_cancelled_as_it_begins_does_not_hurt_the_worker(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Registry.begin_round

    def cancelled_first(self: Registry, number: int, by: str) -> Round:
        if number == 1:
            self.request_cancel(1)
            study.queue()
        return begin(self, number, by)

    monkeypatch.setattr(Registry, "begin_round", cancelled_first)
    study.queue()
    work(study)
    assert [made.state for made in study.registry.rounds()] == [RoundState.CANCELLED, RoundState.PUBLISHED]


def test_a_look_at_the_lock_does_not_send_a_worker_away(study: Study) -> None:
    study.queue()
    lock = WorkerLock(study.project.rounds)
    assert lock.acquire()
    threading.Timer(0.5, lock.release).start()
    work(study)
    assert study.registry.round(1).state is RoundState.PUBLISHED


def test_a_round_that_never_gets_on_is_given_up(study: Study) -> None:
    study.queue()
    for _ in range(MOST_ATTEMPTS):
        study.registry.begin_round(1)
    work(study)
    ended = study.registry.round(1)
    assert ended.state is RoundState.FAILED
    assert ended.decision == "the first step: given up after 10 attempts that ended without a word"
    assert study.steps() == []


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "AWAY_SECONDS", 0.05)


@pytest.mark.usefixtures("impatient")
def test_a_registry_that_is_away_for_a_while_fails_no_round(study: Study) -> None:
    failures = iter([True, True, False, False, False, False])

    class Flaky(StandInSteps):
        def cache(self, number: int, watch: Watch) -> None:
            super().cache(number, watch)
            if next(failures):
                raise RegistryError("the registry cannot be used: connection refused")

    study.queue()
    work(study, make_steps=Flaky)
    assert study.registry.round(1).state is RoundState.PUBLISHED
    assert study.steps()[:4] == ["snapshot", "cache", "cache", "cache"]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 8491584 vs 8491472"),
    ],
)
def test_a_disk_that_is_full_for_long_fails_no_round(
    study: Study, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "MOST_ATTEMPTS", 2)
    told: list[str] = []

    class Full(StandInSteps):
        def cache(self, number: int, watch: Watch) -> None:
            super().cache(number, watch)
            if len(study.steps()) < 6:
                raise ValueError("in the middle of it") from error

    study.queue()
    RoundWorker(study.project, threading.Event(), told.append, make_steps=Full).run(until_idle=True)
    assert study.registry.round(1).state is RoundState.PUBLISHED
    assert study.steps().count("cache") > 4 and study.steps().count("snapshot") == 1
    assert "waiting: cache: the disk is full: make room" in told


@pytest.mark.usefixtures("impatient")
def test_steps_that_cannot_be_kept_are_done_again_when_there_is_room(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = threading.Event()

    class Filling(StandInSteps):
        def cache(self, number: int, watch: Watch) -> None:
            super().cache(number, watch)
            if study.steps().count("cache") == 1:
                full.set()
                threading.Timer(1.0, full.clear).start()

    def refuse(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        writes = not statement.lstrip().upper().startswith(("SELECT", "PRAGMA"))
        if full.is_set() and writes and "rounds.sqlite" in str(connection.engine.url):
            raise sqlite3.OperationalError("database or disk is full")

    event.listen(Engine, "before_cursor_execute", refuse)
    try:
        study.queue()
        work(study, make_steps=Filling)
    finally:
        event.remove(Engine, "before_cursor_execute", refuse)
    assert study.registry.round(1).state is RoundState.PUBLISHED
    assert study.steps().count("cache") >= 2 and study.steps().count("snapshot") == 1


@pytest.mark.slow
def test_a_workflow_of_a_registry_that_was_brought_back_is_left_alone(study: Study) -> None:
    """`rounds.sqlite` knows a round 1 that the registry does not know any more: only the registry's is worked on."""
    before = study.project.folder / "before.sqlite"
    with (
        closing(sqlite3.connect(study.project.folder / "registry.sqlite")) as source,
        closing(sqlite3.connect(before)) as target,
    ):
        source.backup(target)
    study.pause("train")
    study.queue()
    killed = study.worker()
    study.until_in("train")
    killed.kill()
    killed.wait()
    study.registry.close()
    for path in study.project.folder.glob("registry.sqlite*"):
        path.unlink()
    before.rename(study.project.folder / "registry.sqlite")
    study.registry = study.project.registry()
    study.go_on("train")
    (study.project.folder / "steps.txt").unlink()
    (study.project.folder / "epochs.txt").unlink()
    study.queue()
    assert study.worker("--until-idle").wait(PATIENCE_SECONDS) == 0
    assert study.registry.round(1).state is RoundState.PUBLISHED
    assert study.steps() == ["snapshot", "cache", "train", "judge", "publish", "refresh"]
    assert lines(study.project.folder / "epochs.txt") == ["1.1", "1.2", "1.3"]


def test_a_round_whose_model_is_served_already_is_not_cancelled(study: Study) -> None:
    """Killed right after the switch: only a worker can end it, and it ends published."""
    study.queue()
    study.registry.begin_round(1)
    model = study.project.models / "round-0001"
    model.mkdir(parents=True)
    (model / "weights.safetensors").write_bytes(b"weights")
    (study.project.models / "current").write_text("round-0001\n")
    with pytest.raises(RoundError, match="round 1 was killed while it was published, and its model is served"):
        cancel(study.project, study.registry, 1)
    assert study.registry.round(1).cancel_by is None
    work(study)
    assert study.registry.round(1).state is RoundState.PUBLISHED


def test_a_round_asked_for_by_a_running_server_follows_the_settings_of_now(study: Study) -> None:
    changed(study.project, epochs=3, dice_margin=0.5, seed=7)
    made = queue_now(study.project, study.registry, "Train button")
    assert made is not None and made.seed == 7
    assert (made.config["training"]["epochs"], made.config["gate"]["dice_margin"]) == (3, 0.5)
    settings = study.project.folder / "lungapp.toml"
    settings.write_text(settings.read_text().replace("epochs = 3", 'epochs = "many"'))
    cancel(study.project, study.registry, 1)
    with pytest.raises(ValueError, match="training.epochs"):
        queue_now(study.project, study.registry, "Train button")
    work(study)  # the worker lives with it


def test_the_worker_queues_the_round_that_is_due(tmp_path: Path) -> None:
    project = init_project(tmp_path / "study")
    settings = project.folder / "lungapp.toml"
    settings.write_text(settings.read_text().replace("retrain_after = 25", "retrain_after = 2"))
    for study in opened(open_project(project.folder)):
        work(study)
        assert study.registry.rounds() == []
        submit_and_accept(study.registry, study.train[1])
        work(study)
        (made,) = study.registry.rounds()
        assert (made.trigger, made.state, len(made.label_ids)) == ("2 corrections", RoundState.PUBLISHED, 2)
        assert queue_if_due(study.project, study.registry) is None


def test_a_round_that_failed_is_not_begun_again_by_itself(tmp_path: Path) -> None:
    project = init_project(tmp_path / "study")
    settings = project.folder / "lungapp.toml"
    settings.write_text(settings.read_text().replace("retrain_after = 25", "retrain_after = 2"))
    for study in opened(open_project(project.folder)):
        (study.project.folder / "break-train").touch()
        for case_id in study.train[1:3]:
            submit_and_accept(study.registry, case_id)
        work(study)
        work(study)
        assert [made.state for made in study.registry.rounds()] == [RoundState.FAILED]
        for case_id in study.train[3:5]:
            submit_and_accept(study.registry, case_id)
        work(study)
        assert [made.trigger for made in study.registry.rounds()] == ["3 corrections", "5 corrections"]


def test_a_round_whose_worker_died_is_said_to_be_interrupted(study: Study) -> None:
    study.queue()
    study.registry.begin_round(1)
    lock = WorkerLock(study.project.rounds)
    assert lock.acquire()
    settle(study.project, study.registry)
    assert study.registry.round(1).state is RoundState.RUNNING
    lock.release()
    settle(study.project, study.registry)
    assert study.registry.round(1).state is RoundState.INTERRUPTED
    assert WorkerLock(study.project.rounds).is_free()


def test_masks_that_a_waiting_round_came_before_are_made_afterwards(study: Study) -> None:
    yielded = []

    class Yielding(StandInSteps):
        def refresh(self, number: int, watch: Watch) -> None:
            yielded.append(number)
            if len(yielded) > 2:
                super().refresh(number, watch)

    study.queue()
    work(study, make_steps=Yielding)
    assert yielded == [1, 1, 1] and study.registry.round_to_refresh() is None


class TestWatch:
    def test_reports_are_kept_once_a_second_and_at_each_count(
        self, study: Study, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        study.queue()
        kept: list[dict[str, Any]] = []
        monkeypatch.setattr(study.registry, "report_progress", lambda number, progress: kept.append(progress))
        watch = Watch(study.registry, 1, "train", threading.Event())
        for loss in (0.5, 0.4, 0.3):
            watch.report(1, 2, loss=loss)
        watch.report(2, 2, loss=0.2)
        assert [(said["done"], said["loss"]) for said in kept] == [(1, 0.5), (2, 0.2)]
        assert kept[0]["position"] < kept[1]["position"]

    def test_a_registry_that_is_away_stops_no_training(self, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
        def away(*_: object) -> None:
            raise RegistryError("away")

        monkeypatch.setattr(study.registry, "report_progress", away)
        monkeypatch.setattr(study.registry, "is_cancel_requested", away)
        watch = Watch(study.registry, 1, "train", threading.Event())
        watch.report(1, 2)
        assert not watch.should_stop()

    def test_it_stops_for_the_worker_and_for_whoever_cancels(self, study: Study) -> None:
        study.queue()
        study.registry.begin_round(1)
        stopping = threading.Event()
        watch = Watch(study.registry, 1, "train", stopping)
        assert not watch.should_stop()
        stopping.set()
        assert watch.should_stop()
        with pytest.raises(InterruptedRound):
            watch.check()
        study.registry.request_cancel(1)
        again = Watch(study.registry, 1, "train", threading.Event())
        with pytest.raises(RoundCancelledError):
            again.check()
