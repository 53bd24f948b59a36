"""Random sampling: every case is as likely as any other (Hofmanninger et al. 2020, sec. II-C, N = 57)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def rank(case_ids: Sequence[str], seed: int) -> list[str]:
    """Cases in a random order that depends on the seed and the ids alone.

    A case keeps its place relative to the others when cases come or go, so that all annotators of a project
    walk through one random sequence.

    >>> rank(["0001", "0002", "0003"], seed=7) == rank(["0003", "0001", "0002"], seed=7)
    True

    Args:
        case_ids: Ids of the cases to choose from.
        seed: Of the order.

    Returns:
        The same ids, the next one first.
    """
    return sorted(case_ids, key=lambda case_id: hashlib.sha256(f"{seed}/{case_id}".encode()).digest())
