"""Stored models in words, and as plain values for JSON."""

from __future__ import annotations

from typing import Any

from datastore.wording import printable
from infers.model_card import description, origin_sentence
from infers.published import published_with
from infers.stored_model import StoredModel
from infers.weights_metadata import Border, label_text


def model_dict(model: StoredModel, served: str | None) -> dict[str, Any]:
    """A model as plain values; `served` is the name of the one that is served."""
    origin = model.manifest.metadata.origin
    published = published_with(origin.sha256) if origin else None
    return {
        **model.manifest.to_plain(),
        "name": model.name,
        "version": model.version,
        "description": description(model.manifest),
        "published": published.name if published else None,
        "served": model.name == served,
        "folder": str(model.folder),
    }


def model_line(model: StoredModel, served: str | None) -> str:
    """A model on one line."""
    words = (
        f"{model.name}  {model.version}  {model.manifest.classes} classes: {label_text(model.structures)}  "
        f"SHA-256 {model.manifest.sha256[:12]}"
    )
    return printable(words) + ("  served" if model.name == served else "")


def model_text(model: StoredModel, served: str | None) -> str:
    """All that is known of a model, on a few lines."""
    manifest, metadata = model.manifest, model.manifest.metadata
    how = metadata.preprocessing
    rows = [
        ("version", model.version),
        ("classes", f"{manifest.classes}: 0 background, {label_text(model.structures)}"),
        ("input", f"body crop, {how.size} x {how.size} pixels, {how.hu_low} to {how.hu_high} HU"),
        ("border", "by the network and the air" if metadata.border is Border.AIR else "by the network alone"),
        ("SHA-256", manifest.sha256),
    ]
    if metadata.origin is not None:
        rows += [
            ("from", f"{metadata.origin.file_name}, SHA-256 {metadata.origin.sha256}"),
            ("published", origin_sentence(metadata.origin)),
        ]
    if manifest.imported_at is not None:
        by = f" by lungapp {metadata.lungapp_version}" if metadata.lungapp_version else ""
        rows += [
            (
                "imported" if manifest.round_number is None else "trained",
                f"{manifest.imported_at:%Y-%m-%d %H:%M} UTC{by}",
            )
        ]
    rows += [("folder", str(model.folder)), ("served", "yes" if model.name == served else "no")]
    lines = [printable(f"{model.name}  {description(manifest)}")]
    return "\n".join([*lines, *(printable(f"  {name:<10}{value}") for name, value in rows)])
