"""`manifest.json` beside a stored model's weights: what the model is, and the checksum that the weights must have."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from infers.weights_metadata import SHA256, WeightsMetadata, metadata_from

WEIGHTS = "weights.safetensors"
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """One stored model.

    Attributes:
        metadata: As in the weights themselves.
        sha256: Of the weights' file.
        imported_at: UTC, or None where nobody wrote it down; for a model of a round, when it was stored.
        round_number: Of the project's round that trained it, or None if it was imported.
    """

    metadata: WeightsMetadata
    sha256: str
    imported_at: datetime | None = None
    round_number: int | None = None

    @property
    def classes(self) -> int:
        """Number of classes, background included."""
        return len(self.metadata.structures) + 1

    def to_plain(self) -> dict[str, Any]:
        """Values for JSON."""
        return {
            **self.metadata.to_plain(),
            "classes": self.classes,
            "sha256": self.sha256,
            "imported_at": self.imported_at.isoformat(timespec="seconds") if self.imported_at else None,
            "round": self.round_number,
        }


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest in a model's folder, or None if it has none.

    Raises:
        ValueError: If it cannot be read.
    """
    plain = _read(folder / MANIFEST)
    if plain is None:
        return None
    try:
        if not isinstance(plain.get("sha256"), str) or not SHA256.fullmatch(plain["sha256"]):
            raise ValueError("expected the SHA-256 of the weights")
        metadata = metadata_from(plain)
        if not metadata.structures:
            raise ValueError("expected structures")
        imported_at = datetime.fromisoformat(plain["imported_at"]) if plain.get("imported_at") else None
        return Manifest(metadata, plain["sha256"], imported_at, _round_number(plain.get("round")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{folder / MANIFEST}: damaged: {error}") from error


def stated_sha256(weights: Path) -> str | None:
    """The checksum that a stored model's weights must have, or None if the file is no stored model's.

    Raises:
        ValueError: If the manifest beside it cannot be read.
    """
    plain = _read(weights.with_name(MANIFEST)) if weights.name == WEIGHTS else None
    return None if plain is None else plain.get("sha256")


def _round_number(value: Any) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise ValueError(f"expected the number of a round, got {str(value)[:40]!r}")


def _read(path: Path) -> dict[str, Any] | None:
    try:
        plain = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: damaged: {error}") from error
    if not isinstance(plain, dict):
        raise ValueError(f"{path}: damaged: expected names and values, got {type(plain).__name__}")
    return plain
