"""Weights that this project trained itself from its own phantoms; README.md beside them says how."""

from __future__ import annotations

from pathlib import Path

FAST = Path(__file__).parent / "fast.safetensors"
