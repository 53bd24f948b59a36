"""Making the cases of a synthetic cohort, several at a time in processes of their own.

Processes load this module: what is slow to load, as networks are, is not imported here.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import wait as wait_for_end
from pathlib import Path

from datastore.atomic import write_bytes
from datastore.phantom.case_making import Making, make_case
from datastore.phantom.plans import PatientPlan
from datastore.wording import first_line

RECORDS = "records"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Made:
    """What became of a case.

    Attributes:
        case: Its name.
        outcome: "made", "kept" (it was there) or "failed".
        seconds: That it took, one core.
        reason: Why it failed.
    """

    case: str
    outcome: str
    seconds: float = 0.0
    reason: str = ""

    def line(self) -> str:
        """For people."""
        return f"{self.outcome}  {self.case}" + (f"  {self.reason}" if self.reason else f"  {self.seconds:.1f} s")


def make_cohort(
    folder: Path, plans: Sequence[PatientPlan], making: Making, jobs: int = 1
) -> Generator[Made, None, None]:
    """Make the cases of a cohort, each as soon as it is finished; those that are complete are kept.

    A case that fails stops no other.

    Args:
        folder: See `phantoms.cohort_folder`.
        plans: The patients.
        making: Sizes and format.
        jobs: How many are made at a time, each in a process of its own with one thread.

    Raises:
        ChildProcessError: If a process died.
    """
    kept = [plan for plan in plans if _record(folder, plan.name).exists()]
    yield from (Made(plan.name, "kept") for plan in kept)
    names = {plan.name for plan in kept}
    waiting = [plan for plan in plans if plan.name not in names]
    if jobs == 1 or len(waiting) < 2:
        yield from (_make(folder, plan, making) for plan in waiting)
        return
    with _one_thread_each(), _pool(min(jobs, len(waiting))) as pool:
        coming = iter(waiting)
        running = {pool.submit(_make, folder, plan, making) for plan in islice(coming, jobs)}
        try:
            while running:  # none waits in the pool: who interrupts waits for those at work alone
                done, running = wait(running, return_when=FIRST_COMPLETED)
                running |= {pool.submit(_make, folder, plan, making) for plan in islice(coming, len(done))}
                for future in done:
                    yield future.result()
        except BrokenProcessPool as error:
            reason = "a process died, perhaps for want of memory: try fewer --jobs; the same command goes on from here"
            raise ChildProcessError(reason) from error


def _make(folder: Path, plan: PatientPlan, making: Making) -> Made:
    start = time.perf_counter()
    try:
        rows = make_case(folder, plan, making)
        text = json.dumps({"case": plan.name, "rows": rows}, indent=2) + "\n"
        write_bytes(_record(folder, plan.name), text.encode(), overwrite=True)
    except (ValueError, OSError, MemoryError) as error:
        return Made(plan.name, "failed", time.perf_counter() - start, first_line(error) or type(error).__name__)
    return Made(plan.name, "made", time.perf_counter() - start)


def _record(folder: Path, name: str) -> Path:
    return folder / RECORDS / f"{name}.json"


def _pool(jobs: int) -> Executor:
    return ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), initializer=_begin_worker)


def _begin_worker() -> None:
    """Leave Ctrl-C to the parent, and end when it has ended, however that came."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait_for_end([sentinel])
    os._exit(1)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Environment of processes that are started meanwhile: libraries that would take every core take one."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
