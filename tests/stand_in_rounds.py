"""A worker whose steps only say that they were here; a file `pause-STEP` in the project holds it in a step.

Run as a program: a worker process of the project named by the first argument.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from datastore.registry import Registry
from datastore.round_records import RoundState
from lungapp.project import Project, open_project
from lungapp.rounds.watch import Watch
from lungapp.rounds.worker import RoundWorker

EPOCHS = 3


class StandInSteps:
    """Writes the name of each step into `steps.txt`, and of each epoch of its training into `epochs.txt`."""

    def __init__(self, project: Project, registry: Registry) -> None:
        self._project = project
        self._registry = registry

    def snapshot(self, number: int, watch: Watch) -> None:
        self._enter("snapshot", watch)
        self._registry.snapshot_round(number)

    def cache(self, number: int, watch: Watch) -> None:
        self._enter("cache", watch)

    def train(self, number: int, watch: Watch) -> None:
        epochs = self._project.folder / "epochs.txt"
        done = len(lines(epochs))
        for epoch in range(done + 1, EPOCHS + 1):
            if epoch == EPOCHS:
                self._enter("train", watch)
            write_line(epochs, f"{number}.{epoch}")
            told = {"epoch": epoch, "epochs": EPOCHS, "loss": 1 / epoch, "best_dice": 0.5 + epoch / 10}
            watch.report(epoch, EPOCHS, training=told)
            if (self._project.folder / "break-train").exists():
                raise ValueError("the loss is no number\nat all")
        if self._registry.round(number).config.get("sabotaged"):
            raise OSError("no space left on device")

    def judge(self, number: int, watch: Watch) -> None:
        self._registry.set_round_state(number, RoundState.JUDGING)
        self._enter("judge", watch)

    def publish(self, number: int, watch: Watch) -> None:
        self._enter("publish", watch)
        self._registry.end_round(number, RoundState.PUBLISHED, decision="better", candidate=f"round-{number:04d}")

    def refresh(self, number: int, watch: Watch) -> None:
        self._enter("refresh", watch)
        due = self._registry.round_to_refresh()
        if due is not None and not watch.is_stopping():
            self._registry.mark_refreshed(due.number)

    def _enter(self, step: str, watch: Watch) -> None:
        folder = self._project.folder
        write_line(folder / "steps.txt", step)
        while (folder / f"pause-{step}").exists():
            (folder / f"in-{step}").touch()
            if step == "refresh" and watch.is_stopping():
                return
            if step not in ("publish", "refresh"):
                watch.check()
            time.sleep(0.02)


def write_line(path: Path, line: str) -> None:
    with open(path, "a") as file:
        file.write(f"{line}\n")


def lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


if __name__ == "__main__":
    import signal

    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    idle = "--until-idle" in sys.argv
    RoundWorker(open_project(Path(sys.argv[1])), stopping, make_steps=StandInSteps).run(until_idle=idle)
