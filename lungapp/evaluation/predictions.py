"""What is compared with the references: folders of masks, and models that make them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datastore.image_files import is_image_name
from datastore.wording import printable
from infers.model_names import WEIGHT_SUFFIXES, is_path


@dataclass(frozen=True)
class Prediction:
    """One thing that is compared with the references.

    Attributes:
        name: What it is called in tables, and the name of a folder.
        place: A folder of masks; or what `load_model` takes, as text.
        is_folder: Which of the two.
    """

    name: str
    place: str
    is_folder: bool


def predictions_of(texts: Sequence[str]) -> tuple[Prediction, ...]:
    """What a user asks for: `[NAME=]DIR_OR_MODEL`, several times.

    Raises:
        ValueError: If two have one name, a name cannot be a folder's, or there is no such folder.
    """
    found = tuple(map(_prediction, texts))
    name, count = Counter(item.name for item in found).most_common(1)[0]
    if count > 1:
        places = " and ".join(item.place for item in found if item.name == name)
        raise ValueError(f"{places} would both be called {name}: name them, NAME={found[0].place}")
    return found


def _prediction(text: str) -> Prediction:
    name, equals, place = text.partition("=")
    if not equals or Path(text).exists():
        name, place = "", text
    path = Path(place)
    if not place:
        raise ValueError(f"expected a folder or a model, got {text!r}")
    if path.is_file() and is_image_name(path.name):
        raise ValueError(f"{place}: expected a folder of masks or a model, got a file")
    if not path.exists() and is_path(place) and not place.lower().endswith(WEIGHT_SUFFIXES):
        raise ValueError(f"{place}: no such folder")
    if not name:
        name = os.path.basename(os.path.abspath(place)) if is_path(place) or path.is_dir() else place
        name = next((name[: -len(end)] for end in WEIGHT_SUFFIXES if name.lower().endswith(end)), name)
    if name != printable(name) or name.strip() != name or "/" in name or name.startswith("."):
        raise ValueError(f"{name!r} cannot be the name of a model in this evaluation: give another one, NAME={place}")
    return Prediction(name, place, path.is_dir())
