"""What rounds and their models are called, and folders that belong to one round alone."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path

from datastore.round_records import Round

SNAPSHOT_FILE = "snapshot.json"
USES = "train", "watched", "negatives"  # of masks that decide the weights


def model_name(number: int) -> str:
    """What the model of a round is called.

    >>> model_name(7)
    'round-0007'
    """
    return f"round-{number:04d}"


def put_aside(folder: Path, made: Round) -> None:
    """Give a folder another name if it is another round's: a registry brought back from a backup counts on from there.

    Args:
        folder: Of a round of that number.
        made: The round that is taken up.
    """
    try:
        content = json.loads((folder / SNAPSHOT_FILE).read_bytes())
        before = str(content["queued_at"])
        labels = {label_id for use in USES for label_id in content[use]}
    except (OSError, ValueError, TypeError, KeyError):
        return
    if before == made.queued_at.isoformat() and labels == set(made.label_ids):
        return
    name = f"{folder.name}-of-{before.replace(':', '')}"
    for again in count(1):
        target = folder.with_name(name if again == 1 else f"{name}-{again}")
        if not target.exists():
            folder.rename(target)
            return
