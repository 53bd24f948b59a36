"""MONAI Label's `Strategy`: a ranking of the open cases, and a lease on the first that is free."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.strategy import Strategy

from datastore.registry import Registry

ANONYMOUS = "anonymous"


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
        """`{"id": case}`, or `{}` if no case is left for this `client_id`."""
        holder = str(request.get("client_id") or ANONYMOUS)[:200]
        ranked = self._rank(self._registry.open_cases(holder))
        lease = self._registry.lease_first(ranked, holder, self._lease)
        return {} if lease is None else {"id": lease.case_id}
