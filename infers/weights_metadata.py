"""What travels with a model's weights, as JSON: name, label map, preprocessing, and where they came from."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from datastore.labels import Structure
from datastore.wording import printable
from infers.preprocess import Preprocessing

ARCHITECTURE = "unet"
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
STRUCTURE_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
SHA256 = re.compile(r"[0-9a-f]{64}")
LARGEST_INPUT = 2048  # pixels along a side; a damaged or hostile file could ask for any


class Border(StrEnum):
    """How it is decided where lung ends beside air."""

    NETWORK = "network"  # by the network alone
    AIR = "air"  # by the air as well; see `infers.joined_model`


@dataclass(frozen=True)
class Origin:
    """The file that weights were first imported from.

    Attributes:
        file_name: Without its folder.
        sha256: Of its bytes.
    """

    file_name: str
    sha256: str


@dataclass(frozen=True)
class WeightsMetadata:
    """What a file of weights says of itself.

    Attributes:
        preprocessing: How the network's input is made.
        structures: What its classes 1, 2, ... mean; empty where the file does not say.
        name: What the model is called, or "".
        origin: The file that the weights were imported from, if they were.
        lungapp_version: Of the program that wrote the file, or "".
        border: How the network is meant to be used.
    """

    preprocessing: Preprocessing = Preprocessing()
    structures: tuple[Structure, ...] = ()
    name: str = ""
    origin: Origin | None = None
    lungapp_version: str = ""
    border: Border = Border.NETWORK

    def to_plain(self) -> dict[str, Any]:
        """Values for JSON."""
        return {
            "architecture": ARCHITECTURE,
            "name": self.name,
            "structures": [asdict(structure) for structure in self.structures],
            "preprocessing": asdict(self.preprocessing),
            "origin": asdict(self.origin) if self.origin else None,
            "lungapp_version": self.lungapp_version,
            "border": str(self.border),
        }


def metadata_from(plain: Any) -> WeightsMetadata:
    """The inverse of `WeightsMetadata.to_plain`; names that are missing have their defaults.

    Raises:
        ValueError: If a value is not what it has to be.
    """
    if not isinstance(plain, Mapping):
        raise ValueError(f"expected names and values, got {type(plain).__name__}")
    if plain.get("architecture", ARCHITECTURE) != ARCHITECTURE:
        raise ValueError(f"expected architecture {ARCHITECTURE}, got {_shown(plain['architecture'])}")
    name, version = plain.get("name") or "", plain.get("lungapp_version") or ""
    if name and not (isinstance(name, str) and MODEL_NAME.fullmatch(name)):
        raise ValueError(f"expected the name of a model, got {_shown(name)}")
    return WeightsMetadata(
        preprocessing=_preprocessing(plain.get("preprocessing", {})),
        structures=_structures(plain.get("structures") or []),
        name=name,
        origin=_origin(plain.get("origin")),
        lungapp_version=printable(version)[:40] if isinstance(version, str) else "",
        border=_border(plain.get("border", Border.NETWORK)),
    )


def check_structures(structures: tuple[Structure, ...], classes: int) -> None:
    """Refuse a label map that does not fit a network.

    Args:
        structures: Of the classes 1, 2, ... in turn.
        classes: Of the network, background included.

    Raises:
        ValueError: If it does not fit.
    """
    if [structure.value for structure in structures] != list(range(1, classes)):
        labels = label_text(structures) or "none"
        raise ValueError(f"expected labels 1 to {classes - 1} for a network of {classes} classes, got {labels}")


def label_text(structures: tuple[Structure, ...]) -> str:
    """A label map for people.

    >>> from datastore.labels import LUNGS
    >>> label_text(LUNGS)
    '1 right_lung, 2 left_lung'
    """
    return ", ".join(f"{structure.value} {structure.name}" for structure in structures)


def program_version() -> str:
    """The version of lungapp that runs, or "" where it is not installed."""
    try:
        return importlib.metadata.version("lungapp")
    except importlib.metadata.PackageNotFoundError:
        return ""


def _preprocessing(plain: Any) -> Preprocessing:
    known = {field.name for field in fields(Preprocessing)}
    if not isinstance(plain, Mapping) or not set(plain) <= known:
        raise ValueError(f"expected preprocessing by {', '.join(sorted(known))}, got {_shown(plain)}")
    for name, value in plain.items():
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"preprocessing: expected a whole number for {name}, got {_shown(value)}")
    how = Preprocessing(**plain)
    if not -(2**15) <= how.hu_low < how.hu_high < 2**15:
        raise ValueError(f"preprocessing: expected hu_low below hu_high, got {how.hu_low} and {how.hu_high}")
    if not 16 <= how.size <= LARGEST_INPUT or how.size % 16:
        raise ValueError(
            f"preprocessing: expected a size of 16, 32, ... {LARGEST_INPUT} pixels, got {_shown(how.size)}"
        )
    return how


def _structures(plain: Any) -> tuple[Structure, ...]:
    if not isinstance(plain, list) or len(plain) > 255:
        raise ValueError(f"expected a list of at most 255 structures, got {_shown(plain)}")
    found = tuple(_structure(item) for item in plain)
    if len({structure.name for structure in found}) < len(found):
        raise ValueError(f"two structures have the same name: {label_text(found)[:200]}")
    return found


def _structure(plain: Any) -> Structure:
    match plain:
        case {"value": int(value), "name": str(name), "colour": [red, green, blue]} if (
            0 < value < 256
            and STRUCTURE_NAME.fullmatch(name)
            and all(isinstance(part, (int, float)) and 0 <= part <= 1 for part in (red, green, blue))
        ):
            return Structure(value, name, (float(red), float(green), float(blue)))
    raise ValueError(f"expected a structure's value, name and colour, got {_shown(plain)}")


def _origin(plain: Any) -> Origin | None:
    match plain:
        case None:
            return None
        case {"file_name": str(file_name), "sha256": str(sha256)} if SHA256.fullmatch(sha256):
            return Origin(printable(file_name)[:200], sha256)
    raise ValueError(f"expected the file_name and sha256 of an origin, got {_shown(plain)}")


def _border(plain: Any) -> Border:
    try:
        return Border(plain)
    except ValueError as error:
        raise ValueError(f"expected border as one of {', '.join(Border)}, got {_shown(plain)}") from error


def _shown(value: Any) -> str:
    return printable(repr(value))[:80]
