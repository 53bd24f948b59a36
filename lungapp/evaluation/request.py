"""What somebody asks of an evaluation, and whether that can be done."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datastore.labels import Structure
from lungapp.evaluation.files import check_is_ours
from lungapp.evaluation.labels import Labels
from lungapp.evaluation.predictions import Prediction
from lungapp.output_folder import check_is_writable
from lungapp.project import SETTINGS_FILE


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        reference: Folder of references, or of a project; None where only tumours are looked at.
        tumour: Folder of tumours' masks, or None.
        images: Folder of CTs, or None.
        predictions: What is compared with the references.
        labels: What the numbers in masks mean.
        how: By what cases are grouped, or None.
        table: File of a table with groups, or None.
        left_out: Groups that "All" leaves out, as they were given; empty if none were.
        tolerance_mm: Of the surface Dice.
        out: Folder for what is found, or None.
        jobs: How many cases are scored at a time.
    """

    reference: Path | None
    tumour: Path | None
    images: Path | None
    predictions: tuple[Prediction, ...]
    labels: Labels
    how: str | None
    table: Path | None
    left_out: tuple[str, ...]
    tolerance_mm: float
    out: Path | None
    jobs: int

    @property
    def project(self) -> Path | None:
        """The project that holds the references, or None."""
        return self.reference if self.reference is not None and (self.reference / SETTINGS_FILE).is_file() else None

    @property
    def structures(self) -> tuple[Structure, ...]:
        """What is compared with references, if there are any."""
        return self.labels.structures if self.reference is not None else ()

    @property
    def folders(self) -> dict[str, Path]:
        """Every folder that is read, by the option that it was given with."""
        given = [("--ref", self.reference), ("--images", self.images), ("--tumour", self.tumour)]
        given += [("--pred", Path(item.place)) for item in self.predictions if item.is_folder]
        return {f"{option} {path}": path for option, path in given if path is not None}

    def check(self) -> None:
        """Refuse what cannot be done, before anything is.

        Raises:
            ValueError: If something is missing or does not go together.
            OSError: If a folder is not there, or nothing can be written to the one for what is found.
        """
        if self.reference is None and self.tumour is None:
            raise ValueError("expected references (--ref), tumours (--tumour), or both")
        if self.project is not None and (self.images or self.tumour):
            raise ValueError("--ref is a project, which has images and tumours itself: leave --images, --tumour out")
        if self.project is None and self.images is None and not all(item.is_folder for item in self.predictions):
            raise ValueError("a model needs images to segment: --images DIR")
        if not math.isfinite(self.tolerance_mm):
            raise ValueError(f"--tolerance: expected a number of mm, got {self.tolerance_mm}")
        for given, path in self.folders.items():
            if not path.is_dir():
                raise NotADirectoryError(
                    f"{given}: {'a file, expected a folder' if path.exists() else 'no such folder'}"
                )
        if self.reference is not None and self.images is not None and self.reference.samefile(self.images):
            raise ValueError(f"--ref and --images are one folder, {self.images}: masks need a folder without CTs")
        if self.out is not None:
            self._check_out(self.out)

    def _check_out(self, out: Path) -> None:
        real = Path(os.path.realpath(out))
        for given, path in self.folders.items():
            if Path(os.path.realpath(path)) in (real, *real.parents):
                raise ValueError(f"--out {out}: lies in {given}, where it would be taken for input")
        check_is_ours(out)
        check_is_writable(next(folder for folder in (real, *real.parents) if folder.exists()))

    def plain(self, versions: Mapping[str, str]) -> dict[str, Any]:
        """The options as they stand in the JSON.

        Args:
            versions: Of the models that made masks, by name.
        """
        return {
            "ref": self.reference,
            "pred": [
                {"name": item.name, "from": item.place, "version": versions.get(item.name)} for item in self.predictions
            ],
            "images": self.images,
            "tumour": self.tumour,
            "by": self.how,
            "cases": self.table,
            "labels": [{"value": item.value, "name": item.name} for item in self.labels.structures],
            "whole": self.labels.whole,
        }
