"""Synthetic chest CT with true masks: a simple chest for tests, and patients with diseases for training."""

from datastore.phantom.chest import Phantom, chest_phantom

__all__ = ["Phantom", "chest_phantom"]
