"""MONAI Label's `Strategy`: an order of the cases, and a lease on the first that is free."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.strategy import Strategy

from datastore.registry import Order, Registry
from datastore.wording import printable

ANONYMOUS = "anonymous"


def holder_of(request: dict[str, Any]) -> str:
    """Who asks: the client's own word, until there are users."""
    return printable(str(request.get("client_id") or ANONYMOUS))[:200]


class LeasingStrategy(Strategy):
    """Offers a case to an annotator and holds it for them.

    Args:
        registry: Knows the cases and keeps the leases.
        order: Which case comes first.
        description: One sentence for people.
        lease: How long a case is held for the one who was given it.
    """

    def __init__(
        self,
        registry: Registry,
        order: Order,
        description: str,
        lease: timedelta,
    ) -> None:
        super().__init__(description)
        self._registry = registry
        self._order = order
        self._lease = lease

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        """`{"id": case}`, or `{}` if no case is left for this `client_id`.

        Cases in `passed_over` are left out.
        """
        passed_over = tuple(request.get("passed_over", ()))
        lease = self._registry.lease_next(self._order, holder_of(request), self._lease, passed_over)
        return {} if lease is None else {"id": lease.case_id}
