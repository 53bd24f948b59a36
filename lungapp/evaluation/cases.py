"""Which files belong to which case of an evaluation; see `pairing` for the rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datastore.found import Found
from datastore.sources import find_sources
from lungapp.evaluation.pairing import case_names, named_files, pair
from lungapp.evaluation.records import CaseFiles
from lungapp.segment_reports import is_own_mask

EXAMPLES = 2  # names in an error that says that nothing belongs together


@dataclass
class Roster:
    """The cases of an evaluation, to which files are shared out one folder after the other.

    Attributes:
        makers: Name of the file that made the case, by case.
        references: Reference mask by case.
        tumours: Mask of the tumour by case.
        predictions: For each model its mask by case.
        images: CT by case.
        unused: How many CTs belong to no case.
        checksums: SHA-256 of the reference by case, where it is known.
    """

    makers: dict[str, str] = field(default_factory=dict)
    references: dict[str, Path] = field(default_factory=dict)
    tumours: dict[str, Path] = field(default_factory=dict)
    predictions: dict[str, dict[str, Path]] = field(default_factory=dict)
    images: dict[str, Found] = field(default_factory=dict)
    unused: int = 0
    checksums: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_folders(cls, references: Path | None, tumours: Path | None) -> Roster:
        """A case for each reference, and for each tumour of no reference.

        Raises:
            NotADirectoryError: If one of them is no folder.
            ValueError: If it holds no mask, or it cannot be told which ones belong together.
        """
        roster = cls()
        if references is not None:
            roster.references = roster._take(named_files(references), "reference")
        if tumours is not None:
            roster.tumours = roster._take(named_files(tumours), "tumour")
        return roster

    def add_predictions(self, model: str, folder: Path) -> None:
        """Share out a model's masks; one that belongs to no case makes a case without a reference.

        Raises:
            NotADirectoryError: If it is no folder.
            ValueError: If it holds no mask, none belongs to a case, or it cannot be told to which one.
        """
        known = set(self.makers)
        files = named_files(folder)
        before = list(self.makers.values())
        self.predictions[model] = self._take(files, f"mask of {model}")
        if known.isdisjoint(self.predictions[model]):
            raise ValueError(f"{folder}: no mask belongs to a case: {_examples(files, before)}")

    def add_images(self, folder: Path, step: Callable[[], None] | None = None) -> None:
        """Share out the CTs below a folder; those that belong to no case are left out.

        Args:
            folder: The folder.
            step: Called for each file that was looked at.

        Raises:
            FileNotFoundError: If it is not there.
            ValueError: If there is no CT, none belongs to a case, or it cannot be told to which one.
        """
        found, _ = find_sources(folder, step, is_own_mask)
        images = {item.name.as_posix(): item for item in found}
        pairs = pair(self.makers, images, "image")
        if not pairs:
            reason = f"no image belongs to a case: {_examples(images, list(self.makers.values()))}"
            raise ValueError(f"{folder}: {reason if images else 'no CT in it or below'}")
        self.images = {case: images[name] for case, name in pairs.items()}
        self.unused = len(images) - len(pairs)

    def files(self, models: Sequence[str], groups: Mapping[str, str]) -> tuple[CaseFiles, ...]:
        """What there is of each case, in the order of their names.

        Args:
            models: In the order in which they were given.
            groups: Group by case; "" where there is none.
        """
        return tuple(
            CaseFiles(
                case=case,
                group=groups.get(case, ""),
                reference=self.references.get(case),
                predictions=tuple((model, self.predictions.get(model, {}).get(case)) for model in models),
                image=self.images[case].source.path if case in self.images else None,
                tumour=self.tumours.get(case),
                reference_sha256=self.checksums.get(case),
            )
            for case in sorted(self.makers)
        )

    def _take(self, files: Mapping[str, Path], what: str) -> dict[str, Path]:
        """Share out files; those that belong to no case make new ones."""
        pairs = pair(self.makers, files, what)
        others = files.keys() - set(pairs.values())
        new = case_names([name for name in files if name in others], self.makers)
        self.makers |= new
        return {case: files[name] for case, name in (pairs | new).items()}


def _examples(names: Mapping[str, object], cases: Sequence[str]) -> str:
    """A few names of either side, which show why none fits."""
    ours, theirs = (", ".join(list(some)[:EXAMPLES]) for some in (names, cases))
    return f"got {ours}, expected {theirs}"
