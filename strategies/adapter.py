"""MONAI Label's `Strategy`: a ranking of the open cases, and a lease on the first that is free."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.strategy import Strategy

from datastore.registry import Registry

ANONYMOUS = "anonymous"


def holder_of(request: dict[str, Any]) -> str:
    """Who asks: the client's own word, until there are users."""
    return str(request.get("client_id") or ANONYMOUS)[:200]


class LeasingStrategy(Strategy):
    """Offers a case to an annotator and holds it for them.

    Args:
        registry: Knows the open cases and keeps the leases.
        rank: Puts case ids in order, the next one first.
        description: One sentence for people.
        lease: How long a case is held for the one who was given it.
    """

    def __init__(
        self,
        registry: Registry,
        rank: Callable[[Sequence[str]], list[str]],
        description: str,
        lease: timedelta,
    ) -> None:
        super().__init__(description)
        self._registry = registry
        self._rank = rank
        self._lease = lease

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        """`{"id": case}`, or `{}` if no case is left for this `client_id`.

        Cases in `passed_over` are left out.
        """
        holder = holder_of(request)
        passed_over = set(request.get("passed_over", ()))
        ranked = self._rank([case_id for case_id in self._registry.open_cases(holder) if case_id not in passed_over])
        lease = self._registry.lease_first(ranked, holder, self._lease)
        return {} if lease is None else {"id": lease.case_id}
