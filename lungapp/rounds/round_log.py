"""What the packages log while a round runs, in a file of the round."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OURS = ("lungapp", "trainers", "strategies", "infers", "datastore")
FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@contextmanager
def logged_to(path: Path) -> Iterator[None]:
    """Add what our packages log from INFO on to a file until the block ends; the terminal hears no more than before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    root = logging.getLogger()
    file = logging.FileHandler(path, encoding="utf-8")
    file.setFormatter(logging.Formatter(FORMAT))
    others = [(handler, handler.level) for handler in root.handlers]
    levels = [(logging.getLogger(name), logging.getLogger(name).level) for name in OURS]
    for handler, level in others:
        handler.setLevel(max(level, root.level))
    for ours, _ in levels:
        ours.addHandler(file)
        ours.setLevel(min(root.getEffectiveLevel(), logging.INFO))
    try:
        yield
    finally:
        for ours, level in levels:
            ours.removeHandler(file)
            ours.setLevel(level)
        for handler, level in others:
            handler.setLevel(level)
        file.close()
