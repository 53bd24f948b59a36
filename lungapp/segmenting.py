"""Segmenting many scans: while one is in the model, the next is read and the one before is written.

At most one scan is read ahead and one is being written, and only while all of them are small: memory does not grow
with the number of scans, and long ones come one at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from threading import Thread
from typing import ParamSpec, TypeVar

from infers.models import Model
from lungapp.segment_jobs import Job
from lungapp.segment_results import Result
from lungapp.segment_steps import Made, Read, SegmentOptions, Steps

HELD_BYTES = 1 << 30  # of scans and masks together; beyond it there is one scan at a time

P = ParamSpec("P")
T = TypeVar("T")


def segment_all(jobs: Sequence[Job], model: Model, options: SegmentOptions = SegmentOptions()) -> Generator[Result]:
    """Segment scans one after the other; one that fails does not stop the others.

    The model runs in the caller's thread; one that `overlaps` has two scans at a time, in threads of their own. Where
    the caller stops early, the mask that is being written is finished.

    Yields:
        One result for each job, in their order.
    """
    steps = Steps(model, options, jobs)
    run = _in_background if model.overlaps else _at_once
    ahead: Future[Read | Result] | None = None
    inside: deque[Future[Made | Result]] = deque()
    behind: Future[Result] | None = None
    try:
        for number, job in enumerate(jobs):
            scan = steps.read(job) if ahead is None else ahead.result()
            ahead = None
            held = jobs[number - len(inside) - (behind is not None) : number + 2]
            if number + 1 < len(jobs) and sum(each.held_bytes for each in held) <= HELD_BYTES:
                ahead = _in_background(steps.read, jobs[number + 1])
            inside.append(run(steps.segment, scan))
            del scan  # or it would still be held while the next is in the model
            while inside and (ahead is None or len(inside) > model.overlaps):
                made = inside.popleft().result()
                if behind is not None:
                    yield behind.result()
                behind = _in_background(steps.write, made)
                del made
            if ahead is None and behind is not None:
                yield behind.result()
                behind = None
    finally:
        if behind is not None:
            behind.exception()  # waits for it


def _at_once(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> Future[T]:
    """Run something here and now."""
    future: Future[T] = Future()
    future.set_result(work(*arguments, **named))
    return future


def _in_background(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> Future[T]:
    """Run something in a thread of its own, which does not keep the program from ending."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            result = work(*arguments, **named)
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    Thread(target=run, daemon=True, name=f"segment-{work.__name__}").start()
    return future
