"""What the many names of a lung or a tumour mean."""

from __future__ import annotations

import re
from enum import Enum

RIGHT_WORDS = {"right", "rt", "r"}
LEFT_WORDS = {"left", "lt", "l", "lft"}
LUNG_WORDS = {"lung", "lungs", "pulmo"}
LOBE_WORDS = {"lobe", "upper", "middle", "lower", "superior", "inferior"}
WHOLE_WORDS = {"total", "both", "whole", "mask", "segmentation"}
TUMOUR_WORDS = {"tumour", "tumor", "cancer", "carcinoma", "gtv", "gtvp", "neoplasm"}
TUMOUR_FILLERS = {"primary", "lung", "mass", "p"}
OUTSIDE = {
    "aorta", "airway", "airways", "body", "bone", "bones", "bronchi", "cord", "esophagus", "heart", "liver",
    "mediastinum", "oesophagus", "spinalcord", "spinal cord", "spleen", "stomach", "trachea",
}  # fmt: skip


class Role(Enum):
    """What a named structure is to us."""

    BACKGROUND = "background"
    RIGHT_LUNG = "right lung"
    LEFT_LUNG = "left lung"
    LUNGS = "both lungs in one"
    TUMOUR = "tumour"
    OUTSIDE = "outside the lungs"


def role_of(name: str) -> Role | None:
    """What a structure of this name is, or None if that cannot be told.

    Case and separators do not matter. A lobe belongs to its lung. Numbered primary tumours (GTV-1, GTV-2) are
    tumours, lymph nodes (GTV-N1) and planning margins (CTV, PTV) are not.

    >>> [role_of(name).value for name in ("Lung_L", "LUNG_RT", "Lungs-Total", "GTV-1", "lung_upper_lobe_left")]
    ['left lung', 'right lung', 'both lungs in one', 'tumour', 'left lung']
    >>> role_of("GTV-N1") is role_of("infection") is role_of("Lung_L minus GTV") is None
    True
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", " ", name)  # LeftLung
    words = re.findall(r"[a-z]+|\d+", spaced.lower())
    plain = " ".join(words)
    if plain == "background":
        return Role.BACKGROUND
    if plain in OUTSIDE:
        return Role.OUTSIDE
    return _lung(_parted(words)) or _tumour(words)


def _parted(words: list[str]) -> list[str]:
    """Words with lung written together with its side (`lungl`, `rlung`, `leftlung`) taken apart."""
    parted: list[str] = []
    for word in words:
        match = re.fullmatch(r"(lungs?)(right|left|rt|lt|r|l)|(right|left|rt|lt|r|l)(lungs?)", word)
        parted += [part for part in match.groups() if part] if match else [word]
    return parted


def _lung(words: list[str]) -> Role | None:
    rest = set(words)
    if not rest & LUNG_WORDS and "lobe" not in rest:
        return None
    is_right, is_left = bool(rest & RIGHT_WORDS), bool(rest & LEFT_WORDS)
    rest -= LUNG_WORDS | LOBE_WORDS | RIGHT_WORDS | LEFT_WORDS | WHOLE_WORDS
    if rest or (is_right and is_left):
        return None
    if is_right or is_left:
        return Role.RIGHT_LUNG if is_right else Role.LEFT_LUNG
    return None if set(words) & LOBE_WORDS else Role.LUNGS


def _tumour(words: list[str]) -> Role | None:
    rest = [word for word in words if word not in TUMOUR_WORDS]
    if len(rest) == len(words):
        return None
    is_plain = all(word in TUMOUR_FILLERS or word.isdigit() for word in rest)
    return Role.TUMOUR if is_plain else None
