"""Preliminary masks for the cases that have none."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from datastore.records import TO_DO
from datastore.registry import CaseFilter, Registry
from datastore.served_images import ServedImages
from infers.models import Model
from lungapp.preliminary import PreliminaryMasks

logger = logging.getLogger(__name__)


@dataclass
class BootstrapReport:
    """Cases that have a preliminary mask now, and those that could not be segmented, with the reason."""

    made: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def bootstrap(registry: Registry, images: ServedImages, model: Model, step: Callable[..., None]) -> BootstrapReport:
    """Segment every eligible case that is to do and has no mask of this model yet.

    Args:
        registry: Of the project.
        images: Of the project.
        model: Makes the masks.
        step: Called after each case, with `total` cases to do.
    """
    masks = PreliminaryMasks(registry, images)
    report = BootstrapReport()
    to_do = CaseFilter(statuses=TO_DO)
    total = len(registry.case_ids(to_do))
    for case in registry.each_case(to_do):
        if not masks.has(case, model):
            try:
                masks.get(case, model)
                report.made.append(case.id)
            except Exception as error:  # one case that fails does not stop the others
                logger.info("case %s", case.id, exc_info=True)
                report.failed[case.id] = " ".join(str(error).split())
        step(total=total)
    return report
