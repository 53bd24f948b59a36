"""Quality checks of a stored label version against its image, recorded with it.

They need the image, which takes seconds to read: so a submission is stored first and checked afterwards, and nothing is
accepted before it was.
"""

from __future__ import annotations

from datastore.image_files import read_mask
from datastore.quality import examine, needs_review
from datastore.records import Kind, Label, QualityFinding, Severity, Status
from datastore.registry import Registry, ReviewError
from datastore.served_images import CaseImageError, ServedImages
from datastore.volume import Volume

CHECKER = "lungapp"


def check_label(registry: Registry, images: ServedImages, label_id: str) -> Label:
    """A label version with its findings; they are made and recorded if they are not there yet.

    Raises:
        UnknownCaseError: If there is no such version.
        ValueError: If its file cannot be read.
        OSError: If its file is gone.
    """
    label = registry.label(label_id)
    if label.findings is not None:
        return label
    case = registry.case(label.case_id)
    mask = Volume(read_mask(label.path).array, case.geometry).to_lps()
    findings: tuple[QualityFinding, ...] = ()
    try:
        image = images.read(case).to_lps()
    except CaseImageError as error:
        image = None
        findings = (QualityFinding("image.unreadable", Severity.REVIEW, f"not compared with the image: {error}"),)
    return registry.record_findings(label_id, (*findings, *examine(mask, image)), CHECKER)


def accept_if_sound(registry: Registry, label_id: str) -> bool:
    """Accept a checked submission without a reviewer, if nothing asks for one; whether it was accepted.

    A finding asks for one, and so does a conflict: then the version stays submitted.

    Raises:
        UnknownCaseError: If there is no such version.
    """
    label = registry.label(label_id)
    if label.kind is not Kind.SUBMITTED or label.findings is None or needs_review(label.findings):
        return False
    if registry.case(label.case_id).status is Status.CONFLICT:
        return False
    try:
        registry.accept(label_id, CHECKER, "nothing found")
    except ReviewError:  # somebody was faster
        return False
    return True
