"""The model card of weights that saw synthetic patients alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from infers.manifest import WEIGHTS
from trainers.held_out import SIDES


def pretraining_card(metrics: Mapping[str, Any]) -> str:
    """What such weights are and how well they do, in Markdown.

    Args:
        metrics: As `pretrain` makes them.
    """
    plan, training = metrics["pretraining"], metrics["training"]
    lines = [
        "# U-net from synthetic chest CT",
        "",
        f"`{WEIGHTS}` segments the lungs slice by slice: 0 background, 1 right lung, 2 left lung. It saw **no real "
        f"scan in training**: all it learned from are patients of the synthetic cohort `{plan['cohort']}` "
        "(`datastore/phantom`). Not a medical device.",
        "",
        "| | |",
        "|---|---|",
        f"| network | `UNet(classes=3, base_channels={plan['base_channels']})`, weights in half precision |",
        "| input | `infers.preprocess` as it is: body crop, 256 x 256, window -1024 to 600 HU |",
        f"| command | `{metrics['command']}` |",
        f"| data | {plan['patients']} patients of seed {plan['seed']}: {metrics['training_slices']} slices, "
        f"{metrics['training_slices_with_lung']} with lung |",
        f"| minibatch | {training['with_lung']} slices with lung + {training['without_lung']} without |",
        f"| optimizer | {training['optimizer']}, bfloat16 products, float32 weights |",
        *(_stage(stage) for stage in training["stages"]),
        "| loss | cross-entropy + (1 - Dice) |",
        f"| SHA-256 | `{metrics['sha256']}` |",
        "",
    ]
    rows = {kind: patients for kind, patients in metrics["held_out"].items() if patients}
    if rows:
        lines += [
            "## Figures",
            "Whole synthetic chests that training did not see, one disease each; mean Dice, with the worst patient's. "
            "They come from the same generator, which makes these figures easy.",
            "",
            "| disease | patients | right | left | worst lung | threshold, right | threshold, left |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += [_row(kind, patients) for kind, patients in rows.items()]
    return "\n".join(lines) + "\n"


def _stage(stage: Mapping[str, Any]) -> str:
    size = "128 x 128" if stage["half_size"] else "256 x 256"
    return f"| {stage['steps']} steps | slices of {size}, highest rate {stage['learning_rate']} |"


def _row(kind: str, patients: list[dict[str, Any]]) -> str:
    means = [
        float(np.mean([patient[name] for patient in patients if patient[name] is not None]))
        for name in ("right", "left", "threshold_right", "threshold_left")
    ]
    worst = min(patient[side] for patient in patients for side in SIDES if patient[side] is not None)
    right, left, *threshold = (f"{mean:.3f}" for mean in means)
    return f"| {kind} | {len(patients)} | {right} | {left} | {worst:.3f} | {' | '.join(threshold)} |"
