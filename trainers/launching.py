"""Starts the processes of a training on several devices, hears their progress, stops them, begins anew if need be."""

from __future__ import annotations

import logging
import signal
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

import torch
from torch import distributed, multiprocessing

from trainers.memory import OutOfMemoryError
from trainers.progress import Progress
from trainers.stopping import TrainingStopped, stop_signal

ASKED_EVERY_S = 0.2
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Seat:
    """One process's place in a training; what it hands to `train`.

    Attributes:
        rank: Number of the process; only number 0 writes what the training gives.
        device: Its own.
        parts: Into how many parts it cuts its share of a minibatch.
        report: Where its progress goes.
        should_stop: Whether it is to stop.
    """

    rank: int
    device: str
    parts: int
    report: Callable[[Progress], None]
    should_stop: Callable[[], bool]


Task = Callable[[Seat], None]


def run_on(
    devices: Sequence[str],
    task: Task,
    *,
    report: Callable[[Progress], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Run a training on some devices: here on one, in a process of its own on each of several.

    Where memory does not suffice in one of several processes, all of them begin anew from the last checkpoint with
    their minibatches in twice as many parts.

    Args:
        devices: Such as `cuda:0` and `cuda:1`, or `cpu` twice.
        task: Calls `train` as its seat says. For several devices it has to be a function of a module, or a `partial` of
            one; so it opens slices and weights itself, in each process.
        report: Hears of the progress.
        should_stop: Asked every now and then.

    Raises:
        TrainingStopped: If it was told to stop, or SIGTERM came.
        RuntimeError: If a process failed; with its own words.
    """
    if len(devices) == 1:
        task(Seat(0, devices[0], 1, report, should_stop))
        return
    parts = 1
    while True:
        try:
            return _run_all(devices, task, parts, report, should_stop)
        except OutOfMemoryError as error:
            if error.is_final:
                raise
            parts = 2 * error.parts
            log.warning("%s; minibatches are computed in %d parts now", error, parts)


def _run_all(
    devices: Sequence[str],
    task: Task,
    parts: int,
    report: Callable[[Progress], None],
    should_stop: Callable[[], bool],
) -> None:
    said: SimpleQueue[Any] = multiprocessing.get_context("spawn").SimpleQueue()
    ends: list[BaseException] = []

    def listen() -> None:
        while not said.empty():
            heard = said.get()
            if isinstance(heard, Progress):
                report(heard)
            else:
                ends.append(heard)

    with tempfile.TemporaryDirectory() as folder, stop_signal(should_stop) as stop:
        arguments = (tuple(devices), task, parts, Path(folder) / "meeting", torch.get_num_threads(), said)
        processes = multiprocessing.spawn(_sit, arguments, len(devices), join=False)
        is_told = False
        try:
            while not processes.join(timeout=ASKED_EVERY_S):
                listen()
                if not is_told and stop():
                    is_told = True
                    for process in processes.processes:
                        process.terminate()  # SIGTERM: `train` writes its checkpoint first
        except (multiprocessing.ProcessExitedException, multiprocessing.ProcessRaisedException) as error:
            listen()
            if is_told and any(process.exitcode == -signal.SIGTERM for process in processes.processes):
                raise TrainingStopped("stopped before its processes could take notice") from error
            if not any(isinstance(end, OutOfMemoryError) for end in ends):
                raise RuntimeError(f"a training process failed: {str(error).strip().splitlines()[-1]}") from error
        finally:
            for process in processes.processes:
                process.kill()
        listen()
    for kind in (OutOfMemoryError, TrainingStopped):
        for end in ends:
            if isinstance(end, kind):
                raise end


def _sit(
    rank: int, devices: tuple[str, ...], task: Task, parts: int, meeting: Path, threads: int, said: SimpleQueue[Any]
) -> None:
    """What each process does."""
    device = torch.device(devices[rank])
    torch.set_num_threads(threads)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    with stop_signal(lambda: False) as stop:
        distributed.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            init_method=meeting.as_uri(),
            rank=rank,
            world_size=len(devices),
        )
        try:
            task(Seat(rank, devices[rank], parts, said.put, stop))
        except TrainingStopped as end:
            if rank == 0:
                said.put(end)
        except OutOfMemoryError as error:
            said.put(error)
            raise
        finally:
            distributed.destroy_process_group()
