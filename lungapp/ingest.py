"""Registering what lies under some paths."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datastore.image_files import NotHounsfieldError
from datastore.records import Case
from datastore.registry import Registry
from datastore.sources import find_sources
from lungapp.listing import case_dict

logger = logging.getLogger(__name__)


@dataclass
class IngestReport:
    """What an ingest did.

    Attributes:
        added: New cases.
        known: How many series were registered already.
        skipped: What is no CT volume, with the reason: masks, localizers, other modalities.
        failed: What ought to be one but cannot be read, with the reason.
    """

    added: list[Case] = field(default_factory=list)
    known: int = 0
    skipped: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "added": [case_dict(case) for case in self.added],
            "known": self.known,
            "skipped": self.skipped,
            "failed": self.failed,
        }


def ingest(registry: Registry, paths: Sequence[Path], step: Callable[[], None]) -> IngestReport:
    """Register every CT series under some paths, in place; one that fails does not stop the others.

    Args:
        registry: Where they go.
        paths: Files and folders.
        step: Called once for each file that was looked at.
    """
    report = IngestReport()
    for path in paths:
        try:
            found, rejected = find_sources(path, step)
        except (ValueError, OSError) as error:
            report.failed.append(str(error))
            continue
        for item in rejected:
            (report.failed if item.damaged else report.skipped).append(str(item))
        for source in found:
            try:
                case, is_new = registry.add_case(source.new_case())
            except NotHounsfieldError as error:
                (report.skipped if path.is_dir() else report.failed).append(str(error))
            except Exception as error:  # one series that fails does not stop the others
                logger.info("%s", source, exc_info=True)
                report.failed.append(" ".join(str(error).split()) or type(error).__name__)
            else:
                report.known += not is_new
                if is_new:
                    report.added.append(case)
            step()
        if not found and not rejected:
            report.failed.append(f"{path}: no CT found: expected NIfTI, MetaImage, NRRD or DICOM files in it or below")
    return report
