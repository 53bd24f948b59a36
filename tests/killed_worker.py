"""A worker that kills itself with -9 at a moment of a round: `python killed_worker.py PROJECT MOMENT`."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from datastore.registry import Registry
from infers.model_store import ModelStore
from lungapp.project import open_project
from lungapp.rounds import snapshot
from lungapp.rounds.candidate import Slices
from lungapp.rounds.watch import Watch
from lungapp.rounds.worker import RoundWorker
from trainers.case_scores import JudgedFile

MOMENTS: dict[str, tuple[Any, str, int]] = {
    "snapshot: before its file is written": (snapshot, "write_bytes", 1),
    "cache: in the second volume": (Slices, "_volume", 2),
    "train: in the second epoch": (Watch, "should_stop", 5),
    "judge: after the first score": (JudgedFile, "keep", 1),
    "publish: after the switch": (ModelStore, "switch", 1),
    "publish: after the registry has the end": (Registry, "end_round", 1),
    "refresh: after the first mask": (Registry, "replace_preliminary", 1),
}
"""What is patched, and in which call of it this process dies; where the words say `after`, once that call is done."""


def deadly(done: Callable[..., Any], calls: int, after: bool) -> Callable[..., Any]:
    count = 0

    def call(*arguments: Any, **named: Any) -> Any:
        nonlocal count
        count += 1
        if count == calls and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = done(*arguments, **named)
        if count == calls:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return call


if __name__ == "__main__":
    where, name, calls = MOMENTS[sys.argv[2]]
    setattr(where, name, deadly(getattr(where, name), calls, "after" in sys.argv[2]))
    RoundWorker(open_project(Path(sys.argv[1])), threading.Event()).run(until_idle=True)
