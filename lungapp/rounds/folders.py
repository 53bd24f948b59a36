"""Folders of rounds, each of one round alone."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

SNAPSHOT_FILE = "snapshot.json"


def put_aside(folder: Path, queued_at: datetime) -> None:
    """Give a folder another name if it is another round's: a project brought back from a backup counts on from there.

    Args:
        folder: Of a round of that number.
        queued_at: Of the round that is taken up.
    """
    try:
        before = str(json.loads((folder / SNAPSHOT_FILE).read_bytes())["queued_at"])
    except (OSError, ValueError, TypeError, KeyError):
        return
    if before != queued_at.isoformat():
        folder.rename(folder.with_name(f"{folder.name}-of-{before.replace(':', '')}"))
