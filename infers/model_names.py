"""What models are called: which names may be given, which are files, and what to say of one that is not known."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from infers.published import fused_named, published_named
from infers.weights import ANATOMY3, BOOTSTRAP
from infers.weights_metadata import MODEL_NAME

THRESHOLD = "threshold"
JOINED = "bootstrap"
"""The default: the network of that name in `SHIPPED`, with the border of air; see `infers.joined_model`."""
SHIPPED = {JOINED: BOOTSTRAP, "fast": BOOTSTRAP, "anatomy3": ANATOMY3}
RESERVED = (THRESHOLD, "current", *SHIPPED)
WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt")


def check_name(name: str) -> None:
    """Refuse what cannot be the name of a stored model.

    >>> check_name("../r231")
    Traceback (most recent call last):
    ...
    ValueError: model name '../r231': expected up to 64 letters, digits, `.`, `_` and `-`, a letter or digit first

    Raises:
        ValueError: If it cannot.
    """
    if not MODEL_NAME.fullmatch(name):
        raise ValueError(
            f"model name {name[:80]!r}: expected up to 64 letters, digits, `.`, `_` and `-`, a letter or digit first"
        )
    if name.lower() in RESERVED or fused_named(name) is not None:
        raise ValueError(f"model name {name!r}: has another meaning")
    if name.lower().endswith(WEIGHT_SUFFIXES):
        raise ValueError(f"model name {name!r}: looks like a file's")


def is_path(name: str | Path) -> bool:
    """Whether a model is asked for by its file rather than by name."""
    return isinstance(name, Path) or os.sep in name or name.lower().endswith(WEIGHT_SUFFIXES)


def unknown_model(name: str, known: Sequence[str]) -> ValueError:
    """The error that says what a name could have been, and how a published model is imported.

    Args:
        name: That is none of a model.
        known: Names of stored models.
    """
    names = ", ".join((*SHIPPED, THRESHOLD, *known))
    reason = f"no model {name[:80]!r}: expected {names}, or a file of weights (.safetensors, .pth)"
    published = published_named(name)
    if published is None:
        return ValueError(reason)
    return ValueError(
        f"{reason}; the published {published.name} is not imported yet: download it from {published.url}, then run "
        f"`lungapp models import {published.file_name}`"
    )
