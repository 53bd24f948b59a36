"""Weights on disk: how they are read and written, and those that this project trained itself from its own phantoms.

README.md beside them is their model card, each .json has the figures; `lungapp pretrain` made them.
"""

from __future__ import annotations

from pathlib import Path

from infers.weights.files import METADATA_KEY, Weights, load_weights, save_weights, weights_version

__all__ = ["ANATOMY3", "BOOTSTRAP", "METADATA_KEY", "Weights", "load_weights", "save_weights", "weights_version"]

BOOTSTRAP = Path(__file__).parent / "bootstrap.safetensors"
"""Trained on the synthetic cohort `routine`: lungs as they come to a university hospital."""
ANATOMY3 = Path(__file__).parent / "anatomy3.safetensors"
"""Trained on the synthetic cohort `anatomy3`, healthy lungs alone: where the paper's loop begins."""
