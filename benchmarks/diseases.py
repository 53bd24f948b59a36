"""How well the models that come with lungapp find lungs, disease by disease, on synthetic patients.

    python benchmarks/diseases.py [--quick] [--json]

The patients are of the cohort `routine`, whole chests, one disease each, none of them seen in training. Dice is that of
each lung, mean over both lungs and all patients, with the worst lung. All models see the same scans in one run.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics

import torch

from datastore.geometry import Geometry
from datastore.volume import Volume
from infers.metrics import score
from infers.models import load_model
from trainers.cohort_slices import CohortPlan, draw_examination, render
from trainers.held_out import CONDITIONS, HEALTHY

MODELS = ("threshold", "anatomy3", "fast", "bootstrap")
FIRST, APART = 3_000_000, 1_000  # numbers of patients, far from those that training or its judging took
SEED = 2


def main() -> None:
    """Render, segment, score; print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one patient of each of three kinds")
    parser.add_argument("--patients", type=int, default=5, help="of each disease")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    models = {name: load_model(name, "cpu") for name in MODELS}
    kinds = (HEALTHY, "effusion", "consolidation") if asked.quick else CONDITIONS
    table: dict[str, dict[str, list[float]]] = {}
    for kind in kinds:
        rows: dict[str, list[float]] = {name: [] for name in MODELS}
        first = FIRST + APART * CONDITIONS.index(kind)
        plan = CohortPlan("routine", SEED, 1, first, chest_only=True, diseases=() if kind == HEALTHY else (kind,))
        for number in range(first, first + (1 if asked.quick else asked.patients)):
            examination = draw_examination(plan, number)
            hu, lungs = render(examination)
            z, y, x = examination.spacing_mm
            truth = Volume(lungs, Geometry((x, y, z)))
            for name, model in models.items():
                found = truth.with_array(model.predict(hu, examination.spacing_mm))
                rows[name] += [one.dice for one in score(truth, found) if not math.isnan(one.dice)]
        table[kind] = rows
        if not asked.json:
            cells = (f"{statistics.mean(rows[name]):.3f} ({min(rows[name]):.3f})" for name in MODELS)
            print(f"| {kind} | {' | '.join(cells)} |", flush=True)
    if asked.json:
        print(json.dumps({"seed": SEED, "versions": {n: m.version for n, m in models.items()}, "dice": table}))


if __name__ == "__main__":
    main()
