"""Quality checks of a stored label version against its image, recorded with it.

They need the image, which takes seconds to read: so a submission is stored first and checked afterwards, and nothing is
accepted before it was.
"""

from __future__ import annotations

from datastore.image_files import read_mask
from datastore.quality import examine
from datastore.records import Label, QualityFinding, Severity
from datastore.registry import Registry
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
