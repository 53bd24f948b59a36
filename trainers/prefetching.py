"""Minibatches made ahead in a thread while the network learns; each is a function of recipe and step alone."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import torch
from torch import Tensor

AHEAD = 2  # minibatches; one of 14 slices of 256 x 256 takes 11 MB

Minibatch = tuple[Tensor, Tensor]


class Prefetching:
    """Asks for the minibatches of coming steps before they are needed. Leaving the block ends the thread.

    Args:
        make: Gives the minibatch of a step, the same one each time; it is called in another thread, in order.
        first: The step to begin with.
        end: The first step that is no longer needed.
    """

    def __init__(self, make: Callable[[int], Minibatch], first: int, end: int) -> None:
        self.waited_s = 0.0
        """How long `take` has waited in all."""
        threads = torch.get_num_threads()
        self._make, self._next, self._end = make, first, end
        self._coming: deque[Future[Minibatch]] = deque()
        # torch counts threads per thread: without this the sums of another thread could have another order
        self._thread = ThreadPoolExecutor(1, "minibatches", lambda: torch.set_num_threads(threads))

    def __enter__(self) -> Prefetching:
        self._ask()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(cancel_futures=True)

    def take(self) -> Minibatch:
        """The minibatch of the next step, as soon as it is there; what went wrong in making it is raised here."""
        began = time.perf_counter()
        made = self._coming.popleft().result()
        self.waited_s += time.perf_counter() - began
        self._ask()
        return made

    def _ask(self) -> None:
        while len(self._coming) < AHEAD and self._next < self._end:
            self._coming.append(self._thread.submit(self._make, self._next))
            self._next += 1
