"""A process that writes to a registry until it is killed; prints what was acknowledged, a line each."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from registries import BY_ID, HALF_HOUR, label, mask, new_case

from datastore.registry import Registry

if __name__ == "__main__":
    url, folder, name = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    registry = Registry.open(url, folder / "labels")
    for number in itertools.count():
        if number % 3 == 0:
            case, _ = registry.add_case(new_case(f"{name}-{number}"))
            print(f"case {case.id}", flush=True)
        given = registry.lease_next(BY_ID, name, HALF_HOUR)
        if given is None:
            continue
        print(f"lease {given.case_id}", flush=True)
        made = registry.add_label(given.case_id, mask(number % 3), label(by=name, client_id=name, findings=()))
        print(f"label {made.id} {made.sha256}", flush=True)
        if number % 2:
            registry.accept(made.id, "rita")
            print(f"accepted {made.id}", flush=True)
