"""`lungapp worker` and `lungapp retrain`."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lungapp.cli.options import by_option, json_option, print_json, project_option
from lungapp.project import open_project
from lungapp.rounds.supervisor import WORKER_LOG

if TYPE_CHECKING:
    from datastore.registry import Registry
    from datastore.round_records import Round
    from lungapp.project import Project


GONE_SECONDS = 30.0  # without a worker: then it is not about to start any more


@click.command()
@click.option("--until-idle", is_flag=True, help="Stop as soon as there is nothing left to do.")
@click.option("--until-stdin-closes", is_flag=True, hidden=True, help="Stop with the server that started it.")
@project_option
def worker(until_idle: bool, until_stdin_closes: bool, project_folder: Path) -> None:
    """Run the rounds of a project, one after the other.

    `lungapp serve` starts one by itself. A second one waits until the first is gone. Ctrl+C, or SIGTERM, stops it: a
    training writes a checkpoint, and the next worker goes on there.

    Example: lungapp worker -p my-study
    """
    from lungapp.rounds.worker import RoundWorker

    project = open_project(project_folder)
    stopping = threading.Event()

    def stop(number: int, _frame: object) -> None:
        stopping.set()
        signal.signal(number, signal.SIG_DFL)  # a second one ends it at once

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    if until_stdin_closes:
        threading.Thread(target=_stop_at_the_end_of_stdin, args=(stopping,), daemon=True).start()
    try:
        RoundWorker(project, stopping, click.echo).run(until_idle=until_idle)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@click.command()
@click.option("--wait", is_flag=True, help="Wait until the round has ended, and show how far it is.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), help="Of the training  [default: the project's setting, 0]")
@by_option
@project_option
@json_option
def retrain(wait: bool, seed: int | None, by: str, project_folder: Path, as_json: bool) -> None:
    """Train on all accepted masks now, however few are new.

    The round runs in the project's worker; where there is none, one is started that ends with the work. With --wait,
    exit code 1 if the round failed or was cancelled. Ctrl+C ends the waiting, not the round.

    Example: lungapp retrain --wait -p my-study
    """
    from infers.model_store import ModelStore
    from lungapp.round_listing import round_dict
    from lungapp.rounds.following import outcome_text
    from lungapp.rounds.queueing import doubts, queue_now
    from lungapp.rounds.supervisor import start_once

    project = open_project(project_folder)
    registry = project.registry()
    made = queue_now(project, registry, "by hand", by, seed)
    in_line = made or registry.waiting_round() or registry.newest_round()
    if in_line is None:
        raise ValueError("no round could be queued")
    if not as_json:
        what = "is queued" if made else "was queued already"
        click.echo(f"round {in_line.number} {what}", err=wait)
    if (doubt := doubts(project, registry)) is not None:
        click.echo(f"warning: {doubt}", err=True)
    started = start_once(project)
    if wait:
        in_line = _follow(project, registry, in_line.number)
    elif not as_json:
        click.echo("A worker was started for it." if started else "The project's worker takes it up.")
        click.echo(f"Stop it: lungapp rounds cancel {in_line.number} -p {project_folder}")
    registry.close()
    if as_json:
        print_json(round_dict(in_line, ModelStore(project.models).served()))
    elif wait:
        click.echo(f"round {in_line.number} {outcome_text(in_line)}")
    if wait and str(in_line.state) in ("failed", "cancelled"):
        raise SystemExit(1)


def _stop_at_the_end_of_stdin(stopping: threading.Event) -> None:
    """The pipe closes when the server that holds its other end is gone, however it went."""
    while os.read(sys.stdin.fileno(), 1):  # not `sys.stdin`, whose lock a thread must not hold when Python ends
        pass
    stopping.set()


def _follow(project: Project, registry: Registry, number: int) -> Round:
    """Show a round's progress until it has ended, or until no worker has been there for a while."""
    from tqdm import tqdm

    from lungapp.rounds.following import follow, progress_text
    from lungapp.rounds.lock import WorkerLock
    from lungapp.rounds.queueing import settle

    bar = tqdm(total=1, disable=None, leave=False, bar_format="{desc} {bar} {elapsed}")
    lock, seen_at, told = WorkerLock(project.rounds), time.monotonic(), ""

    def tell(seen: Round) -> None:
        nonlocal seen_at, told
        said, words = seen.progress, f"round {number}: {progress_text(seen)}"
        bar.total, bar.n = max(said.get("total", 0), 1), min(said.get("done", 0), max(said.get("total", 0), 1))
        bar.set_description_str(words)
        stage = f"{said.get('step')} {said.get('training', {}).get('epoch')}"
        if bar.disable and stage != told:  # no terminal: a line for each step and epoch
            told = stage
            click.echo(words, err=True)
        if not lock.is_free():
            seen_at = time.monotonic()
        elif time.monotonic() - seen_at > GONE_SECONDS:
            settle(project, registry)
            raise ValueError(
                f"no worker is at round {number}: {project.rounds / WORKER_LOG} may say why; `lungapp worker -p "
                f"{project.folder}` goes on with it"
            )

    try:
        return follow(registry, number, tell)
    except KeyboardInterrupt:
        bar.close()
        click.echo(f"round {number} goes on; lungapp rounds cancel {number} -p {project.folder} stops it", err=True)
        raise SystemExit(1) from None
    finally:
        bar.close()
