"""Random sampling: every case is as likely as any other (Hofmanninger et al. 2020, sec. II-C, N = 57)."""

from __future__ import annotations

import hashlib
from functools import partial

from datastore.registry import Order


def order(seed: int) -> Order:
    """The random order of a seed.

    >>> first, second = order(seed=7), order(seed=7)
    >>> first.position("0001") == second.position("0001") != order(seed=8).position("0001")
    True
    """
    return Order(f"random-{seed}", partial(position, seed=seed))


def position(case_id: str, seed: int) -> int:
    """A case's place in the random order, which depends on the seed and its id alone.

    A case keeps its place relative to the others when cases come or go, so that all annotators of a project
    walk through one random sequence.

    Returns:
        0 .. 2^63 - 1; the lowest comes first.
    """
    digest = hashlib.sha256(f"{seed}/{case_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
