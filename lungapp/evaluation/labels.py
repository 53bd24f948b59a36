"""What the numbers in the masks of an evaluation mean."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

from datastore.labels import LABEL_MAPS, Structure
from datastore.wording import printable
from infers.models import Model

WHOLE = "whole"
LUNGS_IN_ONE = Structure(1, "lungs", (0.94, 0.45, 0.35))


@dataclass(frozen=True)
class Labels:
    """What is compared.

    Attributes:
        structures: Their numbers in references and predictions.
        whole: Whether everything above 0 counts as the one structure.
        are_known: Whether the names are ours, and a model's have to be the same.
    """

    structures: tuple[Structure, ...]
    whole: bool = False
    are_known: bool = True

    def check_fit(self, name: str, model: Model) -> None:
        """Refuse a model that finds something else.

        Args:
            name: What the model is called.
            model: It.

        Raises:
            ValueError: If it does.
        """
        if self.whole:
            return

        def known(structures: tuple[Structure, ...]) -> set[tuple[int, str]]:
            return {(item.value, item.name if self.are_known else "") for item in structures}

        if not known(tuple(model.structures)) <= known(self.structures):
            found, wanted = (_text(some) for some in (tuple(model.structures), self.structures))
            raise ValueError(
                f"{name} finds {found}, compared are {wanted}: --labels says what, `--labels whole` one lung"
            )


def labels_of(text: str) -> Labels:
    """The labels that a user asks for.

    >>> [structure.name for structure in labels_of("1=lung, 3=trachea").structures]
    ['lung', 'trachea']

    Args:
        text: `lungs`, `lobes`, `whole`, or numbers and names: `1=lung,3=trachea`.

    Raises:
        ValueError: If it is something else.
    """
    if text == WHOLE:
        return Labels((LUNGS_IN_ONE,), whole=True)
    if text in LABEL_MAPS:
        return Labels(LABEL_MAPS[text])
    pairs = [part.partition("=") for part in text.split(",")]
    values = [number.strip() for number, _, _ in pairs]
    names = [name.strip() for _, _, name in pairs]
    are_numbers = all(value.isascii() and value.isdigit() and 1 <= int(value) <= 255 for value in values)
    are_names = all(name and name == printable(name) for name in names)
    if not are_numbers or not are_names or len({*map(int, values)}) < len(pairs) or len(set(names)) < len(pairs):
        expected = ", ".join((*LABEL_MAPS, WHOLE))
        raise ValueError(f"expected {expected}, or numbers 1..255 and names such as 1=lung,3=trachea, got {text!r}")
    colours = [colorsys.hsv_to_rgb(number / len(pairs), 0.6, 0.9) for number in range(len(pairs))]
    return Labels(
        tuple(Structure(int(value), name, colour) for value, name, colour in zip(values, names, colours, strict=True)),
        are_known=False,
    )


def _text(structures: tuple[Structure, ...]) -> str:
    return ", ".join(f"{item.value} {item.name}" for item in structures)
