"""A CT volume that was found but not registered yet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from datastore import dicom, image_files
from datastore.ct_files import ct_grid
from datastore.fingerprint import fingerprint
from datastore.records import NewCase, Source
from datastore.selection import SelectionFacts, SelectionRules, exclusion
from datastore.series import Series
from datastore.volume import Volume


@dataclass(frozen=True)
class Found:
    """A CT volume that was found, not read yet.

    Attributes:
        source: Where it lies.
        name: A name for its output, relative to where the search began, without a suffix; `find_sources` makes
            them unique.
        series: Its slices, for DICOM.
        given: Whether its files were named one by one, instead of their folder.
    """

    source: Source
    name: Path = Path()
    series: Series | None = None
    given: bool = False

    def __str__(self) -> str:
        return str(self.source.path)

    def read(self) -> Volume:
        """Its Hounsfield units; see `image_files.read_ct` for the errors."""
        if self.series is not None:
            return image_files.as_hounsfield_units(dicom.read_series(self.series), self.source.path)
        return image_files.read_ct(self.source)

    def new_case(self, rules: SelectionRules | None = None) -> NewCase:
        """What the registry keeps of it, from its headers; of a file also its first voxels are looked at.

        Args:
            rules: What a case has to be; without any nothing is left out.

        Raises:
            ValueError: If the file cannot be read, or is no CT, or is a part of a series.
        """
        if self.series is None:
            shape, geometry = ct_grid(self.source.path)
            facts = SelectionFacts(shape, geometry, is_file=True)
            is_header = image_files.suffix_of(self.source.path) in image_files.DETACHED
            digest = None if is_header else fingerprint(self.source.path)
            case = NewCase(self.source, shape, geometry, sha256=digest)
        else:
            series = self.series
            if self.given:
                self._check_is_all(series)
            said = series.facts
            facts = SelectionFacts(series.shape, series.geometry, said.description, said.image_type)
            case = NewCase(
                source=self.source,
                shape=series.shape,
                geometry=series.geometry,
                study_uid=said.study_uid,
                description=said.description,
                patient=said.patient,
            )
        return case if rules is None else replace(case, exclusion=exclusion(facts, rules))

    def _check_is_all(self, series: Series) -> None:
        """Refuse some slices of a series as a case: `ingest one.dcm` means the series."""
        folder = series.slices[0].path.parent
        siblings, _ = dicom.find_series(folder)
        count = next((len(item.slices) for item in siblings if item.uid == series.uid), 0)
        if count > len(series.slices):
            given = "one" if len(series.slices) == 1 else str(len(series.slices))
            raise ValueError(f"{self.source.path}: is {given} of the {count} slices of a series: give the folder")
