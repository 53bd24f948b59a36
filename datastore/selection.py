"""Which series are worth segmenting: the selection of Hofmanninger et al. 2020, section II-C.

Axial series of enough slices whose description names the lung, chest or thorax, as reconstructed, no projections.
That of several series of one study one is enough is decided where the study is known, in the registry.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from datastore.geometry import Geometry

AXIAL_WITHIN_DEGREES = 30.0
RENDERED = re.compile(
    r"(?<![A-Z0-9])(MIP|MIN_?IP|MAX_?IP|MPR|VRT|SSD|PROJECTION[\w ]*|(?:VOLUME|SURFACE)[_ ]?REND\w*)(?![A-Z0-9])"
)
RENDERED_DESCRIPTION = re.compile(r"(?<![a-z0-9])(mip|minip|vrt)(?![a-z0-9])", re.IGNORECASE)


@dataclass(frozen=True)
class SelectionRules:
    """What a series must be to become a case that is drawn.

    Attributes:
        axial: Its slices lie within 30 degrees of axial.
        min_slices: The fewest slices; 0 for any number.
        description_terms: Its description holds one of these, in any case; none for any description.
        original: It is no rendering: no projection, no reformat, no surface.
        one_per_study: One series of each study is enough; the registry sees to it.
        files: Whether the rules for slices hold for image files too, which somebody converted on purpose.
    """

    axial: bool = True
    min_slices: int = 100
    description_terms: tuple[str, ...] = ("lung", "chest", "thorax")
    original: bool = True
    one_per_study: bool = True
    files: bool = False


@dataclass(frozen=True)
class SelectionFacts:
    """What the rules look at.

    Attributes:
        shape: (z, y, x) voxels.
        geometry: The grid.
        description: SeriesDescription, or "".
        image_type: Values of ImageType in capitals.
        is_file: Whether it is an image file instead of a DICOM series.
    """

    shape: tuple[int, int, int]
    geometry: Geometry
    description: str = ""
    image_type: tuple[str, ...] = ()
    is_file: bool = False


def exclusion(facts: SelectionFacts, rules: SelectionRules) -> str | None:
    """The first reason why a series is left out, or None.

    >>> thin = SelectionFacts((62, 512, 512), Geometry((0.7, 0.7, 5.0)), "Thorax 5.0")
    >>> exclusion(thin, SelectionRules())
    '62 slices < 100'
    """
    if facts.is_file and not rules.files:
        return None
    plane = _plane(facts.geometry) if rules.axial else ""
    if plane:
        return plane
    rendering = _rendering(facts) if rules.original else ""
    if rendering:
        return f"derived: {rendering}"
    if facts.shape[0] < rules.min_slices:
        return f"{facts.shape[0]} slices < {rules.min_slices}"
    if facts.is_file or not rules.description_terms:
        return None
    if not facts.description:
        return "no series description"
    if not any(term.lower() in facts.description.lower() for term in rules.description_terms):
        return f"description {facts.description!r} has none of {', '.join(rules.description_terms)}"
    return None


def _plane(geometry: Geometry) -> str:
    """How the slices lie if they are not axial, else ""."""
    normal = np.abs(geometry.matrix[:, 2])
    degrees = np.degrees(np.arccos(np.clip(normal / np.linalg.norm(normal), 0.0, 1.0)))
    if degrees[2] <= AXIAL_WITHIN_DEGREES:
        return ""
    if degrees[1] <= AXIAL_WITHIN_DEGREES:
        return "coronal"
    if degrees[0] <= AXIAL_WITHIN_DEGREES:
        return "sagittal"
    return f"oblique: {degrees[2]:.0f} degrees from axial"


def _rendering(facts: SelectionFacts) -> str:
    """How a derived series was rendered, or ""; anonymisers write DERIVED on originals too."""
    if "DERIVED" not in facts.image_type:
        return ""
    for value in facts.image_type:
        match = RENDERED.search(value)
        if match:
            return match[1]
    match = RENDERED_DESCRIPTION.search(facts.description)
    return match[1] if match else ""
