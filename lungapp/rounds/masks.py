"""Accepted masks, and what their cases have in common, as rounds take them."""

from __future__ import annotations

from datastore.atomic import sha256_of
from datastore.image_files import read_mask
from datastore.records import Case, Label
from datastore.volume import Volume


def accepted_mask(label: Label) -> Volume:
    """The mask of a label version: (z, y, x) uint8 on the grid of its image.

    Raises:
        ValueError: If its file is gone, or no longer what was accepted.
    """
    if not label.path.is_file():
        raise ValueError(f"mask {label.id} is gone: bring it back from a backup (`lungapp doctor` says more)")
    if sha256_of(label.path) != label.sha256:
        raise ValueError(f"the file of mask {label.id} was changed since it was accepted: `lungapp doctor` says more")
    return read_mask(label.path)


def groups_of(case: Case) -> tuple[str, ...]:
    """What a case has in common with others: its tags and its phenotype."""
    return tuple(dict.fromkeys((*case.tags, *([case.phenotype] if case.phenotype else []))))
