"""Preliminary masks for the cases that have none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from datastore.records import Status
from datastore.registry import Registry
from infers.models import Model
from lungapp.preliminary import PreliminaryMasks


@dataclass
class BootstrapReport:
    """Cases that have a preliminary mask now, and those that could not be segmented, with the reason."""

    made: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def bootstrap(registry: Registry, model: Model, step: Callable[..., None]) -> BootstrapReport:
    """Segment every case without a submitted mask that has none of this model yet.

    Args:
        registry: Of the project.
        model: Makes the masks.
        step: Called after each case, with `total` cases to do.
    """
    masks = PreliminaryMasks(registry)
    report = BootstrapReport()
    cases = [case for case in registry.cases() if case.status is not Status.SUBMITTED]
    for case in cases:
        if not masks.has(case, model):
            try:
                masks.get(case, model)
                report.made.append(case.id)
            except (ValueError, OSError) as error:
                report.failed[case.id] = " ".join(str(error).split())
        step(total=len(cases))
    return report
