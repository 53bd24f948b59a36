"""Hounsfield units of tissues (Schneider et al., Phys. Med. Biol. 2000; Lamba et al., AJR 2014)."""

from __future__ import annotations

AIR_HU = -1000.0
FAT_HU = -104.0
SKIN_HU = 10.0
MUSCLE_HU = 54.0
CARTILAGE_HU = 95.0
DIAPHRAGM_HU = 48.0
TRACHEA_HU = -985.0
GAS_HU = -975.0
