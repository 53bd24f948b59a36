"""Leases over HTTP, for clients that know more than Next Sample: take a case, stay alive, skip it, give it back."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, ConfigDict, Field

from datastore.records import Lease
from lungapp.app import LungApp

PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]*$"


class LeaseRequest(BaseModel):
    """Who asks, and for a skip why."""

    model_config = ConfigDict(extra="forbid")

    client_id: Annotated[str, Field(min_length=1, max_length=200, pattern=PRINTABLE)]
    reason: Annotated[str, Field(max_length=500, pattern=PRINTABLE)] = ""


def lease_router(app: LungApp) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/lease")
    datastore, registry = app.datastore(), app.registry

    @router.post("/{case_id}")
    def take(case_id: str, asked: LeaseRequest) -> dict[str, Any]:
        """Take a case, or keep the lease on it alive; 409 if somebody else holds it."""
        return _plain(registry.lease_case(datastore.case(case_id).id, asked.client_id, app.lease_duration))

    @router.post("/{case_id}/heartbeat")
    def heartbeat(case_id: str, asked: LeaseRequest) -> dict[str, Any]:
        """Sign of life; 404 if the client does not hold the case any more."""
        lease = registry.renew(datastore.case(case_id).id, asked.client_id, app.lease_duration)
        if lease is None:
            raise HTTPException(404, f"case {case_id} is not held by this client (any more)")
        return _plain(lease)

    @router.post("/{case_id}/skip")
    def skip(case_id: str, asked: LeaseRequest) -> dict[str, Any]:
        """Pass a case on; it is not offered to this client again."""
        registry.skip(datastore.case(case_id).id, asked.client_id, asked.reason)
        return {}

    @router.post("/{case_id}/release")
    def release(case_id: str, asked: LeaseRequest) -> dict[str, Any]:
        """Give a case back; it may be offered to this client again."""
        registry.release(datastore.case(case_id).id, asked.client_id)
        return {}

    return router


def _plain(lease: Lease) -> dict[str, Any]:
    return {"case": lease.case_id, "until": lease.expires_at.isoformat(), "base": lease.base}
