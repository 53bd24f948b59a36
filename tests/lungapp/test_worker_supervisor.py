"""A server keeps one worker running, and takes it down with it, however it goes."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY, free_port, live_server, our_server
from registries import new_case, submit_and_accept
from stand_in_rounds import lines

from datastore.records import Split
from datastore.registry import CaseFilter, Registry
from datastore.round_records import RoundState
from lungapp.project import Project, init_project, open_project
from lungapp.rounds import supervisor
from lungapp.rounds.lock import WorkerLock
from lungapp.rounds.supervisor import WorkerSupervisor, supervisor_of, worker_command

PATIENCE_SECONDS = 60
STAND_IN = str(REPOSITORY / "tests" / "stand_in_rounds.py")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("PYTHONPATH", f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'tests'}")
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_SECONDS", 0.01)
    made = init_project(tmp_path / "study")
    registry = made.registry()
    registry.add_cases([new_case(f"case-{number}", study_uid=f"1.{number}") for number in range(20)])
    submit_and_accept(registry, registry.case_ids(CaseFilter(split=Split.TRAIN))[0])
    registry.close()
    return made


@pytest.fixture
def registry(project: Project) -> Iterator[Registry]:
    opened = project.registry()
    yield opened
    opened.close()


def until(seen: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := seen()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
def test_a_worker_that_is_killed_is_started_again_and_its_round_goes_on(project: Project, registry: Registry) -> None:
    (project.folder / "pause-train").touch()
    registry.request_round("by hand", {}, 0)
    kept = WorkerSupervisor(project, registry, [sys.executable, STAND_IN, str(project.folder)])
    kept.start()
    try:
        until((project.folder / "in-train").exists)
        first = until(lambda: kept.process_id)
        os.kill(first, signal.SIGKILL)
        until(lambda: registry.round(1).state is RoundState.INTERRUPTED)
        (project.folder / "pause-train").unlink()
        until(lambda: registry.round(1).state is RoundState.PUBLISHED)
        second = until(lambda: kept.process_id)
        assert second != first
    finally:
        kept.stop()
    assert kept.process_id is None and not is_alive(second)
    assert WorkerLock(project.rounds).is_free()
    assert lines(project.folder / "steps.txt").count("snapshot") == 1


def test_a_worker_that_cannot_start_is_tried_more_and_more_seldom(
    project: Project, registry: Registry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(supervisor, "LONGEST_PAUSE_SECONDS", 0.05)
    pauses: list[float] = []
    kept = WorkerSupervisor(project, registry, [sys.executable, "-c", "raise SystemExit(3)"])
    wait = kept._stopping.wait

    def waited(seconds: float) -> bool:
        pauses.append(seconds)
        return wait(seconds)

    monkeypatch.setattr(kept._stopping, "wait", waited)
    kept.start()
    until(lambda: len(pauses) >= 4)
    kept.stop()
    assert pauses[:4] == [0.02, 0.04, 0.05, 0.05]
    assert "the worker ended with code 3" in caplog.text


def test_a_program_that_is_not_there_is_no_reason_to_fall_over(
    project: Project, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    kept = WorkerSupervisor(project, registry, ["/nowhere/python"])
    kept.start()
    until(lambda: "no worker could be started" in caplog.text)
    kept.stop()


def test_a_worker_that_does_not_listen_is_killed_with_the_server(
    project: Project, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "GRACE_SECONDS", 0.2)
    marker = project.folder / "deaf"
    deaf = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "open(sys.argv[1], 'w').close(); time.sleep(600)"
    )
    kept = WorkerSupervisor(project, registry, [sys.executable, "-c", deaf, str(marker)])
    kept.start()
    until(marker.exists)
    worker = until(lambda: kept.process_id)
    kept.stop()
    assert not is_alive(worker)


def worker_of(project: Project) -> int:
    """The process that has the project's lock, as soon as one has."""

    def holder() -> int | None:
        lock = WorkerLock(project.rounds)
        words = lock.holder().split()
        return int(words[1]) if len(words) > 1 and not lock.is_free() and is_alive(int(words[1])) else None

    return int(until(holder))


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_worker_of_a_server_ends_with_it(project: Project, tmp_path: Path, how: signal.Signals) -> None:
    port = free_port()
    with live_server(our_server(project, port), port, tmp_path / "server.log", worker=True) as server:
        worker = worker_of(project)
        time.sleep(1)  # it is at rest, not at its start
        assert worker != server.process.pid
        assert os.getpriority(os.PRIO_PROCESS, worker) > os.getpriority(os.PRIO_PROCESS, server.process.pid)
        server.process.send_signal(how)
        server.process.wait(PATIENCE_SECONDS)
        until(lambda: not is_alive(worker))
    assert WorkerLock(project.rounds).is_free()
    said = (tmp_path / "server.log").read_text()
    assert "Traceback" not in said and "Fatal" not in said


@pytest.mark.slow
def test_two_servers_have_one_worker_at_work_and_the_other_takes_over(
    project: Project, registry: Registry, tmp_path: Path
) -> None:
    ports = free_port(), free_port()
    with live_server(our_server(project, ports[0]), ports[0], tmp_path / "one.log", worker=True) as one:
        first = worker_of(project)
        with live_server(our_server(project, ports[1]), ports[1], tmp_path / "two.log", worker=True):
            assert worker_of(project) == first
            one.process.kill()
            one.process.wait()
            until(lambda: not is_alive(first))
            assert worker_of(project) != first


def test_a_server_can_do_without_a_worker(project: Project, registry: Registry) -> None:
    assert supervisor_of(project, registry) is not None
    settings = project.folder / "lungapp.toml"
    settings.write_text(settings.read_text().replace("worker = true", "worker = false"))
    assert supervisor_of(open_project(project.folder), registry) is None


def test_a_worker_is_this_program(project: Project) -> None:
    assert worker_command(project, "--until-idle") == [
        *(sys.executable, "-m", "lungapp", "worker", "-p", str(project.folder), "--until-idle")
    ]
