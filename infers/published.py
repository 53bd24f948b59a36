"""The models that the authors of lungmask have published, known by name; nothing is ever downloaded.

Their file names end in the first eight digits of the file's SHA-256, as torch.hub has it: so a file can be told to be
the published one. Eight digits exclude a damaged or another file, not one that somebody made to fit them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from datastore.labels import LOBES, LUNGS, Structure

RELEASE = "https://github.com/JoHof/lungmask/releases/download/v0.0"
CITATION = (
    "Hofmanninger, J., Prayer, F., Pan, J. et al. Automatic lung segmentation in routine imaging is primarily a data "
    "diversity problem, not a methodology problem. Eur Radiol Exp 4, 50 (2020). "
    "https://doi.org/10.1186/s41747-020-00173-2"
)


@dataclass(frozen=True)
class PublishedModel:
    """A file of weights that its authors have published.

    Attributes:
        name: As lungmask calls it.
        file_name: As published; `-` and eight digits of its SHA-256 stand before the suffix.
        structures: What the network's classes mean, background left out.
        description: One sentence for people.
    """

    name: str
    file_name: str
    structures: tuple[Structure, ...]
    description: str

    @property
    def classes(self) -> int:
        """Number of classes, background included."""
        return len(self.structures) + 1

    @property
    def sha256_prefix(self) -> str:
        """The first eight digits of the file's SHA-256.

        >>> PUBLISHED[0].sha256_prefix
        'd5d2fc3d'
        """
        return Path(self.file_name).stem.rpartition("-")[2]

    @property
    def url(self) -> str:
        """Where the authors publish it."""
        return f"{RELEASE}/{self.file_name}"


@dataclass(frozen=True)
class FusedPair:
    """Two published models whose masks are fused into one.

    Attributes:
        name: As lungmask's command line calls the two.
        base: The model whose structures the mask has.
        fill: The model that decides what is lung: it fills what `base` misses and clears what `base` has beyond it.
    """

    name: str
    base: str
    fill: str


PUBLISHED = (
    PublishedModel(
        "R231",
        "unet_r231-d5d2fc3d.pth",
        LUNGS,
        "Right and left lung by U-net, slice by slice, dense disease included, trachea left out; trained on 231 "
        "diverse routine scans.",
    ),
    PublishedModel(
        "LTRCLobes",
        "unet_ltrclobes-3a07043d.pth",
        LOBES,
        "The five lobes by U-net, slice by slice; trained on a subset of the LTRC data, weak on dense disease and "
        "where fissures are not visible.",
    ),
    PublishedModel(
        "R231CovidWeb",
        "unet_r231covid-0de78a7e.pth",
        LUNGS,
        "R231 trained with additional COVID-19 slices from the web, for images whose Hounsfield units were estimated.",
    ),
)
FUSED = (FusedPair("LTRCLobes_R231", base="LTRCLobes", fill="R231"),)


def published_named(name: str) -> PublishedModel | None:
    """The published model of that name, in any case, or None."""
    return next((model for model in PUBLISHED if model.name.lower() == name.lower()), None)


def fused_named(name: str) -> FusedPair | None:
    """The fused pair of that name, in any case, or None."""
    return next((pair for pair in FUSED if pair.name.lower() == name.lower()), None)


def published_with(sha256: str) -> PublishedModel | None:
    """The published model whose file has that SHA-256, as far as its published digits say, or None."""
    return next((model for model in PUBLISHED if sha256.startswith(model.sha256_prefix)), None)


def published_as(file_name: str) -> PublishedModel | None:
    """The published model that a file is named after, or None; what is in the file may be another matter.

    >>> published_as("unet_ltrclobes-3a07043d (1).pth").name
    'LTRCLobes'
    """
    return next((model for model in PUBLISHED if model.sha256_prefix in file_name.lower()), None)
