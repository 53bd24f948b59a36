"""References, tumours and CTs that lie in folders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from lungapp.evaluation.cases import Roster
from lungapp.evaluation.groups import FOLDER, NO_GROUPS, are_groups, by_folder


class FolderInputs:
    """Where the files of an evaluation come from, outside of any project.

    Args:
        references: Folder of reference masks, or None.
        tumours: Folder of tumours' masks, or None.
        images: Folder of CTs, or None.
    """

    stores: Sequence[Path] = ()

    def __init__(self, references: Path | None, tumours: Path | None, images: Path | None) -> None:
        self._references = references
        self._tumours = tumours
        self._images = images

    def roster(self) -> Roster:
        """A case for each reference and tumour; see `Roster.of_folders` for the errors."""
        return Roster.of_folders(self._references, self._tumours)

    def fetch_images(self, roster: Roster, step: Callable[..., None]) -> dict[str, str]:
        """Give the cases their CTs, where there are any; see `Roster.add_images` for the errors."""
        if self._images is not None:
            roster.add_images(self._images, step)
        return {}

    def groups(self, roster: Roster, how: str | None) -> dict[str, str]:
        """Group by case: `folder`, `none`, or where nothing is said folders that are more than one for each case.

        Raises:
            ValueError: If it is something else.
        """
        if how not in (None, FOLDER, NO_GROUPS):
            raise ValueError(f"cannot group by {how!r}: expected {FOLDER}, {NO_GROUPS}, or a column of --cases")
        groups = by_folder(roster.makers)
        return groups if how == FOLDER or (how is None and are_groups(groups)) else {}
